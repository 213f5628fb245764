/**
 * Bytes to disk, in order: what waits is written with one write and made durable with one fdatasync, then all who waited are told (group commit). The first error
 * ends it for good: after a failed fdatasync nobody knows what is on the disk.
 */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { LogveilError } from "../errors.js";
import { BATCH_BYTES, syncFolder, writeHead } from "./folder.js";

/** What the journal needs of an open file; `FileHandle` has it. Tests hand in one that fails. */
export interface AppendHandle {
  write(bytes: Uint8Array, offset: number, length: number): Promise<{ bytesWritten: number }>;
  datasync(): Promise<void>;
  close(): Promise<void>;
}

/** Opens a file that must not exist yet, for appending. */
export type OpenFile = (path: string) => Promise<AppendHandle>;

const openNew: OpenFile = (path) => open(path, "ax", 0o600);

interface Item {
  /** Audit file that the bytes belong into. */
  readonly file: string;
  readonly bytes: Buffer;
  /** Line of a checkpoint among them: the new head. */
  readonly head?: Buffer;
  resolve(): void;
  reject(error: LogveilError): void;
}

export class Journal {
  readonly #folder: string;
  readonly #openFile: OpenFile;
  /** Told once, when an error ended it. */
  readonly #onFailure: (error: LogveilError) => void;
  #queue: Item[] = [];
  #handle: { readonly file: string; readonly handle: AppendHandle } | undefined;
  #running: Promise<void> | undefined;
  #failure: LogveilError | undefined;

  /** Bytes that are not known to be on disk yet. */
  queuedBytes = 0;
  /** How often fdatasync was called for records. */
  syncs = 0;

  constructor(folder: string, onFailure: (error: LogveilError) => void, openFile: OpenFile = openNew) {
    this.#folder = folder;
    this.#onFailure = onFailure;
    this.#openFile = openFile;
  }

  /** Takes bytes (the journal's from now on); resolves once they are on disk. Rejects with `LV_AUDIT_WRITE`. */
  put(file: string, bytes: Buffer, head?: Buffer): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#queue.push({ file, bytes, resolve, reject, ...(head === undefined ? {} : { head }) });
      this.queuedBytes += bytes.length;
      this.#running ??= this.#run();
    });
  }

  /** Ends it with an error from outside: what waits is rejected. */
  fail(error: LogveilError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#rejectAll();
    this.#onFailure(error);
  }

  /** Closes the file once everything that waits is written. */
  async close(): Promise<void> {
    await this.#running;
    await this.#closeFile();
  }

  async #run(): Promise<void> {
    // Later in this turn more may come, which then shares the sync.
    await Promise.resolve();
    while (this.#queue.length > 0 && this.#failure === undefined) {
      const batch = this.#take();
      try {
        await this.#write(batch);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        this.#queue.unshift(...batch);
        this.fail(
          new LogveilError("LV_AUDIT_WRITE", `${join(this.#folder, batch[0]!.file)}: the audit cannot be written (${code ?? "unknown"}); it is closed`, {
            cause: error,
            facts: { code },
          }),
        );
        break;
      }
      for (const item of batch) {
        this.queuedBytes -= item.bytes.length;
        item.resolve();
      }
    }
    this.#running = undefined;
  }

  /** The next items of one file, up to a batch. */
  #take(): Item[] {
    const { file } = this.#queue[0]!;
    let [count, bytes] = [0, 0];
    for (const item of this.#queue) {
      if (item.file !== file || (count > 0 && bytes + item.bytes.length > BATCH_BYTES)) break;
      bytes += item.bytes.length;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  async #write(batch: readonly Item[]): Promise<void> {
    const bytes = batch.length === 1 ? batch[0]!.bytes : Buffer.concat(batch.map((item) => item.bytes));
    // Only a barrier: what it waits for is on disk already.
    if (bytes.length === 0) return;
    const handle = await this.#fileOf(batch[0]!.file);
    for (let at = 0; at < bytes.length;) at += (await handle.write(bytes, at, bytes.length - at)).bytesWritten;
    this.syncs++;
    await handle.datasync();
    const head = batch.findLast((item) => item.head !== undefined)?.head;
    if (head !== undefined) await writeHead(this.#folder, head);
  }

  async #fileOf(file: string): Promise<AppendHandle> {
    if (this.#handle?.file === file) return this.#handle.handle;
    await this.#closeFile();
    const handle = await this.#openFile(join(this.#folder, file));
    this.#handle = { file, handle };
    await syncFolder(this.#folder);
    return handle;
  }

  async #closeFile(): Promise<void> {
    const handle = this.#handle?.handle;
    this.#handle = undefined;
    await handle?.close();
  }

  #rejectAll(): void {
    const waiting = this.#queue;
    this.#queue = [];
    this.queuedBytes = 0;
    for (const item of waiting) item.reject(this.#failure!);
  }
}
