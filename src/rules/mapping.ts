/**
 * Mappings: the values of a mapping in YAML, or in JSON with a line for each, under one of some keys, in a document that an anchor begins: `data:` of a Kubernetes Secret.
 * Keys stay readable. Lines may have the prefix of the anchor's line, with other digits, or be spelled in a string. Each line is read once for each depth at which a
 * document is open.
 */
import { type Begin, Begins } from "./begins.js";
import { blockBegin, MAX_BEGIN_BYTES, MAX_BLOCK_BYTES } from "./blocks.js";
import { byteSet, complement } from "./bytes.js";
import type { MappingRule } from "./compile.js";
import { beginsLine, type Line, lineAt, MAX_LINE_BYTES, stringLineAt } from "./lines.js";
import { classes } from "./random.js";
import { LONGEST_ESCAPE, readSpelled } from "./spelled.js";
import type { StreamText } from "./text.js";
import { Wait } from "./waiting.js";

/** Most lines outside of the mapping. */
const MAX_OUTER_LINES = 100;
/** Longest prefix of lines, in bytes. */
const MAX_PREFIX_BYTES = 256;
/** Bytes that are read of what may begin a mapping in a string. */
const SPELLED_BEGIN_BYTES = 2 * MAX_BEGIN_BYTES;

/** Where what begins a mapping ends. */
export interface MappingBegin {
  readonly end: number;
  /** Line ends are spelled `\n`. */
  readonly isInString: boolean;
}

/** All bytes. */
const ANY = complement(byteSet(""));

/** Whether a mapping begins at `at`. */
export function mappingBegin(rule: MappingRule, text: StreamText, at: number): MappingBegin | Wait | undefined {
  const end = blockBegin(rule, text, at);
  if (end instanceof Wait) return end;
  if (end !== undefined) return { end, isInString: false };
  const spelled = readSpelled(text, at, 0, at + SPELLED_BEGIN_BYTES);
  const index = spelled?.indexOf(at);
  if (index === undefined) return undefined;
  const match = rule.begin().exec(spelled!.text.latin1(index, spelled!.text.total));
  if (match === null) return spelled!.text.ended ? undefined : new Wait(ANY, at + SPELLED_BEGIN_BYTES + LONGEST_ESCAPE);
  return { end: spelled!.placeOf(index + match[0].length), isInString: true };
}

