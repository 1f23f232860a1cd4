import assert from "node:assert/strict";
import test from "node:test";
import "./globals.mjs";

const { pretty, visible } = await import("../../../web/json.js");
const { safeAddress } = await import("../../../web/markdown.js");
const { duration } = await import("../../../web/base.js");
const { snippets } = await import("../../../web/views/snippets.js");

test("JSON is spread over lines, token for token", () => {
  assert.equal(pretty('{"a":[1,{"b":[]}],"c":{}}'), '{\n  "a": [\n    1,\n    {\n      "b": []\n    }\n  ],\n  "c": {}\n}');
});

test("no number is rounded and no key is dropped", () => {
  assert.match(pretty('{"n":12345678901234567890,"x":1e400,"y":1.0}'), /12345678901234567890[^]*1e400[^]*1\.0/);
  assert.match(pretty('{"a":"safe","a":"evil"}'), /safe[^]*evil/);
});

test("what cannot be seen is written out", () => {
  assert.equal(visible("a\u202eb\u200bc\u{e0041}"), "a\\u202eb\\u200bc\\udb40\\udc41");
  assert.equal(pretty('{"a":"\\u202egnp"}'), '{\n  "a": "\\u202egnp"\n}');
  assert.equal(pretty('"\\u4e2d\\u6587"'), '"中文"');
  assert.equal(visible("línea\n中文\tمرحبا"), "línea\n中文\tمرحبا");
});

test("what is no JSON stays as it is", () => {
  assert.equal(pretty("{oops"), "{oops");
  assert.equal(pretty(""), "");
});

test("a link leads to the web or to mail", () => {
  for (const good of ["https://example.com/a?b#c", "http://x", "mailto:a@example.com"]) assert.equal(safeAddress(good), good);
  for (const bad of ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\nscript:alert(1)", "\u0001javascript:alert(1)", "data:text/html,x", "vbscript:x", "//evil.example", "/api/runs", "blob:https://x/y", "https://", ""]) {
    assert.equal(safeAddress(bad), undefined, bad);
  }
});

test("durations are as people say them", () => {
  assert.deepEqual([0, 0.017, 1.44, 59.4, 372, 7500, 200_000].map(duration), ["0 s", "17 ms", "1.4 s", "59 s", "6 min 12 s", "2 h 5 min", "2 d 7 h"]);
});

test("what is copied survives a shell", () => {
  const run = { agent: "novelist", stream: false };
  const input = "it's `$(rm -rf /)` \"quoted\" \\ and\nmore";
  const [curl, python] = snippets(run, [{ role: "user", content: input }], true);
  assert.match(curl.text, /it'\\''s `\$\(rm -rf \/\)`/);
  assert.match(curl.text, /x-functions-key: \$DORMOUSE_KEY/);
  assert.ok(python.text.includes(JSON.stringify(input)));
});
