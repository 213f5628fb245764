/** Laws 1–3 and 5 at needle level: every engine, every chunking, against the naive oracle. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { MatcherFactory } from "../../src/core/matcher.js";
import { NEEDLE } from "../../src/core/matcher.js";
import { oracle, type OracleNeedle } from "../oracle/oracle.js";
import { ENGINES } from "../support/engines.js";
import { bytewise, cut, run } from "../support/redactor.js";

const RUNS = Number(process.env["LOGVEIL_RUNS"] ?? 1500);
const TOKENS = [
  "a",
  "b",
  "a",
  "b",
  "-",
  "\n",
  "\r\n",
  " ",
  "\b",
  "\x1b[m",
  "\x1b[31m",
  "\x1b]0;",
  "\x07",
  "\x1b\\",
  "\x1b(B",
  "\x1b",
  "ab",
  "ba",
  "abab",
  "aabb",
];

const word = (min: number, max: number): fc.Arbitrary<Buffer> =>
  fc.array(fc.constantFrom("a", "b"), { minLength: min, maxLength: max }).map((chars) => Buffer.from(chars.join("")));
const needle: fc.Arbitrary<OracleNeedle> = fc.oneof(
  word(4, 9).map((bytes) => ({ bytes, flags: 0 })),
  word(4, 9).map((bytes) => ({ bytes, flags: NEEDLE.WRAPPED })),
  word(4, 9).map((bytes) => ({ bytes, flags: NEEDLE.SPACED })),
  fc.array(fc.constantFrom("a", "b", "-"), { minLength: 4, maxLength: 6 }).map((chars) => ({ bytes: Buffer.from(chars.join("")), flags: NEEDLE.TOKEN })),
  fc
    .array(fc.constantFrom(...TOKENS), { minLength: 4, maxLength: 6 })
    .map((parts) => ({ bytes: Buffer.from(parts.join("") + "aaaa").subarray(0, 8), flags: 0 })),
);
const text = fc.array(fc.constantFrom(...TOKENS), { maxLength: 40 }).map((parts) => Buffer.from(parts.join("")));

/** Cases that once failed, and those that look most like it. `npm run fuzz` adds what it finds. */
const CORPUS = fileURLToPath(new URL("../fuzz/corpus/", import.meta.url));

/** A case as a file: bytes as Latin-1 strings. */
interface Case {
  readonly needles: readonly { readonly bytes: string; readonly flags: number }[];
  readonly input: string;
  readonly cuts: readonly number[];
}

function check(factory: MatcherFactory, needles: readonly OracleNeedle[], input: Buffer, cuts: readonly number[]): void {
  const want = oracle(input, needles, "<M>").toString("latin1");
  const random = cut(
    input,
    cuts.map((at) => at % (input.length + 1)),
  );
  for (const chunks of [[input], bytewise(input), random]) expect(run(factory, needles, chunks).output.toString("latin1")).toBe(want);
}

/** Writes a counterexample into the corpus, named by its content. */
function keep([needles, input, cuts]: readonly [OracleNeedle[], Buffer, number[]]): void {
  const found: Case = { needles: needles.map(({ bytes, flags }) => ({ bytes: bytes.toString("latin1"), flags })), input: input.toString("latin1"), cuts };
  const json = `${JSON.stringify(found)}\n`;
  writeFileSync(`${CORPUS}${createHash("sha256").update(json).digest("hex").slice(0, 12)}.json`, json);
}

describe.each(ENGINES)("$engine", (factory) => {
  test("agrees with the oracle on what fuzzing has found", () => {
    const files = readdirSync(CORPUS).filter((name) => name.endsWith(".json"));
    expect(files.length).toBeGreaterThan(0);
    for (const file of files) {
      const { needles, input, cuts } = JSON.parse(readFileSync(CORPUS + file, "utf8")) as Case;
      const table = needles.map(({ bytes, flags }) => ({ bytes: Buffer.from(bytes, "latin1"), flags }));
      const whole = Buffer.from(input, "latin1");
      check(factory, table, whole, cuts);
      for (let at = 1; at < whole.length; at++) check(factory, table, whole, [at]);
    }
  });

  test("agrees with the oracle in one piece, byte by byte and at random cuts", () => {
    const details = fc.check(
      fc.property(fc.array(needle, { minLength: 1, maxLength: 5 }), text, fc.array(fc.nat(200), { maxLength: 4 }), (needles, input, cuts) =>
        check(factory, needles, input, cuts),
      ),
      { numRuns: RUNS },
    );
    if (details.counterexample !== null && process.env["LOGVEIL_KEEP_CASES"] === "1") keep(details.counterexample);
    if (details.failed) throw new Error(fc.defaultReportMessage(details));
  });
});
