/**
 * Finding anchors: the literals that make a rule worth a look. The boundary for both engines, and the portable one.
 *
 * An anchor has 3 to 32 bytes and may match ASCII letters of either case. All places are reported; what they mean is the rules' business. The portable loop looks
 * up three bytes, folded to lower case, in a table of what anchors begin with, then four in a filter if there are longer ones. What passes is compared.
 */

/** Flags of an anchor, a byte each in {@link AnchorTable.flags}. */
export const ANCHOR = Object.freeze({
  /** ASCII letters of either case. The anchor itself is lower case. */
  FOLD: 1,
  /** Counts only as part of a name that an operator and a value follow: see `hasShape`. */
  ASSIGN: 2,
  /** Does not count inside a word: see `mayStart`. */
  TOKEN: 4,
});

export const MIN_ANCHOR_BYTES = 3;
export const MAX_ANCHOR_BYTES = 32;

/** Anchors as they cross the boundary, laid out as needles are. */
export interface AnchorTable {
  readonly bytes: Uint8Array;
  readonly offsets: Uint32Array;
  readonly flags: Uint8Array;
  /** Three bytes per anchor: the number of an alphabet, how many bytes of it must follow, and where its five rarest bytes begin (if it has them). */
  readonly hints: Uint8Array;
  /**
   * Six numbers per anchor, what must come behind it within so many bytes of its start: how many (0: nothing is asked); an alphabet, other bytes than of which must not come
   * before it; an alphabet, of which a byte must come (counted from 1; 0: none need); a place in `words`, one of which must (from 1; 0: none need); an alphabet, and how
   * many of its bytes must come in a row (0: none need).
   */
  readonly reaches: Uint16Array;
  /** 256 bytes per alphabet, 1 for a byte that belongs to it. */
  readonly alphabets: Uint8Array;
  /** Lists of words in lower case, found in either: a byte that says how many there are, and for each a byte with its length, and its bytes. */
  readonly words: Uint8Array;
}

/** Numbers per anchor. */
export const ANCHOR_SIZES = Object.freeze({ HINT: 3, REACH: 6 });

/** The anchors of one stream. */
export interface AnchorStream {
  /** Of the last scan, in order of position: the anchor's number, and how many bytes before the end of the input it starts. */
  readonly hits: Uint32Array;
  /** Scans the next bytes (at most 16 MiB); answers how many hits there are. An anchor is reported by the scan that completes it. */
  scan(chunk: Uint8Array): number;
  /** Its end: what it holds is forgotten, and nothing may be asked of it any more. */
  release(): void;
}

/** Limits of {@link hasShape}: bytes of a name behind its word, bytes around the operator, and the fewest of a value. */
export const SHAPE = Object.freeze({ NAME_BYTES: 40, AROUND_BYTES: 16, VALUE_BYTES: 6 });

/** What a byte can be in the shape of an assignment. */
export const SHAPE_CLASS = Object.freeze({ NAME: 1, AROUND: 2, OPERATOR: 4, VALUE: 8, OPENER: 16, QUOTE: 32 });

/** The classes of every byte. A control sequence counts as what stands around an operator: its bytes up to the letter are there too. */
export const SHAPE_CLASSES: Uint8Array = (() => {
  const classes = new Uint8Array(256);
  const add = (bytes: string, kind: number): void => {
    for (const byte of Buffer.from(bytes, "latin1")) classes[byte]! |= kind;
  };
  classes.fill(SHAPE_CLASS.VALUE, 0x21);
  for (const byte of Buffer.from("\"'`\x7f")) classes[byte]! &= ~SHAPE_CLASS.VALUE;
  add("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_.-", SHAPE_CLASS.NAME);
  add(" \t\"'`)]\\", SHAPE_CLASS.AROUND);
  add("=:>!,", SHAPE_CLASS.OPERATOR);
  add("$'\"`([ \t\\=:>!,\x1b", SHAPE_CLASS.OPENER);
  add("\"'`", SHAPE_CLASS.QUOTE);
  return classes;
})();

