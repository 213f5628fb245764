/**
 * The boundary to the engines: what a matcher is given, what it answers. No implementation lives here.
 *
 * The words (lane, class, token, fragment) are defined in README.md beside this file. Both engines — the native addon and the portable
 * one — implement exactly this, and every test runs against both.
 */

import type { AnchorSet, AnchorTable } from "./anchors.js";
import type { EncodedStream } from "./encoded.js";

/** Needle flags, one byte per needle in {@link NeedleTable.flags}. */
export const NEEDLE = Object.freeze({
  /** Also searched with line wraps deleted. Excludes SPACED and TOKEN. */
  WRAPPED: 1,
  /** Searched only with all whitespace deleted; its bytes hold none. */
  SPACED: 2,
  /** Counts only as a whole token. At most {@link MAX_TOKEN_BYTES} long. */
  TOKEN: 4,
});

/** A shorter needle than this is refused by both engines. */
export const MIN_NEEDLE_BYTES = 4;
/** A longer token needle is refused by both engines. */
export const MAX_TOKEN_BYTES = 32;

/** Needles as they cross the boundary: one buffer, no objects. The caller keeps it and zeroes `bytes` afterwards. */
export interface NeedleTable {
  /** All needles back to back. */
  readonly bytes: Uint8Array;
  /** `count + 1` offsets into `bytes`; needle `i` is `bytes[offsets[i] .. offsets[i + 1])`. */
  readonly offsets: Uint32Array;
  /** A byte per needle, see {@link NEEDLE}. */
  readonly flags: Uint8Array;
}

/** Kind of a result row, field 0. */
export const ROW = Object.freeze({
  /** A match in the raw lane: every byte of it belongs to the needle. Overlapping ones may come merged under the cause that counts. */
  RAW: 0,
  /** A match in another lane: bytes deleted by the lane may stand inside. Overlapping ones may come merged; field 5 is where the one that counts ends. */
  LANE: 1,
  /** A stretch of sequence or string bytes inside a LANE or FRAGMENT row; needle and set mean nothing. */
  KEEP: 2,
  /** A raw token match with a side that is no boundary by itself; `sides` says which: 1 left, 2 right. Only complete if its neighbours are masked. */
  TOKEN: 3,
  /** An unfinished match of 4+ bytes given up by idle, end or the gap limit. `needle` is one it could have become; `sides` is 1 in the raw lane. */
  FRAGMENT: 4,
});

/** Numbers per row: kind, set, needle, start, end, sides (in a LANE row the cause's end). `start` and `end` count bytes *back from the end of the scanned input*. */
export const ROW_SIZE = 6;

/** What a call answers besides its rows, written into {@link MatcherStream.head}. */
export const HEAD = Object.freeze({
  /** Bytes at the end of the input that must stay back. */
  HOLD: 0,
  /** Bytes at the end from the start of the earliest unfinished match, those given up by the gap limit included: what a successor stream must be shown. */
  PENDING: 1,
  /** State of the byte classifier after the input, for {@link MatcherFactory.open}. */
  PARSER: 2,
  /** Line feeds in the bytes of the last scan. */
  LINES: 3,
});
export const HEAD_SIZE = 4;

/** An immutable automaton. Streams keep it alive; `release` gives up the caller's share. */
export interface NeedleSet {
  /** Number of needles. */
  readonly needles: number;
  /** Sum of their lengths in bytes. */
  readonly needleBytes: number;
  /** Memory the automaton takes, in bytes. */
  readonly memoryBytes: number;
  release(): void;
}

/** The matching state of one stream: single-threaded, never shared. */
export interface MatcherStream {
  /** Rows of the last call: `rowCount * ROW_SIZE` numbers are valid, until the next call. */
  readonly rows: Uint32Array;
  /** Answers of the last call, see {@link HEAD}. */
  readonly head: Uint32Array;
  /** Scans the next bytes (at most 16 MiB). Keeps no reference to them. Returns the number of rows. */
  scan(chunk: Uint8Array): number;
  /** Gives up unfinished matches of 4+ bytes as FRAGMENT rows but keeps all state. Returns the number of rows. */
  idle(): number;
  /** Gives up unfinished matches as `idle` does; the stream is not used afterwards. Returns the number of rows. */
  end(): number;
  release(): void;
}

/** An engine. */
export interface MatcherFactory {
  readonly engine: "native" | "portable";
  /** Builds an automaton on this thread. */
  build(table: NeedleTable): NeedleSet;
  /** Builds an automaton off the event loop where the engine can. The table must stay untouched until it settles. */
  buildAsync(table: NeedleTable): Promise<NeedleSet>;
  /** Offers an automaton to other threads of the process under a number, until the caller's share is released. Absent where threads cannot share memory. */
  share?(set: NeedleSet): number;
  /** Opens what another thread offers. Throws `LV_USAGE` if nothing is shared under the number any more. */
  openShared?(id: number): NeedleSet;
  /** Makes anchors ready to search. */
  anchors(table: AnchorTable): AnchorSet;
  /** Looks for text that is encoded in a stream. */
  encoded(): EncodedStream;
  /** Opens a stream over several sets at once. `parser` is {@link HEAD.PARSER} of the stream it continues, or 0. */
  open(sets: readonly NeedleSet[], parser: number, maxGapBytes: number): MatcherStream;
}
