/**
 * One pass of the sieve over a chunk: where must the lanes go on, because a match may begin there?
 *
 * 1. *Samples*: windows at multiples of the stride that the sieve knows find every match whose stretch lies unbroken in the chunk.
 * 2. *Gaps*: a stretch that is broken lies around line ends and control sequences. There the text before and after is joined and windows of it
 *    are tested. Backspaces are left to the lanes.
 * 3. The last bytes of the chunk, whose matches may go on in the next one, are the lanes' too.
 */
import { classify, KIND, PARSER } from "./projection.js";
import { MAX_STRETCH, type Sieve, WINDOW_BYTES } from "./sieve.js";

/** Depth of a match that lanes which have passed its start know of; less is lost when they stop. */
export const KNOWN_BYTES = 4;
/** Bytes of text from which the lanes go on before something suspicious: the rest of its stretch, and one byte by which a token is judged. */
const BACK_BYTES = MAX_STRETCH;
/** Text behind a gap up to which its windows must be free of gaps: a window, and a byte that keeps a backspace away from it. */
const FREE_BYTES = WINDOW_BYTES + 1;
/** Joined text that is tested at once, and how much of it goes into the next part. */
const JOINED_BYTES = 256;
const OVERLAP_BYTES = BACK_BYTES + 1;

const NO_BYTES = new Uint8Array(0);
const NO_WORDS = new Int32Array(0);
const BACKSPACE = 0x08;
const ESC = 0x1b;
/** 1 for bytes that are, or begin, a gap. */
const GAP = new Uint8Array(256);
for (const byte of [BACKSPACE, 0x0a, 0x0d, ESC]) GAP[byte] = 1;

export class Search {
  /** The answer of `next`: the lanes must go on from `from` at least up to `until`. */
  from = 0;
  until = 0;
  private chunk: Uint8Array = NO_BYTES;
  private words: Int32Array = NO_WORDS;
  /** Where `words` starts in the chunk. */
  private shift = 0;
  /** Text in one piece starts here: the end of the last gap, or where the pass starts. */
  private text = 0;
  /** A place in the text before the last gap from which the lanes can go on. */
  private beforeGap = 0;
  /** Gap bytes before it belong to gaps that have been looked at. */
  private resume = 0;
  /** Matches that begin before it have a sample in the chunk, or a gap that has been looked at. */
  private tail = 0;
  private readonly joined = new Uint8Array(JOINED_BYTES + MAX_STRETCH);
  private readonly places = new Int32Array(JOINED_BYTES + MAX_STRETCH);
  private length = 0;
  /** Deleted bytes in one place from which on the lanes must see them: half of what an unfinished match may span, since two places may share it. */
  private readonly gapBytes: number;

  constructor(
    private readonly sieve: Sieve,
    maxGapBytes: number,
  ) {
    this.gapBytes = Math.ceil(maxGapBytes / 2);
  }

  /** Starts on another chunk. */
  begin(chunk: Uint8Array): void {
    this.chunk = chunk;
    this.shift = -chunk.byteOffset & 3;
    this.words = new Int32Array(chunk.buffer, chunk.byteOffset + this.shift, Math.max(0, chunk.length - this.shift) >> 2);
    this.tail = Math.max(0, chunk.length - BACK_BYTES);
  }

  /** Ends the chunk: it is not kept. */
  finish(): void {
    this.chunk = NO_BYTES;
    this.words = NO_WORDS;
  }

  /** Finds the next place, for lanes that stand at `at` with less than 4 bytes under way, none of them before `text`. */
  next(at: number, text: number): void {
    // What is under way may begin, in the raw lane, in bytes of a gap.
    const raw = Math.max(0, at - (KNOWN_BYTES - 1));
    this.text = Math.max(text, raw);
    this.beforeGap = raw;
    this.resume = at;
    // A match that begins in the last gap and is too close to the end to have a sample shows in the window behind the gap.
    if (!this.find(raw)) this.stop(Math.max(this.tail, this.text), this.chunk.length);
  }

  /** Goes through the chunk from `raw` on, eight bytes a step. True if there is a stop. */
  private find(raw: number): boolean {
    const { words, shift, sieve } = this;
    const { stride } = sieve;
    // Windows start where words do, at even ones only if the stride is 8.
    let word = Math.max(0, raw - shift + 3) >> 2;
    if (stride === 8) word = (word + 1) & ~1;
    for (let at = raw; at < Math.min(this.chunk.length, shift + word * 4); at++) if (GAP[this.chunk[at]!] === 1 && this.gap(at)) return true;
    const last = words.length - 1;
    for (; word < last; word += 2) {
      const low = words[word]!;
      const high = words[word + 1]!;
      const at = shift + word * 4;
      if (sieve.knows(low, high)) return this.sample(at);
      if (stride === 4 && word + 2 <= last && sieve.knows(high, words[word + 2]!)) {
        if (this.gaps(at, at + 4)) return true;
        return this.sample(at + 4);
      }
      // A byte below 0x1c, as all gap bytes are; false alarms only cost a look.
      if ((((low - 0x1c1c1c1c) & ~low) | ((high - 0x1c1c1c1c) & ~high)) & 0x80808080 && this.gaps(at, at + 8)) return true;
    }
    return this.gaps(Math.max(raw, shift + word * 4), this.chunk.length);
  }

