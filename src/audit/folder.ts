/** The audit folder: names of its files, their lines, what a crash left at the end of the last one. */
import { chmodSync, constants, mkdirSync, statSync } from "node:fs";
import { open, readdir, readFile, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { Blake3 } from "../blake3.js";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import { GENESIS, MAX_LINE_BYTES, unseal, type Unsealed } from "./chain.js";
import { ChainCheck } from "./check.js";

/** Bytes that go to the disk in one write, about. */
export const BATCH_BYTES = 1 << 20;
/** What a crash can leave unfinished is one write, which had up to 8 MiB when the format was 1: a longer damaged tail is none that a crash made. */
const MAX_TAIL_BYTES = (8 << 20) + BATCH_BYTES;
/** Unit of reading. */
const READ_BYTES = 1 << 20;

/** Makes the folder. Refuses one that others may write: they could replace files whatever their mode. */
export function makeFolder(folder: string): void {
  try {
    if (mkdirSync(folder, { recursive: true, mode: 0o700 }) !== undefined) chmodSync(folder, 0o700);
    const mode = statSync(folder).mode & 0o777;
    if (process.platform !== "win32" && (mode & 0o022) !== 0)
      throw new LogveilError("LV_IO", `${folder}: others may write into the audit folder (mode ${mode.toString(8)}); chmod 700`, { facts: { mode } });
  } catch (error) {
    if (error instanceof LogveilError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new LogveilError("LV_IO", `${folder}: the audit folder cannot be made: ${reasonAndCure(code)}`, { cause: error, facts: { code } });
  }
}

/** A copy of the last checkpoint's line. Tells a chain that was cut behind it; copied elsewhere, also one that was written anew. */
export const headFile = (folder: string): string => join(folder, "audit.head");
export const keyFile = (folder: string): string => join(folder, "audit.key");

/** `audit-20261121T134700123Z-000001.jsonl`: when it was begun, and which one it is. */
export const fileName = (time: string, number: number): string => `audit-${time.replace(/[-:.]/g, "")}-${String(number).padStart(6, "0")}.jsonl`;

const numberOf = (name: string): number => Number(/^audit-\d{8}T\d{9}Z-(\d{6,15})\.jsonl$/.exec(name)?.[1] ?? Number.NaN);

/** When a file was begun, in milliseconds since the epoch. */
export function timeOf(name: string): number {
  const [, year, month, day, hour, minute, second, ms] = /^audit-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z-/.exec(name)!;
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}.${ms}Z`);
}

/** Names of the audit files of a folder, in the order of the chain. */
export async function auditFiles(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter((name) => !Number.isNaN(numberOf(name)));
  return names.toSorted((a, b) => numberOf(a) - numberOf(b));
}

/** The checkpoint in the head file; a string says what is wrong with it; undefined: there is none. */
export async function readHead(blake3: Blake3, folder: string): Promise<(Unsealed & { readonly line: Buffer }) | string | undefined> {
  let line: Buffer;
  try {
    line = await readFile(headFile(folder));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  line = line.at(-1) === 10 ? line.subarray(0, -1) : line;
  const record = unseal(blake3, line);
  if (typeof record === "string") return record;
  return record.type === "checkpoint" ? { ...record, line } : "it is not a checkpoint";
}

/** Who takes the lines of a file. `false` ends the reading. */
export interface LineTaker {
  /** A line without its LF; valid during the call. */
  line(bytes: Buffer): boolean;
  /** The end has no LF, or a line exceeds `MAX_LINE_BYTES`. */
  torn(): void;
}

/** Reads a file's lines with flat memory. `settleMs`: a last line that seems unfinished, or a file without any, is read again after so long, for someone may be writing it. */
export async function readLines(path: string, taker: LineTaker, settleMs = 0): Promise<void> {
  const handle = await open(path, constants.O_RDONLY);
  try {
    let buffer = Buffer.allocUnsafe(READ_BYTES);
    let filled = 0;
    let settled = settleMs === 0;
    let isEmpty = true;
    for (;;) {
      const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, null);
      if (bytesRead === 0) {
        if (filled === 0 && (settled || !isEmpty)) return;
        if (settled) return taker.torn();
        settled = true;
        await new Promise((resolve) => setTimeout(resolve, settleMs));
        continue;
      }
      isEmpty = false;
      const end = filled + bytesRead;
      let start = 0;
      for (let at = buffer.subarray(0, end).indexOf(10, filled); at >= 0; at = buffer.subarray(0, end).indexOf(10, start)) {
        if (!taker.line(buffer.subarray(start, at))) return;
        start = at + 1;
      }
      filled = end - start;
      if (filled > MAX_LINE_BYTES) return taker.torn();
      buffer.copyWithin(0, start, end);
      if (filled === buffer.length) buffer = Buffer.concat([buffer], buffer.length * 2);
    }
  } finally {
    await handle.close();
  }
}

/** A tail that was no whole record and was put aside. */
export interface Recovered {
  /** Audit file it stood in. */
  readonly file: string;
  /** Where it is now. */
  readonly side: string;
  readonly bytes: number;
  /** BLAKE3 of it, 64 hex digits. */
  readonly blake3: string;
}

/** Where the chain goes on. */
export interface Resumption {
  /** Of the next record. */
  readonly seq: number;
  readonly prev: string;
  /** Last audit file; absent: there is none yet. */
  readonly previous?: string;
  /** Of the next file. */
  readonly number: number;
  readonly recovered: readonly Recovered[];
}

/**
 * Finds the end of the chain by reading the last file, and puts aside what a crash left unfinished there. The writer must hold the lock.
 * Throws `LV_AUDIT_BROKEN` for damage that no crash makes: more than one write, or records that a checkpoint in the head file covers.
 */
export async function resume(blake3: Blake3, folder: string): Promise<Resumption> {
  const head = await readHead(blake3, folder);
  if (typeof head === "string") throw broken(headFile(folder), head);
  const names = await auditFiles(folder);
  const number = names.length === 0 ? 1 : numberOf(names.at(-1)!) + 1;
  const recovered: Recovered[] = [];
  for (const name of names.toReversed()) {
    const path = join(folder, name);
    const check = new ChainCheck({ blake3, ...(head?.fields["file"] === name ? { pins: [{ seq: head.seq, hash: head.hash, source: "audit.head" }] } : {}) });
    check.beginFile(name);
    await readLines(path, { line: (bytes) => check.line(bytes), torn: () => check.torn() });
    const tail = (await stat(path)).size - check.acceptedBytes;
    const last = check.last;
    if (head !== undefined && (last?.seq ?? -1) < head.seq && (last !== undefined || head.fields["file"] === name))
      throw broken(path, `it ends or is damaged before record ${head.seq}, which audit.head says was written`);
    if (tail > MAX_TAIL_BYTES) throw broken(path, `${tail} bytes at its end are damaged`);
    if (tail > 0 || last === undefined) recovered.push(await putAside(blake3, folder, name, check.acceptedBytes));
    if (last !== undefined) return { seq: last.seq + 1, prev: last.hash, previous: name, number, recovered };
  }
  if (head !== undefined) throw broken(headFile(folder), "the file that it names is missing");
  return { seq: 0, prev: GENESIS, number, recovered };
}

const broken = (path: string, why: string): LogveilError =>
  new LogveilError("LV_AUDIT_BROKEN", `${path}: ${why}; verify the folder, keep it as evidence and start in a new one`);

/** Copies what stands from `keep` on into a file beside, then cuts it off; a file of which nothing is kept is removed. */
async function putAside(blake3: Blake3, folder: string, name: string, keep: number): Promise<Recovered> {
  const path = join(folder, name);
  const handle = await open(path, "r+");
  try {
    const { size } = await handle.stat();
    const tail = Buffer.alloc(size - keep);
    for (let at = 0; at < tail.length;) {
      const { bytesRead } = await handle.read(tail, at, tail.length - at, keep + at);
      if (bytesRead === 0) throw broken(path, "it became shorter while it was read");
      at += bytesRead;
    }
    const side = await freeName(folder, `${name}.torn`);
    const copy = await open(join(folder, side), "wx", 0o600);
    try {
      await copy.writeFile(tail);
      await copy.sync();
    } finally {
      await copy.close();
    }
    await syncFolder(folder);
    if (keep > 0) {
      await handle.truncate(keep);
      await handle.sync();
    } else {
      await unlink(path);
      await syncFolder(folder);
    }
    return { file: name, side, bytes: tail.length, blake3: blake3.hashHex(tail) };
  } finally {
    await handle.close();
  }
}

async function freeName(folder: string, wanted: string): Promise<string> {
  const taken = new Set(await readdir(folder));
  let name = wanted;
  for (let i = 2; taken.has(name); i++) name = `${wanted}-${i}`;
  return name;
}

/** Makes new names of a folder durable. */
export async function syncFolder(folder: string): Promise<void> {
  // Windows cannot open folders, and needs not.
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Replaces the head file, atomically and durably. */
export async function writeHead(folder: string, line: Buffer): Promise<void> {
  const temporary = `${headFile(folder)}.new`;
  const handle = await open(temporary, "w", 0o600);
  try {
    await handle.writeFile(line);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, headFile(folder));
}
