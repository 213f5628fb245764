/**
 * A stream in the embedded store. What is appended waits for a commit, which puts a little of it into the journal that all streams share, and much of it, with what the
 * journal has already, into the stream's own files: segments one behind the other in a folder. Readers see what was appended: out of the files, then out of memory.
 *
 *     files                     | tail: in the journal, and in memory | waiting: in memory
 *     0 ──────────── segment.end ─────────────────────── durable end ─────────────── length
 */
import { EventEmitter, once } from "node:events";
import { join } from "node:path";
import { type Entry, type Run, sizeOf, type StreamName } from "./entries.js";
import type { Journal, Journaled } from "./journal.js";
import { compress, nameOf, type Part, partsOf, readParts } from "./stream-files.js";
import { lastCommit, type Position, Segment } from "./segment.js";
import type { Disk } from "./spool/disk.js";

/** Bytes of one stream, and of all, that may wait for a commit before writers wait. */
const MAX_WAITING_BYTES = 1 << 20;
const MAX_ALL_WAITING_BYTES = 64 << 20;
/** Pieces of a tail from which on they are put together. */
const MAX_TAIL_PIECES = 32;
/** What a reader gets out of memory at a time. */
const READ_BYTES = 1 << 18;

export interface StreamLimits {
  /** Bytes from which on a segment is closed and another begun. */
  readonly maxFileBytes: number;
  readonly compress: "none" | "zstd";
}

/** What all streams of a store share. */
export interface StreamHost {
  readonly disk: Disk;
  readonly journal: Journal;
  readonly limits: StreamLimits;
  /** Bytes of all streams that wait for a commit. Kept by the streams. */
  waitingBytes: number;
  /** Throws a refusal while nothing more may be taken. */
  checkRoom(this: void): void;
  /** Something is durable; so many bytes went into the files of a stream. */
  wrote(this: void, bytes: number): void;
  /** A file could not be written: answers what is thrown. */
  failed(this: void, name: StreamName, path: string, error: unknown): Error;
  /** A stream is closed, and all of it is in its own files. */
  closed(this: void, stream: StoredStream): void;
}

/** What was appended together from offset `start` of the output on, and where one may go on then. */
interface Batch {
  readonly start: number;
  readonly pieces: readonly Uint8Array[];
  readonly bytes: number;
  readonly position: Position;
}

const START: Position = { input: 0, output: 0 };

const isSame = (a: Position, b: Position): boolean => a.input === b.input && a.output === b.output;

export class StoredStream implements Journaled {
  private waiting: Batch[] = [];
  private waitingBytes = 0;
  private tailPieces: Uint8Array[] = [];
  tailBytes = 0;
  /** Batches that were appended, that may be committed, and that are. */
  private appended = 0;
  private allowed = 0;
  private committed = 0;
  private working: Promise<void> | undefined;
  private failure: unknown;
  private readonly changes = new EventEmitter().setMaxListeners(0);
  private isEnded = false;
  private isClosed = false;
  /** No more comes: the journal need not have it first. */
  private isEnding = false;
  /** The segment before, until the last one has a commit. */
  private before: Segment | undefined;
  private wanted: Position;

  private constructor(
    private readonly host: StreamHost,
    readonly name: StreamName,
    readonly folder: string,
    private segment: Segment,
    private durable: Position,
  ) {
    this.wanted = durable;
  }

  /** Opens the stream of a folder, or makes it (0700). Rejects with what says why that cannot be. */
  static async open(host: StreamHost, name: StreamName, folder: string): Promise<StoredStream> {
    try {
      await host.journal.wake(name.job, name.stream);
      return await StoredStream.openFiles(host, name, folder);
    } catch (error) {
      throw host.failed(name, folder, error);
    }
  }

