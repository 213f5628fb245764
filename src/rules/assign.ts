/**
 * Assignments: a name that holds a word such as `password` or `token`, an operator, a value. `NAME=value`, `"name": "value"`, `name => 'value'`, `<name>value</name>`,
 * `name%3Dvalue`. Read byte by byte, without a regular expression: logs are full of such words. The matcher has looked at the shape already ({@link hasShape}).
 */
import { hasShape, SHAPE } from "../core/anchors.js";
import { type ByteSet, byteSet, complement, interned } from "./bytes.js";
import { isGenerated, MOST_GENERATED_BYTES } from "./noise.js";
import { LONGEST_SEQUENCE, skipSequence } from "./boundary.js";
import type { StreamText } from "./text.js";
import { NEXT_BYTE, Wait } from "./waiting.js";

/** Longest value that is read; a longer one is masked as far as it goes on. */
export const MAX_VALUE_BYTES = 256;

const NAME = byteSet("0-9A-Za-z_.-");
const BLANK = byteSet("\t ");
const CLOSER = byteSet("\"'`)\\]\\\\");
const OPENER = byteSet("\"'`([\\\\");
const BACKSLASH = 0x5c;
const SLASH = 0x2f;
const AMPERSAND = 0x26;
const SEMICOLON = 0x3b;
const LOWER_U = 0x75;
const TWO = 0x32;
/** Bytes that end a value which is not quoted. */
export const PLAIN_VALUE = complement(byteSet("\0- \"'`,;<>(){}|\\\\\x7f\\]"));
/** Bytes of a generated password that no quotes stand around, and those that are part of it between two letters or digits only. */
const BARE_VALUE = complement(byteSet("\0- \x7f\"'`\\\\"));
const BARE_INNER = byteSet("\"'`\\\\");
const ALPHANUMERIC = byteSet("0-9A-Za-z");
/** Bytes of a quoted value, by its quote. */
const QUOTED_VALUE = new Map([0x22, 0x27, 0x60].map((quote) => [quote, complement(byteSet(`\0-\x1f\x7f${String.fromCharCode(quote)}`))]));

export interface Assignment {
  /** Lower case. */
  readonly name: string;
  readonly start: number;
  readonly end: number;
  /** It ended by its length: it goes on in the same bytes. */
  readonly open: boolean;
  readonly quoted: boolean;
  /** The name has no lower-case letter: a variable of the environment. */
  readonly isConstant: boolean;
  /** The operator is `=`. */
  readonly isEqual: boolean;
}

/** The assignment whose name holds the word `[from, to)`. */
export function readAssignment(text: StreamText, from: number, to: number): Assignment | Wait | undefined {
  const shape = shapeOf(text, from, to);
  if (shape !== true) return shape === "more" ? waitForShape(text, to) : undefined;
  const read = readShaped(text, from, to);
  return read === "more" ? NEXT_BYTE : read;
}

/** A name may go on for a while; what else a shape consists of is short. */
function waitForShape(text: StreamText, to: number): Wait {
  const limit = to + SHAPE.NAME_BYTES;
  let at = to;
  while (at < limit && isIn(NAME, text.at(at))) at++;
  return at < limit && at === text.total ? new Wait(NAME, limit) : NEXT_BYTE;
}

