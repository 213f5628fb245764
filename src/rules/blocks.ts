/**
 * Blocks: PEM and PGP keys and their kin, from a begin to an end literal, over lines that may each have a prefix (a timestamp, a build step), or on one line with
 * `\n` spelled out, as strings have it. What is masked: begin and end literal, and on each line between them the last word and every long one, if the block's alphabet
 * has all of it. A block without an end is masked until it grows too long or its lines stop looking like a block.
 */
import type { BlockRule, MappingRule } from "./compile.js";
import { isNoise } from "./noise.js";
import { classes } from "./random.js";
import type { StreamText } from "./text.js";

/** Longest block, in bytes. */
export const MAX_BLOCK_BYTES = 1 << 20;
/** Longest line that is kept back until its end is known. */
export const MAX_LINE_BYTES = 4096;
/** Lines without anything of a block after which it is over. */
const MAX_STRAY_LINES = 40;
/** Words from which on more than the last of a line belongs to the block: quoted lines of source code. */
const LONG_WORD_BYTES = 16;
/** Bytes of a begin literal. */
export const MAX_BEGIN_BYTES = 128;
const LF = 0x0a;
/** A line end as strings spell it, and strings in strings. */
const SPELLED_END = /(?:\\{1,4}r)?\\{1,4}n/g;

export interface Line {
  readonly end: number;
  /** Where the next one begins. */
  readonly next: number;
}

/** Where the line at `at` ends, or is cut for its length; undefined if that depends on bytes to come, or there are none. */
export function lineAt(text: StreamText, at: number): Line | undefined {
  const newline = text.indexOf(LF, at);
  const limit = at + MAX_LINE_BYTES;
  if (newline >= 0 && newline <= limit) return { end: newline, next: newline + 1 };
  if (newline < 0 && text.total < limit && !text.ended) return undefined;
  const end = Math.min(limit, text.total);
  return end === at && newline < 0 ? undefined : { end, next: end };
}

/** A block that has begun and has not ended. */
export class OpenBlock {
  /** Everything before it is decided. */
  private at: number;
  private stray = 0;
  /** Kinds of characters of its alphabet. */
  private readonly kinds: number;

  constructor(
    readonly rule: BlockRule,
    readonly start: number,
    begin: number,
  ) {
    this.at = begin;
    this.kinds = classes(String.fromCharCode(...[...rule.alphabet.keys()].filter((byte) => rule.alphabet[byte] === 1)));
  }

  /** Masks the lines that are complete, by calls of `mask`. Answers the offset behind the block when it has ended, else undefined. */
  go(text: StreamText, mask: (start: number, end: number) => void): number | undefined {
    for (;;) {
      const line = lineAt(text, this.at);
      if (line === undefined) return undefined;
      const over = this.line(text, this.at, line.end, mask);
      if (over !== undefined) return over;
      this.at = line.next;
      if (this.at - this.start > MAX_BLOCK_BYTES || this.stray > MAX_STRAY_LINES) return this.at;
    }
  }

  /** What is undecided may belong to it. */
  readonly isInside = true;

  /** Everything before it has been decided. A line end belongs to the block if the next line has no prefix. */
  get hold(): number {
    return Math.max(this.start, this.at - 1);
  }

  /** Masks what belongs to the block of the line `[from, to)`, which may spell several. Answers where the block ends if it does so here. */
  private line(text: StreamText, from: number, to: number, mask: (start: number, end: number) => void): number | undefined {
    const line = text.latin1(from, to);
    let found: boolean | undefined;
    let at = 0;
    for (let breakBytes = 1; at <= line.length;) {
      SPELLED_END.lastIndex = at;
      const next = SPELLED_END.exec(line);
      const part = line.slice(at, next?.index);
      const close = part.indexOf(this.rule.end);
      if (close >= 0) return this.close(part, close, from + at, breakBytes, mask);
      if (part.trim() !== "") found = (!isHeader(part) && this.maskWords(part, from + at, breakBytes, mask)) || found === true;
      breakBytes = next?.[0].length ?? 0;
      at = next === null ? Infinity : next.index + breakBytes;
    }
    if (found !== undefined) this.stray = found ? 0 : this.stray + 1;
    return undefined;
  }

  /** Masks the end literal at `close` of a part of a line, which stands at `from`, and answers where it ends. */
  private close(part: string, close: number, from: number, breakBytes: number, mask: (start: number, end: number) => void): number {
    // The rest of the end literal: `-----END` … `-----`.
    const tail = part.slice(close + this.rule.end.length);
    const dashes = this.rule.end.startsWith("-----") ? tail.indexOf("-----") : -1;
    const end = from + close + this.rule.end.length + (dashes >= 0 && dashes < 80 ? dashes + 5 : 0);
    mask(this.spanStart(from, this.wordStart(part, close), breakBytes), end);
    return end;
  }

  /** Masks the words of the block's alphabet that are long, and the last one, which may be what is left over. False if none of them looks like a part of a block. */
  private maskWords(line: string, from: number, breakBytes: number, mask: (start: number, end: number) => void): boolean {
    const last = line.trimEnd().length;
    let any = false;
    for (let end = last, first = last; end > 0; end = first - 1) {
      first = this.wordStart(line, end);
      if (first === end) continue;
      const belongs = end - first >= LONG_WORD_BYTES && this.belongs(line.slice(first, end));
      // Right behind the block's lines any long word may be one of them, and the last one, which may be what is left over.
      if (!belongs && (this.stray > 0 || (end < last && end - first < LONG_WORD_BYTES))) continue;
      mask(this.spanStart(from, first, breakBytes), from + end);
      any ||= belongs;
    }
    return any;
  }

  /** Whether a long word is one of the block for sure: as mixed as its alphabet is, and no path. */
  private belongs(word: string): boolean {
    return classes(word) >= Math.min(3, this.kinds) && !isNoise(word);
  }

  /** Where the mask of a line begins: with no prefix it goes on from the line before, over the line end. */
  private spanStart(line: number, first: number, breakBytes: number): number {
    return first === 0 ? Math.max(this.start, line - breakBytes) : line + first;
  }

  /** Where the word that ends at `last` begins. */
  private wordStart(line: string, last: number): number {
    let first = last;
    while (first > 0 && this.rule.alphabet[line.charCodeAt(first - 1) & 0xff] === 1) first--;
    return first;
  }
}

/** `Proc-Type: 4,ENCRYPTED`, `Version: …`. Not a line of the block behind a prefix such as `remote: `. */
const isHeader = (line: string): boolean => HEADER.test(line);
const HEADER = /^[A-Z][A-Za-z0-9-]{1,38}: .{0,60}$/;

/** Where what begins a block at `at` ends, all of it on one line; `more` if that depends on bytes to come. */
export function blockBegin(rule: BlockRule | MappingRule, text: StreamText, at: number): number | "more" | undefined {
  const window = text.latin1(at, at + MAX_BEGIN_BYTES);
  // What could make a match longer must be there before it counts.
  if (window.length < MAX_BEGIN_BYTES && !window.includes("\n") && !text.ended) return "more";
  const match = rule.begin().exec(window);
  return match === null ? undefined : at + match[0].length;
}
