/**
 * A stream in the embedded store: segments one behind the other in a folder, named by the offset where they begin; closed ones may be compressed. Appends are
 * collected while a commit is under way and made durable together; readers see what is durable.
 */
import { EventEmitter, once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { CONTENT_CODINGS } from "../codec/content.js";
import { type Position, Segment } from "./segment.js";

/** Digits of an offset in a file's name: names sort as offsets do. */
const OFFSET_DIGITS = 16;
/** Bytes that may wait for a commit before appends wait too. */
const MAX_WAITING_BYTES = 1 << 20;

export interface StreamLimits {
  /** Bytes from which on a segment is closed and another begun. */
  readonly maxFileBytes: number;
  readonly compress: "none" | "zstd";
}

const ZSTD = CONTENT_CODINGS.find(({ name }) => name === "zstd")!;

/** A file of the stream: its name, where it begins, and whether it is compressed. */
interface Part {
  readonly file: string;
  readonly start: number;
  readonly compressed: boolean;
}

export class StoredStream {
  private waiting: Uint8Array[] = [];
  private waitingBytes = 0;
  private committing: Promise<void> | undefined;
  private failure: unknown;
  private readonly changes = new EventEmitter().setMaxListeners(0);
  private isEnded = false;
  /** The segment before, until the last one has a commit. */
  private before: Segment | undefined;

  private constructor(
    readonly folder: string,
    private readonly limits: StreamLimits,
    private segment: Segment,
    private durable: Position,
    private wanted: Position,
  ) {}

  /** Opens the stream of a folder, or makes it (0700). */
  static async open(folder: string, limits: StreamLimits): Promise<StoredStream> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (const { file, start } of (await partsOf(folder)).filter(({ compressed }) => !compressed).toReversed()) {
      const segment = await Segment.open(file.slice(0, -".log".length), start);
      if (segment.commit !== undefined || start === 0) {
        const position = segment.commit ?? { input: 0, output: 0 };
        return new StoredStream(folder, limits, segment, position, position);
      }
      // Nothing in it was acknowledged: the one before it has the last commit.
      await segment.close();
      await Promise.all([rm(file), rm(file.replace(/log$/, "commits"))]);
    }
    const start = { input: 0, output: 0 };
    return new StoredStream(folder, limits, await Segment.open(join(folder, nameOf(0)), 0), start, start);
  }

  /** Where one may go on after a crash: everything before it is kept. */
  get position(): Position {
    return this.durable;
  }

  /** Bytes that can be read. */
  get length(): number {
    return this.segment.end;
  }

  get ended(): boolean {
    return this.isEnded;
  }

  /** Whether a commit failed: it keeps nothing any more, and has to be opened again. */
  get failed(): boolean {
    return this.failure !== undefined;
  }

  /**
   * Takes masked bytes; resolves when more may come. With them one may go on at `position`, which may lie before their end. The pieces must stay as they are until they are
   * on disk. Throws what a commit failed with: nothing is kept from then on.
   */
  async append(pieces: readonly Uint8Array[], position: Position): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    for (const piece of pieces) this.waitingBytes += piece.length;
    this.waiting.push(...pieces);
    this.wanted = position;
    if (this.waitingBytes > MAX_WAITING_BYTES) await this.commit();
  }

  /** Resolves when everything that was appended is on disk. */
  async commit(): Promise<void> {
    // A commit that is under way does not hold what came since.
    await this.committing;
    await (this.committing ??= this.commitWaiting().finally(() => (this.committing = undefined)));
  }

  private async commitWaiting(): Promise<void> {
    try {
      if (this.failure !== undefined) throw this.failure;
      const { waiting, wanted } = this;
      this.waiting = [];
      this.waitingBytes = 0;
      if (this.before === undefined && this.segment.end - this.segment.start >= this.limits.maxFileBytes) {
        this.before = this.segment;
        this.segment = await Segment.open(join(this.folder, nameOf(this.before.end)), this.before.end);
      }
      await this.segment.write(waiting);
      if (wanted.input !== this.durable.input || wanted.output !== this.durable.output) await this.record(wanted);
      if (waiting.length > 0) this.changes.emit("change");
    } catch (error) {
      this.failure = error;
      throw error;
    }
  }

  private async record(position: Position): Promise<void> {
    const { before, segment } = this;
    await (before !== undefined && position.output < segment.start ? before : segment).record(position);
    this.durable = position;
    if (before === undefined || segment.commit === undefined) return;
    this.before = undefined;
    await before.close();
    if (this.limits.compress === "zstd") await compress(before.path);
  }

  /** No more bytes come: readers that follow are done. */
  async end(): Promise<void> {
    await this.commit();
    this.isEnded = true;
    this.changes.emit("change");
  }

  async close(): Promise<void> {
    await this.commit().catch(() => undefined);
    this.isEnded = true;
    this.changes.emit("change");
    await Promise.all([this.before?.close(), this.segment.close()]);
  }

  /** Bytes on disk from `from` on; with `follow`, those to come as well until the stream ends or `signal` fires. */
  async *read(from: number, follow: boolean, signal?: AbortSignal): AsyncGenerator<Buffer, void, void> {
    let at = from;
    for (;;) {
      const { length } = this;
      if (at < length) {
        for await (const chunk of readParts(this.folder, at, length)) {
          at += chunk.length;
          yield chunk;
        }
      }
      if (at < this.length) continue;
      if (!follow || this.isEnded || signal?.aborted === true) return;
      await once(this.changes, "change", signal === undefined ? {} : { signal }).catch(() => undefined);
    }
  }
}