function readShaped(text: StreamText, from: number, to: number): Assignment | Wait | "more" | undefined {
  let start = from;
  while (start > from - SHAPE.NAME_BYTES && isIn(NAME, text.at(start - 1))) start--;
  let at = to;
  while (at < to + SHAPE.NAME_BYTES && isIn(NAME, text.at(at))) at++;
  const written = text.latin1(start, at);
  const name = written.toLowerCase();
  const tagged = text.at(start - 1) === 0x3c;
  const operator = readOperator(text, at, tagged);
  if (typeof operator !== "number") return operator;
  // `(read_password): …` of a changelog, `password.c: …` of a compiler.
  const by = text.at(operator - 1);
  if (by === 0x3a && text.at(at) === 0x29) return undefined;
  if ((by === 0x3a || by === 0x2c) && FILE.test(name)) return undefined;
  // `https://token:…@host`: a URL, which has rules of its own.
  if (by === 0x3a && text.at(start - 1) === SLASH && text.at(start - 2) === SLASH) return undefined;
  const isQuery = text.at(start - 1) === 0x3f || text.at(start - 1) === AMPERSAND;
  const ends = (offset: number): boolean => endsEncoded(text, offset) || (isQuery && text.at(offset) === AMPERSAND);
  at = operator;
  const quote = readOpeners(text, at);
  if (quote.at < 0) return undefined;
  at = quote.at;
  // Of a sequence that is spelled out the backslash was taken for an opener.
  if (text.at(at) < 0 || isCutSequence(text, at) || isCutSequence(text, at - 1)) return text.ended ? undefined : "more";
  const kind = { name, isConstant: written === written.toUpperCase(), isEqual: by === 0x3d };
  const set = QUOTED_VALUE.get(quote.quote) ?? PLAIN_VALUE;
  const begin = at;
  const joined = quote.quote === 0x22 && text.isJoint(begin - 1);
  const escaped = text.at(begin - 2) === BACKSLASH;
  // A quote that is part of the value: an escaped one, or any in a string of a structured body, behind the bytes that the matcher has looked at.
  const isInner = (): boolean =>
    text.at(at) === quote.quote && ((!escaped && text.at(at - 1) === BACKSLASH) || (joined && at >= begin + SHAPE.VALUE_BYTES && !text.isJoint(at)));
  const plain = unescapedOf(set);
  const limit = begin + MAX_VALUE_BYTES;
  // Bytes that are no escape need no closer look.
  while ((at = text.runEnd(plain, at, limit)) < limit && (isIn(set, text.at(at)) || isInner()) && !ends(at)) at++;
  if (text.at(at) < 0 && !text.ended) return waitForValue(text, set, begin + MAX_VALUE_BYTES);
  // An escaped quote ends what an escaped quote began.
  const end = text.at(at - 1) === BACKSLASH ? at - 1 : at;
  // `password=password` passes a variable on.
  const last = 1 + name.lastIndexOf(".");
  if (quote.quote === 0 && end - begin === name.length - last && text.latin1(begin, end).toLowerCase() === name.slice(last)) return undefined;
  if (quote.quote === 0) {
    const bare = readBare(text, operator, ends);
    if (bare === "more") return "more";
    if (bare !== undefined && (bare.start < begin || bare.end > end)) return { ...kind, ...bare, open: false, quoted: false };
  }
  const other = isOther(text, begin, end, by, quote.quote !== 0);
  if (other !== false) return other === true ? undefined : other;
  return { ...kind, start: begin, end, open: end === begin + MAX_VALUE_BYTES, quoted: quote.quote !== 0 };
}

/** Of a value that goes on to the end of what has come: an escape in it may end it. */
function waitForValue(text: StreamText, set: ByteSet, until: number): Wait {
  for (let at = text.total - LONGEST_ENCODED; at < text.total; at++) if (isIn(ESCAPES, text.at(at))) return NEXT_BYTE;
  return new Wait(unescapedOf(set), until);
}

/** The bytes of a set that begin no escape. */
function unescapedOf(set: ByteSet): ByteSet {
  let known = UNESCAPED.get(set);
  if (known === undefined) UNESCAPED.set(set, (known = interned(set.map((member, byte) => member & (1 - ESCAPES[byte]!)))));
  return known;
}

const ESCAPES = byteSet("%&\\\\");
const UNESCAPED = new WeakMap<ByteSet, ByteSet>();
/** Bytes of the longest of {@link ENDS}. */
const LONGEST_ENCODED = 6;

/** Bytes that the shape of an assignment is told by, behind its word. */
const SHAPE_BYTES = SHAPE.NAME_BYTES + 2 * SHAPE.AROUND_BYTES + SHAPE.VALUE_BYTES + 2;
/** A byte that ends every shape. */
const NO_SHAPE = Buffer.from("\n");

/** What the matcher asked of the word `[from, to)`, which takes the end of a chunk for a yes. */
function shapeOf(text: StreamText, from: number, to: number): boolean | "more" {
  const bytes = text.window(from, to + SHAPE_BYTES);
  if (!hasShape(bytes, to - from)) return false;
  return text.ended || bytes.length === to - from + SHAPE_BYTES || hasShape(Buffer.concat([bytes, NO_SHAPE]), to - from) || "more";
}

