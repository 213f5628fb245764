/** UTF-8 (RFC 3629) where it is cut, or where lone surrogates stand in it (WTF-8: U+D800–DFFF as three bytes each). */
import { isUtf8 } from "node:buffer";

/** Bytes at the end of `text[from, to)` that begin a character and do not finish it. */
export function unfinishedUtf8(text: Uint8Array, from: number, to: number): number {
  for (let back = 1; back <= 3 && to - back >= from; back++) {
    const byte = text[to - back]!;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}

/** Where in `text[from, to)` the first byte stands that is no UTF-8; -1 if all is. */
export function firstInvalidUtf8(text: Uint8Array, from: number, to: number): number {
  if (isUtf8(text.subarray(from, to))) return -1;
  for (let at = from; at < to;) {
    const byte = text[at]!;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    if (at + length > to || !isUtf8(text.subarray(at, at + length))) return at;
    at += length;
  }
  return -1;
}

/** Writes one code point, a lone surrogate included. Answers how many bytes it took. */
export function writeCodePoint(target: Uint8Array, at: number, point: number): number {
  if (point < 0x80) {
    target[at] = point;
    return 1;
  }
  if (point < 0x800) {
    target[at] = 0xc0 | (point >> 6);
    target[at + 1] = 0x80 | (point & 0x3f);
    return 2;
  }
  if (point < 0x10000) {
    target[at] = 0xe0 | (point >> 12);
    target[at + 1] = 0x80 | ((point >> 6) & 0x3f);
    target[at + 2] = 0x80 | (point & 0x3f);
    return 3;
  }
  target[at] = 0xf0 | (point >> 18);
  target[at + 1] = 0x80 | ((point >> 12) & 0x3f);
  target[at + 2] = 0x80 | ((point >> 6) & 0x3f);
  target[at + 3] = 0x80 | (point & 0x3f);
  return 4;
}

/** The lone surrogate that begins at `at`, or -1. */
export function surrogateAt(text: Uint8Array, at: number): number {
  const [second, third] = [text[at + 1] ?? 0, text[at + 2] ?? 0];
  if (text[at] !== 0xed || (second & 0xe0) !== 0xa0 || (third & 0xc0) !== 0x80) return -1;
  return 0xd000 | ((second & 0x3f) << 6) | (third & 0x3f);
}
