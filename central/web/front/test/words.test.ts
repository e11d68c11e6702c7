import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import en from "../src/i18n/en.json" with { type: "json" };
import id from "../src/i18n/id.json" with { type: "json" };
import { Words } from "../src/words.ts";

const SOURCES = readdirSync(new URL("../src", import.meta.url))
  .filter((name) => /\.tsx?$/.test(name))
  .map((name) => readFileSync(new URL(`../src/${name}`, import.meta.url), "utf8"))
  .join("\n");
const names = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort();

test("both languages have the same texts with the same values in them", () => {
  assert.deepEqual(Object.keys(en), Object.keys(id));
  for (const key of Object.keys(id) as (keyof typeof id)[]) {
    assert.deepEqual(names(en[key]), names(id[key]), key);
    assert.ok(id[key].trim() !== "" && en[key].trim() !== "", key);
  }
});

test("every text is used", () => {
  for (const key of Object.keys(id)) {
    const group = `${key.split(".")[0]}.\${`;
    assert.ok(SOURCES.includes(`"${key}"`) || SOURCES.includes(`\`${group}`) || SOURCES.includes(`\`\${key}_for`), key);
  }
});

test("a stretch of time is said in its two largest units", () => {
  const words = new Words("id");
  assert.deepEqual(
    [0, 42, 60, 95, 725, 3600, 4350, 90_000].map((seconds) => words.stretch(seconds)),
    ["0 dtk", "42 dtk", "1 mnt", "1 mnt 35 dtk", "12 mnt", "1 jam", "1 jam 13 mnt", "1 hari 1 jam"],
  );
});

test("numbers and times are written as the language writes them", () => {
  assert.equal(new Words("id").number(4.25, 1), "4,3");
  assert.equal(new Words("en").bytes(4_200_000), "4.2 MB");
  assert.match(new Words("id").time(0), /^\d\d\.\d\d\.\d\d$/);
  assert.match(new Words("en").time(0), /^\d\d:\d\d:\d\d$/);
});

test("a word that came over the wire and is not in the catalogs is shown as it came", () => {
  assert.equal(new Words("id").sayOr("event.from.the.future", "future"), "future");
  assert.equal(new Words("id").sayOr("toString", "x"), "x");
});