/** `PASSWORD=a(b;c{9Q` of a dump: what reaches to the next blank behind the operator, if it is a generated password. */
function readBare(text: StreamText, operator: number, ends: (at: number) => boolean): { readonly start: number; readonly end: number } | "more" | undefined {
  let start = operator;
  while (start < operator + SHAPE.AROUND_BYTES && isIn(BLANK, text.at(start))) start++;
  const isPart = (at: number): boolean => {
    const byte = text.at(at);
    if (isIn(BARE_INNER, byte)) return at > start && isIn(ALPHANUMERIC, text.at(at - 1)) && isIn(ALPHANUMERIC, text.at(at + 1));
    const parameter = byte === SEMICOLON || byte === AMPERSAND ? isParameter(text, at + 1) : false;
    isUndecided ||= parameter === "more";
    return isIn(BARE_VALUE, byte) && !ends(at) && !(byte === 0x3c && text.at(at + 1) === SLASH) && !(byte === SEMICOLON && parameter === true);
  };
  let isUndecided = false;
  let end = start;
  while (end <= start + MOST_GENERATED_BYTES && isPart(end)) end++;
  if (isUndecided) return "more";
  if (end > start + MOST_GENERATED_BYTES) return undefined;
  if (text.at(end + 1) < 0 && !text.ended) return "more";
  return isGenerated(text.latin1(start, end)) ? { start, end } : undefined;
}

/** Names of files: `passwd.1.xml`, `password.c`. */
const FILE = /\.(?:c|cc|cpp|cs|go|h|hpp|html?|java|js|json|md|mjs|php|pl|pm|po|py|rb|rs|s|sh|ts|txt|ui|vim|x|xml|yaml|yml|\d)$/;
const IDENTIFIER = /^[A-Za-z_$][A-Za-z_$.:]*(?:\d{1,3}[A-Za-z_.:]*)?$/;
const WORD = /^[A-Za-z]+$/;
const WORDS = /^[A-Za-z]+(?:[._:/-][A-Za-z]+)*$|^[A-Za-z_]+$/;

/** Whether what stands in `[begin, end)` is no value though it stands where one does: what is called, one of a list of names, the first word of a sentence. */
function isOther(text: StreamText, begin: number, end: number, operator: number, quoted: boolean): boolean | "more" {
  const next = text.at(end);
  if (quoted) return operator === 0x2c && WORDS.test(text.latin1(begin, end));
  if (next === 0x28 && end - begin < 80) return IDENTIFIER.test(text.latin1(begin, end));
  if (operator !== 0x3a || next !== 0x20 || end - begin > 30 || !WORD.test(text.latin1(begin, end))) return false;
  const after = text.at(end + 1);
  if (after < 0) return text.ended ? false : "more";
  return (after >= 0x61 && after <= 0x7a) || (after >= 0x41 && after <= 0x5a);
}

/** Behind the operator that follows the name which ends at `at`. */
function readOperator(text: StreamText, at: number, tagged: boolean): number | "more" | undefined {
  let next = at;
  while (next < at + SHAPE.AROUND_BYTES && isIn(CLOSER, text.at(next))) next++;
  while (next < at + SHAPE.AROUND_BYTES && isIn(BLANK, text.at(next))) next++;
  const byte = text.at(next);
  if (byte < 0) return text.ended ? undefined : "more";
  const encoded = encodedAt(text, next);
  if (encoded === "more") return "more";
  if (encoded !== undefined) {
    // A quote that closes the name may come first.
    if (encoded.means !== "=" && encoded.means !== ":") {
      const second = encodedAt(text, encoded.end);
      if (second === "more") return "more";
      if (second?.means === ":" || second?.means === "=") return second.end;
      return text.at(encoded.end) === 0x3a ? encoded.end + 1 : undefined;
    }
    return encoded.end;
  }
  if (byte === 0x3e) return tagged ? next + 1 : undefined;
  // `"name", "value"`: the arguments of a call.
  if (byte === 0x2c) {
    let closer = next - 1;
    while (closer > at && isIn(BLANK, text.at(closer))) closer--;
    if (!isQuote(text.at(closer))) return undefined;
    const opens = opensQuoted(text, next + 1);
    return opens === true ? next + 1 : opens;
  }
  // `key="name" value="…"`
  if (byte === 0x76 && next > at) {
    const word = text.latin1(next, next + VALUE.length);
    if (word !== VALUE) return !text.ended && VALUE.startsWith(word) ? "more" : undefined;
    return next + VALUE.length;
  }
  if (byte === 0x21) {
    if (text.at(next + 1) < 0 && !text.ended) return "more";
    if (text.at(++next) !== 0x3d) return undefined;
  } else if (byte !== 0x3d && byte !== 0x3a) return undefined;
  next++;
  // `:=`, `==`, `=>`, `::`
  const second = text.at(next);
  if (second < 0) return text.ended ? undefined : "more";
  return second === 0x3d || second === 0x3e || second === 0x3a ? next + 1 : next;
}

