/** Law 2 where the sieve skips: long texts with few matches come out in one piece, and at random cuts, as they do byte by byte, where nothing can be skipped. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NEEDLE } from "../../src/core/matcher.js";
import { ENGINES } from "../support/engines.js";
import { bytewise, cut, run } from "../support/redactor.js";

const RUNS = Number(process.env["LOGVEIL_RUNS"] ?? 1500) / 5;
const letter = fc.constantFrom(..."abcdefghijklmnopqrstuvwxyz0123456789");
const gap = fc.constantFrom("\n", "\r\n", "\x1b[1m", "\x1b[m", "\x1b[38;5;27m", " ", "  ", "\x1b]0;title\x07", "\b", "\t", "\n\n", "\x1b(B");
const word = (min: number, max: number): fc.Arbitrary<string> => fc.string({ unit: letter, minLength: min, maxLength: max });

/** Some begin like the end of a gap: the raw lane finds them there. */
const start = fc.constantFrom("", "", "", "1m", "[38;5;27m", "title\x07", "m", "\b");

/** Needles whose shortest has `least` bytes or more: the sieve samples by it. */
const needles = fc.integer({ min: 4, max: 18 }).chain((least) =>
  fc.array(
    fc.record({
      value: fc.tuple(start, word(least, 40)).map(([first, rest]) => first + rest),
      flags: fc.constantFrom(0, NEEDLE.WRAPPED, NEEDLE.WRAPPED, NEEDLE.SPACED, NEEDLE.TOKEN),
    }),
    { minLength: 1, maxLength: 12 },
  ),
);
/** What stands around a planted needle, and what is put into it where. */
const part = fc.record({
  filler: fc.oneof(word(0, 300), fc.string({ unit: fc.oneof({ weight: 5, arbitrary: letter }, gap), maxLength: 300 })),
  which: fc.nat(100),
  shorter: fc.constantFrom(0, 0, 1, 5, 12),
  inserts: fc.array(fc.tuple(fc.nat(40), gap, fc.constantFrom(1, 1, 1, 40)), { maxLength: 3 }),
});

describe.each(ENGINES)("$engine", (factory) => {
  test("skips nothing that matters", { timeout: 120_000 }, () => {
    fc.assert(
      fc.property(
        needles,
        fc.array(part, { minLength: 1, maxLength: 8 }),
        fc.array(fc.nat(4000), { maxLength: 3 }),
        fc.constantFrom(65536, 65536, 100),
        (list, parts, cuts, maxGapBytes) => {
          const table = list.map(({ value, flags }) => ({ bytes: Buffer.from(flags === NEEDLE.TOKEN ? value.slice(0, 32) : value), flags }));
          const text = parts.map(({ filler, which, shorter, inserts }) => {
            let planted = list[which % list.length]!.value;
            planted = planted.slice(0, Math.max(0, planted.length - shorter));
            for (const [at, insert, times] of inserts) {
              const place = at % (planted.length + 1);
              planted = planted.slice(0, place) + insert.repeat(times) + planted.slice(place);
            }
            return filler + planted;
          });
          const input = Buffer.from(text.join(""));
          const want = run(factory, table, bytewise(input), "<M>", maxGapBytes).output.toString();
          expect(run(factory, table, [input], "<M>", maxGapBytes).output.toString()).toBe(want);
          const some = cut(
            input,
            cuts.map((at) => at % (input.length + 1)),
          );
          expect(run(factory, table, some, "<M>", maxGapBytes).output.toString()).toBe(want);
        },
      ),
      { numRuns: RUNS },
    );
  });
});
