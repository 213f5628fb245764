/**
 * Text that stands in a string of JSON or of source code: `\"` for a quote, `\n` for a line end, `\u001b[32m` for a colour. An expression that knows none of that is
 * tried on what such text spells, and its match is mapped back. Forms: RFC 8259 §7, and those of C and shells. Runs of base64, hex and `%2F` are decode.ts's.
 */
import { NIBBLES } from "../core/encoded.js";
import { type ByteSet, byteSet, interned, union } from "./bytes.js";
import { StreamText } from "./text.js";

const BACKSLASH = 0x5c;
const QUOTE = 0x22;
/** Bytes before an anchor in which the string that it stands in may begin. */
const STRING_BYTES = 400;
/** What a letter behind the backslash stands for; 0: nothing. */
const LETTERS: Uint8Array = (() => {
  const letters = new Uint8Array(256);
  for (const pair of ['""', "''", "\\\\", "//", "n\n", "r\r", "t\t", "b\b", "f\f", "e\x1b"]) letters[pair.charCodeAt(0)] = pair.charCodeAt(1);
  return letters;
})();
/** What begins a number: `\u001b`, `\x1b`, `\033`. */
const LOWER_U = 0x75;
const LOWER_X = 0x78;
const ZERO = 0x30;
/** Bytes of `\u001b`. */
export const LONGEST_ESCAPE = 6;

/** Bytes that strings spell by a letter only, and those that they may spell by digits. */
const BY_LETTER = byteSet("\"'\\\\/");
const BY_DIGITS = byteSet("\0-\x1f\x7f");
const DIGITS_BYTES = byteSet("\\\\0-9A-Fa-funrtx");

const spelledSets = new WeakMap<ByteSet, ByteSet>();

/** The bytes that the bytes of `set` are spelled with. */
export function spellings(set: ByteSet): ByteSet {
  let spelled = spelledSets.get(set);
  if (spelled === undefined) spelledSets.set(set, (spelled = spellBytes(set)));
  return spelled;
}

function spellBytes(set: ByteSet): ByteSet {
  const has = (some: ByteSet): boolean => some.some((member, byte) => member === 1 && set[byte] === 1);
  if (has(BY_DIGITS)) return interned(union(set, DIGITS_BYTES));
  return has(BY_LETTER) && set[BACKSLASH] === 0 ? interned(union(set, byteSet("\\\\"))) : set;
}

/** A literal as JSON spells it; undefined if that is no other. */
export function spelling(literal: string): string | undefined {
  const spelled = JSON.stringify(literal).slice(1, -1);
  return spelled === literal ? undefined : spelled;
}

/** A part of a text as it reads without its escapes. */
export class Spelled {
  readonly text = new StreamText();

  constructor(
    readonly stretch: Stretch,
    /** Its first byte is this one of the stretch. */
    readonly first: number,
    end: number,
    ended: boolean,
    /** It ends with the string that was asked for. */
    readonly endsAtQuote: boolean,
    /** What the stretch calls 0 is so much behind the start of what was read. */
    private readonly shift: number,
  ) {
    this.text.push(stretch.bytes(first, end));
    this.text.ended = ended;
    readings.set(this.text, this);
  }

  /** Where in the text the byte at `index` is spelled. */
  placeOf(index: number): number {
    return this.stretch.placeOf(this.first + index) - this.shift;
  }

  /** Which byte is spelled at `place`; undefined for the middle of an escape, and where nothing is. */
  indexOf(place: number): number | undefined {
    const index = this.stretch.indexOf(place + this.shift);
    if (this.stretch.placeOf(index) !== place + this.shift || index < this.first || index - this.first >= this.text.total) return undefined;
    return index - this.first;
  }
}

/** By its text a reading: what is spelled in it is read in its whole stretch, once for all readings of that. */
const readings = new WeakMap<StreamText, Spelled>();

/** Bytes that are read at once, at least. */
const READ_BYTES = 512;

const NOTHING = Buffer.alloc(0);

/** What is spelled from an offset of a text on: read once for all candidates in it, as far as they ask. */
class Stretch {
  private memory: Buffer = NOTHING;
  private length = 0;
  /** By part, an escape or what stands between two, where it begins here, and there. */
  private readonly starts: number[] = [];
  private readonly places: number[] = [];
  /** Quotes that no escape spells. */
  private readonly quotes: number[] = [];
  private known = new StreamText();
  /** Offset in the text of what is to be read next. */
  next: number;

  constructor(
    private readonly text: StreamText,
    readonly start: number,
    /** Whether the text had ended, and its length then. */
    readonly ended: boolean,
    readonly total: number,
  ) {
    this.next = start;
  }

  bytes(from: number, to: number): Uint8Array {
    return this.memory.subarray(from, to);
  }

  /** What was read so far, as a text. */
  get whole(): StreamText {
    if (this.known.total !== this.length) {
      this.known = new StreamText();
      this.known.push(this.bytes(0, this.length));
    }
    return this.known;
  }

