/**
 * JSON (RFC 8259) and NDJSON, read byte by byte as they come, without recursion: strings are decoded, all else only checked. Encoder at the end.
 *
 * One UTF-8 BOM at the start is let through. An empty body is no error: nothing is in it. NDJSON: one value a line, blank lines and CR before LF are kept.
 */
import { LogveilError } from "../errors.js";
import { COLON, type Draft, ROW, SEPARATOR } from "./draft.js";
import type { Scanner, Syntax } from "./strings.js";
import { firstInvalidUtf8, surrogateAt, unfinishedUtf8, writeCodePoint } from "./utf8.js";

/** Deepest nesting, in levels. A level takes a bit. */
export const MAX_DEPTH = 65_536;
/** Longest number, in bytes: it leaves only as a whole, as it may become a string. */
export const MAX_NUMBER_BYTES = 1024;

/** What is expected next. */
const STATE = Object.freeze({
  /** A document, or its end. */
  START: 0,
  VALUE: 1,
  /** Behind `[`. */
  FIRST_VALUE: 2,
  KEY: 3,
  /** Behind `{`. */
  FIRST_KEY: 4,
  COLON: 5,
  /** Behind a value in an object or array. */
  AFTER: 6,
  /** Behind the document. */
  DONE: 7,
  STRING: 8,
  NUMBER: 9,
  LITERAL: 10,
});

const EXPECTED = [
  "a value",
  "a value",
  "a value or ]",
  "a key",
  "a key or }",
  "a colon",
  "a comma or the end of the object or array",
  "the end",
  "a character or the closing quote",
  "the rest of a number",
  "true, false or null",
];

/** Parts of a number: which digits or signs may follow. */
const PART = Object.freeze({ MINUS: 0, ZERO: 1, INTEGER: 2, POINT: 3, FRACTION: 4, EXPONENT: 5, SIGN: 6, POWER: 7 });

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const LF = 0x0a;
/** The top bit of each byte of a word. */
const TOP_BITS = 0x80808080 | 0;
const BOM = [0xef, 0xbb, 0xbf];
const LITERALS = ["true", "false", "null"];
/** Whether a byte ends a stretch of plain characters: quote, backslash, control characters. */
const STOPS = Uint8Array.from({ length: 256 }, (_, byte) => (byte < 0x20 || byte === QUOTE || byte === BACKSLASH ? 1 : 0));
/** By the letter behind a backslash what it means; 0: nothing. */
const ESCAPES = new Uint8Array(256);
for (const [i, letter] of [...'"\\/bfnrt'].entries()) ESCAPES[letter.charCodeAt(0)] = '"\\/\b\f\n\r\t'.charCodeAt(i);

/** One document; one a line; or several, with white space between them or nothing. */
type Kind = "json" | "ndjson" | "sequence";
const NAMES: Readonly<Record<Kind, string>> = { json: "JSON", ndjson: "NDJSON", sequence: "JSON" };

class JsonScanner implements Scanner {
  private state: number = STATE.START;
  private depth = 0;
  /** A bit per level: 1 is an object. */
  private levels = new Uint32Array(4);
  private isKey = false;
  private part = 0;
  private numberBytes = 0;
  private literal = "";
  private literalAt = 0;
  private isEmpty = true;

  constructor(private readonly kind: Kind) {}

  scan(draft: Draft): void {
    const { raw, rawLength } = draft;
    while (draft.scanned < rawLength) {
      const at = draft.scanned;
      if (this.state === STATE.STRING) {
        if (!this.readString(draft)) return;
      } else if (this.state === STATE.NUMBER) this.readNumber(draft);
      else if (this.state === STATE.LITERAL) this.readLiteral(draft, raw[at]!);
      else if (this.isEmpty && raw[at] === BOM[0]) {
        if (rawLength - at < BOM.length) return;
        if (BOM.some((byte, i) => raw[at + i] !== byte)) throw this.error(draft, at);
        draft.scanned += BOM.length;
        this.isEmpty = false;
      } else this.readStructure(draft, raw[at]!);
    }
  }

