/**
 * One writer per folder: a lock file that names its holder. Node has no flock, so whether a holder lives is judged: on the same boot and in the same process
 * namespace by its pid and start time, elsewhere (another container, another host) by the file's age, which a living holder renews.
 */
import { createHash, randomBytes } from "node:crypto";
import { existsSync, linkSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, unlinkSync, utimesSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { type ErrorCode, LogveilError } from "./errors.js";
import { reasonAndCure } from "./io-error.js";

/** A living holder renews its lock so often, in milliseconds. */
export const LOCK_RENEW_MS = 5_000;
/** A lock of a holder that cannot be looked up counts as left behind after so long, in milliseconds. */
export const LOCK_STALE_MS = 30_000;

/** Who holds a lock. */
interface Holder {
  readonly pid: number;
  /** Tells locks of one process apart. */
  readonly token: string;
  /** Host, boot and process namespace: where `pid` means something. */
  readonly place: string;
  /** Start of the process in ticks since boot; empty where the system does not tell. */
  readonly started: string;
}

export interface Lock {
  /** Renews the lock. Throws `held` if it is another's by now. */
  renew(): void;
  release(): void;
}

const orEmpty = (read: () => string): string => {
  try {
    return read().trim();
  } catch {
    return "";
  }
};

const place = (): string =>
  [hostname(), orEmpty(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8")), orEmpty(() => readlinkSync("/proc/self/ns/pid"))].join(" ");

/**
 * Start of a process, empty for one that is gone. Fields 3 and 22 of /proc/PID/stat, counted from behind the name, which may hold anything (proc(5)). A zombie is gone:
 * in a container without an init it keeps its number for good.
 */
const startOf = (pid: number): string =>
  orEmpty(() => {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? "" : (fields[19] ?? "");
  });

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** What tells this process apart in the name of a file that it makes: number, start, and a digest of where the number means something. */
export const processMark = (): string => (ownMark ??= `${process.pid}-${startOf(process.pid) || 0}-${placeDigest()}`);

let ownMark: string | undefined;

const placeDigest = (): string => createHash("sha256").update(place()).digest("hex").slice(0, 8);

/** What {@link processMark} answers. */
const PROCESS_MARK = /^(\d{1,10})-(\d{1,20})-([0-9a-f]{8})$/;

/** A file of a process that cannot be looked up, on another host or in another container, counts as left behind after so long without a write, in milliseconds. */
const MARKED_STALE_MS = 24 * 3_600_000;

/** Whether the process that `mark` names may still write a file that it last wrote to `ageMs` ago; undefined: `mark` names none. */
export function markLives(mark: string, ageMs: number): boolean | undefined {
  const [all, pid, started, where] = PROCESS_MARK.exec(mark) ?? [];
  if (all === undefined) return undefined;
  if (where !== placeDigest()) return ageMs < MARKED_STALE_MS;
  return exists(Number(pid)) && (started === "0" || startOf(Number(pid)) === started);
}

/** Tokens of the locks that this process holds: a lock with our pid and without our token is from an earlier process of that number. */
const ours = new Set<string>();

function lives(holder: Holder, ageMs: number): boolean {
  if (holder.place !== place()) return ageMs < LOCK_STALE_MS;
  if (holder.pid === process.pid) return ours.has(holder.token) || holder.started === startOf(process.pid);
  return exists(holder.pid) && (holder.started === "" || holder.started === startOf(holder.pid));
}

function readHolder(file: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Holder;
  } catch {
    return undefined;
  }
}

/** The error for a lock that another holds: its code, and what the other does, as in "process 12 writes the audit of this folder". */
export interface Held {
  readonly code: ErrorCode;
  readonly does: string;
}

/** Takes the lock that is this file, also one left behind. Throws `held` while its holder lives, `LV_IO`. */
export function takeLock(file: string, held: Held): Lock {
  const holder: Holder = { pid: process.pid, token: randomBytes(8).toString("hex"), place: place(), started: startOf(process.pid) };
  const own = `${file}.${holder.token}`;
  try {
    // Linked into place, so that nobody reads half a lock.
    writeFileSync(own, JSON.stringify(holder), { mode: 0o600, flag: "wx" });
    try {
      if (!tryLink(own, file)) takeOver(file, own, held);
    } finally {
      rmSync(own, { force: true });
    }
  } catch (error) {
    if (error instanceof LogveilError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new LogveilError("LV_IO", `${file}: cannot be made: ${reasonAndCure(code)}`, { cause: error, facts: { code } });
  }
  ours.add(holder.token);
  const isOurs = (): boolean => readHolder(file)?.token === holder.token;
  return {
    renew() {
      if (!isOurs()) throw heldBy(file, readHolder(file), held);
      const now = Date.now() / 1000;
      utimesSync(file, now, now);
    },
    release() {
      ours.delete(holder.token);
      if (isOurs()) unlinkSync(file);
    },
  };
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** What names a lock's content; undefined: there is no such file. */
function tokenOf(file: string): string | undefined {
  if (!existsSync(file)) return undefined;
  const token = readHolder(file)?.token;
  return token !== undefined && /^[0-9a-f]{16}$/.test(token) ? token : "unreadable";
}

/**
 * Puts `own` in the place of a lock whose holder is gone. Of many that try at once one gets the claim on that lock (`FILE.after-TOKEN`, a link to its own), and only
 * it replaces the lock, so that there is no moment without one. A claim whose holder is gone is claimed in turn. A claim that comes too late finds another lock in place.
 */
function takeOver(file: string, own: string, held: Held): void {
  const passed: { path: string; token: string }[] = [];
  for (let path = file; ;) {
    const token = tokenOf(path);
    const age = ageOf(path);
    const holder = readHolder(path);
    if (token === undefined || age === undefined || (holder !== undefined && lives(holder, age))) throw heldBy(file, holder, held);
    passed.push({ path, token });
    path = `${file}.after-${token}`;
    if (!tryLink(own, path)) continue;
    try {
      if (passed.some((each) => tokenOf(each.path) !== each.token)) throw heldBy(file, readHolder(file), held);
      renameSync(own, file);
      for (const claim of passed.slice(1)) rmSync(claim.path, { force: true });
      return;
    } finally {
      rmSync(path, { force: true });
    }
  }
}

/** Milliseconds since the lock was renewed. */
function ageOf(file: string): number | undefined {
  const stat = statSync(file, { throwIfNoEntry: false });
  return stat === undefined ? undefined : Date.now() - stat.mtimeMs;
}

function heldBy(file: string, holder: Holder | undefined, { code, does }: Held): LogveilError {
  const pid = holder?.pid;
  const who = pid === undefined ? "another process" : `process ${pid}`;
  const elsewhere = holder !== undefined && holder.place !== place();
  const until = elsewhere ? ` from another container or host; if it is gone, try again in ${LOCK_STALE_MS / 1000} s` : "";
  return new LogveilError(code, `${file}: ${who} ${does}${until}`, { facts: { pid } });
}
