/** One way to write a value. It is made piece by piece, so that its size can be bounded, and other work gets its turn, before all of it is there. */
import { isUtf8 } from "node:buffer";

/** About so many bytes are made at a time. */
export const PIECE_BYTES = 64 << 10;

export interface Spelling {
  /** A lower bound of its length in bytes, known without making it. */
  readonly atLeast: number;
  /** Equal for spellings of one value that are certainly equal; absent: nothing is known. Tells which characters there are, not in which order. */
  readonly signature?: string;
  /** Its bytes, in order. A piece is valid until the next one is asked for. */
  pieces(): Iterable<Uint8Array>;
}

/** A value with what encoders ask about it, found out once. */
export class Value {
  private text: boolean | undefined;
  private byteCounts: Uint32Array | undefined;
  private oddBytes: readonly number[] | undefined;

  constructor(readonly bytes: Buffer) {}

  /** Whether it is UTF-8. */
  get isText(): boolean {
    return (this.text ??= isUtf8(this.bytes));
  }

  /** How often each byte is in it. */
  get counts(): Uint32Array {
    if (this.byteCounts !== undefined) return this.byteCounts;
    const counts = new Uint32Array(256);
    const { bytes } = this;
    for (let at = 0; at < bytes.length; at++) counts[bytes[at]!]!++;
    return (this.byteCounts = counts);
  }

  /** The bytes in it besides `[A-Za-z0-9]`, each once, ascending. */
  get odd(): readonly number[] {
    return (this.oddBytes ??= ODD_BYTES.filter((byte) => this.counts[byte]! > 0));
  }

  /** How many bytes it has in UTF-16, if it is text: two for each character, four for those beyond U+FFFF. */
  get utf16Bytes(): number {
    return this.counts.reduce((sum, count, byte) => sum + count * ((byte & 0xc0) === 0x80 ? 0 : byte >= 0xf0 ? 4 : 2), 0);
  }

  /** Only characters that no tool escapes: `[A-Za-z0-9._-]`. */
  get isBland(): boolean {
    return this.odd.every((byte) => byte === 0x2e || byte === 0x5f || byte === 0x2d);
  }
}

/** All bytes but `[A-Za-z0-9]`. */
export const ODD_BYTES: readonly number[] = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !/[A-Za-z0-9]/.test(String.fromCharCode(byte)));

/** A spelling that the runtime makes in one call, faster than pieces would be. */
export function inOne(length: number, make: () => Buffer): Spelling {
  return {
    atLeast: length,
    *pieces() {
      const bytes = make();
      try {
        yield bytes;
      } finally {
        bytes.fill(0);
      }
    },
  };
}

/**
 * Makes a spelling; undefined if it has more than `most` bytes: then no more than that was made. Yields how many bytes were worked on since the last time. What is
 * answered is the caller's; everything else has been wiped.
 */
export function* collect(spelling: Spelling, most: number): Generator<number, Buffer | undefined> {
  if (spelling.atLeast > most) return undefined;
  let out = Buffer.allocUnsafe(spelling.atLeast);
  let length = 0;
  for (const piece of spelling.pieces()) {
    if (length + piece.length > most) {
      out.fill(0);
      return undefined;
    }
    if (length + piece.length > out.length) {
      const grown = Buffer.allocUnsafe(Math.min(most, (length + piece.length) * 2));
      grown.set(out.subarray(0, length));
      out.fill(0);
      out = grown;
    }
    out.set(piece, length);
    length += piece.length;
    yield piece.length;
  }
  return out.subarray(0, length);
}