/**
 * Whether an operator and a value may follow the word that ends at `at`: name bytes, closing quotes and blanks, `=`, `:`, `>`, `!=`, `,` or `value=` (or encoded
 * forms, which begin with `%`, `&` or `\\u`), openers, and bytes that a value can have. True too where `text` ends before that is decided: the rules decide.
 */
export function hasShape(text: Uint8Array, at: number): boolean {
  let offset = skip(text, at, SHAPE.NAME_BYTES, SHAPE_CLASS.NAME);
  offset = skip(text, offset, SHAPE.AROUND_BYTES, SHAPE_CLASS.AROUND);
  if (offset >= text.length) return true;
  const operator = text[offset]!;
  if (operator === 0x25 || operator === 0x26 || (operator === 0x75 && text[offset - 1] === 0x5c) || (operator === 0x76 && text[offset - 1] === 0x20))
    return true;
  if ((SHAPE_CLASSES[operator]! & SHAPE_CLASS.OPERATOR) === 0) return false;
  offset = skip(text, offset, SHAPE.AROUND_BYTES, SHAPE_CLASS.OPENER);
  // What follows a control sequence is left to the rules.
  if (offset >= text.length || text[offset - 1] === 0x1b) return true;
  const before = text[offset - 1]!;
  const quote = (SHAPE_CLASSES[before]! & SHAPE_CLASS.QUOTE) === 0 ? -1 : before;
  const until = Math.min(offset + SHAPE.VALUE_BYTES, text.length);
  while (offset < until && (quote < 0 ? (SHAPE_CLASSES[text[offset]!]! & SHAPE_CLASS.VALUE) !== 0 : isQuoted(text, offset, quote))) offset++;
  return offset === until;
}

/** Whether the byte at `at` does not end what `quote` began. */
const isQuoted = (text: Uint8Array, at: number, quote: number): boolean => text[at]! >= 0x20 && (text[at] !== quote || text[at - 1] === 0x5c);

/** Longest escape that ends in word characters, `\u001b[38;5;200m` or so, in bytes. */
const LONGEST_ESCAPE = 24;
const ESCAPE_BYTES = new Set(Buffer.from("\\%=[^\x1b\x9b", "latin1"));
const isWord = (byte: number): boolean => byte !== 0x2e && byte !== 0x2d && (SHAPE_CLASSES[byte]! & SHAPE_CLASS.NAME) !== 0;

/**
 * Whether a token may begin at `at`: not inside a word, unless what stands before may be an escape or a control sequence. True too where `text` begins so close before
 * that it cannot be told: the rules decide.
 */
export function mayStart(text: Uint8Array, at: number): boolean {
  if (at === 0 || !isWord(text[at - 1]!) || at < LONGEST_ESCAPE) return true;
  for (let before = at - LONGEST_ESCAPE; before < at; before++) if (ESCAPE_BYTES.has(text[before]!)) return true;
  return false;
}

function skip(text: Uint8Array, from: number, most: number, kind: number): number {
  const until = Math.min(text.length, from + most);
  let at = from;
  while (at < until && (SHAPE_CLASSES[text[at]!]! & kind) !== 0) at++;
  return at;
}

/** Anchors, ready to search. Immutable. */
export interface AnchorSet {
  open(): AnchorStream;
}

/** Numbers per hit. */
export const HIT_SIZE = 2;

const fold = (byte: number): number => (byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte);

/** Bits of a hash: tables that are small enough to stay in cache, and large enough that little of them is taken. */
const HASH_BITS = 16;
const MIX = 0x9e3779b1;
const slot = (key: number): number => Math.imul(key, MIX) >>> (32 - HASH_BITS);
/** What begins with three bytes: an anchor that has no more, or a longer one. */
const SHORT = 1;
const LONG = 2;

