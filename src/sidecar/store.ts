/**
 * The embedded store: a folder of jobs, each a folder of streams. Names become folder names by percent-encoding, so any name is safe; what the store itself keeps begins with
 * a dot. Everything in it is masked.
 */
import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LogveilError } from "../errors.js";
import { reasonOf } from "../io-error.js";
import { type Lock, LOCK_RENEW_MS, takeLock } from "../lock.js";
import { type Run, type StreamName } from "./entries.js";
import { Journal, type JournalLimits } from "./journal.js";
import { partsOf, readParts } from "./stream-files.js";
import { Refusal } from "./refusal.js";
import { type Disk, DISK } from "./spool/disk.js";
import { readState, writeState } from "./state-file.js";
import { replayRun, StoredStream, type StreamHost, type StreamLimits } from "./stored.js";

/** Longest name of a job or stream, in bytes. */
export const MAX_NAME_BYTES = 100;

/** What is kept of a job besides its streams. */
export interface JobInfo {
  readonly job: string;
  /** Milliseconds since the epoch. */
  readonly started: number;
  readonly ended?: number;
  readonly streams: readonly string[];
}

export interface StoreOptions extends StreamLimits {
  readonly folder: string;
  /** Jobs whose streams were not written for so long are removed, in milliseconds. */
  readonly maxAgeMs: number;
  /** Most bytes on disk: the oldest jobs that have ended are removed; absent: no bound. */
  readonly maxBytes?: number;
  /** Time from a line's coming in to its being on disk, in milliseconds; absent: one second. */
  readonly flushIntervalMs?: number;
  readonly journal?: JournalLimits;
  /** Absent: that of the system. */
  readonly disk?: Disk;
  readonly log?: (level: "info" | "warn" | "error", message: string) => void;
}

/** Versions of the store (its folders, segments, commits) and of its files. 1 had no journal, and did not say so. */
const FORMAT = 2;
const FORMAT_FILE = ".format.json";
const FILE_FORMAT = 1;
const JOB_FILE = "job.json";
/** Names of the secrets that were handed over for a job; never their values. */
const SECRETS_FILE = "secrets.json";
/** Digests of the tokens that were issued. */
const TOKENS_FILE = ".tokens.json";
const JOURNAL_FOLDER = ".journal";
const LOCK_FILE = ".lock";
/** A folder of a job that is being removed. */
const REMOVED = ".removed-";
/** Part of `maxBytes` that is left when jobs are removed. */
const PRUNED_PART = 0.9;
const FULL = "the store is full (store.maxBytes), and jobs that go on have all of it";
/** What no one ended counts as ended after so long without a line. */
const ABANDONED_MS = 24 * 3600 * 1000;

/** A token that was issued for a job. */
export interface KeptToken {
  readonly job: string;
  /** SHA-256 in hexadecimal digits. */
  readonly sha256: string;
  readonly hasEnded: boolean;
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? (error as Error).name;

export class Store {
  private readonly disk: Disk;
  private host!: StreamHost;
  /** Streams that are open, and those that could not be closed, by their folders. */
  private readonly streams = new Map<string, StoredStream>();
  /** Jobs that are being made, by their names. */
  private readonly beginnings = new Map<string, Promise<{ folder: string; started: number }>>();
  /** Bytes on disk when they were counted last, and those written since. */
  private used = 0;
  private isFull = false;
  private pruning: Promise<string[]> | undefined;
  /** What cannot be written. */
  private trouble: string | undefined;
  private readonly timer: NodeJS.Timeout;

  private constructor(
    private readonly options: StoreOptions,
    private readonly lock: Lock,
  ) {
    this.disk = options.disk ?? DISK;
    this.timer = setInterval(() => this.renew(), LOCK_RENEW_MS).unref();
  }

