/**
 * A draft: bytes of a body that have not left, the text that they spell, and the rows that say which bytes spell what. A scanner writes it, the
 * masker over it ({@link StringsMasker}) reads it; it decides nothing.
 *
 *     raw   {"a":"x\n"}          rows  PLAIN a · GAP ":" · PLAIN x · ATOM \n · GAP "}
 *     text  a COLON x LF SEP
 */

import { KEY_END, STRINGS_END } from "../core/joined.js";

/** Kinds of rows. A row reaches to the start of the next. */
export const ROW = Object.freeze({
  /** Text and raw are the same bytes. */
  PLAIN: 0,
  /** Raw bytes that spell one character. */
  ATOM: 1,
  /** What stands between two strings; its text is {@link SEPARATOR} or {@link COLON}. */
  GAP: 2,
  /** The same bytes, which leave together or not at all: a number. */
  NUMBER: 3,
});

/**
 * Stands in the text for what is between two strings. The LF ends a control sequence and a line; 0xff, which UTF-8 never has, ends what the lanes without line ends would
 * go on with; the CR makes the next string begin a line, where a backspace takes nothing back (an LF here would meet more secrets that begin with one). The engine emits CR
 * and LF in any case, so strings are found again whatever was masked.
 */
export const SEPARATOR: readonly [number, number, number] = [0x0a, STRINGS_END, 0x0d];
/** Stands between a key and its value: it acts as a separator, and rules are shown an assignment. */
export const COLON: readonly [number, number, number] = [0x0a, KEY_END, 0x0d];

/** Numbers per row: start in the text, start in raw, kind. */
const ROW_SIZE = 3;
/** Most bytes of text, and rows, that a byte of raw makes: `&&` in a form. */
const TEXT_PER_BYTE = 3;
/** Room beyond that for what is left of the bytes before, and for the end. */
const SLACK = 32;
const EMPTY = Buffer.alloc(0);

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

export class Draft {
  /** Bytes of the body; `[done, length)` have not left. Only read by scanners. */
  raw: Buffer = EMPTY;
  /** The same memory, several bytes at once. */
  words: DataView = viewOf(EMPTY);
  rawLength = 0;
  rawDone = 0;
  /** Where the scanner goes on: what is behind it is the beginning of a token. */
  scanned = 0;
  /** Offset of `raw[0]` in the body, in bytes. */
  base = 0;
  text: Buffer = Buffer.allocUnsafeSlow(1024);
  textWords: DataView = viewOf(this.text);
  textLength = 0;
  textDone = 0;
  rows = new Int32Array(1024);
  private count = 0;
  /** Memory of our own behind `raw`; without it `raw` is the caller's chunk. */
  private own: Buffer = EMPTY;

  /** Takes bytes, which must stay as they are until `settle`, and makes room for their text and rows. */
  append(chunk: Uint8Array): void {
    const left = this.rawLength;
    if (left === 0) this.raw = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    else {
      if (this.own.length < left + chunk.length) {
        const larger = Buffer.allocUnsafeSlow(2 * (left + chunk.length));
        this.raw.copy(larger, 0, 0, left);
        this.own = larger;
      }
      this.raw = this.own;
      this.own.set(chunk, left);
    }
    this.words = viewOf(this.raw);
    this.rawLength = left + chunk.length;
    const fresh = this.rawLength - this.scanned + SLACK;
    if (this.text.length < this.textLength + TEXT_PER_BYTE * fresh) {
      const larger = Buffer.allocUnsafeSlow(2 * (this.textLength + TEXT_PER_BYTE * fresh));
      this.text.copy(larger, 0, 0, this.textLength);
      this.text = larger;
      this.textWords = viewOf(larger);
    }
    if (this.rows.length < this.count + ROW_SIZE * fresh) {
      const larger = new Int32Array(2 * (this.count + ROW_SIZE * fresh));
      larger.set(this.rows.subarray(0, this.count));
      this.rows = larger;
    }
  }

  /** A row begins at `text` and `raw`. One of the same bytes goes on with the one before. */
  row(kind: number, text: number, raw: number): void {
    const { rows, count } = this;
    if ((kind === ROW.PLAIN || kind === ROW.NUMBER) && count > 0 && rows[count - 1] === kind) return;
    rows[count] = text;
    rows[count + 1] = raw;
    rows[count + 2] = kind;
    this.count = count + ROW_SIZE;
  }

  /** A string or number ends before `raw`; `by` stands for what is between it and the next. */
  gap(raw: number, by = SEPARATOR): void {
    const at = this.textLength;
    this.row(ROW.GAP, at, raw);
    this.text[at] = by[0];
    this.text[at + 1] = by[1];
    this.text[at + 2] = by[2];
    this.textLength = at + by.length;
  }

  /** The row that the byte at `text` belongs to, or would; -1 if there is none. */
  rowAt(text: number): number {
    let low = -1;
    let high = this.count / ROW_SIZE;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.rows[middle * ROW_SIZE]! <= text) low = middle;
      else high = middle;
    }
    return low;
  }

  /** Kind of a row; -1 if there is no such row. */
  kindOf(row: number): number {
    return row >= 0 && row * ROW_SIZE < this.count ? this.rows[row * ROW_SIZE + 2]! : -1;
  }

  textOf(row: number): number {
    return this.rows[row * ROW_SIZE]!;
  }

  rawOf(row: number): number {
    return row * ROW_SIZE < this.count ? this.rows[row * ROW_SIZE + 1]! : this.scanned;
  }

  /** Where in raw the text before `text` ends; what stands between two strings belongs to the separator's 0xff. */
  rawAt(text: number): number {
    const row = this.rowAt(text);
    if (row < 0) return this.scanned;
    const inside = text - this.textOf(row);
    const kind = this.kindOf(row);
    if (kind === ROW.GAP) return this.rawOf(inside >= 2 ? row + 1 : row);
    if (kind === ROW.ATOM) return this.rawOf(inside > 0 ? row + 1 : row);
    return this.rawOf(row) + inside;
  }

  /** Raw bytes for the outside: a view of the caller's chunk, or a copy. */
  slice(from: number, to: number): Buffer {
    const piece = this.raw.subarray(from, to);
    return this.raw === this.own ? Buffer.from(piece) : piece;
  }

  /** Forgets what is done; the chunk is no longer looked at. Moves no more bytes than have left. Answers by how much offsets in the text went down. */
  settle(): number {
    const { rawLength, rawDone, textLength, textDone } = this;
    if (this.raw !== this.own && rawDone < rawLength) {
      const left = rawLength - rawDone;
      if (this.own.length < left) this.own = Buffer.allocUnsafeSlow(2 * left + SLACK);
      this.raw.copy(this.own, 0, rawDone, rawLength);
      this.raw = this.own;
    } else if (rawDone < rawLength - rawDone) return 0;
    else this.raw.copyWithin(0, rawDone, this.raw === this.own ? rawLength : rawDone);
    const first = Math.max(0, this.rowAt(textDone)) * ROW_SIZE;
    this.rows.copyWithin(0, first, this.count);
    this.count = Math.max(0, this.count - first);
    for (let i = 0; i < this.count; i += ROW_SIZE) {
      this.rows[i]! -= textDone;
      this.rows[i + 1]! -= rawDone;
    }
    this.text.copyWithin(0, textDone, textLength);
    this.textLength -= textDone;
    this.textDone = 0;
    this.base += rawDone;
    this.rawLength -= rawDone;
    this.scanned -= rawDone;
    this.rawDone = 0;
    return textDone;
  }
}
