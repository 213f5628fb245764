/**
 * The writer: takes entries, and says when they are on disk. What waits is written together, with one fdatasync (group commit). Read `#run`. An audit that cannot be written keeps
 * what waits, rejects who waits, and tries until it can.
 */
import { join } from "node:path";
import { fastBlake3 } from "../blake3.js";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import { LOCK_RENEW_MS, type Lock, takeLock } from "../lock.js";
import { CHECKPOINT, type Sealing } from "./batch.js";
import { type Draft, drafted, type Link, MAX_LINE_BYTES } from "./chain.js";
import { BATCH_BYTES, keyFile, makeFolder, type Resumption, resume } from "./folder.js";
import { openSigner, type Signer } from "./keys.js";
import { Ledger, type LedgerOptions } from "./ledger.js";
import { type AuditOptions, checkOptions, limitsOf } from "./options.js";
import { prunable, removeFiles } from "./prune.js";
import { FairQueue, OWN_SHARE, type Waiter, type Waiting } from "./queue.js";
import { type AuditEntry, recorded } from "./records.js";
import { Writer } from "./writer.js";

/** How often an audit that cannot be written is tried again, in milliseconds. */
const RETRY_MS = 1000;
/** How often files are looked for that are too old, in milliseconds. */
const PRUNE_MS = 3_600_000;
/** Room in a line for what stands around the fields. */
const FRAME_BYTES = 1024;

export interface AuditStats {
  /** Records sealed by this writer, checkpoints and the like included. */
  readonly records: number;
  /** How often the disk was asked to make records durable. */
  readonly syncs: number;
  /** Bytes not known to be on disk, about. */
  readonly queuedBytes: number;
  /** How long the disk has been at the records that are being written, in milliseconds. */
  readonly writingMs: number;
  /** Audit file that records go into. */
  readonly file: string;
}

/** Why an audit is not written. */
interface Failure {
  readonly error: LogveilError;
  /** Since when, in milliseconds since the epoch. */
  readonly since: number;
  /** It is not tried again. */
  readonly isFinal: boolean;
}

/** What is being written. */
interface Flight {
  readonly shares: ReadonlySet<string>;
  readonly waiters: Waiter[];
  readonly bytes: number;
  /** By a clock that never steps back, in milliseconds. */
  readonly since: number;
}

/**
 * Opens the audit of a folder: takes its lock, reads its last file, puts a torn tail aside, begins a new file. The chain goes on.
 * Throws `LV_USAGE`, `LV_AUDIT_LOCKED`, `LV_AUDIT_KEY`, `LV_AUDIT_BROKEN`, `LV_FORMAT`, `LV_AUDIT_WRITE`, `LV_IO`.
 */
