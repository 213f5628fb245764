/** The stream as the rules see it: the chunk at hand and, before it, as much of the past as they may still look at. */

import { spelled } from "../core/joined.js";
import type { Run } from "./analysis.js";
import { examined } from "./work.js";

/** Bytes before a match that boundaries and `near` words may look at. */
export const LOOKBACK_BYTES = 1088;

const EMPTY = Buffer.alloc(0);
const NO_JOINTS: number[] = [];
const BACKSLASH = 0x5c;
const LF = 0x0a;

/** Memory for the past at first, in bytes; and the largest chunk that is appended to it whole. */
const PAST_BYTES = 4096;
const SMALL_CHUNK_BYTES = 1024;

/** The first byte of a kind from an offset on, and how far the text went when it was looked for. */
interface Found {
  from: number;
  at: number;
  total: number;
}

/** Bytes of a set in a row; `isStopped`: behind them stands another. */
interface Stretch {
  from: number;
  end: number;
  isStopped: boolean;
}

export class StreamText {
  /** What is kept of earlier chunks, from `first` on: ends where `chunk` starts. Its memory is used again. */
  private memory: Buffer = EMPTY;
  private past: Buffer = EMPTY;
  private chunk: Buffer = EMPTY;
  /** Offset of the chunk. */
  private base = 0;
  /** Offset behind the last byte. */
  total = 0;
  /** No more bytes will come. */
  ended = false;
  /** Offsets at which strings meet, in order, see core/joined.ts. */
  private joints: number[] = NO_JOINTS;

  /** By set the stretch that was walked last. */
  private stretches: Map<Uint8Array, Stretch> | undefined;
  private backslash: Found | undefined;
  private lineEnd: Found | undefined;

  /** `joined`: the stream is strings of a structured body; it reads as if they stood in quotes. */
  constructor(private readonly joined = false) {
    if (joined) this.joints = [];
  }

  /** Offset of the first byte there is. */
  get start(): number {
    return this.base - this.past.length;
  }

  /** Goes on with `chunk`, which must stay as it is until `keep`; answers it as rules read it. */
  push(chunk: Uint8Array): Buffer {
    this.chunk = this.joined ? spelled(chunk, this.total, this.joints) : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    this.base = this.total;
    this.total += chunk.length;
    return this.chunk;
  }