  end(draft: Draft): void {
    if (this.state === STATE.NUMBER && this.depth === 0) this.endNumber(draft);
    const isOver = this.state === STATE.DONE || (this.state === STATE.START && (this.kind === "ndjson" || this.isEmpty));
    if (!isOver || draft.scanned < draft.rawLength) throw this.error(draft, draft.rawLength);
  }

  private readStructure(draft: Draft, byte: number): void {
    const at = draft.scanned;
    draft.scanned = at + 1;
    this.isEmpty = false;
    if (byte === 0x20 || byte === 0x09 || byte === 0x0d) return;
    if (byte === LF) {
      if (this.kind !== "ndjson" || this.state === STATE.START) return;
      if (this.state !== STATE.DONE) throw this.error(draft, at);
      this.state = STATE.START;
      return;
    }
    switch (this.state) {
      case STATE.FIRST_KEY:
      case STATE.KEY:
        if (byte === QUOTE) return this.beginString(true);
        if (byte === 0x7d && this.state === STATE.FIRST_KEY) return this.up();
        break;
      case STATE.COLON:
        if (byte !== 0x3a) break;
        this.state = STATE.VALUE;
        return;
      case STATE.AFTER: {
        const isObject = this.isObject();
        if (byte === 0x2c) this.state = isObject ? STATE.KEY : STATE.VALUE;
        else if (byte === (isObject ? 0x7d : 0x5d)) this.up();
        else break;
        return;
      }
      case STATE.DONE:
        if (this.kind === "sequence" && this.beginValue(draft, at, byte)) return;
        break;
      default:
        if (byte === 0x5d && this.state === STATE.FIRST_VALUE) return this.up();
        if (this.beginValue(draft, at, byte)) return;
    }
    throw this.error(draft, at);
  }

  private beginValue(draft: Draft, at: number, byte: number): boolean {
    if (byte !== 0x22 && byte !== 0x2d && (byte < 0x30 || byte > 0x39) && this.depth > 0 && this.isObject()) draft.gap(at); // No text follows the key.
    if (byte === QUOTE) this.beginString(false);
    else if (byte === 0x7b) this.down(draft, at, 1);
    else if (byte === 0x5b) this.down(draft, at, 0);
    else if (byte === 0x2d || (byte >= 0x30 && byte <= 0x39)) {
      this.part = byte === 0x2d ? PART.MINUS : byte === 0x30 ? PART.ZERO : PART.INTEGER;
      this.state = STATE.NUMBER;
      this.numberBytes = 1;
      draft.row(ROW.NUMBER, draft.textLength, at);
      draft.text[draft.textLength++] = byte;
    } else {
      const literal = LITERALS.find((word) => word.charCodeAt(0) === byte);
      if (literal === undefined) return false;
      this.literal = literal;
      this.literalAt = 1;
      this.state = STATE.LITERAL;
    }
    return true;
  }

  private beginString(isKey: boolean): void {
    this.isKey = isKey;
    this.state = STATE.STRING;
  }

  private down(draft: Draft, at: number, isObject: 0 | 1): void {
    if (this.depth === MAX_DEPTH) throw this.error(draft, at, `no more than ${MAX_DEPTH} levels`);
    const word = this.depth >>> 5;
    if (word === this.levels.length) {
      const larger = new Uint32Array(2 * word);
      larger.set(this.levels);
      this.levels = larger;
    }
    const bit = 1 << (this.depth & 31);
    this.levels[word] = isObject === 1 ? this.levels[word]! | bit : this.levels[word]! & ~bit;
    this.depth++;
    this.state = isObject === 1 ? STATE.FIRST_KEY : STATE.FIRST_VALUE;
  }

  private up(): void {
    this.depth--;
    this.endValue();
  }

  private isObject(): boolean {
    const level = this.depth - 1;
    return (this.levels[level >>> 5]! & (1 << (level & 31))) !== 0;
  }

  private endValue(): void {
    this.state = this.depth === 0 ? STATE.DONE : STATE.AFTER;
  }

