import assert from "node:assert/strict";
import test from "node:test";
import "./globals.mjs";

const { merged, read } = await import("../../../web/views/watched.js");
const { said } = await import("../../../web/operator.js");

const rows = (text) => [...text].map((id) => ({ id }));
const told = (list) => list.map(({ id, isGone }) => (isGone ? `(${id})` : id)).join("");

test("what has left the list stays where it stood once something was done with it", () => {
  for (const [shown, fresh, held, wanted] of [
    ["", "abc", "", "abc"],
    ["abc", "ac", "", "ac"],
    ["abc", "ac", "b", "a(b)c"],
    ["abc", "", "c", "(c)"],
    ["abc", "bc", "a", "(a)bc"],
    ["abcd", "ad", "cb", "a(b)(c)d"],
    ["abc", "xa", "bc", "xa(b)(c)"],
    ["abc", "cba", "b", "cba"],
    ["", "aab", "", "ab"],
  ]) assert.equal(told(merged(rows(shown), rows(fresh), new Set(held))), wanted, `${shown} ${fresh} ${held}`);
});

test("what is back in the list has not left it", () => {
  const once = merged(rows("ab"), rows("a"), new Set("b"));
  assert.equal(told(merged(once, rows("ab"), new Set("b"))), "ab");
});

test("of a list that is in use no row moves: what is new comes last", () => {
  assert.equal(told(merged(rows("abc"), rows("xcay"), new Set(), true)), "a(b)cxy");
});

test("as many rows as are wanted are read, a hundred a page, and no page more", async () => {
  const asked = [];
  globalThis.fetch = async (address) => {
    const { searchParams: given } = new URL(address, location.origin);
    const [limit, from] = [Number(given.get("limit")), Number(given.get("cursor"))];
    asked.push([from, limit]);
    const data = Array.from({ length: Math.min(limit, 130 - from) }, (_, place) => ({ id: from + place }));
    return Response.json({ data, watched: 7, ...(from + limit < 130 && { next_cursor: String(from + limit) }) });
  };
  const lengths = [];
  for (const wanted of [20, 120, 140]) {
    const { rows: found, isMore, watched } = await read("overdue", wanted);
    lengths.push([found.length, isMore, watched]);
  }
  assert.deepEqual(lengths, [[20, true, 7], [120, true, 7], [130, false, 7]]);
  assert.deepEqual(asked, [[0, 20], [0, 100], [100, 20], [0, 100], [100, 40]]);
});

test("a refused key, an app without these calls, and a run that is not there are three things", () => {
  for (const [status, code, wanted] of [
    [401, "invalid_operator_key", "refused"],
    [403, "http_403", "refused"],
    [401, "http_401", undefined], // the function key's
    [404, "not_found", "off"],
    [404, "http_404", "off"],
    [404, "run_not_found", undefined],
    [409, "run_unreadable", undefined],
    [503, "storage_unavailable", undefined],
    [0, "offline", undefined],
  ]) assert.equal(said({ status, code }), wanted, `${status} ${code}`);
});
