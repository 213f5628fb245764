/** Spellings of bytes: base64, hex, UTF-16. They apply to every secret, and the runtime makes them in one call. */
import { inOne, type Spelling, type Value } from "../spelling.js";

type Alphabet = "base64" | "base64url";

/** For each position the secret can take in a group of three bytes. */
const SHIFTS = [0, 1, 2] as const;

/** Characters of base64 that bytes at `shift` determine alone: those that hold bits of what stands before or after are skipped. */
const firstOf = (shift: number): number => Math.ceil((shift * 8) / 6);
const lastOf = (shift: number, length: number): number => Math.floor(((shift + length) * 8) / 6);

function core(value: Buffer, shift: number, alphabet: Alphabet): Buffer {
  const padded = Buffer.alloc(shift + value.length);
  value.copy(padded, shift);
  const text = padded.toString(alphabet);
  padded.fill(0);
  return Buffer.from(text.slice(firstOf(shift), lastOf(shift, value.length)), "latin1");
}

const coreLength = (shift: number, length: number): number => Math.max(0, lastOf(shift, length) - firstOf(shift));

/** The three *stable cores* of base64. RFC 4648 §4, §5. */
export function base64Cores(value: Buffer, alphabet: Alphabet): Spelling[] {
  return SHIFTS.map((shift) => inOne(coreLength(shift, value.length), () => core(value, shift, alphabet)));
}

/** What tools make of a short value alone, without the padding. */
export const base64Alone = (value: Buffer, alphabet: Alphabet): Buffer => Buffer.from(value.toString(alphabet).replaceAll("=", ""), "latin1");

/** base64 of base64, all alignments of both (CVE-2025-30066 printed secrets so). */
export function base64Twice(value: Buffer): Spelling[] {
  return SHIFTS.flatMap((inner) =>
    SHIFTS.map((outer) =>
      inOne(coreLength(outer, coreLength(inner, value.length)), () => {
        const once = core(value, inner, "base64");
        const twice = core(once, outer, "base64");
        once.fill(0);
        return twice;
      }),
    ),
  );
}

export function base64OfUtf16(value: Value): Spelling[] {
  if (!value.isText) return [];
  const length = value.utf16Bytes;
  return SHIFTS.map((shift) =>
    inOne(coreLength(shift, length), () => {
      const wide = utf16(value.bytes, false);
      const encoded = core(wide, shift, "base64");
      wide.fill(0);
      return encoded;
    }),
  );
}

const DIGITS = { lower: Buffer.from("0123456789abcdef"), upper: Buffer.from("0123456789ABCDEF") };

/** `separator` is one ASCII character, or none. */
export function hex(value: Buffer, upper: boolean, separator: string): Spelling {
  const step = 2 + separator.length;
  const length = Math.max(0, value.length * step - separator.length);
  return inOne(length, () => {
    const digits = upper ? DIGITS.upper : DIGITS.lower;
    const text = Buffer.alloc(value.length * step, separator);
    for (let i = 0; i < value.length; i++) {
      text[i * step] = digits[value[i]! >> 4]!;
      text[i * step + 1] = digits[value[i]! & 15]!;
    }
    return text.subarray(0, length);
  });
}

/** Both byte orders. */
export function utf16Both(value: Value): Spelling[] {
  if (!value.isText) return [];
  const length = value.utf16Bytes;
  return [false, true].map((bigEndian) => inOne(length, () => utf16(value.bytes, bigEndian)));
}

function utf16(text: Buffer, bigEndian: boolean): Buffer {
  const bytes = Buffer.from(text.toString(), "utf16le");
  return bigEndian ? bytes.swap16() : bytes;
}