  /** Reads on in a string, and in those that follow it directly; false if the bytes to come are needed. */
  private readString(draft: Draft): boolean {
    const { raw, text, rawLength, words, textWords } = draft;
    for (;;) {
      let at = draft.scanned;
      let to = draft.textLength;
      const start = at;
      const textStart = to;
      let seen = 0;
      let byte = 0;
      for (; at + 4 <= rawLength; at += 4, to += 4) {
        const word = words.getInt32(at, true);
        // What of it does not belong to the text is written over.
        textWords.setInt32(to, word, true);
        const quote = word ^ 0x22222222;
        const backslash = word ^ 0x5c5c5c5c;
        // The top bit of each byte: at least 0x20, not a quote, not a backslash.
        const printable = ((word & 0x7f7f7f7f) + 0x60606060) | word;
        const unquoted = (((quote & 0x7f7f7f7f) + 0x7f7f7f7f) | quote) & (((backslash & 0x7f7f7f7f) + 0x7f7f7f7f) | backslash);
        if ((printable & unquoted & TOP_BITS) !== TOP_BITS) break;
        seen |= word;
      }
      seen = (seen & TOP_BITS) === 0 ? 0 : 0x80;
      while (at < rawLength && STOPS[(byte = raw[at]!)] === 0) {
        text[to++] = byte;
        seen |= byte;
        at++;
      }
      const isCut = at === rawLength;
      if (seen >= 0x80) {
        const unfinished = isCut ? unfinishedUtf8(raw, start, at) : 0;
        at -= unfinished;
        to -= unfinished;
        const invalid = firstInvalidUtf8(raw, start, at);
        if (invalid >= 0) throw this.error(draft, invalid, "UTF-8");
      }
      if (at > start) draft.row(ROW.PLAIN, textStart, start);
      draft.textLength = to;
      draft.scanned = at;
      if (isCut) return false;
      if (byte === BACKSLASH) {
        if (!this.readEscape(draft)) return false;
        continue;
      }
      if (byte !== QUOTE) throw this.error(draft, at, "an escape instead of a control character");
      draft.gap(at, this.isKey ? COLON : SEPARATOR);
      draft.scanned = at + 1;
      // Most often the next string follows at once.
      const joint = at + 2 < rawLength && raw[at + 2] === QUOTE ? raw[at + 1] : 0;
      if (this.isKey && joint === 0x3a) this.isKey = false;
      else if (!this.isKey && joint === 0x2c && this.depth > 0) this.isKey = this.isObject();
      else {
        if (this.isKey) this.state = STATE.COLON;
        else this.endValue();
        return true;
      }
      draft.scanned = at + 3;
    }
  }

  private readEscape(draft: Draft): boolean {
    const { raw, text, rawLength, scanned: at } = draft;
    if (at + 1 >= rawLength) return false;
    const letter = raw[at + 1]!;
    let point = ESCAPES[letter]!;
    if (point > 0) {
      draft.row(ROW.ATOM, draft.textLength, at);
      text[draft.textLength++] = point;
      draft.scanned = at + 2;
      return true;
    }
    if (letter !== 0x75) throw this.error(draft, at + 1, "an escape");
    if (at + 6 > rawLength) return false;
    point = this.hex(draft, at + 2);
    let length = 6;
    if (point >= 0xd800 && point < 0xdc00) {
      // Only what follows tells whether it is half a pair.
      if (at + 6 === rawLength || (raw[at + 6] === BACKSLASH && at + 7 === rawLength)) return false;
      if (raw[at + 6] === BACKSLASH && raw[at + 7] === 0x75) {
        if (at + 12 > rawLength) return false;
        const low = this.hex(draft, at + 8);
        if (low >= 0xdc00 && low < 0xe000) {
          point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
          length = 12;
        }
      }
    }
    draft.row(ROW.ATOM, draft.textLength, at);
    draft.textLength += writeCodePoint(text, draft.textLength, point);
    draft.scanned = at + length;
    return true;
  }

