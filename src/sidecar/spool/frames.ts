/**
 * Frames of the spool's files: `BLAKE3 (32 bytes) | "LVs1" | length (4 bytes, little end first) | payload`. The hash is keyed and covers what follows it. Each file has a key of its
 * own, made up when the file is: what a log says cannot pass for a frame, also where damage makes a reader look for the next one within it.
 */
import { randomBytes } from "node:crypto";
import { BLAKE3_BYTES, fastBlake3 } from "../../blake3.js";

const MAGIC = Buffer.from("LVs1");
export const FRAME_HEAD_BYTES = BLAKE3_BYTES + MAGIC.length + 4;
/** Longest payload, in bytes. A longer length is damage. */
export const MAX_PAYLOAD_BYTES = 1 << 18;

/** A key as it stands in the name of its file: 32 hex digits, whose bytes are the key. */
export const newKey = (): string => randomBytes(16).toString("hex");

/** A frame of some pieces, one behind the other. */
export function encodeFrame(key: string, pieces: readonly Uint8Array[]): Buffer {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const frame = Buffer.allocUnsafe(FRAME_HEAD_BYTES + length);
  MAGIC.copy(frame, BLAKE3_BYTES);
  frame.writeUInt32LE(length, BLAKE3_BYTES + MAGIC.length);
  let at = FRAME_HEAD_BYTES;
  for (const piece of pieces) {
    frame.set(piece, at);
    at += piece.length;
  }
  frame.set(hashOf(key, frame.subarray(BLAKE3_BYTES)), 0);
  return frame;
}

const hashOf = (key: string, bytes: Buffer): Uint8Array => Buffer.from(fastBlake3().keyed(Buffer.from(key, "latin1"))(bytes), "hex");

/** What stands in a file, in bytes `[at, end)`: a whole frame; the beginning of one at the end of the file; something else. */
export type Piece = { readonly at: number; readonly end: number } & (
  | { readonly kind: "frame"; readonly payload: Buffer }
  | { readonly kind: "torn" | "damaged" }
);

/** Takes the bytes of a file, or those behind some frame, apart. Behind damage it goes on at the next whole frame. Payloads are views. */
export function* takeApart(bytes: Buffer, key: string): Generator<Piece, void, void> {
  for (let at = 0; at < bytes.length;) {
    let end = frameEnd(bytes, at, key);
    if (end !== undefined) yield { kind: "frame", at, end, payload: bytes.subarray(at + FRAME_HEAD_BYTES, end) };
    else {
      end = nextFrame(bytes, at, key) ?? bytes.length;
      yield { kind: end === bytes.length && isBegun(bytes, at) ? "torn" : "damaged", at, end };
    }
    at = end;
  }
}

/** Length of the payload of what begins as a frame does. */
function lengthAt(bytes: Buffer, at: number): number | undefined {
  const head = bytes.subarray(at, at + FRAME_HEAD_BYTES);
  if (head.length < FRAME_HEAD_BYTES || !head.subarray(BLAKE3_BYTES, BLAKE3_BYTES + MAGIC.length).equals(MAGIC)) return undefined;
  const length = head.readUInt32LE(BLAKE3_BYTES + MAGIC.length);
  return length <= MAX_PAYLOAD_BYTES ? length : undefined;
}

/** End of the whole frame that begins at `at`. */
function frameEnd(bytes: Buffer, at: number, key: string): number | undefined {
  const length = lengthAt(bytes, at);
  const end = at + FRAME_HEAD_BYTES + (length ?? 0);
  if (length === undefined || end > bytes.length) return undefined;
  return bytes.subarray(at, at + BLAKE3_BYTES).equals(hashOf(key, bytes.subarray(at + BLAKE3_BYTES, end))) ? end : undefined;
}

function nextFrame(bytes: Buffer, after: number, key: string): number | undefined {
  for (let magic = bytes.indexOf(MAGIC, after + 1 + BLAKE3_BYTES); magic >= 0; magic = bytes.indexOf(MAGIC, magic + 1)) {
    if (frameEnd(bytes, magic - BLAKE3_BYTES, key) !== undefined) return magic - BLAKE3_BYTES;
  }
  return undefined;
}

/** Whether the bytes end before the frame that may begin at `at` does. */
function isBegun(bytes: Buffer, at: number): boolean {
  const length = lengthAt(bytes, at);
  return bytes.length - at < FRAME_HEAD_BYTES || (length !== undefined && at + FRAME_HEAD_BYTES + length > bytes.length);
}
