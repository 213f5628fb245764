/** Laws 1–3 and 5 at needle level: every engine, every chunking, against the naive oracle. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
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

describe.each(ENGINES)("$engine", (factory) => {
  test("agrees with the oracle in one piece, byte by byte and at random cuts", () => {
    fc.assert(
      fc.property(fc.array(needle, { minLength: 1, maxLength: 5 }), text, fc.array(fc.nat(200), { maxLength: 4 }), (needles, input, cuts) => {
        const want = oracle(input, needles, "<M>").toString("latin1");
        expect(run(factory, needles, [input]).output.toString("latin1")).toBe(want);
        expect(run(factory, needles, bytewise(input)).output.toString("latin1")).toBe(want);
        expect(
          run(
            factory,
            needles,
            cut(
              input,
              cuts.map((at) => at % (input.length + 1)),
            ),
          ).output.toString("latin1"),
        ).toBe(want);
      }),
      { numRuns: RUNS },
    );
  });
});
