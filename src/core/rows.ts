/** Result rows of one call, collected with absolute offsets and handed out as distances from the end of the input (see matcher.ts). */
import { ROW, ROW_SIZE } from "./matcher.js";

export class Rows {
  private values: number[] = [];
  /** Index of the newest RAW row of each set, or -1: later matches that overlap or touch it extend it. */
  private readonly lastRaw: number[];

  constructor(sets: number) {
    this.lastRaw = Array.from({ length: sets }, () => -1);
  }

  get count(): number {
    return this.values.length / ROW_SIZE;
  }

  clear(): void {
    this.values = [];
    this.lastRaw.fill(-1);
  }

  add(kind: number, set: number, needle: number, start: number, end: number, sides: number): void {
    this.values.push(kind, set, needle, start, end, sides);
  }

  /** A raw match: extends the set's last one where they overlap or touch, so that rows stay fewer than spans, not matches. */
  addRaw(set: number, needle: number, start: number, end: number): void {
    const { values } = this;
    const last = this.lastRaw[set]!;
    if (last >= 0 && start >= values[last + 3]! && start <= values[last + 4]!) {
      if (start === values[last + 3]) values[last + 2] = needle;
      values[last + 4] = Math.max(values[last + 4]!, end);
      return;
    }
    this.lastRaw[set] = values.length;
    this.add(ROW.RAW, set, needle, start, end, 0);
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
      out[i + 5] = values[i + 5]!;
    }
    return out;
  }
}