  /**
   * Opens a store, or makes one (0700); what a process before had in its journal is put into the files of its streams. Throws `LV_CONFIG` while another process has it,
   * `LV_FORMAT` for one of a newer version, `LV_IO` where it cannot be.
   */
  static async open(options: StoreOptions): Promise<Store> {
    const { folder } = options;
    let [lock, store]: [Lock | undefined, Store | undefined] = [undefined, undefined];
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      lock = takeLock(join(folder, LOCK_FILE), { code: "LV_CONFIG", does: "uses this store: set store.dir to a folder of its own" });
      store = new Store(options, lock);
      await store.start();
      return store;
    } catch (error) {
      clearInterval(store?.timer);
      lock?.release();
      if (error instanceof LogveilError) throw error;
      throw new LogveilError("LV_IO", `${folder}: logs cannot be kept there: ${reasonOf(error)}; set store.dir to a folder of your own`, { cause: error });
    }
  }

  private async start(): Promise<void> {
    const { folder } = this.options;
    const format = join(folder, FORMAT_FILE);
    await readState({ path: format, what: "the store", supported: FORMAT });
    for (const name of await readdir(folder)) if (name.startsWith(REMOVED)) await rm(join(folder, name), { recursive: true });
    const log = this.options.log ?? (() => undefined);
    const limits = this.options.journal;
    const replay = (run: Run): Promise<void> => this.replay(run);
    this.host = {
      disk: this.disk,
      journal: await Journal.open({ folder: join(folder, JOURNAL_FOLDER), disk: this.disk, replay, log, ...(limits && { limits }) }),
      limits: this.options,
      waitingBytes: 0,
      checkRoom: () => this.checkRoom(),
      wrote: (bytes) => {
        this.used += bytes;
        this.well();
      },
      failed: (name, path, error) => this.failed(name, path, error),
      closed: (stream) => void this.streams.delete(stream.folder),
    };
    await writeState(format, FORMAT, {});
    void this.host.journal.settleLeft();
  }

  /** Lets go of it: every stream must be closed. What could not be put into the files of a stream stays in the journal for the next start. */
  async close(): Promise<void> {
    clearInterval(this.timer);
    await Promise.allSettled([...this.streams.values()].map((stream) => stream.close()));
    await this.host.journal.close();
    this.lock.release();
  }

  /** Time from a line's coming in to its being on disk, in milliseconds. */
  get flushIntervalMs(): number {
    return this.options.flushIntervalMs ?? 1000;
  }

  /** Opens a stream for writing: only one at a time may do so. Throws a refusal where what was kept of it cannot be written yet. */
  async stream(job: string, stream: string): Promise<StoredStream> {
    const { folder, started } = await this.begin(job);
    const path = join(folder, encodeName(stream));
    // One that could not be closed, for the disk was full.
    await this.streams.get(path)?.close();
    const opened = await StoredStream.open(this.host, { job, stream, started }, path);
    this.streams.set(path, opened);
    return opened;
  }

  /** The folder of a job, and when it began; made if there is none. */
  begin(job: string): Promise<{ folder: string; started: number }> {
    // Streams that are opened together must agree on when their job began.
    const beginning = this.beginnings.get(job) ?? this.beginJob(job).finally(() => this.beginnings.delete(job));
    this.beginnings.set(job, beginning);
    return beginning;
  }

  private async beginJob(job: string): Promise<{ folder: string; started: number }> {
    const folder = this.folderOf(job);
    const kept = await this.jobFile(job);
    if (kept !== undefined) return { folder, started: kept.started };
    await this.disk.makeFolder(folder);
    await this.disk.syncFolder(this.options.folder);
    const started = Date.now();
    await writeState(join(folder, JOB_FILE), FILE_FORMAT, { started });
    return { folder, started };
  }

  private jobFile(job: string): Promise<{ started: number; ended?: number } | undefined> {
    return readState({ path: join(this.folderOf(job), JOB_FILE), what: "a job of the store", supported: FILE_FORMAT });
  }

  /** Names of secrets that were handed over for a job: another process may have died with them. */
  async secretsOf(job: string): Promise<string[]> {
    const path = join(this.folderOf(job), SECRETS_FILE);
    const kept = await readState<{ names: string[] }>({ path, what: "the names of the job's secrets", supported: FILE_FORMAT });
    return kept?.names ?? [];
  }

  /** Keeps the names of secrets of a job; none: it needs none any more. One call at a time for a job. */
  async keepSecrets(job: string, names: readonly string[]): Promise<void> {
    if (names.length === 0) return rm(join(this.folderOf(job), SECRETS_FILE), { force: true });
    const { folder } = await this.begin(job);
    await writeState(join(folder, SECRETS_FILE), FILE_FORMAT, { names });
  }

