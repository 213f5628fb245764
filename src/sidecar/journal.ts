/**
 * The journal of the store: one file that the small pieces of all streams are appended to and made durable with, so that ten thousand streams cost one sync and not ten
 * thousand. What is in it alone is in memory as well (the tail of a stream), until the stream's own files have it. A file that got long is followed by another that begins
 * with the tails of all streams; then the one before is removed. What a process before left in it goes into the files of its streams when they are asked for, or by and by:
 * a start does not wait for ten thousand of them.
 */
import { join } from "node:path";
import { encodeEntry, encodeFormat, encodeWhole, type Entry, readJournal, type Run, sizeOf, split } from "./entries.js";
import type { Disk, DiskFile } from "./spool/disk.js";
import { encodeFrame, newKey } from "./spool/frames.js";

/** A stream that has bytes in the journal. */
export interface Journaled {
  /** What is in the journal alone; undefined: nothing. */
  readonly tail: Entry | undefined;
  readonly tailBytes: number;
  /** Puts the tail into the stream's own files. Rejects with an error of the system: nothing is lost. */
  settle(): Promise<void>;
}

export interface JournalLimits {
  /** Length from which on a file is followed by another, in bytes. */
  readonly maxFileBytes: number;
  /** Bytes of tails that may be left then: the longest ones go into the files of their streams. */
  readonly keepBytes: number;
  /** Bytes of all tails from which on streams are written to their own files at once. */
  readonly maxTailBytes: number;
  /** Bytes of one tail from which on its stream is. Less than a frame holds. */
  readonly settleBytes: number;
}

/** Memory holds the tails, and a start reads a whole file. */
export const JOURNAL_LIMITS: JournalLimits = { maxFileBytes: 64 << 20, keepBytes: 16 << 20, maxTailBytes: 128 << 20, settleBytes: 1 << 16 };

/** Payload of a frame, and bytes of one write: small enough to be put together in a few milliseconds. */
const FRAME_BYTES = 1 << 17;
const BATCH_BYTES = 1 << 19;
/** Streams that are settled at a time: writes of the journal need threads of the pool, too. */
const SETTLING = 2;
/** Wait after a file could not be begun, in milliseconds. */
const RETRY_MS = 1000;

const NAME = /^(\d{16})-([0-9a-f]{32})\.journal$/;

interface Item {
  readonly bytes: Buffer;
  kept(this: void): void;
  failed(this: void, error: unknown): void;
}

/** The file that is written. */
interface Writing {
  readonly path: string;
  readonly key: string;
  readonly file: DiskFile;
  bytes: number;
}

export interface JournalOptions {
  readonly folder: string;
  readonly disk: Disk;
  readonly limits?: JournalLimits;
  /** Puts what a process before had in its journal alone into the files of a stream, durably. Rejects with an error of the system. */
  readonly replay: (run: Run) => Promise<void>;
  readonly log: (level: "info" | "warn" | "error", message: string) => void;
}

/** What a process before had in its journal alone of a stream that nobody has asked for yet. */
class LeftBehind implements Journaled {
  private settling: Promise<void> | undefined;

  constructor(
    private readonly run: Run,
    private readonly replay: (run: Run) => Promise<void>,
    private readonly done: () => void,
  ) {}

  get tail(): Entry {
    return this.run;
  }

  get tailBytes(): number {
    return this.run.end - this.run.start;
  }

  isOf(job: string, stream: string | undefined): boolean {
    return this.run.job === job && (stream === undefined || this.run.stream === stream);
  }

  settle(): Promise<void> {
    return (this.settling ??= this.put());
  }

  private async put(): Promise<void> {
    try {
      await this.replay(this.run);
    } catch (error) {
      this.settling = undefined;
      throw error;
    }
    this.done();
  }

  /** Resolves when what is under way is over. */
  async stopped(): Promise<void> {
    await this.settling?.catch(() => undefined);
  }
}

export class Journal {
  private readonly limits: JournalLimits;
  private readonly streams = new Set<Journaled>();
  private queue: Item[] = [];
  private running: Promise<void> | undefined;
  private settling: Promise<void> | undefined;
  private writing: Writing | undefined;
  /** A write left in the file what nobody knows: another is begun. */
  private isBroken = false;
  /** The longest tails are settled: another file may be begun. */
  private isDue = false;
  private retryAt = 0;
  private number = 1;
  private readonly left = new Set<LeftBehind>();
  /** Files of processes before, until another has what they hold. */
  private old: string[] = [];
  private isClosing = false;

  private constructor(private readonly options: JournalOptions) {
    this.limits = options.limits ?? JOURNAL_LIMITS;
  }

