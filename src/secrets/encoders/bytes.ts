/** Spellings of bytes: base64, hex, UTF-16. They apply to every secret. */

type Alphabet = "base64" | "base64url";

/**
 * The three *stable cores* of base64: for each position the secret can take in a group of three bytes, the characters that it determines alone.
 * RFC 4648 §4, §5.
 */
export function base64Cores(value: Buffer, alphabet: Alphabet): Buffer[] {
  return [0, 1, 2].map((shift) => {
    const text = Buffer.concat([Buffer.alloc(shift), value]).toString(alphabet);
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

export function hex(value: Buffer, upper: boolean, separator: string): Buffer {
  const text = value.toString("hex");
  const cased = upper ? text.toUpperCase() : text;
  return Buffer.from(separator === "" ? cased : (cased.match(/../g) ?? []).join(separator));
}

export function utf16(text: string, bigEndian: boolean): Buffer {
  const bytes = Buffer.from(text, "utf16le");
  return bigEndian ? bytes.swap16() : bytes;
}
