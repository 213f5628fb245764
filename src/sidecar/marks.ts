/** Marks: records of 32 bytes that say how far something is: two numbers and a check over them. */
import { blake3 } from "@noble/hashes/blake3.js";

export const MARK_BYTES = 32;
const CHECKED_BYTES = 16;

/** Two whole numbers of 0 or more. */
export type Mark = readonly [number, number];

export function encodeMark([first, second]: Mark): Buffer {
  const record = Buffer.alloc(MARK_BYTES);
  record.writeBigUInt64LE(BigInt(first), 0);
  record.writeBigUInt64LE(BigInt(second), 8);
  Buffer.from(blake3(record.subarray(0, CHECKED_BYTES), { dkLen: MARK_BYTES - CHECKED_BYTES })).copy(record, CHECKED_BYTES);
  return record;
}

/** The mark that begins at `at`; undefined: there is none, or half of one. */
export function markAt(bytes: Buffer, at: number): Mark | undefined {
  const record = bytes.subarray(at, at + MARK_BYTES);
  if (record.length < MARK_BYTES) return undefined;
  const mark: Mark = [Number(record.readBigUInt64LE(0)), Number(record.readBigUInt64LE(8))];
  return encodeMark(mark).equals(record) ? mark : undefined;
}