  private hex(draft: Draft, at: number): number {
    let value = 0;
    for (let i = at; i < at + 4; i++) {
      const digit = hexDigit(draft.raw[i]!);
      if (digit < 0) throw this.error(draft, i, "a hexadecimal digit");
      value = (value << 4) | digit;
    }
    return value;
  }

  private readNumber(draft: Draft): void {
    const { raw, text, rawLength } = draft;
    let at = draft.scanned;
    let to = draft.textLength;
    let part = this.part;
    for (; at < rawLength; at++) {
      const byte = raw[at]!;
      if (byte >= 0x30 && byte <= 0x39) {
        if (part === PART.ZERO) throw this.error(draft, at);
        if (part === PART.MINUS) part = byte === 0x30 ? PART.ZERO : PART.INTEGER;
        else if (part === PART.POINT) part = PART.FRACTION;
        else if (part === PART.EXPONENT || part === PART.SIGN) part = PART.POWER;
      } else if (byte === 0x2e && (part === PART.ZERO || part === PART.INTEGER)) part = PART.POINT;
      else if ((byte | 0x20) === 0x65 && (part === PART.ZERO || part === PART.INTEGER || part === PART.FRACTION)) part = PART.EXPONENT;
      else if ((byte === 0x2b || byte === 0x2d) && part === PART.EXPONENT) part = PART.SIGN;
      else break;
      text[to++] = byte;
    }
    this.numberBytes += at - draft.scanned;
    if (this.numberBytes > MAX_NUMBER_BYTES) throw this.error(draft, at, `a number of no more than ${MAX_NUMBER_BYTES} bytes`);
    this.part = part;
    draft.textLength = to;
    draft.scanned = at;
    if (at < rawLength) this.endNumber(draft);
  }

  private endNumber(draft: Draft): void {
    const { part } = this;
    if (part !== PART.ZERO && part !== PART.INTEGER && part !== PART.FRACTION && part !== PART.POWER) throw this.error(draft, draft.scanned);
    draft.gap(draft.scanned);
    this.endValue();
  }

  private readLiteral(draft: Draft, byte: number): void {
    if (this.literal.charCodeAt(this.literalAt) !== byte) throw this.error(draft, draft.scanned);
    draft.scanned++;
    if (++this.literalAt === this.literal.length) this.endValue();
  }

  private error(draft: Draft, at: number, expected = EXPECTED[this.state]!): LogveilError {
    const offset = draft.base + at;
    const { kind } = this;
    const framing = kind === "sequence" ? "json" : kind;
    return new LogveilError("LV_FRAMING", `the body is no ${NAMES[kind]}: at byte ${offset} ${expected} was expected`, {
      facts: { framing, offset, expected },
    });
  }
}

/** The value of a hexadecimal digit; -1 for another byte. */
export function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** Text as the inside of a JSON string: shortest escapes, lone surrogates as `\uXXXX`, U+FFFD for what is no UTF-8. */
function encode(text: Buffer): Buffer {
  const parts: string[] = [];
  let from = 0;
  for (let at = text.indexOf(0xed); at >= 0; at = text.indexOf(0xed, at + 1)) {
    const surrogate = surrogateAt(text, at);
    if (surrogate < 0) continue;
    parts.push(text.toString("utf8", from, at), `\\u${surrogate.toString(16)}`);
    from = at + 3;
  }
  parts.push(text.toString("utf8", from));
  return Buffer.from(parts.map((part, i) => (i % 2 === 1 ? part : JSON.stringify(part).slice(1, -1))).join(""));
}

const syntax = (open: () => Scanner): Syntax => ({
  open,
  encode,
  encodeNumber: (text) => Buffer.concat([Buffer.from('"'), encode(text), Buffer.from('"')]),
  isInside: (text, at) => (text[at]! & 0xc0) === 0x80,
  unfinished: (text) => unfinishedUtf8(text, 0, text.length),
});

export const JSON_TEXT: Syntax = syntax(() => new JsonScanner("json"));
export const NDJSON: Syntax = syntax(() => new JsonScanner("ndjson"));
export const JSON_SEQUENCE: Syntax = syntax(() => new JsonScanner("sequence"));