/** In a string, quotes are spelled `\"`. */
const KEY = /^((?:\\?["'])?)([\w.-]{1,253})\1:(?:[ \t]+(.*))?$/;
const OPENING = /^\\?["']/;

/** What stands for a value, or for a masked one. */
const REFERENCE = /^(?:[$<*&]|\{\{|\[REDACTED:)/;
/** Bytes of base64 are a multiple of it. */
const BASE64_GROUP = 4;

/** The mappings of one rule in one stream, in strings or outside of them. */
export class Mappings {
  private readonly begins = new Begins();
  private documents: Document[] = [];
  /** Start of the line at hand: everything before it is decided. */
  private at = 0;
  private readonly progress = { from: -1, at: 0 };
  /** The line that held the last begin. */
  private line = { start: 0, at: -1 };

  constructor(
    private readonly rule: MappingRule,
    private readonly isInString: boolean,
  ) {}

  /** A document begins; false if that is known. `go` reads what follows. */
  add(begin: Begin): boolean {
    return this.begins.add(begin);
  }

  /** Masks the values of the lines that are complete and end before `undecided`, where another document may begin. */
  go(text: StreamText, undecided = Infinity): void {
    for (;;) {
      if (this.documents.length === 0) {
        const { first } = this.begins;
        if (first === undefined) return;
        this.at = first.at;
      }
      const line = this.isInString ? stringLineAt(text, this.at, this.progress) : lineAt(text, this.at);
      if (line === undefined || line.end > undecided) return;
      this.readLine(text, line);
      this.at = line.next;
    }
  }

  private readLine(text: StreamText, line: Line): void {
    const whole = shaped(text.latin1(this.at, line.end), this.at);
    const open = this.documents.filter((document) => document.read(whole));
    for (let begin = this.begins.shift(line.end); begin !== undefined; begin = this.begins.shift(line.end)) {
      const document = new Document(this.rule, begin, this.prefixBefore(text, begin.at));
      if (document.begin(text.latin1(begin.at, line.end))) open.push(document);
    }
    if (line.endsString === true) this.documents = [];
    else this.documents = open.length > 1 ? distinct(open) : open;
  }

  /** What stands between the start of a line and `at`, where a document begins; nothing if that is long. */
  private prefixBefore(text: StreamText, at: number): string {
    let start = at;
    while (start > this.line.at && start > text.start && start > at - MAX_LINE_BYTES && !beginsLine(text, start, this.isInString)) start--;
    if (start === this.line.at) start = this.line.start;
    this.line = { start, at };
    return at - start > MAX_PREFIX_BYTES ? "" : shape(text.latin1(start, at));
  }

  /** Where the first document begins that has not ended, or was not read; undefined if there is none. */
  get start(): number | undefined {
    return this.documents.length === 0 ? this.begins.first?.at : Math.min(...this.documents.map(({ start }) => start));
  }

  /** Everything before it has been decided. */
  get hold(): number {
    return this.documents.length === 0 ? (this.begins.first?.at ?? Infinity) : this.at;
  }

  /** Silence: what is undecided may be a value. */
  maskRest(total: number): void {
    const inside = this.documents.find((document) => document.isInside);
    if (inside !== undefined && this.at < total) inside.mask(this.at, total);
  }
}

/** A line, and its shape. */
interface ShapedLine {
  readonly text: string;
  /** Digits are 0, a list's marker is blank. */
  readonly shape: string;
  readonly at: number;
}

const shape = (prefix: string): string => prefix.replace(/\d/g, "0").replace(/-(?= )/g, " ");
const shaped = (text: string, at: number): ShapedLine => ({ text, shape: shape(text.slice(0, MAX_PREFIX_BYTES + 1)), at });

/** Of documents that go on alike the one that lasts longest. */
function distinct(documents: readonly Document[]): Document[] {
  const byState = new Map<string, Document>();
  for (const document of documents) {
    const same = byState.get(document.state);
    if (same === undefined || document.outer <= same.outer) byState.set(document.state, document);
  }
  return [...byState.values()];
}

/** A document that has begun and has not ended. */
class Document {
  /** Column of the mapping's own key, while the lines are its values. */
  private inside = -1;
  /** Column of a key whose value is the text of the lines that follow. */
  private scalar = -1;
  outer = 0;

  constructor(
    private readonly rule: MappingRule,
    private readonly begun: Begin,
    /** What stands before the anchor, and may stand before the other lines. */
    private prefix: string,
  ) {}

  get start(): number {
    return this.begun.at;
  }

  get isInside(): boolean {
    return this.inside >= 0;
  }

  get mask(): Begin["mask"] {
    return this.begun.mask;
  }

  /** What decides on the lines to come, but for how many. */
  get state(): string {
    return `${this.inside} ${this.scalar} ${this.prefix}`;
  }

  /** Reads the line that begins it, from its anchor on; false if it ends there. */
  begin(line: string): boolean {
    return this.readContent(line, this.start, 0) && this.outer <= MAX_OUTER_LINES;
  }

  /** Reads a line; false if the document ends before or with it. */
  read(line: ShapedLine): boolean {
    const prefix = this.prefixOf(line);
    if (prefix === undefined) return false;
    return this.readContent(line.text, line.at, prefix) && this.outer <= MAX_OUTER_LINES && line.at + line.text.length - this.start <= MAX_BLOCK_BYTES;
  }

  /** Reads a line that stands at `at`, behind its prefix; false if it is none of the document. */
  private readContent(whole: string, at: number, prefix: number): boolean {
    const line = whole.slice(prefix).trimEnd();
    const column = line.length - line.trimStart().length;
    if (line === "" || line[column] === "#") return true;
    if (this.scalar >= 0 && column > this.scalar) {
      this.mask(at + prefix + column, at + prefix + line.length);
      return true;
    }
    this.scalar = -1;
    const key = KEY.exec(line.slice(column));
    if (this.inside >= 0 && column > this.inside) {
      if (key !== null) this.value(key[3] ?? "", at + prefix + line.length, column, key[1] !== "");
      return true;
    }
    const name = key?.[2];
    const opens = key !== null && (key[3] === undefined || key[3] === "{");
    this.inside = opens && this.rule.keys.includes(name!) ? column : -1;
    this.outer++;
    return column > 0 || name !== undefined;
  }

  /** Bytes before the document's column; undefined for a line that stands before it. */
  private prefixOf(line: ShapedLine): number | undefined {
    if (line.text.trim() === "") return 0;
    const { length } = this.prefix;
    if (length === 0) return 0;
    const last = shape(line.text.slice(length - 1, length));
    if (line.text.length >= length && last === this.prefix[length - 1] && line.shape.startsWith(this.prefix.slice(0, -1))) return length;
    if (this.prefix.trim() === "") return undefined;
    this.prefix = "";
    return 0;
  }

  /** Masks a value that ends before `behind`, unless it is a reference, or should be base64 and is not. */
  private value(text: string, behind: number, column: number, isJson: boolean): void {
    const [written, end] = isJson && text.endsWith(",") ? [text.slice(0, -1), behind - 1] : [text, behind];
    if (/^[|>][+-]?\d?$/.test(written)) {
      this.scalar = column;
      return;
    }
    const quote = OPENING.exec(written)?.[0] ?? "";
    const around = written.length >= 2 * quote.length && written.endsWith(quote) ? quote.length : 0;
    const value = written.slice(around, written.length - around);
    if (value.length < this.rule.minLen || REFERENCE.test(value) || !this.fits(value)) return;
    this.mask(end - written.length + around, end - around);
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
