/** Lines of a stream as grammars that go over several read them: real ones, and those that a string spells. */
import { MAX_ANCHOR_BYTES } from "../core/anchors.js";
import type { StreamText } from "./text.js";

/** Longest line, in bytes; a longer one is read in pieces. */
export const MAX_LINE_BYTES = 4096;
const LF = 0x0a;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** Behind the backslash. */
const SPELLED_CR = 0x72;
const SPELLED_LF = 0x6e;

export interface Line {
  readonly end: number;
  /** Where the next one begins. */
  readonly next: number;
  /** None follows. */
  readonly endsString?: true;
}

/**
 * Where the line at `at` ends, or is cut for its length; undefined if that depends on bytes to come, or there are none. Every anchor that begins in a line has come when
 * the line ends.
 */
export function lineAt(text: StreamText, at: number): Line | undefined {
  const newline = text.nextLineEnd(at);
  const limit = at + MAX_LINE_BYTES;
  if (newline <= limit) return { end: newline, next: newline + 1 };
  if (newline === Infinity && text.total < limit + MAX_ANCHOR_BYTES && !text.ended) return undefined;
  const end = Math.min(limit, text.total);
  return end === at && newline === Infinity ? undefined : { end, next: end };
}

/** How far a line was read that has not ended: its bytes are not read again. */
export interface Progress {
  from: number;
  at: number;
}

/** Where the line at `from` ends that stands in a string; undefined if that depends on bytes to come. */
export function stringLineAt(text: StreamText, from: number, progress: Progress): Line | undefined {
  const limit = from + MAX_LINE_BYTES;
  if (progress.from !== from) Object.assign(progress, { from, at: from });
  for (let at = progress.at; ; at++) {
    progress.at = at;
    const byte = text.at(at);
    if (byte < 0) return text.ended && at > from ? { end: at, next: at, endsString: true } : undefined;
    if (byte === LF || byte === QUOTE) return { end: at, next: at + 1, endsString: true };
    if (at >= limit) return text.ended || text.total >= limit + MAX_ANCHOR_BYTES ? { end: at, next: at } : undefined;
    if (byte !== BACKSLASH) continue;
    const letter = text.at(at + 1);
    if (letter < 0 && !text.ended) return undefined;
    if (letter === SPELLED_LF) {
      const hasCr = at - 2 >= from && text.at(at - 2) === BACKSLASH && text.at(at - 1) === SPELLED_CR;
      return { end: hasCr ? at - 2 : at, next: at + 2 };
    }
    at++;
  }
}

/** Whether a line begins at `at`; with `isInString` also one that a string spells, or its first. */
export function beginsLine(text: StreamText, at: number, isInString: boolean): boolean {
  const last = text.at(at - 1);
  return last === LF || (isInString && (last === QUOTE || (last === SPELLED_LF && text.at(at - 2) === BACKSLASH)));
}