  /** Reads up to `until`, or as far as it is decided what is spelled. */
  read(until: number): void {
    if (this.next >= until) return;
    const target = Math.max(until, this.next + READ_BYTES);
    const raw = this.text.window(this.next, target + LONGEST_ESCAPE);
    const base = this.next;
    const limit = Math.min(raw.length, target - base);
    this.reserve(limit);
    const { memory } = this;
    let isPart = false;
    let at = 0;
    while (at < limit) {
      const byte = raw[at]!;
      if (byte !== BACKSLASH) {
        if (!isPart) this.addPart(base + at);
        isPart = true;
        if (byte === QUOTE) this.quotes.push(this.length);
        memory[this.length++] = byte;
        at++;
        continue;
      }
      // It may be one of which the end is yet to come.
      if (raw.length - at < LONGEST_ESCAPE && !this.text.ended && mayBeCut(raw, at)) break;
      const escape = escapeAt(raw, at);
      this.addPart(base + at);
      isPart = false;
      memory[this.length++] = escape < 0 ? BACKSLASH : escape & 0xff;
      at += escape < 0 ? 1 : escape >> 8;
    }
    this.next = base + at;
  }

  private addPart(place: number): void {
    this.starts.push(this.length);
    this.places.push(place);
  }

  private reserve(count: number): void {
    if (this.length + count <= this.memory.length) return;
    const larger = Buffer.allocUnsafe(2 * (this.length + count));
    this.memory.copy(larger, 0, 0, this.length);
    this.memory = larger;
  }

  placeOf(index: number): number {
    if (index >= this.length) return this.next + index - this.length;
    const part = lastAtMost(this.starts, index);
    return this.places[part]! + index - this.starts[part]!;
  }

  /** The byte that is spelled at `place`; for the middle of an escape, the next. */
  indexOf(place: number): number {
    if (place >= this.next) return this.length + place - this.next;
    const part = lastAtMost(this.places, place);
    return part < 0 ? 0 : Math.min(this.starts[part]! + place - this.places[part]!, this.starts[part + 1] ?? this.length);
  }

  /** Behind the last byte that is spelled before `place`; an escape that reaches over it does not count. */
  endBefore(place: number): number {
    const end = this.indexOf(place);
    return this.placeOf(end) > place ? end - 1 : end;
  }

  /** The first quote from `index` on; -1 if there is none before `end`. */
  quoteFrom(index: number, end: number): number {
    const quote = this.quotes[lastAtMost(this.quotes, index - 1) + 1];
    return quote === undefined || quote >= end ? -1 : quote;
  }
}

/** Index of the last number that is at most `most`, in a list in order; -1 if there is none. */
function lastAtMost(numbers: readonly number[], most: number): number {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle]! <= most) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** A stretch begins at most twice as many bytes before the first one that is asked for. */
export const SYNC_BYTES = 256;
/** Stretches of a text that are kept: those of the candidates judged last. */
const MAX_STRETCHES = 4;
const stretches = new WeakMap<StreamText, Stretch[]>();

/** The stretch that holds what is spelled from `from` on. Where it begins depends on the bytes before it alone, never on what was read before. */
function stretchAt(text: StreamText, from: number): Stretch {
  const start = syncPoint(text, from);
  let known = stretches.get(text);
  if (known === undefined) stretches.set(text, (known = []));
  const found = known.find(
    (stretch) => stretch.start === start && stretch.next >= text.start && (!stretch.ended || (text.ended && stretch.total === text.total)),
  );
  if (found !== undefined) return found;
  const stretch = new Stretch(text, start, text.ended, text.total);
  if (known.length === MAX_STRETCHES) known.shift();
  known.push(stretch);
  return stretch;
}

/**
 * An offset at or before a round one before `from` at which no escape stands for sure, as none begins in the bytes before it. Where escapes follow each other all along,
 * the round one itself. Candidates that stand close together have the same.
 */
function syncPoint(text: StreamText, from: number): number {
  const round = from - (from % SYNC_BYTES);
  const least = Math.max(text.start, round - SYNC_BYTES);
  let clear = 0;
  for (let at = round - 1; at >= least; at--) {
    clear = text.at(at) === BACKSLASH ? 0 : clear + 1;
    if (clear === LONGEST_ESCAPE) return at + LONGEST_ESCAPE;
  }
  if (least === 0) return 0;
  let start = round;
  while (start > text.start && start > round - LONGEST_ESCAPE && text.at(start - 1) === BACKSLASH) start--;
  return Math.max(start, text.start);
}

/**
 * Reads what is spelled around the anchor at `at`, from `before` bytes before it on and up to `until`, as far as that is there; of the string that begins at `string`, if
 * that is given, no more than that. Undefined if nothing is spelled.
 */
export function readSpelled(text: StreamText, at: number, before: number, until: number, string?: number): Spelled | undefined {
  const reading = readings.get(text);
  const isThere = text.total >= until || text.ended;
  if (reading === undefined) return read(text, 0, { at, from: Math.max(text.start, at - before, string ?? 0), until, isThere, isNested: false, string });
  const { first, stretch } = reading;
  const end = Math.min(until, text.total);
  const range = { at: at + first, from: first + Math.max(0, at - before, string ?? 0), until: end + first, isThere, isNested: true };
  return read(stretch.whole, first, { ...range, string: string === undefined ? undefined : string + first });
}

