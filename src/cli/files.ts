/** Files in and out: content codings, atomic replacement, output folders. A failure leaves the original as it was. */
import { randomBytes } from "node:crypto";
import { mkdir, open, realpath, rename, stat, unlink } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { callbackify } from "node:util";
import { codingOf } from "../codec/content.js";
import type { RedactorStream } from "../live.js";
import { LogveilError } from "../errors.js";
import { growPipe } from "../native/loader.js";
import { pipe, READ_BYTES, readSome, writeAll } from "./pipe.js";
import { pump } from "./pump.js";

const STDIN = 0;

/** Temporary files to remove if the process is told to stop. */
const temporary = new Set<string>();

export function temporaryFiles(): ReadonlySet<string> {
  return temporary;
}

function ioError(file: string, what: string, error: unknown): LogveilError {
  if (error instanceof LogveilError) return error;
  const { code = "unknown error", syscall } = error as NodeJS.ErrnoException;
  if (syscall?.startsWith("write"))
    return new LogveilError("LV_IO", `${file}: the masked text cannot be written (${code})`, { cause: error, facts: { file, code } });
  const hint = code.startsWith("Z_") || code.startsWith("ZSTD") ? "the compressed data is damaged or cut off" : code;
  return new LogveilError("LV_IO", `${file}: ${what} (${hint})`, { cause: error, facts: { file, code } });
}

/** Masks `input`, whatever its coding, into `output`; without `output` it is only looked at. Both stay open. */
async function scrubDescriptor(input: number, machine: RedactorStream, output: number | undefined, holdBackMs: number): Promise<void> {
  // One read: live input is not waited for beyond it.
  const head = Buffer.allocUnsafeSlow(READ_BYTES);
  const first = head.subarray(0, await readSome(input, head));
  const coding = codingOf(first);
  const decoder = coding.decoder();
  const encoder = coding.encoder();
  if (decoder === undefined || encoder === undefined) return pipe(input, first, machine, output, holdBackMs);
  const raw = Readable.from(all(input, first), { objectMode: false });
  const sink = sinkOf(output);
  const decoding = pipeline(raw, decoder);
  const encoding = pipeline(encoder, sink);
  const masking = pump(decoder, machine, encoder, holdBackMs).then(() => void encoder.end());
  try {
    await Promise.all([decoding, masking, encoding]);
  } catch (error) {
    raw.destroy();
    decoder.destroy();
    encoder.destroy();
    await Promise.allSettled([decoding, masking, encoding]);
    throw error;
  }
}

async function* all(input: number, first: Buffer): AsyncGenerator<Buffer> {
  let chunk = first;
  while (chunk.length > 0) {
    yield chunk;
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    chunk = buffer.subarray(0, await readSome(input, buffer));
  }
}

/** Writes to a descriptor, which stays open whatever happens; without one to nowhere. */
function sinkOf(output: number | undefined): Writable {
  const write = callbackify(async (chunk: Buffer) => (output === undefined ? undefined : writeAll(output, [chunk])));
  return new Writable({ write: (chunk: Buffer, _encoding, callback) => write(chunk, callback) });
}

/** Masks stdin, whatever its coding, into `output`; without `output` it is only looked at. */
export async function scrubInput(machine: RedactorStream, output: number | undefined, holdBackMs: number): Promise<void> {
  growPipe(STDIN);
  if (output !== undefined) growPipe(output);
  try {
    await scrubDescriptor(STDIN, machine, output, holdBackMs);
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === "EPIPE" ? error : ioError("stdin", "cannot be masked", error);
  }
}

/** Masks a file into `output`; without `output` it is only looked at. */
export async function scrubFile(file: string, machine: RedactorStream, output: number | undefined, holdBackMs: number): Promise<void> {
  try {
    const handle = await open(file, "r");
    try {
      await scrubDescriptor(handle.fd, machine, output, holdBackMs);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EPIPE") throw error;
    throw ioError(file, "cannot be masked", error);
  }
}

/**
 * Masks a file into a new one that takes the place of `target` in one step, with the mode and owner of the original (not its ACLs and extended
 * attributes). `changed` is asked at the end: without a change nothing is replaced. Answers how many other names of the original still hold it as it was.
 */
export async function scrubTo(file: string, target: string, machine: RedactorStream, holdBackMs: number, changed: () => boolean): Promise<number> {
  const temp = join(dirname(target), `.${basename(target)}.logveil-${randomBytes(6).toString("hex")}`);
  try {
    const original = await stat(file);
    if (!original.isFile()) throw new LogveilError("LV_IO", `${file}: is no regular file; --in-place and --out take files`);
    temporary.add(temp);
    const handle = await open(temp, "wx", 0o600);
    try {
      await scrubFile(file, machine, handle.fd, holdBackMs);
      if (changed()) {
        await handle.chown(original.uid, original.gid).catch(() => undefined);
        await handle.chmod(original.mode & 0o7777);
        await handle.sync();
      }
    } finally {
      await handle.close();
    }
    if (changed()) {
      await rename(temp, target);
      await syncFolder(dirname(target));
      return original.nlink - 1;
    }
    return 0;
  } catch (error) {
    throw ioError(file, "cannot be masked; it is unchanged", error);
  } finally {
    await unlink(temp).catch(() => undefined);
    temporary.delete(temp);
  }
}

/** Masks a file, or what a link of that name points to. Answers how many other names (hard links) still hold the unmasked text. */
export async function scrubInPlace(file: string, machine: RedactorStream, holdBackMs: number, changed: () => boolean): Promise<number> {
  let target: string;
  try {
    target = await realpath(file);
  } catch (error) {
    throw ioError(file, "cannot be masked", error);
  }
  return scrubTo(target, target, machine, holdBackMs, changed);
}

/** Where `file` goes below `folder`. Throws `LV_USAGE` if that is the file itself. */
export async function outputPath(file: string, folder: string): Promise<string> {
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw ioError(folder, "cannot be made", error);
  });
  const target = resolve(folder, basename(file));
  const same = await realpath(file).catch(() => resolve(file));
  if (same === (await realpath(target).catch(() => target)))
    throw new LogveilError("LV_USAGE", `${file}: --out would overwrite the input; use --in-place for that`);
  return target;
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}
