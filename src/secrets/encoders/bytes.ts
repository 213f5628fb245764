/** Spellings of bytes: base64, hex, UTF-16. They apply to every secret. */

type Alphabet = "base64" | "base64url";

/**
 * The three *stable cores* of base64: for each position the secret can take in a group of three bytes, the characters that it determines alone.
 * RFC 4648 §4, §5.
 */
export function base64Cores(value: Buffer, alphabet: Alphabet): Buffer[] {
  const padded = Buffer.alloc(2 + value.length);
  value.copy(padded, 2);
  return [0, 1, 2].map((shift) => {
    const text = padded.toString(alphabet, 2 - shift);
    // Characters cover 6 bits each: skip those that hold bits of what stands before or after.
    const first = Math.ceil((shift * 8) / 6);
    const last = Math.floor(((shift + value.length) * 8) / 6);
    return Buffer.from(text.slice(first, last), "latin1");
  });
}

/** base64 of base64, all alignments of both (CVE-2025-30066 printed secrets so). */
export function base64Twice(value: Buffer): Buffer[] {
  return base64Cores(value, "base64").flatMap((inner) => base64Cores(inner, "base64"));
}

const DIGITS = { lower: Buffer.from("0123456789abcdef"), upper: Buffer.from("0123456789ABCDEF") };

/** `separator` is one ASCII character, or none. */
export function hex(value: Buffer, upper: boolean, separator: string): Buffer {
  const digits = upper ? DIGITS.upper : DIGITS.lower;
  const text = Buffer.alloc(value.length * (2 + separator.length), separator);
  const step = 2 + separator.length;
  for (let i = 0; i < value.length; i++) {
    text[i * step] = digits[value[i]! >> 4]!;
    text[i * step + 1] = digits[value[i]! & 15]!;
  }
  return text.subarray(0, Math.max(0, text.length - separator.length));
}

export function utf16(text: string, bigEndian: boolean): Buffer {
  const bytes = Buffer.from(text, "utf16le");
  return bigEndian ? bytes.swap16() : bytes;
}
