/**
 * Numbers of many findings in few bytes, as README.md defines them: varints (seven bits a byte, the lowest first, the eighth says that more follow), and differences
 * that may be negative as zigzag (0, -1, 1, -2 … become 0, 1, 2, 3 …). Pure.
 */
import type { Blake3 } from "../blake3.js";

/** Bytes of a column that a record holds; of what is behind them it has the digest only. */
export const MAX_COLUMN_BYTES = 4096;
/** Most bytes of one varint: 53 bits and the sign. */
const MAX_VARINT_BYTES = 8;
const FIRST_BYTES = 32;

/** What a record says of a column. */
export interface ColumnText {
  /** The bytes, or as many whole values of them as `MAX_COLUMN_BYTES` hold. */
  readonly bytes: Buffer;
  /** BLAKE3 of all bytes, where some are left out. */
  readonly blake3?: string;
}

/** Values one behind the other. Grows as it is filled. */
export class Column {
  #bytes = Buffer.allocUnsafe(FIRST_BYTES);
  #length = 0;
  /** Bytes of the values that fit into a record. */
  #kept = 0;

  /** Appends a whole number from 0 to 2^53 - 1. */
  number(value: number): void {
    if (this.#length + MAX_VARINT_BYTES > this.#bytes.length) this.#grow();
    const bytes = this.#bytes;
    let rest = value;
    while (rest > 0x7f) {
      // Beyond 32 bits no operator on bits is right.
      bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    bytes[this.#length++] = rest;
    if (this.#length <= MAX_COLUMN_BYTES) this.#kept = this.#length;
  }

  /** Appends a difference. */
  difference(value: number): void {
    this.number(value < 0 ? -2 * value - 1 : 2 * value);
  }

  /** Appends text of ASCII. */
  text(value: string): void {
    while (this.#length + value.length > this.#bytes.length) this.#grow();
    this.#length += this.#bytes.write(value, this.#length, "latin1");
    if (this.#length <= MAX_COLUMN_BYTES) this.#kept = this.#length;
  }

  told(blake3: Blake3): ColumnText {
    const bytes = this.#bytes.subarray(0, this.#kept);
    return this.#kept === this.#length ? { bytes } : { bytes, blake3: blake3.hashHex(this.#bytes.subarray(0, this.#length)) };
  }

  #grow(): void {
    const bytes = Buffer.allocUnsafeSlow(this.#bytes.length * 2);
    this.#bytes.copy(bytes, 0, 0, this.#length);
    this.#bytes = bytes;
  }
}

/** The numbers of a column; undefined: its bytes are not whole varints. */
export function numbersOf(bytes: Uint8Array): number[] | undefined {
  const numbers: number[] = [];
  let value = 0;
  let unit = 1;
  for (const byte of bytes) {
    value += (byte & 0x7f) * unit;
    if (!Number.isSafeInteger(value)) return undefined;
    unit *= 0x80;
    if (byte > 0x7f) continue;
    numbers.push(value);
    value = 0;
    unit = 1;
  }
  return unit === 1 ? numbers : undefined;
}

/** The differences of a column. */
export const differencesOf = (bytes: Uint8Array): number[] | undefined => numbersOf(bytes)?.map((value) => (value % 2 === 0 ? value / 2 : -(value + 1) / 2));
