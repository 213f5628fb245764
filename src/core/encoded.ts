/**
 * Text that base64 or hex hides: where does a run of either begin to decode to text? The boundary for both engines, and the portable one. The rules decode
 * such a run, and look inside.
 *
 * Base64 (either alphabet, RFC 4648 §§4, 5): sixteen characters that decode to twelve bytes of text, at any of the four phases. Hex: 24 digits. Text is printable
 * ASCII, tab, CR and LF. Hashes, keys and paths almost never decode so. Reported is where text begins: the group of characters before is none.
 */
import type { AnchorStream } from "./anchors.js";
import { HIT_SIZE } from "./anchors.js";

/** What a hit of an {@link EncodedStream} begins, in the place of an anchor's number. */
export const ENCODED = Object.freeze({ BASE64: 0, HEX: 1 });

/** What is encoded in one stream. Hits are like those of anchors, but in no order. */
export type EncodedStream = AnchorStream;

const BASE64_CHARS = 16;
const BASE64_GROUP = 4;
const HEX_CHARS = 24;
const HEX_GROUP = 2;
/** Bytes of the past that a hit may reach into: all of it but the last, and the group before. */
const TAIL_BYTES = HEX_CHARS + HEX_GROUP - 1;
/** Bytes of a chunk with which the past is joined: hits that begin there may have their group before in the past. */
const JOINED_BYTES = BASE64_GROUP + HEX_CHARS;

/** Values of base64 characters; 64 for others. */
export const SEXTETS = values("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 64);
SEXTETS[0x2d] = 62;
SEXTETS[0x5f] = 63;
/** Values of hex digits; 16 for others. */
export const NIBBLES = values("0123456789abcdef", 16);
for (let digit = 10; digit < 16; digit++) NIBBLES[0x41 + digit - 10] = digit;

function values(alphabet: string, none: number): Uint8Array {
  const table = new Uint8Array(256).fill(none);
  for (let value = 0; value < alphabet.length; value++) table[alphabet.charCodeAt(value)] = value;
  return table;
}

/** Classes of bytes: what may be the first or the second character of four, the first digit of two, a digit. They spare most of the decoding. */
const FIRST = 1;
const SECOND = 2;
const HIGH = 4;
const DIGIT = 8;
const CLASSES = Uint8Array.from({ length: 256 }, (_, byte) => {
  const six = SEXTETS[byte]!;
  const four = NIBBLES[byte]!;
  const upper = six & 15;
  return (
    ((six >= 8 && six < 32) || six === 2 || six === 3 ? FIRST : 0) |
    (six < 64 && (upper === 0 || (upper >= 2 && upper < 8)) ? SECOND : 0) |
    (four === 0 || (four >= 2 && four < 8) ? HIGH : 0) |
    (four < 16 ? DIGIT : 0)
  );
});

const isText = (byte: number): boolean => (byte >= 0x20 && byte <= 0x7e) || byte === 0x09 || byte === 0x0a || byte === 0x0d;

/** Whether the four characters at `at` decode to text. */
function isQuad(text: Uint8Array, at: number): boolean {
  if (at < 0 || at + BASE64_GROUP > text.length) return false;
  const a = SEXTETS[text[at]!]!;
  const b = SEXTETS[text[at + 1]!]!;
  const c = SEXTETS[text[at + 2]!]!;
  const d = SEXTETS[text[at + 3]!]!;
  return (a | b | c | d) < 64 && isText((a << 2) | (b >> 4)) && isText(((b << 4) | (c >> 2)) & 0xff) && isText(((c << 6) | d) & 0xff);
}

/** Whether the two digits at `at` are a byte of text. */
function isPair(text: Uint8Array, at: number): boolean {
  if (at < 0 || at + HEX_GROUP > text.length) return false;
  const high = NIBBLES[text[at]!]!;
  const low = NIBBLES[text[at + 1]!]!;
  return (high | low) < 16 && isText((high << 4) | low);
}

function begins(text: Uint8Array, at: number, chars: number, group: number, isGroup: (text: Uint8Array, at: number) => boolean): boolean {
  for (let part = at; part < at + chars; part += group) if (!isGroup(text, part)) return false;
  return !isGroup(text, at - group);
}

const base64Begins = (text: Uint8Array, at: number): boolean => begins(text, at, BASE64_CHARS, BASE64_GROUP, isQuad);
const hexBegins = (text: Uint8Array, at: number): boolean => begins(text, at, HEX_CHARS, HEX_GROUP, isPair);

export class PortableEncodedStream implements EncodedStream {
  hits = new Uint32Array(16 * HIT_SIZE);
  private count = 0;
  private tail = Buffer.alloc(0);

  release(): void {
    this.tail = Buffer.alloc(0);
  }

  scan(chunk: Uint8Array): number {
    this.count = 0;
    const { tail } = this;
    const past = tail.length;
    const joined = Buffer.concat([tail, chunk.subarray(0, JOINED_BYTES)]);
    const end = past + chunk.length;
    for (let at = 0; at < Math.min(past + BASE64_GROUP, joined.length); at++) {
      if (at + BASE64_CHARS > past && base64Begins(joined, at)) this.add(ENCODED.BASE64, end - at);
      if (at + HEX_CHARS > past && hexBegins(joined, at)) this.add(ENCODED.HEX, end - at);
    }
    this.find(chunk);
    this.tail = chunk.length >= TAIL_BYTES ? Buffer.from(chunk.subarray(-TAIL_BYTES)) : Buffer.concat([tail, chunk]).subarray(-TAIL_BYTES);
    return this.count;
  }

  /** Reports what begins in `text` behind its first group. */
  private find(text: Uint8Array): void {
    // A run of base64 characters has one wherever sixteen bytes are looked at by the last.
    for (let last = BASE64_GROUP + BASE64_CHARS - 1; last < text.length; last += BASE64_CHARS) {
      if (SEXTETS[text[last]!] === 64) continue;
      let from = last;
      while (from > BASE64_GROUP && from > last - BASE64_CHARS + 1 && SEXTETS[text[from - 1]!]! < 64) from--;
      let to = last + 1;
      while (to < text.length && SEXTETS[text[to]!]! < 64) to++;
      if (to - from >= BASE64_CHARS) this.findInRun(text, from, to);
      while (last + BASE64_CHARS < to) last += BASE64_CHARS;
    }
  }

  private findInRun(text: Uint8Array, from: number, to: number): void {
    for (let at = from; at + BASE64_CHARS <= to; at++) {
      const here = CLASSES[text[at]!]!;
      if ((here & FIRST) !== 0 && (CLASSES[text[at + 1]!]! & SECOND) !== 0 && (CLASSES[text[at + 4]!]! & FIRST) !== 0 && base64Begins(text, at))
        this.add(ENCODED.BASE64, text.length - at);
      if ((here & HIGH) !== 0 && (CLASSES[text[at + 1]!]! & DIGIT) !== 0 && (CLASSES[text[at + 2]!]! & HIGH) !== 0 && hexBegins(text, at))
        this.add(ENCODED.HEX, text.length - at);
    }
  }

  private add(kind: number, back: number): void {
    if ((this.count + 1) * HIT_SIZE > this.hits.length) {
      const larger = new Uint32Array(this.hits.length * 2);
      larger.set(this.hits);
      this.hits = larger;
    }
    this.hits[this.count * HIT_SIZE] = kind;
    this.hits[this.count * HIT_SIZE + 1] = back;
    this.count++;
  }
}
