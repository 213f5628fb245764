/**
 * Spellings that replace characters one by one, as nearly all do: a table says what becomes of each. So whether two of them differ for a value, and how long they
 * are at least, is known from which characters are in it; and they are made in a pass over bytes, without strings.
 */
import { ODD_BYTES, PIECE_BYTES, type Spelling, type Value } from "../spelling.js";

/** What becomes of a character beyond ASCII, by its code point; undefined: it stays. */
export interface Wide {
  /** Equal names, equal results. */
  readonly name: string;
  readonly of: (code: number) => string | undefined;
}

/** What becomes of a byte that depends on its neighbours, which are -1 at the ends. */
export interface Context {
  readonly name: string;
  readonly bytes: readonly number[];
  readonly of: (before: number, byte: number, after: number) => string;
}

export interface Substitution {
  /** By byte, in Latin-1; undefined: it stays. `[A-Za-z0-9]` always stay. */
  readonly table: readonly (string | undefined)[];
  readonly wide?: Wide;
  readonly context?: Context;
}

interface Beyond {
  readonly wide?: Wide;
  readonly context?: Context;
}

/** Asks `replace` for each byte that may be replaced: those of ASCII, and with `every` all. */
export function substitution(
  replace: (char: string, byte: number) => string | undefined,
  beyond: Beyond = {},
  range: "ascii" | "every" = "ascii",
): Substitution {
  const table: (string | undefined)[] = [];
  for (const byte of ODD_BYTES) {
    if (byte >= 0x80 && range === "ascii") break;
    const char = String.fromCharCode(byte);
    const replaced = replace(char, byte);
    if (replaced !== undefined && replaced !== char) table[byte] = replaced;
  }
  return { table, ...beyond };
}

/** `second` applied to what `first` makes; it must leave bytes beyond ASCII, and neighbours must not matter to it. */
export function composed(first: Substitution, second: Substitution): Substitution {
  const again = (text: string): string => [...text].map((char) => second.table[char.charCodeAt(0)] ?? char).join("");
  const { wide, context } = first;
  const name = (inner: string): string => `${inner}>${second.table.join()}`;
  return {
    ...substitution((char, byte) => again(first.table[byte] ?? char), {}, "ascii"),
    ...(wide && {
      wide: {
        name: name(wide.name),
        of(code) {
          const inner = wide.of(code);
          return inner === undefined ? undefined : again(inner);
        },
      },
    }),
    ...(context && { context: { ...context, name: name(context.name), of: (...around) => again(context.of(...around)) } }),
  };
}

/** A table ready to run. */
interface Compiled {
  /** By byte how many bytes it becomes; 0: it stays. */
  readonly lengths: Uint8Array;
  readonly starts: Uint16Array;
  readonly flat: Uint8Array;
  /** By byte: 1 if its neighbours matter. */
  readonly special: Uint8Array;
}

const compiled = new WeakMap<Substitution, Compiled>();

function compile(by: Substitution): Compiled {
  const known = compiled.get(by);
  if (known !== undefined) return known;
  const lengths = new Uint8Array(256);
  const starts = new Uint16Array(256);
  let flat = "";
  by.table.forEach((replaced, byte) => {
    if (replaced === undefined) return;
    lengths[byte] = replaced.length;
    starts[byte] = flat.length;
    flat += replaced;
  });
  const special = new Uint8Array(256);
  for (const byte of by.context?.bytes ?? []) special[byte] = 1;
  const made = { lengths, starts, flat: Buffer.from(flat, "latin1"), special };
  compiled.set(by, made);
  return made;
}

/** Longest replacement of one character, in bytes: room for it is kept. */
const MAX_REPLACEMENT = 128;

/** What a substitution makes of a value; undefined: the value itself. */
export function substituted(value: Value, by: Substitution): Spelling | undefined {
  const signature = signatureOf(value, by);
  if (signature === "") return undefined;
  const { table, context } = by;
  let atLeast = 0;
  for (let byte = 0; byte < 256; byte++) {
    const count = value.counts[byte]!;
    if (count > 0 && context?.bytes.includes(byte) !== true) atLeast += count * (table[byte]?.length ?? 1);
  }
  // Wide characters become longer, if anything; context may drop what it is asked about.
  return { atLeast, signature, pieces: () => pieces(value.bytes, by) };
}

function signatureOf({ odd }: Value, { table, wide, context }: Substitution): string {
  let signature = "";
  for (const byte of odd) {
    const replaced = table[byte];
    if (replaced !== undefined) signature += `${byte}=${replaced};`;
    if (context?.bytes.includes(byte) === true) signature += `${byte}~${context.name};`;
  }
  return wide !== undefined && odd.at(-1)! >= 0x80 ? `${signature}*${wide.name}` : signature;
}

function* pieces(value: Buffer, by: Substitution): Generator<Uint8Array> {
  const { lengths, starts, flat, special } = compile(by);
  const { wide, context } = by;
  const known = new Map<number, string | undefined>();
  const out = Buffer.allocUnsafe(Math.min(PIECE_BYTES, value.length * 8) + MAX_REPLACEMENT);
  const most = out.length - MAX_REPLACEMENT;
  let length = 0;
  const put = (text: string): void => {
    for (let i = 0; i < text.length; i++) out[length++] = text.charCodeAt(i);
  };
  try {
    for (let at = 0; at < value.length;) {
      if (length >= most) {
        yield out.subarray(0, length);
        length = 0;
      }
      const byte = value[at]!;
      if (byte >= 0x80 && wide !== undefined) {
        const width = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
        const code = codePoint(value, at, width);
        if (!known.has(code)) known.set(code, wide.of(code));
        const replaced = known.get(code);
        if (replaced === undefined) for (let i = 0; i < width; i++) out[length++] = value[at + i]!;
        else put(replaced);
        at += width;
        continue;
      }
      if (special[byte] === 1) {
        put(context!.of(at > 0 ? value[at - 1]! : -1, byte, at + 1 < value.length ? value[at + 1]! : -1));
      } else {
        const count = lengths[byte]!;
        if (count === 0) out[length++] = byte;
        else for (let i = starts[byte]!, end = i + count; i < end; i++) out[length++] = flat[i]!;
      }
      at++;
    }
    yield out.subarray(0, length);
  } finally {
    out.fill(0);
  }
}

/** Of a character of `width` bytes in valid UTF-8. */
function codePoint(text: Buffer, at: number, width: number): number {
  if (width === 2) return ((text[at]! & 0x1f) << 6) | (text[at + 1]! & 0x3f);
  if (width === 3) return ((text[at]! & 0x0f) << 12) | ((text[at + 1]! & 0x3f) << 6) | (text[at + 2]! & 0x3f);
  return ((text[at]! & 0x07) << 18) | ((text[at + 1]! & 0x3f) << 12) | ((text[at + 2]! & 0x3f) << 6) | (text[at + 3]! & 0x3f);
}