  private static async openFiles(host: StreamHost, name: StreamName, folder: string): Promise<StoredStream> {
    const { disk } = host;
    await disk.makeFolder(folder);
    for (const part of plainParts(await partsOf(disk, folder))) {
      const segment = await openPart(disk, part);
      if (segment.commit !== undefined || part.start === 0) return new StoredStream(host, name, folder, segment, segment.commit ?? START);
      // Nothing in it was acknowledged: the one before it has the last commit.
      await removePart(disk, folder, part);
    }
    return new StoredStream(host, name, folder, Segment.begin(disk, join(folder, nameOf(0)), 0), START);
  }

  /** Where one may go on after a crash: everything before it is kept. */
  get position(): Position {
    return this.durable;
  }

  /** Bytes that can be read. */
  get length(): number {
    return this.durableEnd + this.waitingBytes;
  }

  /** Bytes in its own files. The rest is in memory. */
  get settledBytes(): number {
    return this.segment.end;
  }

  get ended(): boolean {
    return this.isEnded;
  }

  /** Whether a commit failed: it keeps nothing any more, and has to be opened again. */
  get failed(): boolean {
    return this.failure !== undefined;
  }

  /** Whether so much waits that writers must wait for a commit. */
  get isBehind(): boolean {
    return this.waitingBytes > MAX_WAITING_BYTES || this.host.waitingBytes > MAX_ALL_WAITING_BYTES;
  }

  /** Throws a refusal while nothing more may be taken, of any stream. */
  checkRoom(): void {
    this.host.checkRoom();
  }

  get tail(): Entry | undefined {
    if (this.tailBytes === 0 && isSame(this.durable, this.recorded)) return undefined;
    return { ...this.name, start: this.segment.end, position: this.durable, pieces: [...this.tailPieces] };
  }

  private get durableEnd(): number {
    return this.segment.end + this.tailBytes;
  }

  /** Where its own files say that one may go on. */
  private get recorded(): Position {
    return this.segment.commit ?? this.before?.commit ?? START;
  }

  /**
   * Takes masked bytes: they can be read. With them one may go on at `position`, which may lie before their end. The pieces must stay as they are until they are on disk.
   * Throws what a commit failed with: nothing is kept from then on.
   */
  append(pieces: readonly Uint8Array[], position: Position): void {
    if (this.failure !== undefined) throw this.failure;
    if (this.isClosed) throw new Error("the stream is closed");
    const bytes = sizeOf(pieces);
    if (bytes === 0 && isSame(position, this.wanted)) return;
    this.waiting.push({ start: this.length, pieces, bytes, position });
    this.wanted = position;
    this.appended++;
    this.countWaiting(bytes);
    if (bytes > 0) this.changes.emit("change");
  }

  /** What stands for everything that was appended so far, for {@link commit}. */
  get mark(): number {
    return this.appended;
  }

  /** Resolves when everything that was appended before `mark` was taken is on disk; nothing behind it is acknowledged. Rejects with what says why not. */
  async commit(mark: number): Promise<void> {
    this.allowed = Math.max(this.allowed, mark);
    while (this.committed < mark) {
      if (this.failure !== undefined) throw this.failure;
      if (this.isClosed) throw new Error("the stream is closed");
      await this.work(() => this.commitAllowed());
    }
  }

  /** Puts what the journal alone has into files of its own. Rejects with what says why not: then it stays where it is. */
  async settle(): Promise<void> {
    try {
      while (this.tail !== undefined) await this.work(() => this.settleWith([]));
    } catch (error) {
      throw this.host.failed(this.name, this.segment.path, error);
    }
  }

  /** Everything up to `mark` is put into its own files, and no more bytes come: readers that follow are done. Rejects as `commit` does. */
  async end(mark: number): Promise<void> {
    this.isEnding = true;
    await this.commit(mark);
    await this.settle();
    this.leave();
  }

  /** Gives up what is not committed. Rejects where what the journal alone has could not be put into its own files: close it again before it is opened. */
  async close(): Promise<void> {
    this.isClosed = true;
    await this.working?.catch(() => undefined);
    this.dropWaiting();
    this.leave();
    await this.settle();
    this.host.journal.delete(this);
    this.host.closed(this);
  }