  /** Opens the journal of a folder, or makes it. What a process before left in it is there for {@link Journal.wake}. Throws `LV_FORMAT`, errors of the system. */
  static async open(options: JournalOptions): Promise<Journal> {
    const { disk, folder } = options;
    await disk.makeFolder(folder);
    const journal = new Journal(options);
    const names = (await disk.list(folder)).filter(({ name }) => NAME.test(name)).toSorted((a, b) => (a.name < b.name ? 1 : -1));
    for (const { name, bytes } of names) if (await journal.readFile(name, bytes)) break;
    journal.old = names.map(({ name }) => join(folder, name));
    // Where there is no room for another file, what there is stays in the old one.
    if (journal.left.size > 0) await journal.begin().catch(() => undefined);
    else await journal.removeOld();
    return journal;
  }

  /** Puts what a process before left of a stream, or of all of a job, into its files: before they are opened, read or removed. Rejects with an error of the system. */
  async wake(job: string, stream?: string): Promise<void> {
    for (const one of this.left) if (one.isOf(job, stream)) await one.settle();
  }

  /** Puts what processes before left into the files of its streams, by and by. What cannot be written stays. */
  async settleLeft(): Promise<void> {
    try {
      for (const one of this.left) {
        if (this.isClosing) return;
        await one.settle();
      }
    } catch {
      // Told by who asks for the stream; tried again then, and when the journal grows.
    }
  }

  /** Path of the file that is written; before the first write, of its folder. */
  get path(): string {
    return this.writing?.path ?? this.options.folder;
  }

  /** Bytes of the file. */
  get bytes(): number {
    return this.writing?.bytes ?? 0;
  }

  /** Whether a stream whose tail would have so many bytes may put them here, and not into its own files. */
  hasRoom(bytes: number): boolean {
    return bytes <= this.limits.settleBytes && this.tailBytes <= this.limits.maxTailBytes;
  }

  /** Bytes that are in the journal alone. Kept by the streams. */
  tailBytes = 0;

  /** Streams whose tails another file begins with. */
  add(stream: Journaled): void {
    this.streams.add(stream);
  }

  delete(stream: Journaled): void {
    this.streams.delete(stream);
  }

