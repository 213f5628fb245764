/** Files in and out: content codings, atomic replacement, output folders. A failure leaves the original as it was. */
import { randomBytes } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, open, realpath, rename, stat, unlink } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { Readable, Writable } from "node:stream";
import { finished, pipeline } from "node:stream/promises";
import { codingOf, type ContentCoding, MAGIC_BYTES } from "../codec/content.js";
import type { RedactorStream } from "../live.js";
import { LogveilError } from "../errors.js";
import { pump } from "./pump.js";

export const READ_BYTES = 256 * 1024;

/** Temporary files to remove if the process is told to stop. */
const temporary = new Set<string>();

export function temporaryFiles(): ReadonlySet<string> {
  return temporary;
}

function ioError(file: string, what: string, error: unknown): LogveilError {
  if (error instanceof LogveilError) return error;
  const code = (error as NodeJS.ErrnoException).code ?? "unknown error";
  const hint = code.startsWith("Z_") || code.startsWith("ZSTD") ? "the compressed data is damaged or cut off" : code;
  return new LogveilError("LV_IO", `${file}: ${what} (${hint})`, { cause: error, facts: { file, code } });
}

/** Opens `file` for reading and tells its coding. */
async function openInput(file: string): Promise<{ coding: ContentCoding; raw: Readable }> {
  const handle = await open(file, "r");
  const head = Buffer.alloc(MAGIC_BYTES);
  const { bytesRead } = await handle.read(head, 0, MAGIC_BYTES, 0).catch(async (error: unknown) => {
    await handle.close();
    throw error;
  });
  return { coding: codingOf(head.subarray(0, bytesRead)), raw: handle.createReadStream({ start: 0, highWaterMark: READ_BYTES }) };
}

/** Masks `raw` in its coding into `sink`, which stays open. */
async function throughCoding(raw: Readable, coding: ContentCoding, machine: RedactorStream, sink: Writable, holdBackMs: number): Promise<void> {
  const decoder = coding.decoder();
  const encoder = coding.encoder();
  if (decoder === undefined || encoder === undefined) return pump(raw, machine, sink, holdBackMs);
  const decoding = pipeline(raw, decoder);
  const encoding = pipeline(encoder, sink, { end: false });
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

/** Masks stdin, whatever its coding, into `sink`. */
export async function scrubInput(input: Readable, machine: RedactorStream, sink: Writable, holdBackMs: number): Promise<void> {
  try {
    await throughCoding(input, codingOf(await firstBytes(input)), machine, sink, holdBackMs);
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === "EPIPE" ? error : ioError("stdin", "cannot be masked", error);
  }
}

/** The first chunk, put back: live input is not waited for beyond it. */
function firstBytes(input: Readable): Promise<Buffer> {
  return new Promise((done, reject) => {
    const ready = (): void => {
      const chunk = input.read() as Buffer | null;
      if (chunk === null) return;
      input.off("readable", ready).off("end", ended).off("error", reject);
      input.unshift(chunk);
      done(chunk.subarray(0, MAGIC_BYTES));
    };
    const ended = (): void => done(Buffer.alloc(0));
    if (input.readableEnded) ended();
    input.on("readable", ready).once("end", ended).once("error", reject);
  });
}

/** Masks a file into `sink`. */
export async function scrubFile(file: string, machine: RedactorStream, sink: Writable, holdBackMs: number): Promise<void> {
  try {
    const { coding, raw } = await openInput(file);
    await throughCoding(raw, coding, machine, sink, holdBackMs);
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
    const sink = createWriteStream(temp, { flags: "wx", mode: 0o600, flush: true });
    try {
      await scrubFile(file, machine, sink, holdBackMs);
    } finally {
      sink.end();
      await finished(sink).catch(() => undefined);
    }
    if (changed()) {
      const handle = await open(temp, "r+");
      try {
        await handle.chown(original.uid, original.gid).catch(() => undefined);
        await handle.chmod(original.mode & 0o7777);
        await handle.sync();
      } finally {
        await handle.close();
      }
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