  private leave(): void {
    this.isEnded = true;
    this.changes.emit("change");
  }

  /** One at a time: joins what is under way, or does it. */
  private work(what: () => Promise<void>): Promise<void> {
    return (this.working ??= what().finally(() => (this.working = undefined)));
  }

  private async commitAllowed(): Promise<void> {
    const batches = this.waiting.slice(0, this.allowed - this.committed);
    const bytes = batches.reduce((sum, batch) => sum + batch.bytes, 0);
    const { journal } = this.host;
    let path = this.segment.path;
    try {
      if (this.isEnding || !journal.hasRoom(this.tailBytes + bytes)) return await this.settleWith(batches);
      path = journal.path;
      await this.putIntoJournal(batches, bytes);
    } catch (error) {
      this.failure ??= this.host.failed(this.name, path, error);
      this.dropWaiting();
      throw this.failure;
    }
  }

  private async putIntoJournal(batches: readonly Batch[], bytes: number): Promise<void> {
    const { journal } = this.host;
    const pieces = batches.flatMap((batch) => batch.pieces);
    const { position } = batches.at(-1)!;
    await journal.put({ ...this.name, start: this.durableEnd, position, pieces }, () => {
      journal.add(this);
      this.take(batches);
      // A copy, since a piece may be a small part of what came in.
      if (bytes > 0) this.tailPieces.push(Buffer.concat(pieces));
      if (this.tailPieces.length > MAX_TAIL_PIECES) this.tailPieces = [Buffer.concat(this.tailPieces)];
      this.tailBytes += bytes;
      journal.tailBytes += bytes;
      this.host.wrote(0);
    });
  }

  /** Puts the tail and batches behind it into files of its own. */
  private async settleWith(batches: readonly Batch[]): Promise<void> {
    const { host, segment: last } = this;
    if (this.before === undefined && last.commit !== undefined && last.end - last.start >= host.limits.maxFileBytes) {
      this.before = last;
      this.segment = Segment.begin(host.disk, join(this.folder, nameOf(last.end)), last.end);
    }
    const pieces = [...this.tailPieces, ...batches.flatMap((batch) => batch.pieces)];
    await this.segment.write(pieces);
    this.segment.end += sizeOf(pieces);
    host.wrote(sizeOf(pieces));
    host.journal.tailBytes -= this.tailBytes;
    this.tailPieces = [];
    this.tailBytes = 0;
    // What was written is durable: only where one may go on is not on disk yet.
    const position = batches.at(-1)?.position ?? this.durable;
    this.forgetBytes(batches);
    if (!isSame(position, this.recorded)) await this.record(position);
    this.durable = position;
    this.committed += batches.length;
    this.host.journal.delete(this);
  }

  private async record(position: Position): Promise<void> {
    const { before, segment, host } = this;
    await (before !== undefined && position.output < segment.start ? before : segment).record(position);
    if (before === undefined || segment.commit === undefined) return;
    this.before = undefined;
    if (host.limits.compress === "zstd") await compress(host.disk, before.path);
  }

  /** Batches are durable. */
  private take(batches: readonly Batch[]): void {
    this.forgetBytes(batches);
    this.committed += batches.length;
    this.durable = batches.at(-1)!.position;
  }

  /** Batches at the front do not wait any more. */
  private forgetBytes(batches: readonly Batch[]): void {
    this.waiting.splice(0, batches.length);
    for (const { bytes } of batches) this.countWaiting(-bytes);
  }

  private dropWaiting(): void {
    this.forgetBytes([...this.waiting]);
  }

  private countWaiting(bytes: number): void {
    this.waitingBytes += bytes;
    this.host.waitingBytes += bytes;
  }

