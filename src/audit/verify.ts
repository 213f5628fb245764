/** Verification of a file or folder: reads it with flat memory, checks chain, signatures and pins, and says what that proves and what not. */
import { existsSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { type Blake3, fastBlake3 } from "../blake3.js";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import { type Link, signedPart, type Unsealed } from "./chain.js";
import { ChainCheck, type Pin, type Place, type Problem } from "./check.js";
import { CountCheck, type CountDifference } from "./counts.js";
import { auditFiles, headFile, keyFile, readHead, readLines } from "./folder.js";
import { type PublicKey, publicKeyFile, readPublicKey } from "./keys.js";

export interface VerifyOptions {
  /** Files of public keys (SPKI PEM) that may have signed. Absent: `audit.key.pub` beside the audit if it is there, which proves less. */
  readonly publicKeys?: readonly string[];
  /** A record that must be there: its number is known from elsewhere. */
  readonly expectSeq?: number;
  /** Its hash, 64 hex digits. */
  readonly expectHash?: string;
  /** `genesis` (default for a folder): the chain must begin with record 0. `anywhere` (default for a file): where the first file begins is believed. */
  readonly start?: "genesis" | "anywhere";
  /** A masked log: is there a summary of its length and digest? */
  readonly log?: LogDigest;
  /** An unfinished last line is read again after so many milliseconds, for it may be being written. */
  readonly settleMs?: number;
  readonly blake3?: Blake3;
}

/** What is compared of a masked log. */
export interface LogDigest {
  readonly bytes: number;
  /** BLAKE3, 64 hex digits. */
  readonly blake3: string;
}

/** A stream whose summary is that of a log. */
export interface LogMatch extends Place {
  readonly job?: string;
  readonly stream: string;
}

/** A time in which the audit could not be written. */
export interface Gap extends Place {
  /** RFC 3339, UTC. */
  readonly from: string;
  readonly until: string;
  /** The system's code. */
  readonly code: string;
}

export interface Verification {
  /** The chain is as it was written, streams have as many records of findings as they count, and the log, if one was given, is one of those that it tells of. */
  readonly ok: boolean;
  /** The first record that is not as it was written. */
  readonly problem?: Problem;
  readonly files: number;
  /** Good records, up to the problem. */
  readonly records: number;
  readonly first?: Place;
  readonly last?: Place;
  /** The last good checkpoint. Keep `seq` and `hash` of it elsewhere. */
  readonly checkpoint?: Place;
  /** Good records behind the last checkpoint: chained, not signed. */
  readonly unsigned: number;
  /** Whose signatures were checked: a key given by the caller, the one that lies in the folder, none. */
  readonly key: "given" | "folder" | "none";
  readonly keyIds: readonly string[];
  /** The writer was closed in order. */
  readonly closed: boolean;
  /** Streams that count more or fewer findings than there are records of. Those of format 1 do not make it wrong. */
  readonly differences: readonly CountDifference[];
  readonly gaps: readonly Gap[];
  /** The record that says that older files were removed. */
  readonly prunedBy?: number;
  /** Crashes whose torn tail was put aside. */
  readonly recoveries: number;
  /** Of a folder: whether `audit.head` is there, which tells a chain that was cut. */
  readonly head: boolean;
  readonly bytes: number;
  /** Of the log that was given. */
  readonly log?: LogDigest & { readonly matches: readonly LogMatch[] };
}

/** Verifies an audit file, or a folder of them. Throws `LV_USAGE`, `LV_IO`, `LV_AUDIT_KEY`; damage is no error but the result. */
export async function verifyAudit(path: string, options: VerifyOptions = {}): Promise<Verification> {
  try {
    return await verify(path, options).catch((error: NodeJS.ErrnoException) => {
      // A writer may have removed the oldest file meanwhile.
      if (error.code !== "ENOENT") throw error;
      return verify(path, options);
    });
  } catch (error) {
    if (error instanceof LogveilError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new LogveilError("LV_IO", `${path}: cannot be read: ${reasonAndCure(code)}`, { cause: error, facts: { code } });
  }
}

async function verify(path: string, options: VerifyOptions): Promise<Verification> {
  const blake3 = options.blake3 ?? fastBlake3();
  const isFolder = statSync(path).isDirectory();
  const folder = isFolder ? path : dirname(path);
  const { key, keys } = keysFor(folder, options.publicKeys);
  // Read before the files: what is written meanwhile is behind it.
  const head = isFolder ? await readHead(blake3, folder) : undefined;
  const names = isFolder ? await auditFiles(folder) : [basename(path)];
  if (names.length === 0 && head === undefined) throw new LogveilError("LV_USAGE", `${path}: there are no audit files in it`);
  const matches: LogMatch[] = [];
  const gaps: Gap[] = [];
  const seen: { counts?: CountCheck } = {};
  const check = new ChainCheck({
    blake3,
    seen(record, place) {
      if (options.log !== undefined) matches.push(...matchesOf(options.log, record, place));
      if (record.type === "gap") gaps.push(gapOf(record, place));
      seen.counts ??= new CountCheck(record.seq > 0);
      seen.counts.seen(record, place);
    },
    pins: pinsOf(options, typeof head === "object" ? head : undefined),
    start: options.start ?? (isFolder ? "genesis" : "anywhere"),
    ...(keys.length === 0 ? {} : { keys }),
  });
  let bytes = 0;
  for (const [i, name] of names.entries()) {
    if (check.problem !== undefined) break;
    check.beginFile(name);
    const taker = {
      line(line: Buffer): boolean {
        bytes += line.length + 1;
        return check.line(line);
      },
      torn: () => check.torn(),
    };
    await readLines(join(folder, name), taker, i === names.length - 1 ? options.settleMs : 0);
  }
  check.finish();
  const problem = check.problem ?? headProblem(folder, head, names, keys);
  const { first, last, checkpoint, records, recoveries, closed, prunedBy } = check;
  const differences = seen.counts?.differences ?? [];
  return {
    ok: problem === undefined && differences.every(({ isOld }) => isOld) && (options.log === undefined || matches.length > 0),
    ...(problem === undefined ? {} : { problem }),
    files: names.length,
    records,
    ...(first === undefined ? {} : { first }),
    ...(last === undefined ? {} : { last }),
    ...(checkpoint === undefined ? {} : { checkpoint }),
    unsigned: last === undefined ? 0 : checkpoint === undefined ? records : last.seq - checkpoint.seq,
    key,
    keyIds: keys.map(({ id }) => id),
    closed,
    differences,
    gaps,
    ...(prunedBy === undefined ? {} : { prunedBy }),
    recoveries,
    head: head !== undefined,
    bytes,
    ...(options.log && { log: { ...options.log, matches } }),
  };
}

function gapOf({ fields }: Unsealed, place: Place): Gap {
  const { from, until, code } = fields as { from: string; until: string; code: string };
  return { ...place, from, until, code };
}

function matchesOf({ bytes, blake3 }: LogDigest, { type, fields }: Unsealed, place: Place): LogMatch[] {
  if (type !== "summary" || fields["outputBytes"] !== bytes || fields["outputBlake3"] !== blake3) return [];
  const { job, stream } = fields as { job?: string; stream: string };
  return [{ ...place, ...(job === undefined ? {} : { job }), stream }];
}

/** Length and digest of a masked log. */
export async function digestLog(pieces: AsyncIterable<Uint8Array>, blake3: Blake3 = fastBlake3()): Promise<LogDigest> {
  const hash = blake3.stream();
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    hash.update(piece);
  }
  return { bytes, blake3: hash.digestHex() };
}

function keysFor(folder: string, given: readonly string[] | undefined): { key: Verification["key"]; keys: readonly PublicKey[] } {
  if (given !== undefined && given.length > 0) return { key: "given", keys: given.map(readPublicKey) };
  const beside = publicKeyFile(keyFile(folder));
  return existsSync(beside) ? { key: "folder", keys: [readPublicKey(beside)] } : { key: "none", keys: [] };
}

function pinsOf({ expectSeq, expectHash }: VerifyOptions, head: Link | undefined): Pin[] {
  const pins: Pin[] = [];
  if (head !== undefined) pins.push({ seq: head.seq, hash: head.hash, source: "audit.head" });
  if (expectSeq !== undefined || expectHash !== undefined)
    pins.push({
      ...(expectSeq === undefined ? {} : { seq: expectSeq }),
      ...(expectHash === undefined ? {} : { hash: expectHash }),
      source: expectSeq === undefined ? "--expect-hash" : "--expect-seq",
    });
  return pins;
}

/** What is wrong with the head itself, when the chain is not: it, too, may have been changed. */
function headProblem(folder: string, head: Awaited<ReturnType<typeof readHead>>, names: readonly string[], keys: readonly PublicKey[]): Problem | undefined {
  const spot = { file: basename(headFile(folder)), line: 1 };
  if (typeof head === "string") return { kind: "changed", ...spot, seq: 0, why: head };
  if (head === undefined) return undefined;
  if (names.length === 0) return { kind: "cut", ...spot, seq: 0, why: "all files are missing" };
  const part = signedPart(head.line);
  const signed = keys.length === 0 || (part !== undefined && keys.some((key) => key.verify(part.body, part.signature)));
  return signed ? undefined : { kind: "signature", ...spot, seq: head.seq, why: "its signature is wrong" };
}
