/** Writes records into segments: those that come together with one write and one sync (group commit), in the order in which they came. */
import { join } from "node:path";
import type { Disk, DiskFile } from "./disk.js";
import { encodeFrame, newKey } from "./frames.js";
import { fileName, type Segment } from "./folder.js";

/** Most bytes of one write. */
const BATCH_BYTES = 1 << 20;

/** A record to be written. */
export interface Entry {
  readonly payload: readonly Uint8Array[];
  /** Bytes of its frame. */
  readonly bytes: number;
  /** The file of its body, which is durable but for its name. */
  readonly body: { readonly path: string; readonly key: string } | undefined;
}

interface Item {
  readonly entry: Entry;
  kept(this: void, segment: Segment, offset: number): void;
  failed(this: void, error: unknown): void;
}

export class SegmentWriter {
  private writing: { readonly segment: Segment; readonly file: DiskFile } | undefined;
  private queue: Item[] = [];
  private running: Promise<void> | undefined;
  /** An error that left on the disk what nobody knows: nothing more is written. */
  broken: unknown;

  constructor(
    private readonly disk: Disk,
    private readonly folder: string,
    /** Bytes from which on a segment is followed by another. */
    private readonly segmentBytes: number,
    /** Those that there are; new ones are added. */
    private readonly segments: Segment[],
    private nextNumber: number,
  ) {}

  /** Whether more may be written into a segment. */
  isOpen(segment: Segment): boolean {
    return this.writing?.segment === segment;
  }

  /** Writes a record; calls `kept` once it is durable, for one after the other. Rejects with an error of the system: nothing of it is left. */
  put<T>(entry: Entry, kept: (segment: Segment, offset: number) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.queue.push({ entry, kept: (segment, offset) => resolve(kept(segment, offset)), failed: reject });
      this.running ??= this.run();
    });
  }

  async close(): Promise<void> {
    await this.running;
    await this.end();
  }

  private async run(): Promise<void> {
    // Later in this turn more may come, which then shares the sync.
    await Promise.resolve();
    while (this.queue.length > 0) {
      let [count, bytes] = [0, 0];
      while (count < this.queue.length && (count === 0 || bytes + this.queue[count]!.entry.bytes <= BATCH_BYTES)) bytes += this.queue[count++]!.entry.bytes;
      const batch = this.queue.splice(0, count);
      try {
        await this.write(batch);
      } catch (error) {
        for (const { failed } of batch) failed(error);
      }
    }
    this.running = undefined;
  }

  private async write(batch: readonly Item[]): Promise<void> {
    if (this.broken !== undefined) throw this.broken;
    const { segment, file } = (this.writing ??= await this.begin());
    const bodies = batch.flatMap(({ entry: { body } }) =>
      body === undefined ? [] : [{ from: body.path, to: join(this.folder, fileName(segment.number, body.key, "body")) }],
    );
    try {
      for (const { from, to } of bodies) await this.disk.rename(from, to);
      if (segment.bytes === 0 || bodies.length > 0) await this.disk.syncFolder(this.folder);
      await file.write(Buffer.concat(batch.map(({ entry }) => encodeFrame(segment.key, entry.payload))), segment.bytes);
      await file.datasync();
    } catch (error) {
      await this.abandon(segment, file);
      for (const { to } of bodies) await this.disk.remove(to).catch(() => undefined);
      throw error;
    }
    for (const { entry, kept } of batch) {
      const offset = segment.bytes;
      segment.bytes += entry.bytes;
      kept(segment, offset);
    }
    if (segment.bytes >= this.segmentBytes) await this.end();
  }

  private async begin(): Promise<{ segment: Segment; file: DiskFile }> {
    const [number, key] = [this.nextNumber, newKey()];
    const path = join(this.folder, fileName(number, key, "segment"));
    const file = await this.disk.open(path);
    this.nextNumber++;
    const segment = { number, path, key, bytes: 0 };
    this.segments.push(segment);
    return { segment, file };
  }

  /** Closes a segment in which a write failed, with what was whole before. Where that cannot be told for sure, all is over. */
  private async abandon(segment: Segment, file: DiskFile): Promise<void> {
    this.writing = undefined;
    try {
      await file.truncate(segment.bytes);
      await file.datasync();
      await file.close();
    } catch (error) {
      this.broken = error;
    }
  }

  private async end(): Promise<void> {
    const file = this.writing?.file;
    this.writing = undefined;
    // Everything in it is synced: whether it can be closed changes nothing.
    await file?.close().catch(() => undefined);
  }
}
