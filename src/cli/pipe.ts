/**
 * Moves bytes from one descriptor through the machine to another. Three buffers go round: while one is read into, the next is masked and the
 * one before is written, so both system calls overlap with the work. Nothing is copied that leaves as it came.
 */
import { read as readDescriptor, writev } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { RedactorStream } from "../live.js";

/** Bytes per read: what a large pipe holds several of, and what stays in a core's cache between scan and write. */
export const READ_BYTES = 256 * 1024;
const BUFFERS = 3;
/** Wait before a descriptor that is not ready is tried again, in milliseconds: some parent made it non-blocking. */
const RETRY_MS = 1;

/** Reads into `buffer` and answers the part that was filled: empty at the end. */
export type Read = (buffer: Buffer) => Promise<Buffer>;

/** Reads at the descriptor's own position. */
export const readerOf =
  (descriptor: number): Read =>
  (buffer) =>
    readSome(descriptor, buffer, null);

/** Reads a file from its beginning, whatever the descriptor's own position. */
export function fileReader(descriptor: number): Read {
  let position = 0;
  return async (buffer) => {
    const piece = await readSome(descriptor, buffer, position);
    position += piece.length;
    return piece;
  };
}

function readSome(descriptor: number, buffer: Buffer, position: number | null): Promise<Buffer> {
  return retried(
    () =>
      new Promise((resolve, reject) =>
        readDescriptor(descriptor, buffer, 0, buffer.length, position, (error, count) => (error === null ? resolve(buffer.subarray(0, count)) : reject(error))),
      ),
  );
}

/** Writes all of `pieces`. */
export async function writeAll(descriptor: number, pieces: readonly Uint8Array[]): Promise<void> {
  let rest = pieces;
  while (rest.length > 0) {
    const batch = rest;
    const written = await retried(
      () => new Promise<number>((resolve, reject) => writev(descriptor, batch, (error, count) => (error === null ? resolve(count) : reject(error)))),
    );
    rest = unwritten(batch, written);
  }
}

/** What remains of `pieces` after the first `written` bytes. */
function unwritten(pieces: readonly Uint8Array[], written: number): readonly Uint8Array[] {
  let done = written;
  for (const [index, piece] of pieces.entries()) {
    if (done < piece.length) return [piece.subarray(done), ...pieces.slice(index + 1)];
    done -= piece.length;
  }
  return [];
}

async function retried<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      await sleep(RETRY_MS);
    }
  }
}

/** What has been read of an input already, and a read of it that is under way. */
export interface Begun {
  readonly head: Buffer;
  readonly pending?: Promise<Buffer> | undefined;
}

/**
 * Masks an input from what has been read of it already to its end into `output`; without `output` it is only looked at. Rejects with the
 * system's error of either; a read may then still be pending.
 */
export async function pipe(read: Read, { head, pending }: Begun, machine: RedactorStream, output: number | undefined, holdBackMs: number): Promise<void> {
  const buffers = Array.from({ length: BUFFERS }, () => Buffer.allocUnsafeSlow(READ_BYTES));
  let writing: Promise<void> = Promise.resolve();
  const write = (pieces: readonly Uint8Array[]): void => {
    const filled = output === undefined ? [] : pieces.filter((piece) => piece.length > 0);
    if (filled.length > 0) writing = writing.then(() => writeAll(output!, filled));
    // Whoever waits for it next learns of an error.
    writing.catch(() => undefined);
  };
  try {
    let chunk = head;
    for (let turn = 0; chunk.length > 0; turn++) {
      const reading = (turn === 0 ? pending : undefined) ?? read(buffers[turn % BUFFERS]!);
      reading.catch(() => undefined);
      const pieces = machine.push(chunk);
      // The write before must be done before its buffer is read into again, two turns from now.
      await writing;
      write(pieces);
      const silence = machine.heldBytes > 0 ? setTimeout(() => write(machine.idle()), holdBackMs) : undefined;
      try {
        chunk = await reading;
      } finally {
        clearTimeout(silence);
      }
    }
    await writing;
    write(machine.end());
    await writing;
  } catch (error) {
    machine.close();
    throw error;
  }
}
