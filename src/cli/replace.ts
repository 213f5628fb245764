/**
 * Masked files in the place of others, in one step: written beside, then renamed. A failure leaves the original as it was, and so does a change of it while it is masked:
 * what a rename would lose is never written over. What a killed run left is removed by the next one on that file.
 */
import { createHash, randomBytes } from "node:crypto";
import { type BigIntStats, constants, fstatSync, lstatSync, renameSync } from "node:fs";
import { type FileHandle, lstat, open, readdir, realpath, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { codingOf } from "../codec/content.js";
import { LogveilError } from "../errors.js";
import type { RedactorStream } from "../live.js";
import { markLives, processMark } from "../lock.js";
import { checkHandle, ioError, mask, type Reading } from "./files.js";
import { fileReader } from "./pipe.js";

/** Temporary files to remove if the process is told to stop. */
const temporary = new Set<string>();

export function temporaryFiles(): ReadonlySet<string> {
  return temporary;
}

/** The longest name of a file, in bytes. */
const NAME_BYTES = 255;
const RANDOM_BYTES = 6;

/** What the names of temporary files for `target` begin with. */
function prefixOf(target: string): string {
  const name = basename(target);
  const suffix = `.logveil-${processMark()}-`;
  const room = NAME_BYTES - Buffer.byteLength(suffix) - RANDOM_BYTES * 2 - 16;
  return Buffer.byteLength(name) < room ? `.${name}.logveil-` : `.${createHash("sha256").update(name).digest("hex").slice(0, 32)}.logveil-`;
}

const LEFTOVER = new RegExp(`\\.logveil-([0-9a-f-]+)-[0-9a-f]{${RANDOM_BYTES * 2}}$`);

/** By folder: what was in it that looks like a temporary file when it was first asked for. */
const found = new Map<string, Promise<readonly string[]>>();

/** Removes what killed runs left behind for `target`; a file that a living run writes stays. */
export async function removeLeftovers(target: string): Promise<void> {
  const folder = dirname(target);
  if (!found.has(folder))
    found.set(
      folder,
      readdir(folder).then(
        (names) => names.filter((name) => LEFTOVER.test(name)),
        () => [],
      ),
    );
  const prefix = prefixOf(target);
  for (const name of await found.get(folder)!) {
    if (!name.startsWith(prefix)) continue;
    const path = join(folder, name);
    const stats = await lstat(path).catch(() => undefined);
    const mark = name.slice(prefix.length, -1 - RANDOM_BYTES * 2);
    if (stats?.isFile() === true && markLives(mark, Date.now() - stats.mtimeMs) === false) await unlink(path).catch(() => undefined);
  }
}

/** A file beside `target` that takes its place, or goes. */
interface Temporary {
  readonly path: string;
  readonly handle: FileHandle;
  /** Closes it, and removes what has not been renamed. */
  drop(): Promise<void>;
}

async function openTemporary(target: string): Promise<Temporary> {
  const path = join(dirname(target), `${prefixOf(target)}${processMark()}-${randomBytes(RANDOM_BYTES).toString("hex")}`);
  temporary.add(path);
  try {
    // To its end, whoever writes to it by then.
    const handle = await open(path, "ax", 0o600);
    return {
      path,
      handle,
      async drop() {
        await handle.close();
        await unlink(path).catch(() => undefined);
        temporary.delete(path);
      },
    };
  } catch (error) {
    temporary.delete(path);
    throw error;
  }
}

/** Gives a temporary file the mode and owner of the original (not its ACLs and extended attributes), and has it on disk. */
async function finish({ handle }: Temporary, { uid, gid, mode }: BigIntStats): Promise<void> {
  await handle.chown(Number(uid), Number(gid)).catch(() => undefined);
  await handle.chmod(Number(mode) & 0o7777);
  await handle.sync();
}

/** Opens a file that is to be read as a whole; `shown` is what the user calls it. A pipe is not waited for. */
async function openSource(file: string, shown: string): Promise<FileHandle> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  const stats = await handle.stat();
  if (stats.isFile()) return handle;
  await handle.close();
  const what = stats.isDirectory() ? "is a folder; name the files in it" : "is not a regular file; --in-place and --out take files";
  throw new LogveilError("LV_IO", `${shown} ${what}`);
}

/** The same file with the same bytes, as far as the system tells. */
const isSame = (a: BigIntStats, b: BigIntStats | undefined): boolean =>
  b !== undefined && a.dev === b.dev && a.ino === b.ino && a.size === b.size && a.mtimeNs === b.mtimeNs;

export interface Replaced {
  /** Whether there was anything to mask; else nothing was replaced. */
  readonly isChanged: boolean;
  /** How many other names (hard links) still hold the unmasked text. */
  readonly otherNames: number;
}

/** Makes a machine for a file, or for what was appended to it while it was replaced. */
export type OpenMachine = (part: "whole" | "end") => RedactorStream;

/**
 * Masks a file, or what a link of that name points to. `isChanged` is asked when its machine has ended. Throws `LV_NOT_CLEAN`, `LV_CHANGED` and `LV_IO`; the file is then as
 * it was, unless the message says more.
 *
 * What is appended between the last look and the rename, or by who had opened the file before, goes to the old file. This process still has that open: so it looks again behind
 * the rename, and appends what came, masked, to the new one. What remains: a program that keeps the old file open and writes to it later on writes to a file without a
 * name; nothing that renames can tell.
 */