  /** Whether the quote at `offset` is none of the text: behind a key and before its value, or behind or before another string. */
  isJoint(offset: number): boolean {
    let from = 0;
    let to = this.joints.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.joints[middle]! < offset - 1) from = middle + 1;
      else to = middle;
    }
    return this.joints[from] === offset - 1 || this.joints[from] === offset + 1;
  }

  /** Gives the chunk back, keeping a copy of what stands from `from` on, and of a little before. */
  keep(from: number): void {
    const { past, chunk, memory } = this;
    const at = past.byteOffset - memory.byteOffset + past.length;
    if (chunk.length <= SMALL_CHUNK_BYTES && past.length > 0 && at + chunk.length <= memory.length) {
      // Appended; what stands before does no harm.
      chunk.copy(memory, at);
      this.past = memory.subarray(at - past.length, at + chunk.length);
    } else {
      const start = Math.max(this.start, Math.min(from, this.total) - LOOKBACK_BYTES);
      const kept = this.total - start;
      if (memory.length < 2 * kept) this.memory = Buffer.allocUnsafe(Math.max(PAST_BYTES, 4 * kept));
      const older = Math.max(0, this.base - start);
      past.copy(this.memory, 0, past.length - older);
      chunk.copy(this.memory, older, chunk.length - (kept - older));
      this.past = this.memory.subarray(0, kept);
    }
    this.chunk = EMPTY;
    this.base = this.total;
    if (this.joints.length > 0) this.joints = this.joints.filter((joint) => joint >= this.start);
  }

  /** The byte at `offset`, or -1 where there is none. */
  at(offset: number): number {
    examined.bytes++;
    if (offset >= this.base) return offset < this.total ? this.chunk[offset - this.base]! : -1;
    return offset >= this.start ? this.past[offset - this.start]! : -1;
  }

  /**
   * Where the bytes of `set` end that stand from `from` on, at `limit` at the latest. A stretch of the same set is walked once, however many ask for it: `set` must be the
   * same object.
   */
  runEnd(set: Uint8Array, from: number, limit: number): number {
    this.stretches ??= new Map();
    let known = this.stretches.get(set);
    if (known === undefined) this.stretches.set(set, (known = { from: 0, end: -1, isStopped: false }));
    if (known.from > from || from > known.end) Object.assign(known, { from, end: from, isStopped: false });
    if (known.end < limit && !known.isStopped) {
      const end = this.walk(set, known.end, limit);
      known.isStopped = end < limit && end < this.total;
      known.end = end;
    }
    return Math.min(known.end, limit);
  }

  private walk(set: Uint8Array, from: number, limit: number): number {
    const { base, chunk } = this;
    let at = from;
    for (; at < base; at++) {
      const byte = this.at(at);
      if (at >= limit || byte < 0 || set[byte] !== 1) return at;
    }
    const end = Math.min(limit, this.total) - base;
    at -= base;
    const first = at;
    while (at < end && set[chunk[at]!] === 1) at++;
    examined.bytes += at - first;
    return at + base;
  }

  /** Whether a byte of `set` stands in `[from, to)`, as far as it is there. */
  holds(set: Uint8Array, from: number, to: number): boolean {
    const { chunk, base } = this;
    if (from >= base) {
      const end = Math.min(to, this.total) - base;
      let at = from - base;
      while (at < end && set[chunk[at]!] === 0) at++;
      examined.bytes += at - (from - base);
      return at < end;
    }
    for (let at = Math.max(from, this.start); at < to; at++) {
      const byte = this.at(at);
      if (byte >= 0 && set[byte] === 1) return true;
    }
    return false;
  }

  /** Whether `count` bytes of `set` stand in a row in `[from, to)`, as far as it is there. */
  holdsRun({ set, count }: Run, from: number, to: number): boolean {
    // A run holds every place that is a multiple of its length, counted from anywhere.
    for (let at = Math.max(from, this.start) + count - 1; at < to; at += count) {
      if (set[this.at(at)] !== 1) continue;
      let [start, end] = [at, at + 1];
      while (start > from && set[this.at(start - 1)] === 1 && at - start < count) start--;
      while (end < to && set[this.at(end)] === 1 && end - start < count) end++;
      if (end - start >= count) return true;
    }
    return false;
  }

  /** The bytes of `[from, to)`, as far as they are there: for a moment, and not to be changed. */
  window(from: number, to: number): Buffer {
    const { base } = this;
    examined.bytes += Math.max(0, Math.min(to, this.total) - from);
    if (from >= base) return this.chunk.subarray(from - base, Math.max(0, Math.min(to, this.total) - base));
    const first = this.past.subarray(Math.max(0, from - this.start), Math.max(0, Math.min(to, base) - this.start));
    return to > base && this.total > base ? Buffer.concat([first, this.chunk.subarray(0, Math.min(to, this.total) - base)]) : first;
  }

  /** `[from, to)` as a Latin-1 string, as far as it is there. */
  latin1(from: number, to: number): string {
    const { base } = this;
    examined.bytes += Math.max(0, Math.min(to, this.total) - from);
    if (from >= base) return this.chunk.toString("latin1", from - base, Math.min(to, this.total) - base);
    const first = this.past.toString("latin1", Math.max(0, from - this.start), Math.max(0, Math.min(to, base) - this.start));
    return to > base ? first + this.chunk.toString("latin1", 0, Math.min(to, this.total) - base) : first;
  }

  /** Offset of the first backslash from `from` on; Infinity if there is none. */
  nextBackslash(from: number): number {
    return this.next(BACKSLASH, (this.backslash ??= { from: 0, at: -1, total: 0 }), from);
  }

  /** Offset of the first line feed from `from` on; Infinity if there is none. */
  nextLineEnd(from: number): number {
    return this.next(LF, (this.lineEnd ??= { from: 0, at: -1, total: 0 }), from);
  }

  /** Found once for all that stands before it, whatever comes behind. */
  private next(byte: number, known: Found, from: number): number {
    const isKnown = known.from <= from && from <= known.at;
    if (isKnown && (known.at !== Infinity || known.total === this.total)) return known.at;
    // What was looked at before holds none.
    const found = this.indexOf(byte, isKnown ? Math.max(from, known.total) : from);
    known.from = from;
    known.at = found < 0 ? Infinity : found;
    known.total = this.total;
    return known.at;
  }

  /** Offset of the first `byte` in `[from, total)`, or -1. */
  indexOf(byte: number, from: number): number {
    const found = this.find(byte, from);
    examined.bytes += (found < 0 ? this.total : found) - Math.max(from, this.start);
    return found;
  }

  private find(byte: number, from: number): number {
    if (from < this.base) {
      const at = this.past.indexOf(byte, from - this.start);
      if (at >= 0) return at + this.start;
    }
    const at = this.chunk.indexOf(byte, Math.max(0, from - this.base));
    return at < 0 ? -1 : at + this.base;
  }
}
