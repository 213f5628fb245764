/**
 * Slices: one stream's chunks cut so that masking a piece takes about {@link SLICE_MS}, whatever is in it. How large a piece may be is learned from those before; a stream
 * that is cheap to mask keeps its chunks whole. Output does not depend on it (law 2), and the pieces of a chunk are answered together (law 3).
 */
import { type Slice, SLICE_MS, type Took, TURNS, type Turns } from "../turns.js";

/** How large pieces may be, in bytes: the first of a stream, and any. */
interface Sizes {
  readonly firstBytes: number;
  readonly mostBytes: number;
}

/** What sockets and files give at once is not cut; at 2 MB/s, the slowest there is, it takes 32 ms, and the first piece 8. */
const ORDINARY: Sizes = { firstBytes: 16 * 1024, mostBytes: 64 * 1024 };
/** While someone sends what is slow: 0.5 and 8 ms at 2 MB/s. Ordinary logs are masked a third slower by it. */
const CAREFUL: Sizes = { firstBytes: 1024, mostBytes: 16 * 1024 };
/** Smallest piece: what a push costs whatever it brings is shared by its bytes. */
const LEAST_BYTES = 512;
/** Small pieces of a stream that were cheap are not all measured: the clock takes as long as a line. One that takes less than so many milliseconds stands for so many others of at most so many bytes. */
const CHEAP = { ms: 0.1, others: 7, bytes: 1024 };
/** A slice of more milliseconds came as a surprise. */
const LONG_MS = 4 * SLICE_MS;
/** A single one may be a pause for garbage; two within so many milliseconds are not. */
const TWICE_MS = 1000;
/** How long pieces stay small after that, in milliseconds. */
const CAREFUL_MS = 10_000;

/** Whether a thread is careful: streams that begin harmlessly, to be slow then, are expected where there were such. */
class Care {
  private longAt = -Infinity;
  private until = -Infinity;

  sizes(now: number): Sizes {
    return now < this.until ? CAREFUL : ORDINARY;
  }

  tookLong(now: number): void {
    if (now - this.longAt < TWICE_MS || now < this.until) this.until = now + CAREFUL_MS;
    this.longAt = now;
  }
}

const cares = new WeakMap<Turns, Care>();

function careOf(turns: Turns): Care {
  let care = cares.get(turns);
  if (care === undefined) cares.set(turns, (care = new Care()));
  return care;
}

export type Pieces = Uint8Array[];

/** What one stream masks, in turns. Calls are worked off in order; the answers are the caller's, but views of the chunk last as long as it. */
export class Slices {
  private readonly care: Care;
  /** Largest piece that comes next; undefined: the first. */
  private pieceBytes: number | undefined;
  /** Small pieces that need not be measured. */
  private unmeasured = 0;
  /** The calls before, if they have not ended. */
  private working: Promise<unknown> | undefined;

  /** `job`: whose turn it uses. */
  constructor(
    private readonly job: string,
    private readonly turns: Turns = TURNS,
  ) {
    this.care = careOf(turns);
  }

  /** Masks a chunk piece by piece; a promise where it had to wait. After an error the rest of the chunk is not looked at. */
  chunk(chunk: Uint8Array, mask: (piece: Uint8Array) => Pieces): Pieces | Promise<Pieces> {
    if (chunk.length <= CHEAP.bytes && this.unmeasured > 0 && this.working === undefined && this.turns.isFree) {
      this.unmeasured--;
      return mask(chunk);
    }
    const out: Pieces = [];
    let from = 0;
    let allowed = 0;
    let bytes = 0;
    const slice = (now: number): boolean => {
      const { firstBytes, mostBytes } = this.care.sizes(now);
      allowed = Math.min(this.pieceBytes ?? firstBytes, mostBytes);
      const isLast = chunk.length - from <= allowed;
      const piece = isLast && from === 0 ? chunk : chunk.subarray(from, isLast ? chunk.length : from + allowed);
      bytes = piece.length;
      from += bytes;
      // Other memory may be used again at the next call.
      for (const part of mask(piece)) out.push(isLast || part.buffer === chunk.buffer ? part : Buffer.from(part));
      return isLast;
    };
    return this.inOrder(out, slice, (ms, isSure, now) => this.learn(allowed, bytes, ms, isSure && ms > LONG_MS ? now : undefined));
  }

  /** Work that cannot be cut, in its turn. */
  whole(mask: () => Pieces): Pieces | Promise<Pieces> {
    const out: Pieces = [];
    return this.inOrder(out, () => {
      for (const part of mask()) out.push(part);
      return true;
    });
  }

  private inOrder(out: Pieces, slice: Slice, took?: Took): Pieces | Promise<Pieces> {
    const before = this.working;
    const running = before === undefined ? this.turns.run(this.job, slice, took) : before.then(() => this.turns.run(this.job, slice, took));
    if (running === undefined) return out;
    const quiet: Promise<void> = running.then(
      () => this.over(quiet),
      () => this.over(quiet),
    );
    this.working = quiet;
    return running.then(() => out);
  }

  private over(working: Promise<unknown>): void {
    if (this.working === working) this.working = undefined;
  }

  /** How large the next piece may be after one of `bytes`, where `most` were allowed, that took `ms`. `longAt`: now, if it surely took long. */
  private learn(most: number, bytes: number, ms: number, longAt: number | undefined): void {
    const fitting = ms === 0 ? Infinity : Math.floor((bytes * SLICE_MS) / ms);
    if (ms > SLICE_MS) this.pieceBytes = Math.max(LEAST_BYTES, Math.min(most, fitting));
    // A small piece says little of a large one.
    else if (2 * bytes >= most) this.pieceBytes = Math.max(most, Math.min(ORDINARY.mostBytes, 2 * most, fitting));
    if (bytes <= CHEAP.bytes) this.unmeasured = ms < CHEAP.ms ? CHEAP.others : 0;
    if (longAt !== undefined) this.care.tookLong(longAt);
  }
}