/** The anchors of a pack, ready to search. Immutable. */
export class PortableAnchors implements AnchorSet {
  /** Letters in lower case. */
  readonly folds = Uint8Array.from({ length: 256 }, (_, byte) => fold(byte));
  /** By the hash of three bytes, folded, what begins with them; by the hash of four, 1 if anything does. */
  readonly threes = new Uint8Array(1 << HASH_BITS);
  readonly fours = new Uint8Array(1 << HASH_BITS);
  /** Anchors by those bytes. */
  readonly byFour = new Map<number, number[]>();
  readonly byThree = new Map<number, number[]>();

  constructor(readonly table: AnchorTable) {
    const { bytes, offsets } = table;
    for (let anchor = 0; anchor + 1 < offsets.length; anchor++) {
      const at = offsets[anchor]!;
      const three = (fold(bytes[at]!) << 16) | (fold(bytes[at + 1]!) << 8) | fold(bytes[at + 2]!);
      const longer = offsets[anchor + 1]! - at > MIN_ANCHOR_BYTES;
      const key = longer ? (three << 8) | fold(bytes[at + 3]!) : three;
      const known = longer ? this.byFour : this.byThree;
      known.set(key, [...(known.get(key) ?? []), anchor]);
      this.threes[slot(three)]! |= longer ? LONG : SHORT;
      if (longer) this.fours[slot(key)] = 1;
    }
  }

  /** Length of the longest anchor in bytes. */
  get longest(): number {
    const { offsets } = this.table;
    let longest = MIN_ANCHOR_BYTES;
    for (let anchor = 0; anchor + 1 < offsets.length; anchor++) longest = Math.max(longest, offsets[anchor + 1]! - offsets[anchor]!);
    return longest;
  }

  open(): AnchorStream {
    return new PortableAnchorStream(this);
  }
}

const NONE: readonly number[] = [];

class PortableAnchorStream implements AnchorStream {
  hits = new Uint32Array(64 * HIT_SIZE);
  private count = 0;
  /** The last bytes of the input, too few for an anchor that began in them. */
  private tail = Buffer.alloc(0);
  private readonly carry: number;

  constructor(private readonly anchors: PortableAnchors) {
    this.carry = anchors.longest - 1;
  }

  release(): void {
    this.tail = Buffer.alloc(0);
  }

  scan(chunk: Uint8Array): number {
    this.count = 0;
    const { tail, carry } = this;
    if (tail.length > 0) this.find(Buffer.concat([tail, chunk.subarray(0, carry)]), tail.length, chunk.length + tail.length, tail.length);
    this.find(chunk, chunk.length, chunk.length, 0);
    const end = chunk.subarray(Math.max(0, chunk.length - carry));
    this.tail = end.length >= carry ? Buffer.from(end) : Buffer.concat([tail, end]).subarray(-carry);
    return this.count;
  }

  /** Reports anchors that start before `until` and end behind `past`; `total` is the distance from the start of `text` to the end of the input. */
  private find(text: Uint8Array, until: number, total: number, past: number): void {
    const { folds, fours, threes } = this.anchors;
    const last = Math.min(until, text.length - 2);
    let key = text.length < 3 ? 0 : (folds[text[0]!]! << 16) | (folds[text[1]!]! << 8) | folds[text[2]!]!;
    for (let at = 0; at < last; at++) {
      const next = (key << 8) | (at + 3 < text.length ? folds[text[at + 3]!]! : 0);
      const kinds = threes[slot(key)]!;
      if (kinds !== 0) {
        if ((kinds & LONG) !== 0 && fours[slot(next)] !== 0) this.compare(text, at, this.anchors.byFour.get(next), total, past);
        if ((kinds & SHORT) !== 0) this.compare(text, at, this.anchors.byThree.get(key), total, past);
      }
      key = next & 0xffffff;
    }
  }

