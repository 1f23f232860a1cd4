import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import test from "node:test";

const WEB = new URL("../../../web/", import.meta.url);
const source = readFileSync(new URL("words.js", WEB), "utf8");
const table = source.slice(source.indexOf("const ENGLISH"), source.indexOf("export const languages"));
const ENGLISH = new Function(`${table}; return ENGLISH;`)();
const { default: CHINESE } = await import(new URL("words.zh-Hans.js", WEB));
const modules = ["", "views/"].flatMap((folder) => readdirSync(new URL(folder, WEB)).filter((name) => name.endsWith(".js") && !name.startsWith("words.zh")).map((name) => readFileSync(new URL(folder + name, WEB), "utf8")));
const places = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();

test("every name has words in both languages, with the same values", () => {
  assert.deepEqual(Object.keys(CHINESE), Object.keys(ENGLISH));
  for (const [name, words] of Object.entries(ENGLISH)) {
    assert.ok(words.trim() && CHINESE[name].trim(), name);
    assert.deepEqual(places(CHINESE[name]), places(words), name);
  }
});

test("every name that the page asks for is there", () => {
  const asked = modules.flatMap((text) => [...text.matchAll(/\bt\("(\w+)"/g)].map(([, name]) => name));
  assert.ok(asked.length > 100);
  assert.deepEqual(asked.filter((name) => !(name in ENGLISH)), []);
});

test("no words are left that nobody asks for", () => {
  const all = modules.join("\n").replace(table, "");
  const begun = [...all.matchAll(/`(\w+_)\$\{/g)].map(([, name]) => name);
  const unused = Object.keys(ENGLISH).filter((name) => !all.includes(`"${name}"`) && !begun.some((each) => name.startsWith(each)));
  assert.deepEqual(unused, []);
});