const nameOf = (start: number): string => String(start).padStart(OFFSET_DIGITS, "0");

/** The files of a stream in order. */
async function partsOf(folder: string): Promise<Part[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".log") || name.endsWith(".log.zst")).sort();
  return names.map((name) => ({ file: join(folder, name), start: Number(name.slice(0, OFFSET_DIGITS)), compressed: name.endsWith(".zst") }));
}

/** Bytes `[from, to)` of a stream out of its files. */
export async function* readParts(folder: string, from: number, to: number): AsyncGenerator<Buffer, void, void> {
  const parts = await partsOf(folder);
  for (const [index, { file, start, compressed }] of parts.entries()) {
    const end = parts[index + 1]?.start ?? Infinity;
    if (end <= from || start >= to) continue;
    let at = compressed ? start : Math.max(start, from);
    const source = compressed ? createReadStream(file).pipe(ZSTD.decoder()!) : createReadStream(file, { start: at - start, highWaterMark: 1 << 18 });
    for await (const chunk of source as AsyncIterable<Buffer>) {
      const first = Math.max(0, from - at);
      const last = Math.min(chunk.length, to - at);
      at += chunk.length;
      if (last > first) yield chunk.subarray(first, last);
      if (at >= to) break;
    }
  }
}

/** Compresses a closed segment; the plain file goes when the other is whole. */
async function compress(path: string): Promise<void> {
  const target = `${path}.log.zst`;
  await pipeline(createReadStream(`${path}.log`), ZSTD.encoder()!, createWriteStream(`${target}.part`, { mode: 0o600, flush: true }));
  await rename(`${target}.part`, target);
  await Promise.all([rm(`${path}.log`), rm(`${path}.commits`, { force: true })]);
}

/** When a stream was written last, in milliseconds since the epoch, and how many bytes its files have. */
export async function statStream(folder: string): Promise<{ modified: number; bytes: number }> {
  let [modified, bytes] = [0, 0];
  for (const { file } of await partsOf(folder)) {
    const { mtimeMs, size } = await stat(file);
    modified = Math.max(modified, mtimeMs);
    bytes += size;
  }
  return { modified, bytes };
}
