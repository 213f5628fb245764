/** The built-in rules: proven, found in every surrounding, at every chunking, on both engines. `npm run quality` does the same more thoroughly and prints it. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { createEngine, type Engine, loadRules } from "../../src/index.js";
import { cook } from "../../src/rules/recipes.js";
import { ENGINES } from "../support/engines.js";

const folder = fileURLToPath(new URL("../../patterns", import.meta.url));
// Loading proves every rule: its examples give exactly their spans, its negatives nothing.
const rules = loadRules([folder]);
const examples = rules.flatMap(({ id, examples: recipes }) => recipes.map((recipe) => ({ id, ...cook(recipe, id) })));

/** What is masked, merged, with the text in pieces. */
function masked(engine: Engine, pieces: readonly string[]): { start: number; end: number }[] {
  const spans: { start: number; end: number }[] = [];
  const stream = engine.stream({ onFinding: ({ offset, length }) => spans.push({ start: offset, end: offset + length }) });
  for (const piece of pieces) stream.push(Buffer.from(piece, "latin1"));
  stream.end();
  return spans;
}

test("there are rules for everything that the issue of formats lists, each with an example and a reference", () => {
  expect(rules.length).toBeGreaterThanOrEqual(220);
  expect(new Set(rules.map(({ id }) => id)).size).toBe(rules.length);
  for (const { id, examples: recipes, references } of rules) {
    expect(recipes.length, id).toBeGreaterThan(0);
    expect(references.length, id).toBeGreaterThan(0);
  }
  expect(readdirSync(folder).filter((name) => !name.endsWith(".toml") && name !== "README.md")).toEqual([]);
});

const SURROUNDINGS = [
  ["bare", "", ""],
  ["colour", "\x1b[32m", "\x1b[0m"],
  ["colour behind a word", "ok\x1b[1;31m", "\x1b[39;49m"],
  ["spelled-out escape", "x\\u001b[32m", "\\u001b[0m"],
  ["escaped line end", 'log":"a\\n', '\\n"'],
  ["comma", "(", ",x"],
  ["parenthesis", "(", ")"],
  ["bracket", "[", "]"],
  ["ampersand", "", "&x=1"],
  ["set -x", "+ echo ", "\r\n"],
] as const;

describe.each(ENGINES)("$engine", ({ engine: name }) => {
  const engine = createEngine({ engine: name, rules: { minConfidence: "low", learn: false } });

  test.each(SURROUNDINGS)("every example is found whole: %s", (_, before, after) => {
    const wrong: string[] = [];
    for (const { id, text, spans } of examples) {
      const found = masked(engine, [before + text + after]);
      const leaked = spans.some(({ start, end }) => {
        for (let at = start; at < end; at++) {
          if ("\r\n".includes(text[at]!)) continue;
          if (!found.some((span) => span.start <= at + before.length && at + before.length < span.end)) return true;
        }
        return false;
      });
      if (leaked) wrong.push(`${id}: ${text.length} bytes`);
    }
    expect(wrong).toEqual([]);
  });

  test("chunks do not matter", () => {
    const wrong: string[] = [];
    for (const [index, { id, text }] of examples.entries()) {
      const whole = JSON.stringify(masked(engine, [text]));
      const cut = 1 + ((index * 7919) % Math.max(1, text.length - 1));
      for (const pieces of [[text.slice(0, cut), text.slice(cut)], text.match(/[\s\S]{1,3}/g) ?? [], [...text]]) {
        if (JSON.stringify(masked(engine, pieces)) !== whole) wrong.push(`${id} in ${pieces.length} pieces, cut at ${cut}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test("every example is found whole in a string of JSON, whatever the chunks", () => {
    const wrong: string[] = [];
    for (const [index, { id, text, spans }] of examples.entries()) {
      const spelled = [...text].map((char) => JSON.stringify(char).slice(1, -1));
      const line = `{"log":"${spelled.join("")}"}\n`;
      const places = [8];
      for (const each of spelled) places.push(places.at(-1)! + each.length);
      const found = masked(engine, [line]);
      for (const { start, end } of spans)
        for (let at = start; at < end; at++) {
          const from = places[at]!;
          if (!"\r\n".includes(text[at]!) && !found.some((span) => span.start <= from && from < span.end)) wrong.push(`${id}: byte ${at} of ${text.length}`);
        }
      const cut = 1 + ((index * 7919) % (line.length - 1));
      for (const pieces of [[line.slice(0, cut), line.slice(cut)], [...line]])
        if (JSON.stringify(masked(engine, pieces)) !== JSON.stringify(found)) wrong.push(`${id} in ${pieces.length} pieces, cut at ${cut}`);
      try {
        JSON.parse(engine.redact(Buffer.from(line, "latin1")).toString());
      } catch {
        wrong.push(`${id}: no JSON any more`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test("what was masked is not masked again", () => {
    const all = examples.map(({ text }) => text).join("\n");
    const once = engine.redact(Buffer.from(all, "latin1"));
    expect(engine.redact(once).equals(once)).toBe(true);
  });
});

test("engines agree on everything at once, whatever the chunks", () => {
  const all = Buffer.from(examples.map(({ text }) => text).join("\n"), "latin1");
  const outputs = ENGINES.flatMap(({ engine: name }) =>
    [1 << 20, 4096, 251].map((size) => {
      const stream = createEngine({ engine: name }).stream();
      const out: Uint8Array[] = [];
      for (let at = 0; at < all.length; at += size) out.push(...stream.push(all.subarray(at, at + size)));
      out.push(...stream.end());
      return Buffer.concat(out).toString("latin1");
    }),
  );
  for (const output of outputs) expect(output === outputs[0]).toBe(true);
});