  /** Calls `kept` once an entry is durable: the stream counts it to its tail then. Rejects with an error of the system: it is not durable, and will not be. */
  put(entry: Entry, kept: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (): void => {
        kept();
        resolve();
      };
      this.queue.push({ bytes: encodeEntry(entry), kept: done, failed: reject });
      this.running ??= this.run();
    });
  }

  /** Ends it. Its file stays, for the next start, if a stream has something in it alone. */
  async close(): Promise<void> {
    this.isClosing = true;
    for (const one of this.left) await one.stopped();
    await this.settling;
    await this.running;
    const { writing } = this;
    this.writing = undefined;
    await writing?.file.close().catch(() => undefined);
    if (writing !== undefined && this.tails().length === 0) await this.options.disk.remove(writing.path).catch(() => undefined);
  }

  private async run(): Promise<void> {
    // Later in this turn more may come, which then shares the sync.
    await Promise.resolve();
    while (this.queue.length > 0 || this.isDue) {
      const batch = this.take();
      try {
        if (this.writing === undefined || this.isBroken || this.isDue) await this.follow();
        await this.write(batch);
        for (const { kept } of batch) kept();
      } catch (error) {
        for (const { failed } of batch) failed(error);
      }
      if (this.bytes >= this.limits.maxFileBytes && Date.now() >= this.retryAt) this.settling ??= this.settleLongest();
    }
    this.running = undefined;
  }

  /** The next items, up to a batch. */
  private take(): Item[] {
    let [count, bytes] = [0, 0];
    while (count < this.queue.length && (count === 0 || bytes + this.queue[count]!.bytes.length <= BATCH_BYTES)) bytes += this.queue[count++]!.bytes.length;
    return this.queue.splice(0, count);
  }

  private async write(batch: readonly Item[]): Promise<void> {
    const { writing } = this;
    if (writing === undefined || batch.length === 0) return;
    try {
      const bytes = framesOf(
        writing.key,
        batch.map((item) => item.bytes),
      );
      await writing.file.write(bytes, writing.bytes);
      await writing.file.datasync();
      writing.bytes += bytes.length;
    } catch (error) {
      await this.cutBack(writing);
      throw error;
    }
  }

  /** Takes back a write that failed. Where that fails as well, nothing more is written into this file. */
  private async cutBack({ file, bytes }: Writing): Promise<void> {
    try {
      await file.truncate(bytes);
      await file.datasync();
    } catch {
      this.isBroken = true;
    }
  }

  /** Begins another file. Where that fails, the one there is goes on, if it can. */
  private async follow(): Promise<void> {
    try {
      await this.begin();
    } catch (error) {
      if (this.writing === undefined || this.isBroken) throw error;
    }
  }

  /** Begins a file with the tails of all streams; then the one before is removed. Rejects with an error of the system, and nothing has changed. */
  private async begin(): Promise<void> {
    const { disk, folder } = this.options;
    this.isDue = false;
    const [key, number] = [newKey(), this.number++];
    const path = join(folder, `${String(number).padStart(16, "0")}-${key}.journal`);
    const before = this.writing;
    let writing: Writing | undefined;
    try {
      writing = { path, key, file: await disk.open(path), bytes: 0 };
      await append(writing, [encodeFormat()]);
      let piece: Buffer[] = [];
      for (const entry of this.tails().flatMap((tail) => [...split(tail, FRAME_BYTES)])) {
        piece.push(encodeEntry(entry));
        if (sizeOf(piece) < BATCH_BYTES) continue;
        await append(writing, piece);
        piece = [];
      }
      await append(writing, [...piece, encodeWhole()]);
      await writing.file.datasync();
      await disk.syncFolder(folder);
    } catch (error) {
      this.retryAt = Date.now() + RETRY_MS;
      if (writing !== undefined) await this.discard(writing);
      throw error;
    }
    this.writing = writing;
    this.isBroken = false;
    await before?.file.close().catch(() => undefined);
    if (before !== undefined) this.old.push(before.path);
    await this.removeOld();
  }

  /** What stays of them by a crash, or an error, is not read: the newest counts. */
  private async removeOld(): Promise<void> {
    for (const path of this.old.splice(0)) await this.options.disk.remove(path).catch(() => undefined);
  }

  /** Gives up a file that was being begun. It may come back after a crash, and must not count then: else nothing more is written into the one before it. */
  private async discard({ path, file }: Writing): Promise<void> {
    try {
      await file.truncate(0);
      await file.datasync();
    } catch {
      this.isBroken = true;
    }
    await file.close().catch(() => undefined);
    await this.options.disk.remove(path).catch(() => undefined);
  }

  private tails(): Entry[] {
    return [...this.streams].flatMap(({ tail }) => tail ?? []);
  }

  /** Puts the longest tails into the files of their streams until few bytes are left; then another file may be begun. */
  private async settleLongest(): Promise<void> {
    const streams = [...this.streams].toSorted((a, b) => b.tailBytes - a.tailBytes);
    const work = async (): Promise<void> => {
      while (this.tailBytes > this.limits.keepBytes) {
        const stream = streams.shift();
        if (stream === undefined) return;
        await stream.settle();
      }
    };
    try {
      await Promise.all(Array.from({ length: SETTLING }, work));
      this.isDue = true;
    } catch {
      // The stream has told. The tails stay in the journal meanwhile.
      this.retryAt = Date.now() + RETRY_MS;
    }
    this.settling = undefined;
    if (this.isDue) this.running ??= this.run();
  }

  /** Takes what a file holds. False: it was being begun, and the one before counts. */
  private async readFile(name: string, bytes: number): Promise<boolean> {
    const { disk, folder, replay, log } = this.options;
    const [, number, key] = NAME.exec(name)!;
    this.number = Math.max(this.number, Number(number) + 1);
    const path = join(folder, name);
    const { runs, isWhole, damagedBytes } = readJournal(await disk.read(path, 0, bytes), key!, path);
    if (damagedBytes > 0) log("error", `${path}: ${damagedBytes} bytes are damaged: lines that were acknowledged may be lost; check the disk`);
    if (!isWhole) return false;
    for (const run of runs) {
      const one = new LeftBehind(run, replay, () => {
        this.left.delete(one);
        this.streams.delete(one);
        this.tailBytes -= one.tailBytes;
      });
      this.left.add(one);
      this.streams.add(one);
      this.tailBytes += one.tailBytes;
    }
    return true;
  }
}

/** Frames of entries, none of which is cut. */
function framesOf(key: string, entries: readonly Buffer[]): Buffer {
  const frames: Buffer[] = [];
  for (let at = 0; at < entries.length;) {
    let [count, bytes] = [0, 0];
    while (at + count < entries.length && (count === 0 || bytes + entries[at + count]!.length <= FRAME_BYTES)) bytes += entries[at + count++]!.length;
    frames.push(encodeFrame(key, entries.slice(at, at + count)));
    at += count;
  }
  return Buffer.concat(frames);
}

async function append(writing: Writing, entries: readonly Buffer[]): Promise<void> {
  const bytes = framesOf(writing.key, entries);
  await writing.file.write(bytes, writing.bytes);
  writing.bytes += bytes.length;
}
