/**
 * Slices: one stream's chunks cut so that masking a piece takes about {@link SLICE_MS}, whatever is in it. How large a piece may be is learned from those before; a stream
 * that is cheap to mask keeps its chunks whole. Output does not depend on it (law 2), and the pieces of a chunk are answered together (law 3).
 */
import { SLICE_MS, TURNS, type Turns } from "../turns.js";

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
/** A slice of more milliseconds came as a surprise. */
const LONG_MS = 4 * SLICE_MS;
/** A single one may be a pause of the machine; two within so many milliseconds are not. */
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
    const out: Pieces = [];
    let from = 0;
    return this.inOrder(out, () => {
      const now = this.turns.clock.now();
      const { firstBytes, mostBytes } = this.care.sizes(now);
      const bytes = Math.min(this.pieceBytes ?? firstBytes, mostBytes);
      const isLast = chunk.length - from <= bytes;
      const piece = isLast && from === 0 ? chunk : chunk.subarray(from, isLast ? chunk.length : from + bytes);
      const masked = mask(piece);
      // Other memory may be used again at the next call.
      for (const part of masked) out.push(isLast || part.buffer === chunk.buffer ? part : Buffer.from(part));
      from += piece.length;
      this.learn(bytes, piece.length, this.turns.clock.now() - now);
      return isLast;
    });
  }

  /** Work that cannot be cut, in its turn. */
  whole(mask: () => Pieces): Pieces | Promise<Pieces> {
    const out: Pieces = [];
    return this.inOrder(out, () => {
      for (const part of mask()) out.push(part);
      return true;
    });
  }

  private inOrder(out: Pieces, slice: () => boolean): Pieces | Promise<Pieces> {
    const before = this.working;
    const running = before === undefined ? this.turns.run(this.job, slice) : before.then(() => this.turns.run(this.job, slice));
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

  /** How large the next piece may be after one of `bytes`, where `most` were allowed, that took `ms`. */
  private learn(most: number, bytes: number, ms: number): void {
    const fitting = ms === 0 ? Infinity : Math.floor((bytes * SLICE_MS) / ms);
    if (ms > SLICE_MS) this.pieceBytes = Math.max(LEAST_BYTES, Math.min(most, fitting));
    // A small piece says little of a large one.
    else if (2 * bytes >= most) this.pieceBytes = Math.max(most, Math.min(ORDINARY.mostBytes, 2 * most, fitting));
    if (ms > LONG_MS) this.care.tookLong(this.turns.clock.now());
  }
}
