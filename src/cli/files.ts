/** Inputs through the machine: descriptors and files, whatever their content coding. What replaces files is in replace.ts. */
import { type FileHandle, open } from "node:fs/promises";
import { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { callbackify } from "node:util";
import { codingOf, mayBeCoded } from "../codec/content.js";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import type { RedactorStream } from "../live.js";
import { growPipe } from "../native/loader.js";
import { type Begun, fileReader, pipe, type Read, READ_BYTES, readerOf, writeAll } from "./pipe.js";
import { pump } from "./pump.js";
import { type BinaryMode, checkFile, type Place, recognising } from "./recognising.js";

const STDIN = 0;

/** How inputs are read. */
export interface Reading {
  readonly holdBackMs: number;
  readonly binary: BinaryMode;
}

/** Names the file and what the system says. `what`: that it cannot be masked, and what became of it. */
export function ioError(file: string, what: string, error: unknown): LogveilError {
  if (error instanceof LogveilError) return error;
  const { code = "unknown error", syscall } = error as NodeJS.ErrnoException;
  const isOutput = syscall?.startsWith("write") === true;
  // The decoder of the package zstd-napi has no codes.
  const hint = /^(Z_|ZSTD|unknown)/.test(code) ? "the compressed data is damaged or cut off" : reasonAndCure(code);
  const message = isOutput ? `${file}: the masked text cannot be written: ${reasonAndCure(code)}` : `${file}: ${what}: ${hint}`;
  return new LogveilError("LV_IO", message, { cause: error, facts: { file, code } });
}

/** As {@link ioError}, for a run with one output: where that cannot be written, the run is over (`facts.isOver`). The end of a reader stays what it is. */
function streamError(file: string, error: unknown): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (code === "EPIPE") return error;
  const failure = ioError(file, "cannot be masked", error);
  return syscall?.startsWith("write") === true
    ? new LogveilError(failure.code, failure.message, { cause: error, facts: { ...failure.facts, isOver: true } })
    : failure;
}

/**
 * Masks what `read` yields, whatever its coding, into `output`; without `output` it is only looked at. Both stay open. Throws `LV_NOT_CLEAN` for what cannot be
 * masked, before a byte of it has left.
 */
export async function mask(read: Read, place: Place, machine: RedactorStream, output: number | undefined, { holdBackMs, binary }: Reading): Promise<void> {
  const begun = await begin(read, holdBackMs);
  const coding = codingOf(begun.head);
  const decoder = coding.decoder();
  const encoder = coding.encoder();
  if (decoder === undefined || encoder === undefined) return pipe(read, begun, recognising(machine, place, binary), output, holdBackMs);
  const raw = Readable.from(all(read, begun), { objectMode: false });
  const inner = recognising(machine, { ...place, coding: coding.name }, binary);
  const decoding = pipeline(raw, decoder);
  const encoding = pipeline(encoder, sinkOf(output));
  const masking = pump(decoder, inner, encoder, holdBackMs).then(() => void encoder.end());
  try {
    await Promise.all([decoding, masking, encoding]);
  } catch (error) {
    machine.close();
    raw.destroy();
    decoder.destroy();
    encoder.destroy();
    throw await firstCause([masking, decoding, encoding], error);
  }
}

/** Of streams that ended each other: what began it. */
async function firstCause(parts: readonly Promise<unknown>[], error: unknown): Promise<unknown> {
  const reasons = (await Promise.allSettled(parts)).map((part) => (part.status === "rejected" ? (part.reason as NodeJS.ErrnoException) : undefined));
  return reasons.find((reason) => reason !== undefined && reason.code !== "ERR_STREAM_PREMATURE_CLOSE") ?? error;
}

/**
 * Reads until it is clear whether the input is coded: one read, unless it ends within what a coded file begins with. Behind a printable beginning, which may be a prompt,
 * nothing is waited for beyond `holdBackMs`.
 */
async function begin(read: Read, holdBackMs: number): Promise<Begun> {
  let head = await read(Buffer.allocUnsafeSlow(READ_BYTES));
  while (mayBeCoded(head)) {
    const pending = read(Buffer.allocUnsafeSlow(READ_BYTES));
    // Whoever waits for it next learns of an error.
    pending.catch(() => undefined);
    const isPrintable = head[0]! >= 0x20;
    const next = isPrintable ? await Promise.race([pending, sleep(holdBackMs, undefined, { ref: false })]) : await pending;
    if (next === undefined) return { head, pending };
    if (next.length === 0) return { head, pending: Promise.resolve(next) };
    head = Buffer.concat([head, next]);
  }
  return { head };
}

async function* all(read: Read, { head, pending }: Begun): AsyncGenerator<Buffer> {
  let chunk = head;
  let next = pending;
  while (chunk.length > 0) {
    yield chunk;
    chunk = await (next ?? read(Buffer.allocUnsafe(READ_BYTES)));
    next = undefined;
  }
}

/** Writes to a descriptor, which stays open whatever happens; without one to nowhere. */
function sinkOf(output: number | undefined): Writable {
  const write = callbackify(async (chunk: Buffer) => (output === undefined ? undefined : writeAll(output, [chunk])));
  return new Writable({ write: (chunk: Buffer, _encoding, callback) => write(chunk, callback) });
}

/** Masks stdin into `output`; without `output` it is only looked at. */
export async function scrubInput(machine: RedactorStream, output: number | undefined, reading: Reading): Promise<void> {
  growPipe(STDIN);
  if (output !== undefined) growPipe(output);
  try {
    await mask(readerOf(STDIN), { name: "stdin" }, machine, output, reading);
  } catch (error) {
    throw streamError("stdin", error);
  }
}

/** Masks a file into `output`; without `output` it is only looked at. */
export async function scrubFile(file: string, machine: RedactorStream, output: number | undefined, reading: Reading): Promise<void> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(file, "r");
    const isFile = (await handle.stat()).isFile();
    if (isFile) await checkHandle(file, handle, reading);
    await mask(isFile ? fileReader(handle.fd) : readerOf(handle.fd), { name: file }, machine, output, reading);
  } catch (error) {
    machine.close();
    throw streamError(file, error);
  } finally {
    await handle?.close();
  }
}

/** Throws `LV_NOT_CLEAN` for a file that need not be read to know that it cannot be masked. */
export async function checkHandle(file: string, handle: FileHandle, { binary }: Reading): Promise<void> {
  const { size } = await handle.stat();
  const read = async (buffer: Buffer, position: number): Promise<Buffer> =>
    buffer.subarray(0, (await handle.read(buffer, 0, buffer.length, position)).bytesRead);
  await checkFile({ name: file }, size, read, binary);
}