export async function scrubInPlace(file: string, openMachine: OpenMachine, reading: Reading, isChanged: () => boolean): Promise<Replaced> {
  let source: FileHandle | undefined;
  try {
    const target = await realpath(file);
    source = await openSource(target, file);
    await removeLeftovers(target);
    await checkHandle(file, source, reading);
    const before = fstatSync(source.fd, { bigint: true });
    const temp = await openTemporary(target);
    try {
      await mask(fileReader(source.fd), { name: file }, openMachine("whole"), temp.handle.fd, reading);
      if (isChanged()) await finish(temp, before);
      if (!isAsBefore(source, before, target)) throw changedError(file);
      if (isChanged()) {
        // No turn of the event loop lies between that look and this: the gap is as short as it can be.
        renameSync(temp.path, target);
        await syncFolder(dirname(target));
        await followUp(file, source, before, temp, openMachine);
      }
    } finally {
      await temp.drop();
    }
    return { isChanged: isChanged(), otherNames: Number(before.nlink) - 1 };
  } catch (error) {
    throw ioError(file, "cannot be masked; it is unchanged", error);
  } finally {
    await source?.close();
  }
}

/** Whether a file, and what has its name, is what it was `before`. The change time moves where the others were set back, or with the mode and the owner. */
function isAsBefore(source: FileHandle, before: BigIntStats, target: string): boolean {
  const now = fstatSync(source.fd, { bigint: true });
  return isSame(before, now) && before.ctimeNs === now.ctimeNs && isSame(before, lstatSync(target, { bigint: true, throwIfNoEntry: false }));
}

/** Who has opened the file before it was replaced, and writes behind the rename, has mostly done so after this time, in milliseconds. */
const LOOK_BACK_MS = 100;
/** So often it is looked, while something comes. */
const LOOKS = 3;
/** A file that was not written to for so long is looked at once, at once, in milliseconds: archives are not slowed down. */
const RECENT_MS = 60_000;
/** What stood before the appended text is masked with it, for secrets that reach over the seam, in bytes. */
const CONTEXT_BYTES = 64 * 1024;
/** Most that is appended so, in bytes. */
const LATE_BYTES = 64 * 1024 * 1024;

/** Appends to the new file what is written to the old one, while that goes on. Throws `LV_CHANGED` where it cannot, or does not end. */
async function followUp(file: string, source: FileHandle, before: BigIntStats, temp: Temporary, openMachine: OpenMachine): Promise<void> {
  let known = before;
  for (let look = 1; look <= LOOKS; look++) {
    if (Math.abs(Date.now() - Number(known.mtimeMs)) < RECENT_MS) await sleep(LOOK_BACK_MS);
    // Its change time is another in any case: it has lost a name.
    const now = fstatSync(source.fd, { bigint: true });
    if (isSame(known, now)) return;
    const length = Number(now.size - known.size);
    if (length <= 0 || length > LATE_BYTES || (await isCoded(source))) throw lostError(file);
    await appendLate(source, Number(known.size), Number(now.size), temp, openMachine("end"));
    known = now;
  }
  throw openError(file);
}

/** Masks the bytes from `from` to `to` of a text with what stands before them, and appends what that makes of their lines. A line that had begun is there twice. */
async function appendLate(source: FileHandle, from: number, to: number, { handle }: Temporary, machine: RedactorStream): Promise<void> {
  const start = Math.max(0, from - CONTEXT_BYTES);
  const text = await readRange(source, start, to);
  const seam = from === start ? 0 : text.lastIndexOf(LF, from - start - 1) + 1;
  const masked = Buffer.concat([...machine.push(text), ...machine.end()]);
  // Line ends stay, whatever is masked.
  let at = 0;
  for (let i = text.indexOf(LF); i >= 0 && i < seam; i = text.indexOf(LF, i + 1)) at = masked.indexOf(LF, at) + 1;
  await handle.appendFile(masked.subarray(at));
  await handle.sync();
}

async function readRange(source: FileHandle, start: number, end: number): Promise<Buffer> {
  const bytes = Buffer.alloc(end - start);
  let length = 0;
  while (length < bytes.length) {
    const { bytesRead } = await source.read(bytes, length, bytes.length - length, start + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return bytes.subarray(0, length);
}

const isCoded = async (source: FileHandle): Promise<boolean> => codingOf(await readRange(source, 0, MAGIC_BYTES)).name !== "identity";
/** The longest that codings begin with. */
const MAGIC_BYTES = 4;
const LF = 0x0a;

const changed = (message: string, file: string): LogveilError => new LogveilError("LV_CHANGED", message, { facts: { file } });
const changedError = (file: string): LogveilError =>
  changed(`${file} changed while it was being masked, so it is left as it is; try again when nothing writes to it`, file);
const lostError = (file: string): LogveilError =>
  changed(`${file} is masked, but another program changed it during the replacement, and that change is lost; stop the program first`, file);
const openError = (file: string): LogveilError =>
  changed(`${file} is masked, but another program keeps the old file open, and its further lines are lost; have it reopen its log`, file);

/** Masks a file into `target`, whose folder exists. Throws `LV_NOT_CLEAN`, `LV_IO`; nothing is written then. */
export async function scrubTo(file: string, target: string, machine: RedactorStream, reading: Reading): Promise<void> {
  let source: FileHandle | undefined;
  try {
    source = await openSource(file, file);
    await removeLeftovers(target);
    await checkHandle(file, source, reading);
    const temp = await openTemporary(target);
    try {
      await mask(fileReader(source.fd), { name: file }, machine, temp.handle.fd, reading);
      await finish(temp, await source.stat({ bigint: true }));
      renameSync(temp.path, target);
    } finally {
      await temp.drop();
    }
    await syncFolder(dirname(target));
  } catch (error) {
    machine.close();
    throw ioError(file, "cannot be masked; nothing is written for it", error);
  } finally {
    await source?.close();
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}
