/** What is on disk: where the chain goes on there, batches made from that place on, the file they go into, and the head. Everything that fails throws `LV_AUDIT_WRITE`. */
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import { Batch, type Place, type Sealing } from "./batch.js";
import type { Draft } from "./chain.js";
import { headFile, type Resumption, writeHead } from "./folder.js";
import { Journal } from "./journal.js";
import type { AuditOptions, AuditTimes } from "./options.js";

export class Writer {
  readonly #folder: string;
  readonly #sealing: Sealing;
  readonly #limits: AuditTimes;
  readonly #journal: Journal;
  /** Behind the last record that is durable. */
  #place: Place;

  constructor({ folder, openFile }: AuditOptions, sealing: Sealing, limits: AuditTimes, { seq, prev, number, previous = "" }: Resumption) {
    this.#folder = folder;
    this.#sealing = sealing;
    this.#limits = limits;
    this.#journal = new Journal(folder, openFile);
    this.#place = { seq, prev, number, file: previous, fileBytes: 0, fileSince: 0, isOver: true, unsigned: 0, records: 0 };
  }

  get place(): Place {
    return this.#place;
  }

  /** How often the disk was asked to make records durable. */
  get syncs(): number {
    return this.#journal.syncs;
  }

  /** Whether the next record begins another file. */
  get isFileOver(): boolean {
    const { isOver, fileBytes, fileSince } = this.#place;
    return isOver || fileBytes >= this.#limits.maxFileBytes || this.#sealing.now() - fileSince >= this.#limits.maxFileMs;
  }

  /** A batch that goes on behind the last durable record; in a file that begins with `drafts`, if the one before is over. */
  batch(drafts: readonly Draft[] = []): Batch {
    const batch = new Batch(this.#place, this.#sealing);
    if (this.#place.isOver) batch.begin(drafts);
    else for (const draft of drafts) batch.add(draft);
    return batch;
  }

  /** Ends the file with a checkpoint. */
  async endFile(): Promise<void> {
    const batch = new Batch(this.#place, this.#sealing);
    if (this.#place.unsigned > 0) batch.checkpoint();
    await this.persist(batch);
    this.#place = { ...this.#place, isOver: true };
    await this.writeHead(batch);
  }

  /** Makes a batch durable. */
  async persist(batch: Batch): Promise<void> {
    try {
      if (!batch.isEmpty) await this.#journal.write(batch.place.file, batch.bytes);
    } catch (error) {
      throw writeError(this.#journal.path(batch.place.file), error);
    }
    this.#place = batch.place;
  }

  /** Copies the last checkpoint of a durable batch into the head. */
  async writeHead({ head }: Batch): Promise<void> {
    try {
      if (head !== undefined) await writeHead(this.#folder, head);
    } catch (error) {
      throw writeError(headFile(this.#folder), error);
    }
  }

  /** After an error: see {@link Journal.repair}. */
  async repair(): Promise<number> {
    try {
      return await this.#journal.repair();
    } catch (error) {
      throw writeError(this.#journal.path(this.#place.file), error);
    }
  }

  /** A file that failed may fail to close too, which changes nothing. */
  async close(): Promise<void> {
    await this.#journal.close().catch(() => undefined);
  }
}

function writeError(path: string, error: unknown): LogveilError {
  const { code = "unknown" } = error as NodeJS.ErrnoException;
  return new LogveilError("LV_AUDIT_WRITE", `${path}: the audit cannot be written: ${reasonAndCure(code)}`, { cause: error, facts: { code } });
}
