/**
 * Blocks: PEM and PGP keys and their kin, from a begin to an end literal, over lines that may each have a prefix (a timestamp, a build step), or on one line with
 * `\n` spelled out, as strings have it. What is masked: begin and end literal, and on each line between them the last word and every long one, if the block's alphabet
 * has all of it. A block without an end is masked until it grows too long or its lines stop looking like a block. One that begins inside another takes its place, so
 * each line is read once.
 */
import { type Begin, Begins } from "./begins.js";
import { byteSet, complement } from "./bytes.js";
import type { BlockRule, MappingRule } from "./compile.js";
import { lineAt } from "./lines.js";
import { isNoise } from "./noise.js";
import { classes } from "./random.js";
import type { StreamText } from "./text.js";
import { Wait } from "./waiting.js";

/** Longest block, in bytes. */
export const MAX_BLOCK_BYTES = 1 << 20;
/** Lines without anything of a block after which it is over. */
const MAX_STRAY_LINES = 40;
/** Words from which on more than the last of a line belongs to the block: quoted lines of source code. */
const LONG_WORD_BYTES = 16;
/** Bytes of a begin literal. */
export const MAX_BEGIN_BYTES = 128;
const LF = 0x0a;
/** A line end as strings spell it, and strings in strings. */
const SPELLED_END = /(?:\\{1,4}r)?\\{1,4}n/g;

/** The blocks of one rule in one stream. */
export class Blocks {
  private readonly begins = new Begins();
  /** What began the block that has not ended. */
  private open: Begin | undefined;
  /** Where the lines begin that it has a say in: its own start, or that of a block which it took the place of. */
  private from = 0;
  /** Everything before it is decided. */
  private at = 0;
  /** Lines since the last one that belonged to it. */
  private stray = 0;
  /** Kinds of characters of its alphabet. */
  private readonly kinds: number;

  constructor(private readonly rule: BlockRule) {
    this.kinds = classes(String.fromCharCode(...[...rule.alphabet.keys()].filter((byte) => rule.alphabet[byte] === 1)));
  }

  /** A block begins; false if that is known. `go` reads what follows. */
  add(begin: Begin): boolean {
    return this.begins.add(begin);
  }

  /** Masks what belongs to blocks of the lines that are complete and end before `undecided`, where another block may begin. */
  go(text: StreamText, undecided = Infinity): void {
    for (;;) {
      if (this.open === undefined && !this.next(text)) return;
      const line = lineAt(text, this.at);
      if (line === undefined || line.end > undecided) return;
      const inner = this.begins.first;
      const end = Math.min(line.end, inner?.at ?? Infinity);
      const over = this.at < end ? this.line(text.latin1(this.at, end), this.at, end === line.end) : undefined;
      if (over !== undefined) this.close(over);
      else if (inner !== undefined && inner.at < line.end) this.next(text);
      else {
        this.at = Math.max(this.at, line.next);
        if (this.at - this.open!.at > MAX_BLOCK_BYTES || this.stray > MAX_STRAY_LINES) this.close(this.at);
      }
    }
  }

  /** Goes on with the next block; false if there is none. */
  private next(text: StreamText): boolean {
    const begin = this.begins.shift();
    if (begin === undefined) return false;
    // What stands on its line before it belongs to the block that it takes the place of.
    const isApart = this.open === undefined || text.at(begin.at - 1) === LF || begin.at - this.from > MAX_BLOCK_BYTES;
    if (isApart) this.from = begin.at;
    this.open = begin;
    this.at = Math.max(this.at, begin.end);
    this.stray = 0;
    return true;
  }

  private close(at: number): void {
    this.open = undefined;
    this.at = at;
  }

  /** Where the block begins that has not ended, or that in which it began; undefined if there is none. */
  get start(): number | undefined {
    return this.open === undefined ? this.begins.first?.at : this.from;
  }

  /** Everything before it has been decided. A line end belongs to the block if the next line has no prefix. */
  get hold(): number {
    return this.open === undefined ? (this.begins.first?.end ?? Infinity) : Math.max(this.open.at, this.at - 1);
  }

  /** Silence: what is undecided may belong to the block. */
  maskRest(total: number): void {
    const open = this.open ?? this.begins.first;
    if (open !== undefined && this.hold < total) open.mask(this.hold, total);
  }

  /**
   * Masks what belongs to the block of a line that stands at `from`, which may spell several; `isWhole`: no other block begins behind it. Answers where the block ends if it
   * does so here.
   */
  private line(line: string, from: number, isWhole: boolean): number | undefined {
    let found: boolean | undefined;
    let at = 0;
    for (let breakBytes = 1; at <= line.length;) {
      SPELLED_END.lastIndex = at;
      const next = SPELLED_END.exec(line);
      const part = line.slice(at, next?.index);
      const close = part.indexOf(this.rule.end);
      if (close >= 0) return this.maskEnd(part, close, from + at, breakBytes);
      if (part.trim() !== "") found = (!isHeader(part) && this.maskWords(part, from + at, breakBytes, isWhole || next !== null)) || found === true;
      breakBytes = next?.[0].length ?? 0;
      at = next === null ? Infinity : next.index + breakBytes;
    }
    if (found !== undefined) this.stray = found ? 0 : this.stray + 1;
    return undefined;
  }

  /** Masks the end literal at `close` of a part of a line, which stands at `from`, and answers where it ends. */
  private maskEnd(part: string, close: number, from: number, breakBytes: number): number {
    // The rest of the end literal: `-----END` … `-----`.
    const tail = part.slice(close + this.rule.end.length);
    const dashes = this.rule.end.startsWith("-----") ? tail.indexOf("-----") : -1;
    const end = from + close + this.rule.end.length + (dashes >= 0 && dashes < 80 ? dashes + 5 : 0);
    this.open!.mask(this.spanStart(from, this.wordStart(part, close), breakBytes), end);
    return end;
  }

  /** Masks the words of the block's alphabet that are long, and the last one, which may be what is left over. False if none of them looks like a part of a block. */
  private maskWords(line: string, from: number, breakBytes: number, isWhole: boolean): boolean {
    const length = line.trimEnd().length;
    const last = isWhole ? length : Infinity;
    let any = false;
    for (let end = length, first = length; end > 0; end = first - 1) {
      first = this.wordStart(line, end);
      if (first === end) continue;
      const belongs = end - first >= LONG_WORD_BYTES && this.belongs(line.slice(first, end));
      // Right behind the block's lines any long word may be one of them, and the last one, which may be what is left over.
      if (!belongs && (this.stray > 0 || (end < last && end - first < LONG_WORD_BYTES))) continue;
      this.open!.mask(this.spanStart(from, first, breakBytes), from + end);
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
    return first === 0 ? Math.max(this.open!.at, line - breakBytes) : line + first;
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

/** All bytes but a line end. */
const NO_LINE_END = complement(byteSet("\n"));

/** Where what begins a block at `at` ends, all of it on one line. */
export function blockBegin(rule: BlockRule | MappingRule, text: StreamText, at: number): number | Wait | undefined {
  const window = text.latin1(at, at + MAX_BEGIN_BYTES);
  // What could make a match longer must be there before it counts.
  if (window.length < MAX_BEGIN_BYTES && !window.includes("\n") && !text.ended) return new Wait(NO_LINE_END, at + MAX_BEGIN_BYTES);
  const match = rule.begin().exec(window);
  return match === null ? undefined : at + match[0].length;
}
