/**
 * The portable sieve: which windows of a log the lanes must look at closely. The idea and the proof are those of the native one (native/README.md).
 *
 * A needle's *stretch* is its first `stride + width - 1` bytes; wherever it lies unbroken, one whole window of `width` bytes at a multiple
 * of `stride` lies in it. One window every `stride` bytes is looked up in a blocked Bloom filter of all windows of all stretches.
 */
import type { NeedleTable } from "./matcher.js";

const LOW_MIX = 0x9e3779b1;
const HIGH_MIX = 0x85ebca77;
const LOW_CHECK_MIX = 0xc2b2ae35;
const HIGH_CHECK_MIX = 0x27d4eb2f;
/** Longest stretch: 8 + 8 - 1. */
export const MAX_STRETCH = 15;
export const WINDOW_BYTES = 8;
const LF = 0x0a;
const CR = 0x0d;
/** The sieve reads four bytes at once, lowest first. */
const LITTLE_ENDIAN = new Uint8Array(Int32Array.of(1).buffer)[0] === 1;

/** Stride and width by the length of the shortest needle, the first that fits. */
const SHAPES = [
  { shortest: 15, stride: 8, width: 8 },
  { shortest: 11, stride: 4, width: 8 },
  { shortest: 8, stride: 4, width: 5 },
  { shortest: 7, stride: 4, width: 4 },
] as const;

/** A hash names a 32-bit word and three bits in it, so a look-up is one load. */
class Filter {
  private readonly words: Int32Array;
  private readonly shift: number;

  constructor(windows: number) {
    // 12 to 24 bits a window: 0.5 to 2 % false alarms.
    const bits = Math.min(25, Math.max(15, 32 - Math.clz32(windows * 12 - 1)));
    this.words = new Int32Array(1 << (bits - 5));
    this.shift = 32 - (bits - 5);
  }

  get memoryBytes(): number {
    return this.words.byteLength;
  }

  add(hash: number): void {
    this.words[(hash << 5) >>> this.shift]! |= (1 << (hash >>> 27)) | (1 << ((hash >>> 5) & 31)) | (1 << (hash & 31));
  }

  has(hash: number): boolean {
    const word = this.words[(hash << 5) >>> this.shift]!;
    return ((word >>> (hash >>> 27)) & (word >>> ((hash >>> 5) & 31)) & (word >>> (hash & 31)) & 1) !== 0;
  }
}

export class Sieve {
  private readonly filter: Filter;
  /** The same windows by another hash. */
  private readonly check: Filter;
  /** Bits of the high half of a window that count. */
  private readonly mask: number;

  private constructor(
    table: NeedleTable,
    order: readonly number[],
    readonly stride: number,
    readonly width: number,
  ) {
    this.mask = width === 8 ? -1 : width === 5 ? 0xff : 0;
    this.filter = new Filter(order.length * stride);
    this.check = new Filter(order.length * stride);
    const bytes = Buffer.from(table.bytes.buffer, table.bytes.byteOffset, table.bytes.length);
    for (const needle of order) {
      const start = table.offsets[needle]!;
      for (let at = start; at < start + stride; at++) {
        const low = bytes.readInt32LE(at);
        const high = width === 8 ? bytes.readInt32LE(at + 4) : width === 5 ? bytes[at + 4]! : 0;
        this.filter.add(windowHash(low, high));
        this.check.add(checkHash(low, high));
      }
    }
  }

  /** Undefined if some needle is shorter than 7 bytes, or holds a line end at its start: then everything goes through the lanes. */
  static of(table: NeedleTable, order: readonly number[]): Sieve | undefined {
    let shortest = Infinity;
    for (const needle of order) {
      const start = table.offsets[needle]!;
      const end = table.offsets[needle + 1]!;
      shortest = Math.min(shortest, end - start);
      for (let at = start; at < Math.min(end, start + MAX_STRETCH); at++) if (table.bytes[at] === LF || table.bytes[at] === CR) return undefined;
    }
    const shape = SHAPES.find((row) => shortest >= row.shortest);
    return shape === undefined || !LITTLE_ENDIAN ? undefined : new Sieve(table, order, shape.stride, shape.width);
  }

  get memoryBytes(): number {
    return this.filter.memoryBytes + this.check.memoryBytes;
  }

  /** Whether some needle may have, at one of its first offsets, the window with these halves. */
  knows(low: number, high: number): boolean {
    const counting = high & this.mask;
    return this.filter.has(windowHash(low, counting)) && this.check.has(checkHash(low, counting));
  }
}

function windowHash(low: number, high: number): number {
  const sum = (Math.imul(low, LOW_MIX) + Math.imul(high, HIGH_MIX)) | 0;
  return sum ^ (sum >>> 15);
}

function checkHash(low: number, high: number): number {
  const sum = (Math.imul(low ^ (low >>> 15), LOW_CHECK_MIX) + Math.imul(high ^ (high >>> 13), HIGH_CHECK_MIX)) | 0;
  return sum ^ (sum >>> 16);
}