  private compare(text: Uint8Array, at: number, anchors: readonly number[] | undefined, total: number, past: number): void {
    const { flags } = this.anchors.table;
    for (const anchor of anchors ?? NONE) {
      const end = this.matches(text, at, anchor);
      if (end <= past) continue;
      const kind = flags[anchor]!;
      if ((kind & ANCHOR.ASSIGN) !== 0 && !hasShape(text, end)) continue;
      if ((kind & ANCHOR.TOKEN) !== 0 && !mayStart(text, at)) continue;
      if (this.follows(text, end, anchor) && this.reaches(text, at, end, anchor)) this.add(anchor, total - at);
    }
  }

  /** Where `anchor` ends if it stands at `at`, else 0. */
  private matches(text: Uint8Array, at: number, anchor: number): number {
    const { bytes, offsets, flags } = this.anchors.table;
    const start = offsets[anchor]!;
    const length = offsets[anchor + 1]! - start;
    if (at + length > text.length) return 0;
    const folded = (flags[anchor]! & ANCHOR.FOLD) !== 0;
    for (let i = 0; i < length; i++) {
      const byte = text[at + i]!;
      if ((folded ? fold(byte) : byte) !== bytes[start + i]) return 0;
    }
    return at + length;
  }

  /** Whether the bytes that an anchor wants stand at `at`, as far as `text` goes. */
  private follows(text: Uint8Array, at: number, anchor: number): boolean {
    const { hints, alphabets } = this.anchors.table;
    const alphabet = hints[anchor * ANCHOR_SIZES.HINT]! * 256;
    const until = Math.min(text.length, at + hints[anchor * ANCHOR_SIZES.HINT + 1]!);
    for (let offset = at; offset < until; offset++) if (alphabets[alphabet + text[offset]!] === 0) return false;
    return true;
  }

  /** Whether what every match has comes before a byte that none has. True where the text ends before that is decided. */
  private reaches(text: Uint8Array, start: number, end: number, anchor: number): boolean {
    const { alphabets, reaches } = this.anchors.table;
    const first = anchor * ANCHOR_SIZES.REACH;
    const most = reaches[first]!;
    if (most === 0) return true;
    const passed = reaches[first + 1]! * 256;
    const needed = reaches[first + 2]!;
    const list = reaches[first + 3]!;
    const set = reaches[first + 4]! * 256;
    const count = reaches[first + 5]!;
    const until = start + most;
    const last = Math.min(text.length, until);
    let hasByte = needed === 0;
    let hasWord = list === 0;
    let hasRun = count === 0;
    let run = 0;
    for (let at = end; at < last; at++) {
      const byte = text[at]!;
      hasByte ||= alphabets[(needed - 1) * 256 + byte] === 1;
      hasWord ||= this.wordStands(text, at, list - 1);
      run = alphabets[set + byte] === 1 ? run + 1 : 0;
      hasRun ||= run >= count;
      if (hasByte && hasWord && hasRun) return true;
      if (alphabets[passed + byte] === 0) return false;
    }
    return text.length < until;
  }

  /** Whether a word of the list at `place` stands at `at`. */
  private wordStands(text: Uint8Array, at: number, place: number): boolean {
    const { words } = this.anchors.table;
    let word = place + 1;
    for (let count = words[place]!; count > 0; count--) {
      const length = words[word]!;
      let same = 0;
      while (same < length && at + same < text.length && fold(text[at + same]!) === words[word + 1 + same]) same++;
      if (same === length) return true;
      word += 1 + length;
    }
    return false;
  }

  private add(anchor: number, back: number): void {
    if ((this.count + 1) * HIT_SIZE > this.hits.length) {
      const larger = new Uint32Array(this.hits.length * 2);
      larger.set(this.hits);
      this.hits = larger;
    }
    this.hits[this.count * HIT_SIZE] = anchor;
    this.hits[this.count * HIT_SIZE + 1] = back;
    this.count++;
  }
}
