/** The files of a stream in the store: one behind the other, named by the offset of the output where they begin; those that are written no more may be compressed. */
import { dirname, join } from "node:path";
import { Readable, pipeline } from "node:stream";
import { CONTENT_CODINGS } from "../codec/content.js";
import type { SegmentSizes } from "./segment.js";
import type { Disk } from "./spool/disk.js";

/** Digits of an offset in a file's name: names sort as offsets do. */
const OFFSET_DIGITS = 16;
/** Unit of reading. */
const READ_BYTES = 1 << 18;
/** How often a file may be gone when it is read: one that was compressed meanwhile is there under another name. */
const MAX_TRIES = 3;

const ZSTD = CONTENT_CODINGS.find(({ name }) => name === "zstd")!;

/** A file of the stream: its name, where it begins, whether it is compressed, its size and that of its commits, and when it was written last. */
export interface Part {
  readonly file: string;
  readonly start: number;
  readonly compressed: boolean;
  readonly sizes: SegmentSizes;
  /** Milliseconds since the epoch. */
  readonly modified: number;
}

/** Name of a file without its end. */
export const nameOf = (start: number): string => String(start).padStart(OFFSET_DIGITS, "0");

export async function partsOf(disk: Disk, folder: string): Promise<Part[]> {
  const files = await disk.list(folder);
  const commits = new Map(files.map(({ name, bytes }) => [name, bytes]));
  const logs = files.filter(({ name }) => name.endsWith(".log") || name.endsWith(".log.zst")).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return logs.map(({ name, bytes, modified }) => {
    const stem = name.slice(0, OFFSET_DIGITS);
    const sizes = { log: bytes, commits: commits.get(`${stem}.commits`) ?? 0 };
    return { file: join(folder, name), start: Number(stem), compressed: name.endsWith(".zst"), sizes, modified };
  });
}

/** Bytes `[from, to)` of a stream out of its files, or as many of them as there are. */
export async function* readParts(disk: Disk, folder: string, from: number, to: number): AsyncGenerator<Buffer, void, void> {
  let at = from;
  for (let tries = 0; at < to;) {
    const parts = await partsOf(disk, folder);
    const index = parts.findLastIndex(({ start }) => start <= at);
    const part = parts[index];
    if (part === undefined) return;
    const before = at;
    try {
      for await (const chunk of bytesOf(disk, part, at, Math.min(to, parts[index + 1]?.start ?? Infinity))) {
        at += chunk.length;
        yield chunk;
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT" || ++tries === MAX_TRIES) throw error;
      continue;
    }
    if (at === before) return;
  }
}

/** Bytes `[from, to)` of the output out of one file. */
async function* bytesOf(disk: Disk, { file, start, compressed }: Part, from: number, to: number): AsyncGenerator<Buffer, void, void> {
  if (!compressed) {
    yield* plain(disk, file, from - start, to - start);
    return;
  }
  let at = start;
  // An error of the file is that of the decoder.
  const decoded = pipeline(Readable.from(plain(disk, file, 0, Infinity)), ZSTD.decoder()!, () => undefined);
  for await (const chunk of decoded as AsyncIterable<Buffer>) {
    const first = Math.max(0, from - at);
    const last = Math.min(chunk.length, to - at);
    at += chunk.length;
    if (last > first) yield chunk.subarray(first, last);
    if (at >= to) break;
  }
}

async function* plain(disk: Disk, file: string, from: number, to: number): AsyncGenerator<Buffer, void, void> {
  for (let at = from; at < to;) {
    const chunk = await disk.read(file, at, Math.min(to, at + READ_BYTES));
    if (chunk.length === 0) return;
    at += chunk.length;
    yield chunk;
  }
}

/** Compresses the file of a segment that is written no more; the plain one goes when the other is whole. */
export async function compress(disk: Disk, path: string): Promise<void> {
  const target = `${path}.log.zst`;
  const file = await disk.open(`${target}.part`);
  let bytes = 0;
  try {
    await file.truncate(0);
    const encoded = pipeline(Readable.from(plain(disk, `${path}.log`, 0, Infinity)), ZSTD.encoder()!, () => undefined);
    for await (const chunk of encoded as AsyncIterable<Buffer>) {
      await file.write(chunk, bytes);
      bytes += chunk.length;
    }
    await file.datasync();
  } finally {
    await file.close();
  }
  await disk.rename(`${target}.part`, target);
  await disk.syncFolder(dirname(path));
  await disk.remove(`${path}.log`);
  await disk.remove(`${path}.commits`);
}