interface Range {
  readonly at: number;
  readonly from: number;
  readonly until: number;
  /** Nothing of it is yet to come. */
  readonly isThere: boolean;
  /** It is read in a reading, of which nothing is yet to come but what is not there. */
  readonly isNested: boolean;
  readonly string: number | undefined;
}

function read(text: StreamText, shift: number, { at, from, until, isThere, isNested, string }: Range): Spelled | undefined {
  const stretch = stretchAt(text, from);
  stretch.read(until);
  const isCut = !isThere || (!isNested && stretch.next < Math.min(until, text.total));
  const first = stretch.indexOf(from);
  const end = stretch.endBefore(Math.min(until, stretch.next));
  const quote = string === undefined ? -1 : stretch.quoteFrom(stretch.indexOf(at), end);
  const last = quote < 0 ? end : quote;
  const isOther = last - first !== stretch.placeOf(last) - stretch.placeOf(first);
  return isCut || string !== undefined || isOther ? new Spelled(stretch, first, last, quote >= 0 || !isCut, quote >= 0, shift) : undefined;
}

const strings = new WeakMap<StreamText, { readonly at: number; readonly start: number | undefined }>();

/** Where the string begins that `at` stands in, if that is the value of a key: behind `":"`, no more than {@link STRING_BYTES} before it. */
export function stringStart(text: StreamText, at: number): number | undefined {
  // The rules of an anchor ask one after the other.
  let known = strings.get(text);
  if (known?.at !== at) strings.set(text, (known = { at, start: findString(text, at) }));
  return known.start;
}

function findString(text: StreamText, at: number): number | undefined {
  const before = text.latin1(Math.max(text.start, at - STRING_BYTES), at);
  const line = before.lastIndexOf("\n") + 1;
  for (let quote = before.lastIndexOf('"'); quote > line; quote = before.lastIndexOf('"', quote - 1)) {
    let slashes = 0;
    while (before[quote - slashes - 1] === "\\") slashes++;
    if (slashes % 2 === 0) return OPENS_VALUE.test(before.slice(Math.max(line, quote - 10), quote)) ? at - before.length + quote + 1 : undefined;
  }
  return undefined;
}

/** What stands before the quote that begins a value. */
const OPENS_VALUE = /" {0,4}: {0,4}$/;

/** The escape that begins with the backslash at `at`: its byte, and 256 times its length; -1 for one that spells no single byte. */
function escapeAt(raw: Uint8Array, at: number): number {
  const kind = raw[at + 1] ?? 0;
  const letter = LETTERS[kind]!;
  if (letter !== 0) return (2 << 8) | letter;
  const number =
    kind === LOWER_U ? digitsAt(raw, at + 2, 4, 4) : kind === LOWER_X ? digitsAt(raw, at + 2, 2, 4) : kind === ZERO ? digitsAt(raw, at + 2, 2, 3) : -1;
  return number < 0 || number >= 0x80 ? -1 : ((kind === LOWER_U ? 6 : 4) << 8) | number;
}

/** The number of `count` digits of so many bits at `at`; -1 if there are others. */
function digitsAt(raw: Uint8Array, at: number, count: number, bits: number): number {
  let value = 0;
  for (let next = at; next < at + count; next++) {
    const digit = NIBBLES[raw[next] ?? 0]!;
    if (digit >= 1 << bits) return -1;
    value = (value << bits) | digit;
  }
  return value;
}

/** Whether the escape that begins at `at`, with which the text ends, may go on. */
function mayBeCut(raw: Uint8Array, at: number): boolean {
  const kind = raw[at + 1];
  if (kind === undefined) return true;
  const count = kind === LOWER_U ? 4 : kind === LOWER_X || kind === ZERO ? 2 : 0;
  for (let next = at + 2; next < at + 2 + count; next++) {
    if (next >= raw.length) return true;
    if (NIBBLES[raw[next]!]! >= (kind === ZERO ? 8 : 16)) return false;
  }
  return false;
}

/** How a line of a container's log ends: with a line end, and its string. */
const STRING_ENDS = /^(?:\\r)?\\n"/;

/**
 * Whether what an expression may match around the anchor at `at` is spelled otherwise than it stands there: `before` bytes before it, and behind it up to `until` or the
 * first byte that is not of `set`, stands a backslash. One of the line end that the string ends with does not count for an expression that has no line end in it.
 */
export function isSpelled(text: StreamText, at: number, before: number, until: number, set: ByteSet, hasLineEnd: boolean): boolean {
  const first = text.nextBackslash(Math.max(text.start, at - before));
  if (first < at) return true;
  if (first >= until) return false;
  return text.runEnd(set, at, first) === first && (hasLineEnd || !STRING_ENDS.test(text.latin1(first, first + 5)));
}