  /** The tokens that were issued and not forgotten. */
  async tokens(): Promise<readonly KeptToken[]> {
    const path = join(this.options.folder, TOKENS_FILE);
    try {
      const kept = await readState<{ tokens: KeptToken[] }>({ path, what: "the file of issued tokens", supported: FILE_FORMAT });
      return kept?.tokens ?? [];
    } catch (cause) {
      if (cause instanceof LogveilError) throw cause;
      const message = `${path}: the digests of issued tokens cannot be read: put back a copy, or remove it, which opens the jobs that they close`;
      throw new LogveilError("LV_IO", message, { cause });
    }
  }

  /** These and no others. One call at a time. */
  keepTokens(tokens: readonly KeptToken[]): Promise<void> {
    return writeState(join(this.options.folder, TOKENS_FILE), FILE_FORMAT, { tokens });
  }

  /** Bytes of a stream that is not open. Undefined if there is none. */
  async read(job: string, stream: string, from: number): Promise<AsyncGenerator<Buffer, void, void> | undefined> {
    const info = await this.info(job);
    if (info === undefined || !info.streams.includes(stream)) return undefined;
    const folder = join(this.folderOf(job), encodeName(stream));
    await this.host.journal.wake(job, stream);
    return this.streams.get(folder)?.read(from, false) ?? readParts(this.disk, folder, from, Infinity);
  }

  async info(job: string): Promise<JobInfo | undefined> {
    const kept = await this.jobFile(job);
    if (kept === undefined) return undefined;
    const entries = await readdir(this.folderOf(job), { withFileTypes: true });
    const streams = entries.filter((entry) => entry.isDirectory()).map(({ name }) => decodeURIComponent(name));
    return { job, ...kept, streams: streams.toSorted() };
  }

