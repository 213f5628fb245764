/** Result rows of one call, collected with absolute offsets and handed out as distances from the end of the input (see matcher.ts). */
import { ROW, ROW_SIZE } from "./matcher.js";

const LANES = ["raw", "visible", "unwrapped", "spaced"] as const;
export type LaneName = (typeof LANES)[number];

export class Rows {
  private values: number[] = [];
  /** Index of the newest match row of each lane of each set, or -1: later matches that overlap or touch it extend it. */
  private readonly last: number[];

  constructor(sets: number) {
    this.last = Array.from({ length: sets * LANES.length }, () => -1);
  }

  get count(): number {
    return this.values.length / ROW_SIZE;
  }

  clear(): void {
    this.values = [];
    this.last.fill(-1);
  }

  /** Adds a row; `extra` is its sides, or in a match row the end of the match that is its cause. */
  add(kind: number, set: number, needle: number, start: number, end: number, extra: number): void {
    this.values.push(kind, set, needle, start, end, extra);
  }

  /** A match: extends the last one of its lane and set where they overlap or touch, so that rows stay fewer than spans, not matches. */
  addMatch(lane: LaneName, set: number, needle: number, start: number, end: number): void {
    const { values } = this;
    const index = set * LANES.length + LANES.indexOf(lane);
    const last = this.last[index]!;
    if (last >= 0 && start >= values[last + 3]! && start <= values[last + 4]!) {
      if (start === values[last + 3]) {
        values[last + 2] = needle;
        values[last + 5] = end;
      }
      values[last + 4] = Math.max(values[last + 4]!, end);
      return;
    }
    this.last[index] = values.length;
    this.add(lane === "raw" ? ROW.RAW : ROW.LANE, set, needle, start, end, end);
  }

  /** Writes all rows into `target` (grown if needed) and returns it. */
  write(target: Uint32Array, total: number): Uint32Array {
    const { values } = this;
    const out = target.length >= values.length ? target : new Uint32Array(values.length * 2);
    for (let i = 0; i < values.length; i += ROW_SIZE) {
      out[i] = values[i]!;
      out[i + 1] = values[i + 1]!;
      out[i + 2] = values[i + 2]!;
      out[i + 3] = total - values[i + 3]!;
      out[i + 4] = total - values[i + 4]!;
      const extra = values[i + 5]!;
      out[i + 5] = values[i] === ROW.LANE ? total - extra : values[i] === ROW.RAW ? 0 : extra;
    }
    return out;
  }
}