  /** Bytes from `from` on; with `follow`, those to come as well until the stream ends or `signal` fires. */
  async *read(from: number, follow: boolean, signal?: AbortSignal): AsyncGenerator<Buffer, void, void> {
    let at = from;
    for (;;) {
      const before = at;
      if (at < this.segment.end) {
        for await (const chunk of readParts(this.host.disk, this.folder, at, this.segment.end)) {
          at += chunk.length;
          yield chunk;
        }
        if (at === before) throw Object.assign(new Error("bytes of the stream are missing in its files"), { code: "EIO" });
        continue;
      }
      for (const piece of this.inMemory(at)) {
        at += piece.length;
        yield piece;
      }
      if (at !== before) continue;
      if (!follow || this.isEnded || signal?.aborted === true) return;
      await once(this.changes, "change", signal === undefined ? {} : { signal }).catch(() => undefined);
    }
  }

  /** Some of the bytes from `from` on that are not in files: as many as a reader that is slow may hold. */
  private inMemory(from: number): Buffer[] {
    const found: Buffer[] = [];
    let bytes = 0;
    const take = (start: number, pieces: readonly Uint8Array[]): boolean => {
      let at = start;
      for (const piece of pieces) {
        const first = Math.max(0, from - at);
        at += piece.length;
        if (first >= piece.length || bytes >= READ_BYTES) continue;
        found.push(Buffer.from(piece.buffer, piece.byteOffset + first, piece.length - first));
        bytes += piece.length - first;
      }
      return bytes < READ_BYTES;
    };
    if (from < this.durableEnd) take(this.segment.end, this.tailPieces);
    // From the end on: most readers have read all but the last.
    let index = Math.max(
      0,
      this.waiting.findLastIndex(({ start }) => start <= from),
    );
    while (index < this.waiting.length && take(this.waiting[index]!.start, this.waiting[index]!.pieces)) index++;
    return found;
  }
}

/** The files that may be written, the last one first. */
const plainParts = (parts: readonly Part[]): Part[] => parts.filter(({ compressed }) => !compressed).toReversed();

const pathOf = ({ file }: Part): string => file.slice(0, -".log".length);

const openPart = (disk: Disk, part: Part, end?: number): Promise<Segment> => Segment.open(disk, pathOf(part), part.start, part.sizes, end);

/** Removes a file for good: one that came back after a crash would be taken for what follows what is written from now on. */
async function removePart(disk: Disk, folder: string, { file }: Part): Promise<void> {
  await disk.remove(file);
  await disk.remove(file.replace(/log$/, "commits"));
  await disk.syncFolder(folder);
}

/**
 * Puts a run of bytes that a process before had in its journal alone into the files of a stream, up to where one may go on. Throws errors of the system, `EIO` where the
 * files end before the run begins.
 */
export async function replayRun(disk: Disk, folder: string, { start, pieces, position }: Run): Promise<void> {
  await disk.makeFolder(folder);
  const parts = plainParts(await partsOf(disk, folder));
  let commit = START;
  for (const part of parts) commit = maxOf(commit, (await lastCommit(disk, pathOf(part), part.sizes))?.position ?? START);
  // The files know as much, or more.
  if (position.output <= commit.output && position.input <= commit.input) return;
  // What the files have before `from` is durable, also behind their last commit.
  const from = Math.min(Math.max(start, commit.output), position.output);
  for (const part of parts) if (part.start > from) await removePart(disk, folder, part);
  const part = parts.find((each) => each.start <= from);
  if (from > (part === undefined ? 0 : part.start + part.sizes.log)) throw Object.assign(new Error("the files of the stream are too short"), { code: "EIO" });
  const segment = part === undefined ? Segment.begin(disk, join(folder, nameOf(0)), 0) : await openPart(disk, part, from);
  await segment.write([Buffer.concat(pieces).subarray(Math.max(0, from - start), Math.max(0, position.output - start))]);
  await segment.record(position);
}

const maxOf = (a: Position, b: Position): Position => (a.output > b.output || (a.output === b.output && a.input > b.input) ? a : b);
