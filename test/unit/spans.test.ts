/** Lists of ranges against sets of offsets. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Cause, Ranges, SpanList } from "../../src/core/spans.js";

const RANGES = fc.array(fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 12 })), { maxLength: 20 });
const cause = (needle: number, start: number, end: number): Cause => ({ set: 0, needle, start, end, fragment: false });

test("ranges in any order cover what was added", () => {
  fc.assert(
    fc.property(RANGES, fc.nat(70), (added, cut) => {
      const ranges = new Ranges();
      const offsets = new Set<number>();
      for (const [start, length] of added) {
        ranges.add(start, start + length);
        for (let at = start; at < start + length; at++) offsets.add(at);
        // Reading in between changes nothing.
        if (length % 3 === 0) ranges.covers(start);
      }
      for (let at = 0; at < 80; at++) expect(ranges.covers(at)).toBe(offsets.has(at));
      const inside = new Set<number>();
      ranges.within(5, cut, (start, end) => {
        for (let at = start; at < end; at++) inside.add(at);
      });
      expect([...inside].toSorted((a, b) => a - b)).toEqual([...offsets].filter((at) => at >= 5 && at < cut).toSorted((a, b) => a - b));
      ranges.dropBefore(cut);
      for (let at = cut; at < 80; at++) expect(ranges.covers(at)).toBe(offsets.has(at));
    }),
  );
});

test("spans that touch become one, with the best of their causes, in whatever order they come", () => {
  fc.assert(
    fc.property(RANGES, fc.nat(5), (added, taken) => {
      const spans = new SpanList();
      const turned = new SpanList();
      added.forEach(([start, length], index) => spans.add(start, start + length, cause(index, start, start + length)));
      added.toReversed().forEach(([start, length], index) => turned.add(start, start + length, cause(added.length - 1 - index, start, start + length)));
      const all = (list: SpanList): unknown[] => {
        const found: unknown[] = [];
        for (; list.first !== undefined; list.shift()) found.push({ ...list.first });
        return found;
      };
      for (let i = 0; i < taken && spans.first !== undefined; i++) {
        // Added again while others are being taken off.
        const { start, end, cause: why } = spans.first;
        spans.shift();
        spans.add(start, end, why);
      }
      expect(all(spans)).toEqual(all(turned));
    }),
  );
});