const isQuote = (byte: number): boolean => byte === 0x22 || byte === 0x27;

/** Whether a quote opens behind a few blanks; undefined if not. */
function opensQuoted(text: StreamText, from: number): true | "more" | undefined {
  let at = from;
  while (at < from + 4 && isIn(BLANK, text.at(at))) at++;
  if (text.at(at) < 0 && !text.ended) return "more";
  return isQuote(text.at(at)) ? true : undefined;
}

/** Name of the attribute that holds a value: `key="name" value="…"`. */
const VALUE = "value=";

/** A control sequence begins at `at` whose end may be yet to come. */
const isCutSequence = (text: StreamText, at: number): boolean =>
  !text.ended && (text.at(at) === 0x1b || text.at(at) === BACKSLASH) && text.total - at < LONGEST_SEQUENCE;

/** What stands between the operator and the value; nowhere if the value is empty. */
function readOpeners(text: StreamText, from: number): { at: number; quote: number } {
  let at = from;
  let quote = 0;
  for (; at < from + SHAPE.AROUND_BYTES; at++) {
    at = skipSequence(text, at);
    const byte = text.at(at);
    if (byte === 0x24 && text.at(at + 1) === 0x27) continue;
    const encoded = encodedAt(text, at);
    if (encoded !== undefined && encoded !== "more" && encoded.means === '"') {
      at = encoded.end - 1;
      continue;
    }
    if (!isIn(BLANK, byte) && !isIn(OPENER, byte)) break;
    // Nothing between two quotes; three of them begin a text.
    if (byte === quote && text.at(at - 1) === byte && text.at(at + 1) >= 0 && text.at(at + 1) !== byte && text.at(at - 2) !== byte) return { at: -1, quote };
    if (byte === 0x22 || byte === 0x27 || byte === 0x60) quote = byte;
  }
  return { at, quote };
}

/** Encoded operators and quotes, longest first. */
const ENCODED: readonly (readonly [string, "=" | ":" | '"'])[] = [
  ["%3d", "="],
  ["%3a", ":"],
  ["%22", '"'],
  ["%27", '"'],
  ["\\u003d", "="],
  ["\\u003a", ":"],
  ["\\u0022", '"'],
  ["\\u0027", '"'],
  ["u003d", "="],
  ["u0022", '"'],
  ["&#61;", "="],
  ["&#x3d;", "="],
  ["&quot;", '"'],
  ["&#34;", '"'],
  ["&#39;", '"'],
  ["&apos;", '"'],
];
const STARTS = byteSet("%\\\\u&");
const ENDS = ["%26", "&amp;", "%22", "%0a", "%0d", "&quot;", "\\u0022", "\\u0026", "%3b", "%20", "%27"];

function encodedAt(text: StreamText, at: number): { readonly means: string; readonly end: number } | "more" | undefined {
  if (!isIn(STARTS, text.at(at))) return undefined;
  const ahead = text.latin1(at, at + 6).toLowerCase();
  const found = ENCODED.find(([literal]) => ahead.startsWith(literal));
  if (found !== undefined) return { means: found[1], end: at + found[0].length };
  return !text.ended && ENCODED.some(([literal]) => literal.startsWith(ahead)) ? "more" : undefined;
}

function endsEncoded(text: StreamText, at: number): boolean {
  const byte = text.at(at);
  if (byte !== 0x25 && byte !== AMPERSAND && byte !== BACKSLASH) return false;
  // `\\u0022` or `\\u0026`: most escapes are others, and one byte tells.
  if (byte === BACKSLASH && (text.at(at + 1) !== LOWER_U || text.at(at + 4) !== TWO)) return false;
  const ahead = text.latin1(at, at + 6).toLowerCase();
  return ENDS.some((literal) => ahead.startsWith(literal)) || (byte === AMPERSAND && isParameter(text, at + 1) === true);
}

/** Whether the next parameter of a query begins at `at`; else `&` is part of the value. */
function isParameter(text: StreamText, at: number): boolean | "more" {
  let end = at;
  while (end < at + SHAPE.NAME_BYTES && isIn(NAME, text.at(end))) end++;
  if (text.at(end) < 0 && !text.ended && end < at + SHAPE.NAME_BYTES) return "more";
  return end > at && text.at(end) === 0x3d;
}

const isIn = (set: Uint8Array, byte: number): boolean => byte >= 0 && set[byte] === 1;
