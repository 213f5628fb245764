/** Anchors: both engines and every scan loop find what a naive search finds, at every chunking. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ANCHOR, type AnchorTable, hasShape, HIT_SIZE, mayStart } from "../../src/core/anchors.js";
import { ENGINES } from "../support/engines.js";

const char = fc.constantFrom(..."abABz_-.=: \"'\n1%\\\x1b[");
const letters = (min: number, max: number): fc.Arbitrary<string> => fc.array(char, { minLength: min, maxLength: max }).map((chars) => chars.join(""));

interface Spec {
  readonly literal: string;
  readonly flags: number;
  readonly alphabet: number;
  readonly count: number;
  /** Most bytes from the anchor's start within which the other alphabet must come; 0: it need not. */
  readonly most: number;
  /** What must come instead, if it is not empty. */
  readonly word: string;
  /** So many bytes that may be passed must stand in a row. */
  readonly run: number;
}

const WORDS = ["b", "ab", "b_a"];
/** Bytes of a list of two words, one of which no text has. */
const LIST_BYTES = 8;

const spec: fc.Arbitrary<Spec> = fc.record({
  literal: letters(3, 9),
  flags: fc.integer({ min: 0, max: 7 }),
  alphabet: fc.integer({ min: 0, max: 1 }),
  count: fc.integer({ min: 0, max: 3 }),
  most: fc.constantFrom(0, 0, 4, 12, 40),
  word: fc.constantFrom("", "", ...WORDS),
  run: fc.constantFrom(0, 0, 2, 5),
});
const ALPHABETS = ["abAB", "_-.=1", "abABz_-.=1: ", "bB_-.=1%\n"].map((members) =>
  Uint8Array.from({ length: 256 }, (_, byte) => Number(members.includes(String.fromCharCode(byte)))),
);

function tableOf(specs: readonly Spec[]): AnchorTable {
  const literals = specs.map(({ literal, flags }) => ((flags & ANCHOR.FOLD) === 0 ? literal : literal.toLowerCase()));
  const offsets = new Uint32Array(specs.length + 1);
  literals.forEach((literal, i) => (offsets[i + 1] = offsets[i]! + literal.length));
  return {
    bytes: Buffer.from(literals.join(""), "latin1"),
    offsets,
    flags: Uint8Array.from(specs, ({ flags }) => flags),
    // Any window will do: here the last two.
    hints: Uint8Array.from(specs.flatMap(({ alphabet, count, literal }) => [alphabet, count, Math.max(0, literal.length - 5)])),
    reaches: Uint16Array.from(
      specs.flatMap(({ alphabet, most, word, run }) => [
        most,
        2 + alphabet,
        word === "" ? 2 - alphabet : 0,
        word === "" ? 0 : 1 + LIST_BYTES * WORDS.indexOf(word),
        2 + alphabet,
        run,
      ]),
    ),
    alphabets: Uint8Array.from(ALPHABETS.flatMap((set) => [...set])),
    words: Buffer.from(WORDS.map((word) => `\x02\x01?${String.fromCharCode(word.length)}${word}`.padEnd(LIST_BYTES)).join(""), "latin1"),
  };
}

function naiveReach({ literal, alphabet, most, word, run }: Spec, text: string, at: number): boolean {
  const end = at + literal.length;
  const isOf = (set: number, i: number): boolean => ALPHABETS[set]![text.charCodeAt(i)] === 1;
  for (let to = end + 1; to <= Math.min(text.length, at + most); to++) {
    const seen = Array.from({ length: to - end }, (_, i) => end + i);
    const wanted = seen.some((i) => (word === "" ? isOf(1 - alphabet, i) : text.slice(i, i + word.length).toLowerCase() === word));
    const inRow = run === 0 || seen.some((i) => i + run <= to && Array.from({ length: run }, (_, k) => i + k).every((k) => isOf(2 + alphabet, k)));
    if (wanted && inRow) return true;
    if (!isOf(2 + alphabet, to - 1)) return false;
  }
  return text.length < at + most;
}

/** Anchor and place of every hit that needs nothing from outside the text to be one. */
function naive(specs: readonly Spec[], text: string): string[] {
  const bytes = Buffer.from(text, "latin1");
  const hits: string[] = [];
  for (let at = 0; at < text.length; at++) {
    specs.forEach(({ literal, flags, alphabet, count, most }, anchor) => {
      const here = text.slice(at, at + literal.length);
      if ((flags & ANCHOR.FOLD) === 0 ? here !== literal : here.toLowerCase() !== literal.toLowerCase()) return;
      const end = at + literal.length;
      if ((flags & ANCHOR.ASSIGN) !== 0 && !hasShape(bytes, end)) return;
      if ((flags & ANCHOR.TOKEN) !== 0 && !mayStart(bytes, at)) return;
      if ([...bytes.subarray(end, end + count)].some((byte) => ALPHABETS[alphabet]![byte] === 0)) return;
      if (most > 0 && !naiveReach(specs[anchor]!, text, at)) return;
      hits.push(`${at}:${anchor}`);
    });
  }
  return hits;
}

describe.each(ENGINES)("$engine", (factory) => {
  function found(table: AnchorTable, text: string, sizes: readonly number[]): string[] {
    const stream = factory.anchors(table).open();
    const bytes = Buffer.from(text, "latin1");
    const hits: string[] = [];
    for (let at = 0, i = 0; at < bytes.length; i++) {
      const chunk = bytes.subarray(at, at + sizes[i % sizes.length]!);
      at += chunk.length;
      const count = stream.scan(chunk);
      const here = Array.from({ length: count }, (_, hit) => [at - stream.hits[hit * HIT_SIZE + 1]!, stream.hits[hit * HIT_SIZE]!] as const);
      for (let hit = 1; hit < here.length; hit++) expect(here[hit - 1]![0]).toBeLessThanOrEqual(here[hit]![0]);
      hits.push(...here.map(([start, anchor]) => `${start}:${anchor}`));
    }
    return hits;
  }

  test("finds what a naive search finds, in one chunk", () => {
    fc.assert(
      fc.property(fc.array(spec, { minLength: 1, maxLength: 12 }), letters(0, 400), (specs, text) => {
        const plant = specs.map(({ literal }) => literal).join("a");
        const whole = text + plant + text.toUpperCase() + plant.toUpperCase() + text;
        expect(found(tableOf(specs), whole, [whole.length || 1]).toSorted()).toEqual(naive(specs, whole).toSorted());
      }),
      { numRuns: 400 },
    );
  });

  test("loses nothing at any chunking, and says nothing twice", () => {
    fc.assert(
      fc.property(
        fc.array(spec, { minLength: 1, maxLength: 6 }),
        letters(0, 120),
        fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 5 }),
        (specs, text, sizes) => {
          const whole = text + specs.map(({ literal }) => literal).join("_1");
          const hits = found(tableOf(specs), whole, sizes);
          expect(new Set(hits).size).toBe(hits.length);
          // Near a cut more may be reported, since what stands beyond is not known: the rules decide.
          for (const hit of naive(specs, whole)) expect(hits).toContain(hit);
        },
      ),
      { numRuns: 400 },
    );
  });

  test("takes an empty table and an empty chunk", () => {
    const table = tableOf([]);
    expect(found(table, "abc", [3])).toEqual([]);
    expect(factory.anchors(table).open().scan(new Uint8Array(0))).toBe(0);
  });
});