  /** All jobs, the latest first. */
  async jobs(): Promise<JobInfo[]> {
    const entries = await readdir(this.options.folder, { withFileTypes: true });
    const names = entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith("."));
    const jobs = await Promise.all(names.map(({ name }) => this.info(decodeURIComponent(name))));
    return jobs.filter((job) => job !== undefined).toSorted((a, b) => b.started - a.started);
  }

  async end(job: string): Promise<void> {
    const kept = await this.jobFile(job);
    if (kept !== undefined && kept.ended === undefined)
      await writeState(join(this.folderOf(job), JOB_FILE), FILE_FORMAT, { started: kept.started, ended: Date.now() });
  }

  /** Bytes on disk. */
  get bytes(): number {
    return this.used + this.host.journal.bytes;
  }

  /** Whether there is so much on disk that jobs which have ended are to be removed. */
  get isFilling(): boolean {
    return this.bytes > this.bound;
  }

  /** Up to where it is pruned: before it is full, so that nobody is refused while there is something to remove. */
  private get bound(): number {
    return (this.options.maxBytes ?? Infinity) * PRUNED_PART;
  }

  /** Throws a refusal while there is more on disk than may be: what is left are jobs that go on. */
  private checkRoom(): void {
    if (this.bytes <= (this.options.maxBytes ?? Infinity)) return;
    if (!this.isFull) this.options.log?.("error", `${FULL}: requests get 503 until a job ends`);
    this.isFull = true;
    throw new Refusal(503, `${FULL}: nothing is taken until one of them ends, or store.maxBytes is raised`, { "retry-after": "30" });
  }

  /** Removes jobs for which `isLive` says no: those that are too old, and, the oldest first, those that have ended while there is too much on disk. Answers their names. */
  prune(now: number, isLive: (job: string) => boolean): Promise<string[]> {
    return (this.pruning ??= this.removeOld(now, isLive).finally(() => (this.pruning = undefined)));
  }

  private async removeOld(now: number, isLive: (job: string) => boolean): Promise<string[]> {
    const { maxAgeMs } = this.options;
    const all = await Promise.all((await this.jobs()).map((info) => this.measure(info)));
    this.used = all.reduce((sum, { bytes }) => sum + bytes, 0);
    const removed: string[] = [];
    for (const { job, bytes, written, ended } of all.toSorted((a, b) => (a.ended ?? a.written) - (b.ended ?? b.written))) {
      const isTooMuch = this.isFilling && (ended !== undefined || written + ABANDONED_MS <= now);
      if (isLive(job) || this.isOpen(job) || (written + maxAgeMs > now && !isTooMuch)) continue;
      await this.remove(job);
      this.used -= bytes;
      removed.push(job);
    }
    if (this.isFull && !this.isFilling) this.options.log?.("info", "the store has room again");
    this.isFull &&= this.isFilling;
    return removed;
  }

  /** Whether a stream of a job is open, or could not be closed. */
  private isOpen(job: string): boolean {
    return [...this.streams.values()].some(({ name }) => name.job === job);
  }

  /** How many bytes a job has, and when it was written last. */
  private async measure({ job, started, ended, streams }: JobInfo): Promise<{ job: string; ended: number | undefined; written: number; bytes: number }> {
    let [written, bytes] = [started, 0];
    for (const stream of streams) {
      for (const { sizes, modified } of await partsOf(this.disk, join(this.folderOf(job), encodeName(stream)))) {
        written = Math.max(written, modified);
        bytes += sizes.log + sizes.commits;
      }
    }
    return { job, ended, written, bytes };
  }

  /** Out of sight at once, so that none is there by half after a crash. */
  private async remove(job: string): Promise<void> {
    const { folder } = this.options;
    await this.host.journal.wake(job);
    const away = join(folder, `${REMOVED}${randomUUID()}`);
    await rename(this.folderOf(job), away);
    await this.disk.syncFolder(folder);
    await rm(away, { recursive: true });
  }

  /** Whether it can be written to. Throws what the system says. */
  async probe(): Promise<void> {
    // Several may run at a time.
    const file = join(this.options.folder, `.probe-${randomUUID()}`);
    try {
      await writeFile(file, "logveil\n", { mode: 0o600, flush: true });
    } finally {
      await rm(file, { force: true });
    }
    this.well();
  }

  /** Puts a run of the journal into the files of its stream, unless its job is gone. */
  private async replay(run: Run): Promise<void> {
    if ((await this.jobFile(run.job))?.started !== run.started) return;
    try {
      await replayRun(this.disk, join(this.folderOf(run.job), encodeName(run.stream)), run);
    } catch (error) {
      if (codeOf(error) !== "EIO") throw error;
      const what = `job ${run.job}, stream ${run.stream}: its files are damaged or too short`;
      this.options.log?.("error", `${what}: lines that were acknowledged are lost; check the disk`);
    }
  }

  /** Tells that something cannot be written, once, and answers what requests are refused with. */
  private failed({ job, stream }: StreamName, path: string, error: unknown): Error {
    if (error instanceof Refusal) return error;
    const what = `${path} cannot be written: ${reasonOf(error)}, job ${job}, stream ${stream}`;
    if (this.trouble !== codeOf(error)) this.options.log?.("error", `store: ${what}: nothing is acknowledged until there is room; requests get 503`);
    this.trouble = codeOf(error);
    return new Refusal(503, `${what}: nothing more was kept; HEAD tells from where to send again`, { "retry-after": "10" });
  }

  private well(): void {
    if (this.trouble !== undefined) this.options.log?.("info", "store: it can be written again");
    this.trouble = undefined;
  }

  private renew(): void {
    try {
      this.lock.renew();
    } catch (error) {
      this.options.log?.("error", `store: ${error instanceof Error ? error.message : "its lock is lost"}; stop one of them`);
    }
  }

  private folderOf(job: string): string {
    return join(this.options.folder, encodeName(job));
  }
}

/** A name as that of a folder: neither hidden nor a way out. */
function encodeName(name: string): string {
  const encoded = encodeURIComponent(name).replaceAll("*", "%2A");
  return encoded.startsWith(".") ? `%2E${encoded.slice(1)}` : encoded;
}

/** Whether a name of a job or stream can be used. */
export function isName(name: string): boolean {
  return (
    name.length > 0 &&
    Buffer.byteLength(name) <= MAX_NAME_BYTES &&
    Buffer.from(name).toString() === name &&
    ![...name].some((char) => char < " " || char === "\x7f")
  );
}
