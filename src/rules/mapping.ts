/**
 * Mappings: the values of a mapping in YAML, or in JSON with a line for each, under one of some keys, in a document that an anchor begins: `data:` of a Kubernetes Secret.
 * Keys stay readable. Lines may have the prefix of the anchor's line, with other digits, or be spelled in a string.
 */
import { blockBegin, type Line, lineAt, MAX_BEGIN_BYTES, MAX_BLOCK_BYTES, MAX_LINE_BYTES } from "./blocks.js";
import type { MappingRule } from "./compile.js";
import { classes } from "./random.js";
import { readSpelled } from "./spelled.js";
import type { StreamText } from "./text.js";

/** Most lines outside of the mapping. */
const MAX_OUTER_LINES = 100;
const LF = 0x0a;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** Behind the backslash. */
const SPELLED_CR = 0x72;
const SPELLED_LF = 0x6e;

/** Where what begins a mapping ends. */
export interface MappingBegin {
  readonly end: number;
  /** Line ends are spelled `\n`. */
  readonly isInString: boolean;
}

/** Whether a mapping begins at `at`; `more` if that depends on bytes to come. */
export function mappingBegin(rule: MappingRule, text: StreamText, at: number): MappingBegin | "more" | undefined {
  const end = blockBegin(rule, text, at);
  if (end === "more") return end;
  if (end !== undefined) return { end, isInString: false };
  const spelled = readSpelled(text, at, 0, at + 2 * MAX_BEGIN_BYTES);
  const index = spelled?.indexOf(at);
  if (index === undefined) return undefined;
  const match = rule.begin().exec(spelled!.text.latin1(index, spelled!.text.total));
  if (match === null) return spelled!.text.ended ? undefined : "more";
  return { end: spelled!.placeOf(index + match[0].length), isInString: true };
}

interface StringLine extends Line {
  /** None follows. */
  readonly endsString?: true;
}

/** Where the line at `from` ends that stands in a string, and the next begins; undefined if that depends on bytes to come. */
function spelledLineAt(text: StreamText, from: number): StringLine | undefined {
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

/** In a string, quotes are spelled `\"`. */
const KEY = /^((?:\\?["'])?)([\w.-]{1,253})\1:(?:[ \t]+(.*))?$/;
const OPENING = /^\\?["']/;

/** What stands for a value, or for a masked one. */
const REFERENCE = /^(?:[$<*&]|\{\{|\[REDACTED:)/;
/** Bytes of base64 are a multiple of it. */
const BASE64_GROUP = 4;

/** A document that has begun and has not ended. */
export class OpenMapping {
  /** Start of the line at hand. */
  private at: number;
  /** What stands before the anchor, and may stand before the other lines: digits are 0, a list's marker is blank. */
  private prefix: string;
  /** Column of the mapping's own key, while the lines are its values. */
  private inside = -1;
  /** Column of a key whose value is the text of the lines that follow. */
  private scalar = -1;
  private outer = 0;

  constructor(
    readonly rule: MappingRule,
    readonly start: number,
    text: StreamText,
    private readonly isInString: boolean,
  ) {
    this.at = start;
    let line = start;
    while (line > text.start && line > start - MAX_LINE_BYTES && !this.beginsLine(text, line)) line--;
    this.prefix = shape(text.latin1(line, start));
  }

  /** Masks the values of lines that are complete, by calls of `mask`. Answers the offset behind the document when it has ended, else undefined. */
  go(text: StreamText, mask: (start: number, end: number) => void): number | undefined {
    for (;;) {
      const line: StringLine | undefined = this.isInString ? spelledLineAt(text, this.at) : lineAt(text, this.at);
      if (line === undefined) return undefined;
      const goesOn = this.line(text.latin1(this.at, line.end), mask) && line.endsString !== true;
      if (!goesOn || this.at - this.start > MAX_BLOCK_BYTES || this.outer > MAX_OUTER_LINES) return this.at;
      this.at = line.next;
    }
  }

  /** Whether a line begins at `at`, or the string that holds the lines. */
  private beginsLine(text: StreamText, at: number): boolean {
    const last = text.at(at - 1);
    return last === LF || (this.isInString && (last === QUOTE || (last === SPELLED_LF && text.at(at - 2) === BACKSLASH)));
  }

  /** Everything before it has been decided. */
  get hold(): number {
    return this.at;
  }

  /** What is undecided may be a value. */
  get isInside(): boolean {
    return this.inside >= 0;
  }

  /** Reads a line; false if it is none of the document. */
  private line(whole: string, mask: (start: number, end: number) => void): boolean {
    const prefix = this.prefixOf(whole);
    if (prefix === undefined) return false;
    const line = whole.slice(prefix).trimEnd();
    const column = line.length - line.trimStart().length;
    if (line === "" || line[column] === "#") return true;
    if (this.scalar >= 0 && column > this.scalar) {
      mask(this.at + prefix + column, this.at + prefix + line.length);
      return true;
    }
    this.scalar = -1;
    const key = KEY.exec(line.slice(column));
    if (this.inside >= 0 && column > this.inside) {
      if (key !== null) this.value(key[3] ?? "", this.at + prefix + line.length, column, key[1] !== "", mask);
      return true;
    }
    const name = key?.[2];
    const opens = key !== null && (key[3] === undefined || key[3] === "{");
    this.inside = opens && this.rule.keys.includes(name!) ? column : -1;
    this.outer++;
    return column > 0 || name !== undefined;
  }

  /** Bytes before the document's column; undefined for a line that stands before it. */
  private prefixOf(line: string): number | undefined {
    // The first line begins with the anchor.
    if (this.at === this.start || line.trim() === "") return 0;
    const { length } = this.prefix;
    if (shape(line.slice(0, length)) === this.prefix) return length;
    if (this.prefix.trim() === "") return undefined;
    this.prefix = "";
    return 0;
  }

  /** Masks a value that ends before `behind`, unless it is a reference, or should be base64 and is not. */
  private value(text: string, behind: number, column: number, isJson: boolean, mask: (start: number, end: number) => void): void {
    const [written, end] = isJson && text.endsWith(",") ? [text.slice(0, -1), behind - 1] : [text, behind];
    if (/^[|>][+-]?\d?$/.test(written)) {
      this.scalar = column;
      return;
    }
    const quote = OPENING.exec(written)?.[0] ?? "";
    const around = written.length >= 2 * quote.length && written.endsWith(quote) ? quote.length : 0;
    const value = written.slice(around, written.length - around);
    if (value.length < this.rule.minLen || REFERENCE.test(value) || !this.fits(value)) return;
    mask(end - written.length + around, end - around);
  }

  private fits(value: string): boolean {
    const { values, source } = this.rule;
    if (source.classes !== undefined && classes(value) < source.classes) return false;
    if (values === undefined) return true;
    if (value.length % BASE64_GROUP !== 0) return false;
    for (let i = 0; i < value.length; i++) if (values[value.charCodeAt(i) & 0xff] === 0) return false;
    return true;
  }
}

const shape = (prefix: string): string => prefix.replace(/\d/g, "0").replace(/-(?= )/g, " ");
