/** Sets of bytes: alphabets of credentials, and what a regular expression can consume. */

/** 256 entries, 1 for a byte of the set. */
export type ByteSet = Uint8Array;

export const EMPTY: ByteSet = new Uint8Array(256);

/** The set of a class text such as `A-Za-z0-9_-`: ranges and single characters, a dash first or last for itself, `\` before `\` and `]`. */
export function byteSet(text: string): ByteSet {
  const set = new Uint8Array(256);
  const chars = [...text.replace(/\\(.)/g, (_, char: string) => String.fromCharCode(0xe000 + char.charCodeAt(0)))];
  const code = (char: string): number => char.charCodeAt(0) % 0xe000;
  for (let i = 0; i < chars.length; i++) {
    const range = chars[i + 1] === "-" && i + 2 < chars.length;
    const last = code(range ? chars[i + 2]! : chars[i]!);
    for (let byte = code(chars[i]!); byte <= last; byte++) set[byte & 0xff] = 1;
    if (range) i += 2;
  }
  return set;
}

export function union(...sets: readonly ByteSet[]): ByteSet {
  const all = new Uint8Array(256);
  for (const set of sets) for (let byte = 0; byte < 256; byte++) all[byte]! |= set[byte]!;
  return all;
}

const known = new Map<string, ByteSet>([[keyOf(EMPTY), EMPTY]]);

/** A set's bytes as a key. */
export function keyOf(set: ByteSet): string {
  return Buffer.from(set.buffer, set.byteOffset, set.length).toString("latin1");
}

/** The same object for equal sets: what is known of one is known of the other. */
export function interned(set: ByteSet): ByteSet {
  const key = keyOf(set);
  const first = known.get(key) ?? set;
  known.set(key, first);
  return first;
}

export function complement(set: ByteSet): ByteSet {
  return set.map((member) => 1 - member);
}

export function size(set: ByteSet): number {
  return set.reduce((sum, member) => sum + member, 0);
}

/** With both cases of every ASCII letter in it. */
export function foldSet(set: ByteSet): ByteSet {
  const folded = Uint8Array.from(set);
  for (let upper = 0x41; upper <= 0x5a; upper++) folded[upper] = folded[upper + 32] = set[upper]! | set[upper + 32]!;
  return folded;
}

/** The named alphabets of `patterns/README.md`, as class texts. */
export const ALPHABETS: Readonly<Record<string, string>> = Object.freeze({
  digits: "0-9",
  lower: "a-z",
  upper: "A-Z",
  letters: "A-Za-z",
  hex: "0-9a-f",
  HEX: "0-9A-F",
  anyhex: "0-9A-Fa-f",
  b32: "a-z2-7",
  B32: "A-Z2-7",
  b36: "0-9a-z",
  B36: "0-9A-Z",
  b58: "1-9A-HJ-NP-Za-km-z",
  b62: "0-9A-Za-z",
  w: "0-9A-Za-z_",
  u: "0-9A-Za-z_-",
  ud: "0-9A-Za-z_.-",
  b64: "0-9A-Za-z+/=",
  anyb64: "0-9A-Za-z+/=_-",
  bech32: "02-9ac-hj-np-z",
});

/** A named alphabet, or the class text in brackets. Undefined for another word. */
export function alphabet(name: string): ByteSet | undefined {
  if (name.startsWith("[") && name.endsWith("]") && name.length > 2) return byteSet(name.slice(1, -1));
  const text = Object.hasOwn(ALPHABETS, name) ? ALPHABETS[name] : undefined;
  return text === undefined ? undefined : byteSet(text);
}
