/** The writer: takes entries, numbers, chains and signs them, and says when they are on disk. Composition of folder, lock, key and journal. */
import { chmodSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Blake3, fastBlake3 } from "../blake3.js";
import { LogveilError } from "../errors.js";
import { type Lock, LOCK_RENEW_MS, takeLock } from "../lock.js";
import { type Link, MAX_LINE_BYTES, seal, type Sealed } from "./chain.js";
import { fileName, keyFile, MAX_QUEUE_BYTES, type Resumption, resume } from "./folder.js";
import { Journal, type OpenFile } from "./journal.js";
import { openSigner, type Signer } from "./keys.js";
import { Ledger, type LedgerOptions } from "./ledger.js";
import { type AuditEntry, recorded } from "./records.js";

/** Version of what README.md defines. */
const FORMAT = 1;

export interface AuditOptions {
  /** Folder of the audit; made, mode 0700, where it is missing. */
  readonly folder: string;
  /** Signing key, PKCS#8 PEM; absent: `audit.key` in the folder. Made where it is missing. */
  readonly keyFile?: string;
  /** Digest of the policy in force, up to 64 hex digits: stands in every entry that has none of its own. */
  readonly policy?: string;
  /** A checkpoint is written after so many records. Default 1,000. */
  readonly checkpointRecords?: number;
  /** And so many milliseconds after a record that none covers yet. Default 10,000. */
  readonly checkpointMs?: number;
  /** Size from which on a new file is begun, in bytes. Default 64 MiB. */
  readonly maxFileBytes?: number;
  /** Age from which on the next record begins a new file, in milliseconds. Default one day. */
  readonly maxFileMs?: number;
  /** Most bytes that wait for the disk; up to 8 MiB, the default. */
  readonly maxQueueBytes?: number;
  /** Called once when the audit has closed itself, with what then every call rejects with. */
  readonly onFailure?: (error: LogveilError) => void;
  readonly blake3?: Blake3;
  readonly openFile?: OpenFile;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

const DEFAULTS = Object.freeze({
  checkpointRecords: 1000,
  checkpointMs: 10_000,
  maxFileBytes: 64 << 20,
  maxFileMs: 24 * 3600 * 1000,
  maxQueueBytes: MAX_QUEUE_BYTES,
});

/** A record before it is sealed. */
interface Draft {
  readonly type: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface AuditStats {
  /** Records sealed by this writer, checkpoints and the like included. */
  readonly records: number;
  /** How often the disk was asked to make records durable. */
  readonly syncs: number;
  /** Bytes not known to be on disk. */
  readonly queuedBytes: number;
  /** Audit file that records go into. */
  readonly file: string;
}

/**
 * Opens the audit of a folder: takes its lock, reads its last file, puts a torn tail aside, begins a new file. The chain goes on.
 * Throws `LV_USAGE`, `LV_AUDIT_LOCKED`, `LV_AUDIT_KEY`, `LV_AUDIT_BROKEN`, `LV_AUDIT_WRITE`, `LV_IO`.
 */
export async function openAudit(options: AuditOptions): Promise<Audit> {
  for (const name of ["checkpointRecords", "checkpointMs", "maxFileBytes", "maxFileMs", "maxQueueBytes"] as const) {
    const value = options[name] ?? DEFAULTS[name];
    if (!Number.isSafeInteger(value) || value < 1) throw new LogveilError("LV_USAGE", `audit: ${name} must be a whole number of 1 or more`);
  }
  if ((options.maxQueueBytes ?? 0) > MAX_QUEUE_BYTES) throw new LogveilError("LV_USAGE", `audit: maxQueueBytes may be ${MAX_QUEUE_BYTES} at most`);
  if (options.policy !== undefined && !/^[0-9a-f]{1,64}$/.test(options.policy)) throw new LogveilError("LV_USAGE", "audit: policy must be up to 64 hex digits");
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
    throw new LogveilError("LV_IO", `${options.folder}: the audit cannot be opened (${code ?? "unknown"})`, { cause: error, facts: { code } });
  }
}

/** Refuses a folder that others may write: they could replace files whatever their mode. */
function makeFolder(folder: string): void {
  try {
    if (mkdirSync(folder, { recursive: true, mode: 0o700 }) !== undefined) chmodSync(folder, 0o700);
    const mode = statSync(folder).mode & 0o777;
    if (process.platform !== "win32" && (mode & 0o022) !== 0)
      throw new LogveilError("LV_IO", `${folder}: others may write into the audit folder (mode ${mode.toString(8)}); chmod 700`, { facts: { mode } });
  } catch (error) {
    if (error instanceof LogveilError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new LogveilError("LV_IO", `${folder}: the audit folder cannot be made (${code})`, { cause: error, facts: { code } });
  }
}

export class Audit {
  readonly #options: AuditOptions;
  readonly #limits: typeof DEFAULTS;
  readonly #blake3: Blake3;
  readonly #now: () => number;
  readonly #lock: Lock;
  readonly #signer: Signer;
  readonly #journal: Journal;
  readonly #timers: NodeJS.Timeout[];
  /** The next record. */
  #seq: number;
  #prev: string;
  #number: number;
  #file = "";
  #fileBytes = 0;
  #fileSince = 0;
  /** Records since the last checkpoint. */
  #unsigned = 0;
  #records = 0;
  #failure: LogveilError | undefined;
  #closing: Promise<void> | undefined;

  private constructor(options: AuditOptions, lock: Lock, signer: Signer, from: Resumption) {
    this.#options = options;
    this.#limits = { ...DEFAULTS, ...Object.fromEntries(Object.entries(options).filter(([key, value]) => key in DEFAULTS && value !== undefined)) };
    this.#blake3 = options.blake3 ?? fastBlake3();
    this.#now = options.now ?? Date.now;
    this.#lock = lock;
    this.#signer = signer;
    this.#seq = from.seq;
    this.#prev = from.prev;
    this.#number = from.number;
    this.#file = from.previous ?? "";
    this.#journal = new Journal(options.folder, (error) => this.#failed(error), options.openFile);
    this.#timers = [
      setInterval(() => this.#sign(), this.#limits.checkpointMs),
      setInterval(() => {
        try {
          lock.renew();
        } catch (error) {
          this.#journal.fail(error instanceof LogveilError ? error : new LogveilError("LV_AUDIT_WRITE", "audit: the lock cannot be renewed", { cause: error }));
        }
      }, LOCK_RENEW_MS),
    ];
    for (const timer of this.#timers) timer.unref();
  }

  /** For `openAudit` only. */
  static async begin(options: AuditOptions, lock: Lock, signer: Signer, from: Resumption): Promise<Audit> {
    const audit = new Audit(options, lock, signer, from);
    const recovered = from.recovered.map(({ file, side, bytes, blake3 }) => ({ type: "recovered", fields: { file, side, bytes, blake3 } }));
    await audit.#beginFile([...recovered, { type: "start", fields: audit.#policyField() }]);
    return audit;
  }

  /** The last record that was sealed; it is on disk once the promise of its `append` has resolved. */
  get tip(): Link {
    return { seq: this.#seq - 1, hash: this.#prev };
  }

  get stats(): AuditStats {
    return { records: this.#records, syncs: this.#journal.syncs, queuedBytes: this.#journal.queuedBytes, file: this.#file };
  }

  /**
   * Records entries, together and in order; resolves with the last one's number and hash when all are on disk. Entries are read before this returns.
   * Rejects with `LV_USAGE` or `LV_AUDIT_FULL`, and nothing is taken; with `LV_AUDIT_WRITE` or `LV_AUDIT_LOCKED`, and the audit is closed for good: what was to be
   * acknowledged must not be; with `LV_CLOSED` after `close`. Without entries it is a barrier: resolves when all before it is on disk.
   */
  async append(entries: AuditEntry | readonly AuditEntry[]): Promise<Link> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#closing !== undefined) throw new LogveilError("LV_CLOSED", "the audit has been closed");
    const drafts = (Array.isArray(entries) ? (entries as readonly AuditEntry[]) : [entries as AuditEntry]).map((entry) => ({
      type: entry.type,
      fields: recorded(entry, this.#options.policy),
    }));
    const { queuedBytes } = this.#journal;
    const { maxFileBytes, maxFileMs, maxQueueBytes } = this.#limits;
    const full = (bytes: number): boolean => queuedBytes > 0 && queuedBytes + bytes > maxQueueBytes;
    if (drafts.length === 0) return this.#barrier();
    if (full(0)) throw this.#full();
    if (this.#fileBytes >= maxFileBytes || this.#now() - this.#fileSince >= maxFileMs) this.#rotate();
    const sealed = this.#chain(drafts);
    const bytes = sealed.reduce((sum, { line }) => sum + line.length, 0);
    if (bytes > MAX_QUEUE_BYTES || sealed.some(({ line }) => line.length > MAX_LINE_BYTES))
      throw new LogveilError("LV_USAGE", `audit: one append may have ${MAX_QUEUE_BYTES} bytes, one record ${MAX_LINE_BYTES}`, { facts: { bytes } });
    if (full(bytes)) throw this.#full();
    const written = this.#put(sealed);
    const { tip } = this;
    if (this.#unsigned >= this.#limits.checkpointRecords) this.#sign();
    await written;
    return tip;
  }

  /** Resolves when all that was appended before is on disk. Rejects as `append` does. */
  async drained(): Promise<void> {
    await this.append([]);
  }

  async #barrier(): Promise<Link> {
    const { tip } = this;
    await this.#journal.put(this.#file, Buffer.alloc(0));
    return tip;
  }

  /** The account of one stream, to be fed with what comes in and goes out; append its `summary()`. */
  ledger(options: Omit<LedgerOptions, "blake3">): Ledger {
    return new Ledger({ ...options, blake3: this.#blake3 });
  }

  /** Signs what there is; resolves with the checkpoint's number and hash when it is on disk. Rejects as `append` does. */
  async checkpoint(): Promise<Link> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#closing !== undefined) throw new LogveilError("LV_CLOSED", "the audit has been closed");
    const written = this.#putCheckpoint();
    const { tip } = this;
    await written;
    return tip;
  }

  /** Writes `stop` and a last checkpoint, gives the lock back. Rejects with `LV_AUDIT_WRITE`, also if the audit had closed itself before. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    if (this.#failure !== undefined) throw this.#failure;
    try {
      await Promise.all([this.#put(this.#chain([{ type: "stop", fields: this.#policyField() }])), this.#putCheckpoint()]);
      await this.#journal.close();
    } finally {
      this.#lock.release();
    }
  }

  /** The journal has ended with an error. */
  #failed(error: LogveilError): void {
    this.#failure = error;
    for (const timer of this.#timers) clearInterval(timer);
    // A file that failed may fail to close too, which changes nothing.
    ignored(this.#journal.close());
    // In `close` the lock is given back there.
    if (this.#closing === undefined) this.#lock.release();
    this.#options.onFailure?.(error);
  }

  /** Lines for drafts, one after the other, from the tip on. Changes nothing: `#put` takes them. */
  #chain(drafts: readonly Draft[], sign?: (body: Buffer) => string): Sealed[] {
    const time = new Date(this.#now()).toISOString();
    let prev = this.#prev;
    return drafts.map(({ type, fields }, i) => {
      const sealed = seal(this.#blake3, { seq: this.#seq + i, time, prev }, type, fields, sign);
      prev = sealed.hash;
      return sealed;
    });
  }

  #put(sealed: readonly Sealed[], head?: Buffer): Promise<void> {
    const bytes = sealed.length === 1 ? sealed[0]!.line : Buffer.concat(sealed.map(({ line }) => line));
    this.#seq += sealed.length;
    this.#prev = sealed.at(-1)?.hash ?? this.#prev;
    this.#fileBytes += bytes.length;
    this.#unsigned += sealed.length;
    this.#records += sealed.length;
    return this.#journal.put(this.#file, bytes, head);
  }

  #putCheckpoint(): Promise<void> {
    const [sealed] = this.#chain([{ type: "checkpoint", fields: { file: this.#file, key: this.#signer.keyId } }], (body) => this.#signer.sign(body));
    const written = this.#put([sealed!], sealed!.line);
    this.#unsigned = 0;
    return written;
  }

  /** Begins a file, in one write with its first checkpoint: a file without one was not written by us. */
  #beginFile(drafts: readonly Draft[]): Promise<unknown> {
    const now = this.#now();
    const previous = this.#file === "" ? {} : { previous: this.#file };
    this.#file = fileName(new Date(now).toISOString(), this.#number++);
    this.#fileBytes = 0;
    this.#fileSince = now;
    const open = { type: "open", fields: { format: FORMAT, file: this.#file, ...previous, key: this.#signer.keyId } };
    return Promise.all([this.#put(this.#chain([open, ...drafts])), this.#putCheckpoint()]);
  }

  #rotate(): void {
    ignored(this.#putCheckpoint());
    ignored(this.#beginFile([]));
  }

  /** The timer's checkpoint, and the one after so many records. */
  #sign(): void {
    if (this.#unsigned > 0 && this.#failure === undefined) ignored(this.#putCheckpoint());
  }

  #policyField(): Record<string, string> {
    return this.#options.policy === undefined ? {} : { policy: this.#options.policy };
  }

  #full(): LogveilError {
    const { queuedBytes } = this.#journal;
    return new LogveilError("LV_AUDIT_FULL", `audit: ${queuedBytes} bytes wait for the disk; nothing was taken`, { facts: { queuedBytes } });
  }
}

/** Of a write that nobody waits for: its failure has closed the audit, which `append` and `onFailure` tell. */
const ignored = (written: Promise<unknown>): void => void written.catch(() => {});