  /** Looks at all gaps that start in `[from, to)`. */
  private gaps(from: number, to: number): boolean {
    for (let at = from; at < to; at++) if (GAP[this.chunk[at]!] === 1 && this.gap(at)) return true;
    return false;
  }

  private stop(from: number, until: number): true {
    this.from = from;
    this.until = until;
    return true;
  }

  /** Where the lanes go on for a sampled window at `at`. */
  private sample(at: number): true {
    // A match in the raw lane may begin in the bytes of the last gap, where the lanes cannot start.
    return this.stop(at < this.text + WINDOW_BYTES - 1 ? this.beforeGap : Math.max(at - BACK_BYTES, this.text), at + KNOWN_BYTES);
  }

  /** Looks at the gap that starts at `at`, and at those that follow it closely. */
  private gap(at: number): boolean {
    if (at < this.resume) return false;
    const before = Math.max(at - BACK_BYTES, this.text);
    const end = this.gapEnd(at);
    if (end < 0) return this.stop(before, ~end);
    if (at >= WINDOW_BYTES && this.isText(end)) {
      if (end - at >= this.gapBytes || this.seam(at, end)) return this.stop(before, end + KNOWN_BYTES);
      this.pass(before, end, end);
      return false;
    }
    return this.close(before, at, end);
  }

  private pass(before: number, end: number, resume: number): void {
    this.beforeGap = before;
    this.text = end;
    this.resume = resume;
  }

  /**
   * Where text goes on after the gap at `at`. A negative answer is the complement of where the lanes must go to instead: behind a backspace, or
   * to the end of the chunk.
   */
  private gapEnd(at: number): number {
    const { chunk } = this;
    let state: number = PARSER.GROUND;
    for (let i = at; i < chunk.length; i++) {
      const next = classify(state, chunk[i]!);
      const kind = next >> 4;
      if (kind === KIND.TEXT) return i;
      if (kind === KIND.BACKSPACE) return ~(i + 1);
      state = next & 15;
    }
    return ~chunk.length;
  }

  /** Whether enough text without a gap starts at `at`. */
  private isText(at: number): boolean {
    const { chunk } = this;
    if (at + FREE_BYTES > chunk.length) return false;
    for (let i = at; i < at + FREE_BYTES; i++) if (GAP[chunk[i]!] === 1) return false;
    return true;
  }

  /** Tests windows of the text before `at` joined with that from `end`: of every stretch that is broken here, one of them is whole. */
  private seam(at: number, end: number): boolean {
    const { sieve } = this;
    for (let back = sieve.width - 1; back > 0; back -= sieve.stride) if (this.knows(at - back, back, end)) return true;
    return this.knows(end, WINDOW_BYTES, end);
  }

  /** Whether the sieve knows the window of `count` bytes from `at` and then those from `end` on. */
  private knows(at: number, count: number, end: number): boolean {
    const { chunk } = this;
    let low = 0;
    let high = 0;
    for (let i = 0; i < WINDOW_BYTES; i++) {
      const byte = chunk[i < count ? at + i : end + i - count]!;
      if (i < 4) low |= byte << (8 * i);
      else high |= byte << (8 * i - 32);
    }
    return this.sieve.knows(low, high);
  }

  /** Gaps with little text between them: goes on, joining the text, until there is enough of it in one piece. */
  private close(first: number, at: number, gapEnd: number): boolean {
    let before = first;
    let end = gapEnd;
    let deleted = end - at;
    this.length = 0;
    this.join(before, at);
    for (;;) {
      const next = this.join(end, Math.min(end + MAX_STRETCH, this.chunk.length));
      const enough = next === end + MAX_STRETCH;
      if (enough || this.length >= JOINED_BYTES) {
        if (deleted >= this.gapBytes || this.knowsJoined()) return this.stop(before, next);
        this.pass(before, enough ? end : next, next);
        if (enough) return false;
        before = this.keepEnd();
        deleted = 0;
      }
      end = this.gapEnd(next);
      if (end < 0) return this.stop(before, ~end);
      deleted += end - next;
    }
  }

  /** Joins `chunk[from, to)` up to the first gap; answers where that is. */
  private join(from: number, to: number): number {
    const { chunk, joined, places } = this;
    for (let at = from; at < to; at++) {
      const byte = chunk[at]!;
      if (GAP[byte] === 1) return at;
      places[this.length] = at;
      joined[this.length++] = byte;
    }
    return to;
  }

  private knowsJoined(): boolean {
    const { joined, length, sieve } = this;
    for (let at = 0; at + WINDOW_BYTES <= length; at += sieve.stride) {
      const low = joined[at]! | (joined[at + 1]! << 8) | (joined[at + 2]! << 16) | (joined[at + 3]! << 24);
      const high = joined[at + 4]! | (joined[at + 5]! << 8) | (joined[at + 6]! << 16) | (joined[at + 7]! << 24);
      if (sieve.knows(low, high)) return true;
    }
    return false;
  }

  /** Drops all joined text but the end, in which matches may begin that go on; answers where in the chunk that starts. */
  private keepEnd(): number {
    const first = Math.max(0, this.length - OVERLAP_BYTES);
    this.joined.copyWithin(0, first, this.length);
    this.places.copyWithin(0, first, this.length);
    this.length -= first;
    return this.places[0]!;
  }
}
