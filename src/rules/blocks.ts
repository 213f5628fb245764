/**
 * Blocks: PEM and PGP keys and their kin, from a begin to an end literal, over lines that may each have a prefix (a timestamp, a build step), or in a string with
 * `\n` spelled out. What is masked: begin and end literal, and on each line between them the last word and every long one, if the block's alphabet has all of it. A block without
 * an end is masked until it grows too long or its lines stop looking like a block.
 */
import type { BlockRule, MappingRule } from "./compile.js";
import { isNoise } from "./noise.js";
import { classes } from "./random.js";
import { readSpelled } from "./spelled.js";
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
const MAX_BEGIN_BYTES = 128;
const LF = 0x0a;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** Behind the backslash. */
const SPELLED_CR = 0x72;
const SPELLED_LF = 0x6e;

interface Line {
  readonly end: number;
  /** Where the next one begins. */
  readonly next: number;
  /** The string ends that it stands in. */
  readonly endsString?: boolean;
}

/** Where the line at `at` ends, or is cut for its length; undefined if that depends on bytes to come, or there are none. */
export function lineAt(text: StreamText, at: number, isSpelled: boolean): Line | undefined {
  if (isSpelled) return spelledLineAt(text, at);
  const newline = text.indexOf(LF, at);
  const limit = at + MAX_LINE_BYTES;
  if (newline >= 0 && newline <= limit) return { end: newline, next: newline + 1 };
  if (newline < 0 && text.total < limit && !text.ended) return undefined;
  const end = Math.min(limit, text.total);
  return end === at && newline < 0 ? undefined : { end, next: end };
}

/** The same in a string, which ends at a quote. */
function spelledLineAt(text: StreamText, from: number): Line | undefined {
  for (let at = from; ; at++) {
    const byte = text.at(at);
    if (byte < 0) return text.ended && at > from ? { end: at, next: at, endsString: true } : undefined;
    if (byte === LF || byte === QUOTE) return { end: at, next: at + 1, endsString: true };
    if (at - from >= MAX_LINE_BYTES) return { end: at, next: at };
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
    private readonly begin: Begin,
  ) {
    this.at = begin.end;
    this.kinds = classes(String.fromCharCode(...[...rule.alphabet.keys()].filter((byte) => rule.alphabet[byte] === 1)));
  }

  /** Masks the lines that are complete, by calls of `mask`. Answers the offset behind the block when it has ended, else undefined. */
  go(text: StreamText, mask: (start: number, end: number) => void): number | undefined {
    for (;;) {
      const line = lineAt(text, this.at, this.begin.isSpelled);
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
    return Math.max(this.start, this.at - this.breakBytes);
  }

  /** Bytes of a line end. */
  private get breakBytes(): number {
    return this.begin.isSpelled ? 2 : 1;
  }

  /** Masks what belongs to the block of the line `[from, to)`. Answers where the block ends if it does so here. */
  private line(text: StreamText, from: number, to: number, mask: (start: number, end: number) => void): number | undefined {
    const line = text.latin1(from, to);
    const close = line.indexOf(this.rule.end);
    if (close >= 0) {
      // The rest of the end literal: `-----END` … `-----`.
      const tail = line.slice(close + this.rule.end.length);
      const dashes = this.rule.end.startsWith("-----") ? tail.indexOf("-----") : -1;
      const end = from + close + this.rule.end.length + (dashes >= 0 && dashes < 80 ? dashes + 5 : 0);
      mask(this.spanStart(from, this.wordStart(line, close)), end);
      return end;
    }
    let last = line.length;
    while (last > 0 && (line[last - 1] === "\r" || line[last - 1] === " " || line[last - 1] === "\t")) last--;
    if (last === 0) return undefined;
    if (isHeader(line) || !this.maskWords(line, last, from, mask)) this.stray++;
    else this.stray = 0;
    return undefined;
  }

  /** Masks the words of the block's alphabet that are long, and the last one, which may be what is left over. False if none of them looks like a part of a block. */
  private maskWords(line: string, last: number, from: number, mask: (start: number, end: number) => void): boolean {
    let any = false;
    for (let end = last, first = last; end > 0; end = first - 1) {
      first = this.wordStart(line, end);
      if (first === end) continue;
      const belongs = end - first >= LONG_WORD_BYTES && this.belongs(line.slice(first, end));
      // Right behind the block's lines any long word may be one of them, and the last one, which may be what is left over.
      if (!belongs && (this.stray > 0 || (end < last && end - first < LONG_WORD_BYTES))) continue;
      mask(this.spanStart(from, first), from + end);
      any ||= belongs;
    }
    return any;
  }

  /** Whether a long word is one of the block for sure: as mixed as its alphabet is, and no path. */
  private belongs(word: string): boolean {
    return classes(word) >= Math.min(3, this.kinds) && !isNoise(word);
  }

  /** Where the mask of a line begins: with no prefix it goes on from the line before. */
  private spanStart(line: number, first: number): number {
    return first === 0 ? Math.max(this.start, line - this.breakBytes) : line + first;
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

/** The end of what begins a block or a mapping. */
export interface Begin {
  readonly end: number;
  /** It stands in a string: line ends are spelled `\n`. */
  readonly isSpelled: boolean;
}

/** Where what begins a block or mapping at `at` ends, all of it on one line; `more` if that depends on bytes to come. */
export function blockBegin(rule: BlockRule | MappingRule, text: StreamText, at: number): Begin | "more" | undefined {
  const window = text.latin1(at, at + MAX_BEGIN_BYTES);
  // What could make a match longer must be there before it counts.
  if (window.length < MAX_BEGIN_BYTES && !window.includes("\n") && !text.ended) return "more";
  const match = rule.begin().exec(window);
  if (match !== null) {
    const end = at + match[0].length;
    if (text.at(end + 1) < 0 && window[match[0].length - 1] !== "\n" && !text.ended) return "more";
    return { end, isSpelled: text.at(end) === BACKSLASH && (text.at(end + 1) === SPELLED_LF || text.at(end + 1) === SPELLED_CR) };
  }
  const spelled = readSpelled(text, at, 0, MAX_BEGIN_BYTES);
  const index = spelled?.indexOf(at);
  const inside = index === undefined ? null : rule.begin().exec(spelled!.text.latin1(index, spelled!.text.total));
  return inside === null ? undefined : { end: spelled!.placeOf(index! + inside[0].length), isSpelled: true };
}