export async function openAudit(options: AuditOptions): Promise<Audit> {
  checkOptions(options);
  makeFolder(options.folder);
  const lock = takeLock(join(options.folder, "audit.lock"), { code: "LV_AUDIT_LOCKED", does: "writes the audit of this folder" });
  try {
    const signer = openSigner(options.keyFile ?? keyFile(options.folder));
    const from = await resume(options.blake3 ?? fastBlake3(), options.folder);
    return await Audit.begin(options, lock, signer, from);
  } catch (error) {
    lock.release();
    if (error instanceof LogveilError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new LogveilError("LV_IO", `${options.folder}: the audit cannot be opened: ${reasonAndCure(code)}`, { cause: error, facts: { code } });
  }
}

export class Audit {
  readonly #options: AuditOptions;
  readonly #sealing: Sealing;
  readonly #lock: Lock;
  readonly #writer: Writer;
  readonly #queue: FairQueue;
  readonly #timers: NodeJS.Timeout[];
  #flight: Flight | undefined;
  #running: Promise<void> | undefined;
  #pruning: Promise<void> | undefined;
  #isPruneDue = false;
  #failure: Failure | undefined;
  #retry: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;
  #accounts = 0;

  private constructor(options: AuditOptions, lock: Lock, signer: Signer, from: Resumption) {
    this.#options = options;
    const limits = limitsOf(options);
    const { checkpointRecords, maxQueueBytes, checkpointMs } = limits;
    this.#sealing = { blake3: options.blake3 ?? fastBlake3(), signer, checkpointRecords, now: options.now ?? Date.now };
    this.#lock = lock;
    this.#writer = new Writer(options, this.#sealing, limits, from);
    this.#queue = new FairQueue(maxQueueBytes);
    this.#timers = [
      setInterval(() => this.#sign(), checkpointMs),
      setInterval(() => this.#renewLock(), LOCK_RENEW_MS),
      setInterval(() => this.#prune(), PRUNE_MS),
    ];
    for (const timer of this.#timers) timer.unref();
  }

  /** For `openAudit` only. */
  static async begin(options: AuditOptions, lock: Lock, signer: Signer, from: Resumption): Promise<Audit> {
    const audit = new Audit(options, lock, signer, from);
    const recovered = from.recovered.map(({ file, side, bytes, blake3 }) => audit.#draft("recovered", { file, side, bytes, blake3 }));
    const batch = audit.#writer.batch([...recovered, audit.#draft("start", audit.#policyField())]);
    try {
      await audit.#writer.persist(batch);
      await audit.#writer.writeHead(batch);
    } catch (error) {
      for (const timer of audit.#timers) clearInterval(timer);
      await audit.#writer.close();
      throw error;
    }
    audit.#prune();
    return audit;
  }

  /** The last record that is on disk. */
  get tip(): Link {
    return { seq: this.#writer.place.seq - 1, hash: this.#writer.place.prev };
  }

  get stats(): AuditStats {
    const { records, file } = this.#writer.place;
    const { bytes = 0, since } = this.#flight ?? {};
    const writingMs = since === undefined ? 0 : performance.now() - since;
    return { records, syncs: this.#writer.syncs, queuedBytes: this.#queue.bytes + bytes, writingMs, file };
  }

  /** Why nothing is put on record now; undefined: nothing stands against it. `isFinal`: only another start mends it. */
  get failure(): { readonly error: LogveilError; readonly isFinal: boolean } | undefined {
    return this.#failure;
  }

  /**
   * Records entries, in order; resolves with the last one's number and hash when all are on disk. Entries are read before this returns, and keep their order with those of the same
   * `share`; shares have their turns. Rejects with `LV_USAGE`, and nothing is taken; with `LV_AUDIT_WRITE` while the audit cannot be written: the entries wait and are
   * written as soon as it can, but what was to be acknowledged must not be; with `LV_AUDIT_LOCKED` for good; with `LV_CLOSED` after `close`. Without entries it resolves
   * when all before it is on disk. It takes whatever comes: whoever has much to append waits for `room`.
   */
  async append(entries: AuditEntry | readonly AuditEntry[], share = OWN_SHARE): Promise<Link> {
    if (this.#failure?.isFinal === true) throw this.#failure.error;
    if (this.#closing !== undefined) throw new LogveilError("LV_CLOSED", "the audit has been closed");
    const drafts = (Array.isArray(entries) ? (entries as readonly AuditEntry[]) : [entries as AuditEntry]).map((entry) =>
      this.#draft(entry.type, recorded(entry, this.#options.policy)),
    );
    const tooLong = drafts.find(({ body }) => Buffer.byteLength(body) > MAX_LINE_BYTES - FRAME_BYTES);
    if (tooLong !== undefined) throw new LogveilError("LV_USAGE", `audit: one record may have ${MAX_LINE_BYTES} bytes`, { facts: { type: tooLong.type } });
    if (drafts.length > 0) return this.#enqueue(drafts, share);
    await this.drained();
    return this.tip;
  }

  /** Resolves when all that was appended before is on disk. Rejects as `append` does. */
  async drained(): Promise<void> {
    await Promise.all([...new Set([...this.#queue.shares, ...(this.#flight?.shares ?? [])])].map((share) => this.settled(share)));
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Resolves when all that was appended to a share before is on disk. Rejects as `append` does. */
  async settled(share: string): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure.error;
    const waited = new Promise<Link>((resolve, reject) => {
      if (this.#queue.has(share)) this.#queue.add(share, [{ waiter: { resolve, reject } }]);
      else if (this.#flight?.shares.has(share) === true) this.#flight.waiters.push({ resolve, reject });
      else resolve(this.tip);
    });
    await waited;
  }

  /** Whether a share may append more without waiting. */
  hasRoom(share: string): boolean {
    return this.#queue.hasRoom(share);
  }

  /** Resolves when a share may append more. Rejects as `append` does. */
  async room(share: string): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure.error;
    await this.#queue.room(share);
  }

  /** The account of one stream, to be fed with what comes in and goes out; append its `findings()` and, at the end, its `summary()`. */
  ledger(options: Omit<LedgerOptions, "blake3" | "account">): Ledger {
    return new Ledger({ ...options, account: ++this.#accounts, blake3: this.#sealing.blake3 });
  }

  /** Signs what there is; resolves with the checkpoint's number and hash when it is on disk. Rejects as `append` does. */
  async checkpoint(): Promise<Link> {
    if (this.#failure !== undefined) throw this.#failure.error;
    if (this.#closing !== undefined) throw new LogveilError("LV_CLOSED", "the audit has been closed");
    return this.#enqueue([CHECKPOINT], OWN_SHARE);
  }

  /** Writes what waits, `stop` and a last checkpoint, gives the lock back. Rejects with `LV_AUDIT_WRITE` if the audit cannot be written. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#retry);
    try {
      // What could not be removed is removed by the next writer.
      await this.#pruning?.catch(() => undefined);
      await this.#running;
      if (this.#failure?.isFinal === false) await this.#reopen();
      if (this.#failure !== undefined) throw this.#failure.error;
      // Behind all others.
      await this.drained();
      await this.#enqueue([this.#draft("stop", this.#policyField()), CHECKPOINT], OWN_SHARE);
    } finally {
      clearTimeout(this.#retry);
      await this.#writer.close();
      this.#lock.release();
    }
  }

  #enqueue(drafts: readonly Draft[], share: string): Promise<Link> {
    const items: Waiting[] = drafts.map((draft) => ({ draft }));
    if (this.#failure !== undefined) {
      this.#queue.add(share, items);
      return Promise.reject(this.#failure.error);
    }
    return new Promise((resolve, reject) => {
      this.#queue.add(share, [...items.slice(0, -1), { ...items.at(-1)!, waiter: { resolve, reject } }]);
      this.#running ??= this.#run();
    });
  }

  /** Writes what waits, batch by batch. */
  async #run(): Promise<void> {
    // Later in this turn more may come, which then shares the sync.
    await Promise.resolve();
    while (!this.#queue.isEmpty && this.#failure === undefined) {
      const isNewFile = this.#writer.isFileOver;
      try {
        if (isNewFile) await this.#writer.endFile();
        await this.#write(this.#queue.takeUpTo(BATCH_BYTES));
      } catch (error) {
        this.#fail(error);
      }
      if (isNewFile) this.#prune();
    }
    this.#running = undefined;
  }

  /** Writes what was taken from the queue, and tells who waits for it. What could not be written is put back. */
  async #write(taken: readonly (Waiting & { readonly share: string })[]): Promise<void> {
    const batch = this.#writer.batch();
    const links = taken.map(({ draft }) => draft && batch.add(draft));
    const shares = new Set(taken.map(({ share }) => share));
    const flight: Flight = { shares, waiters: taken.flatMap(({ waiter }) => waiter ?? []), bytes: batch.size, since: performance.now() };
    this.#flight = flight;
    try {
      await this.#writer.persist(batch);
    } catch (error) {
      this.#flight = undefined;
      this.#queue.restore(taken.flatMap(({ draft, share }) => (draft === undefined ? [] : [{ draft, share }])));
      for (const { reject } of flight.waiters) reject(error as Error);
      throw error;
    }
    // They are on disk, whatever becomes of the head.
    const headFailure = await this.#writer.writeHead(batch).catch((error: LogveilError) => error);
    this.#flight = undefined;
    for (const [i, { waiter }] of taken.entries()) waiter?.resolve(links[i] ?? this.tip);
    for (const { resolve } of flight.waiters) resolve(this.tip);
    if (headFailure !== undefined) throw headFailure;
  }

  /** Nothing is written any more, until it can be. */
  #fail(error: unknown): void {
    const failure = error as LogveilError;
    this.#failure = { error: failure, since: this.#sealing.now(), isFinal: false };
    this.#queue.rejectWaiters(failure);
    this.#options.onFailure?.(failure);
    this.#retryLater();
  }

  #retryLater(): void {
    if (this.#closing === undefined) this.#retry = setTimeout(() => void this.#reopen(), this.#options.retryMs ?? RETRY_MS).unref();
  }

  /** Tries to go on where the disk has the audit, with a record of what happened; what waits follows it. */
  async #reopen(): Promise<void> {
    const { since, error } = this.#failure!;
    try {
      const cutBytes = await this.#writer.repair();
      const until = this.#sealing.now();
      const { bytes: waiting } = this.#queue;
      const gap = this.#draft("gap", {
        from: new Date(since).toISOString(),
        until: new Date(until).toISOString(),
        code: error.facts["code"],
        cutBytes,
        waiting,
      });
      const batch = this.#writer.batch([gap]);
      if (batch.head === undefined) batch.checkpoint();
      await this.#writer.persist(batch);
      await this.#writer.writeHead(batch);
    } catch (again) {
      // Another reason may stand against it by now.
      if (this.#failure?.isFinal === false) this.#failure = { error: again as LogveilError, since, isFinal: false };
      return this.#retryLater();
    }
    if (this.#failure?.isFinal === true) return;
    this.#failure = undefined;
    this.#options.onRecovery?.(this.#sealing.now() - since);
    this.#running ??= this.#run();
  }

  /** Whoever has taken the lock writes the folder now. */
  #renewLock(): void {
    try {
      this.#lock.renew();
    } catch (error) {
      const failure =
        error instanceof LogveilError
          ? error
          : new LogveilError("LV_AUDIT_WRITE", `${this.#options.folder}: the lock of the audit cannot be renewed`, { cause: error });
      // The disk may be full: only a lock that another has is lost.
      if (failure.code !== "LV_AUDIT_LOCKED") return;
      for (const timer of this.#timers) clearInterval(timer);
      clearTimeout(this.#retry);
      this.#failure = { error: failure, since: this.#sealing.now(), isFinal: true };
      this.#queue.rejectWaiters(failure);
      this.#options.onFailure?.(failure);
    }
  }

  /** The timer's checkpoint. */
  #sign(): void {
    if (this.#writer.place.unsigned > 0 && this.#failure === undefined) ignored(this.#enqueue([CHECKPOINT], OWN_SHARE));
  }

  /** Removes the oldest files that need not be kept; a signed record tells what they were, before. */
  #prune(): void {
    const { maxAgeMs, maxBytes } = this.#options;
    if (maxAgeMs === undefined && maxBytes === undefined) return;
    if (this.#closing !== undefined || this.#failure !== undefined) return;
    if (this.#pruning !== undefined) {
      this.#isPruneDue = true;
      return;
    }
    this.#pruning = this.#removeOld().finally(() => {
      this.#pruning = undefined;
      // Another file was begun meanwhile.
      if (this.#isPruneDue) {
        this.#isPruneDue = false;
        this.#prune();
      }
    });
    // What could not be removed now is tried again.
    ignored(this.#pruning);
  }

  async #removeOld(): Promise<void> {
    const { folder, maxAgeMs, maxBytes } = this.#options;
    const keep = { ...(maxAgeMs !== undefined && { olderThan: this.#sealing.now() - maxAgeMs }), ...(maxBytes !== undefined && { maxBytes }) };
    for (;;) {
      const files = await prunable(this.#sealing.blake3, folder, this.#writer.place.file, keep);
      if (files.length === 0) return;
      await this.#enqueue([this.#draft("pruned", { files }), CHECKPOINT], OWN_SHARE);
      await removeFiles(folder, files);
      this.#options.onPruned?.(files.length, files.at(-1)!.seq);
    }
  }

  #draft(type: string, fields: Readonly<Record<string, unknown>>): Draft {
    return drafted(type, new Date(this.#sealing.now()).toISOString(), fields);
  }

  #policyField(): Record<string, string> {
    return this.#options.policy === undefined ? {} : { policy: this.#options.policy };
  }
}

/** Of a write that nobody waits for: its failure is told by `append` and `onFailure`. */
const ignored = (written: Promise<unknown>): void => void written.catch(() => {});
