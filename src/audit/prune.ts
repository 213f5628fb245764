/** Which of the oldest files need not be kept, and their removal. Files are removed whole, oldest first, never the one that is written. */
import { constants } from "node:fs";
import { open, readdir, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { Blake3 } from "../blake3.js";
import { GENESIS, unseal } from "./chain.js";
import { auditFiles, syncFolder, timeOf } from "./folder.js";

/** A file that is to go, and its last record. */
export interface Gone {
  readonly file: string;
  readonly seq: number;
  readonly hash: string;
}

export interface Keep {
  /** Files whose last record is older may go, in milliseconds since the epoch. */
  readonly olderThan?: number;
  /** And the oldest ones while all have more bytes. */
  readonly maxBytes?: number;
}

/** Most files that go at a time: they are told in one record. */
const MAX_FILES = 500;
/** An `open` record is short. */
const FIRST_LINE_BYTES = 4096;

/** The files that may go, oldest first. A file that does not say where the one before it ends keeps that one. */
export async function prunable(blake3: Blake3, folder: string, current: string, { olderThan, maxBytes = Infinity }: Keep): Promise<Gone[]> {
  const names = await auditFiles(folder);
  const sizes = await sizesOf(folder);
  let bytes = [...sizes.values()].reduce((sum, size) => sum + size, 0);
  const gone: Gone[] = [];
  for (const [i, file] of names.entries()) {
    const next = names[i + 1];
    if (file === current || next === undefined || gone.length === MAX_FILES) break;
    // The next file was begun when this one had its last record.
    const isOld = olderThan !== undefined && timeOf(next) < olderThan;
    if (!isOld && bytes <= maxBytes) break;
    const last = await recordBefore(blake3, join(folder, next));
    if (last === undefined) break;
    gone.push({ file, ...last });
    for (const [name, size] of sizes) if (belongsTo(name, file)) bytes -= size;
  }
  return gone;
}

/** Removes files and the torn tails that were found in them, oldest first: what is left after a crash in between begins where one of them ended. */
export async function removeFiles(folder: string, gone: readonly Gone[]): Promise<void> {
  const names = await readdir(folder);
  for (const { file } of gone) for (const name of names) if (belongsTo(name, file)) await unlink(join(folder, name));
  await syncFolder(folder);
}

const belongsTo = (name: string, file: string): boolean => name === file || name.startsWith(`${file}.torn`);

/** Bytes of the files of an audit, and of the torn tails beside them. */
async function sizesOf(folder: string): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  for (const name of await readdir(folder)) if (/^audit-.*\.jsonl(\.torn.*)?$/.test(name)) sizes.set(name, (await stat(join(folder, name))).size);
  return sizes;
}

/** The record before the first one of a file, as that one tells it. */
async function recordBefore(blake3: Blake3, path: string): Promise<{ seq: number; hash: string } | undefined> {
  const handle = await open(path, constants.O_RDONLY);
  try {
    const buffer = Buffer.alloc(FIRST_LINE_BYTES);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
    const end = buffer.subarray(0, bytesRead).indexOf(10);
    const record = end < 0 ? "no line" : unseal(blake3, buffer.subarray(0, end));
    if (typeof record === "string" || record.type !== "open" || record.prev === GENESIS) return undefined;
    return { seq: record.seq - 1, hash: record.prev };
  } finally {
    await handle.close();
  }
}
