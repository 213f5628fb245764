/**
 * One file of masked log on disk, with its commits beside it: `<start>.log` holds bytes, `<start>.commits` marks: an offset in the output, the offset in the
 * input that it became of. A machine that knows nothing of what was before may go on there. What stands behind the last commit was not acknowledged; it is cut off
 * when the stream is opened again. Files are open only while they are written: there may be ten thousand streams.
 */
import { dirname } from "node:path";
import { encodeMark, MARK_BYTES, markAt } from "./marks.js";
import type { Disk, DiskFile } from "./spool/disk.js";

/** Offsets in a stream, in bytes: of what came in, and of what is kept. */
export interface Position {
  readonly input: number;
  readonly output: number;
}

/** The last whole record of a file of commits, and how many bytes it and those before it have. */
function lastOf(records: Buffer): { position: Position; bytes: number } | undefined {
  for (let at = Math.floor(records.length / MARK_BYTES) * MARK_BYTES - MARK_BYTES; at >= 0; at -= MARK_BYTES) {
    const mark = markAt(records, at);
    if (mark !== undefined) return { position: { output: mark[0], input: mark[1] }, bytes: at + MARK_BYTES };
  }
  return undefined;
}

/** Sizes of the two files, in bytes. */
export interface SegmentSizes {
  readonly log: number;
  readonly commits: number;
}

/** A file that is being written. */
export class Segment {
  private constructor(
    private readonly disk: Disk,
    readonly path: string,
    /** Offset in the output where the file begins. */
    readonly start: number,
    /** Offset behind its last byte that is durable. */
    public end: number,
    /** The last one; absent: none yet. */
    public commit: Position | undefined,
    private commitBytes: number,
    /** Its files are there, and their names are durable. */
    private isMade: boolean,
    /** There may be something behind `end`. */
    private isTorn: boolean,
  ) {}

  /** A file for output from `start` on, which is made with the first write. */
  static begin(disk: Disk, path: string, start: number): Segment {
    return new Segment(disk, path, start, start, undefined, 0, false, true);
  }

  /** Opens a file for output from `start` on. What stands behind `end`, which is that of the last commit, does not count. */
  static async open(disk: Disk, path: string, start: number, sizes: SegmentSizes, end?: number): Promise<Segment> {
    const last = await lastCommit(disk, path, sizes);
    const kept = end ?? last?.position.output ?? start;
    const isMade = sizes.log > 0 && sizes.commits > 0;
    const segment = new Segment(disk, path, start, kept, last?.position, last?.bytes ?? 0, isMade, sizes.log > kept - start);
    // A process that was killed may have written a commit and not synced it.
    if (last !== undefined) await segment.within("commits", (file) => file.datasync());
    if (segment.isTorn) await segment.cut();
    return segment;
  }

  private async cut(): Promise<void> {
    await this.within("log", async (file) => {
      await file.truncate(this.end - this.start);
      await file.datasync();
    });
    this.isTorn = false;
  }

  /** Puts pieces on disk behind `end`, which the caller moves on when this resolves. */
  async write(pieces: readonly Uint8Array[]): Promise<void> {
    const bytes = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
    if (bytes.length === 0) return;
    await this.make();
    await this.within("log", async (file) => {
      const at = this.end - this.start;
      if (this.isTorn) await file.truncate(at);
      this.isTorn = true;
      await file.write(bytes, at);
      await file.datasync();
      this.isTorn = false;
    });
  }

  /** Records that one may go on at `position`, which is on disk. */
  async record(position: Position): Promise<void> {
    await this.make();
    await this.within("commits", async (file) => {
      await file.write(encodeMark([position.output, position.input]), this.commitBytes);
      await file.datasync();
    });
    this.commitBytes += MARK_BYTES;
    this.commit = position;
  }

  /** Makes the files, and their names and that of their folder durable. */
  private async make(): Promise<void> {
    if (this.isMade) return;
    for (const end of ["log", "commits"] as const) await this.within(end, async () => undefined);
    const folder = dirname(this.path);
    await this.disk.syncFolder(folder);
    await this.disk.syncFolder(dirname(folder));
    this.isMade = true;
  }

  private async within(end: "log" | "commits", work: (file: DiskFile) => Promise<void>): Promise<void> {
    const file = await this.disk.open(`${this.path}.${end}`);
    try {
      await work(file);
    } finally {
      await file.close();
    }
  }
}

/** The last commit of a file, and how many bytes it and those before it have. */
export async function lastCommit(disk: Disk, path: string, { commits }: SegmentSizes): Promise<{ position: Position; bytes: number } | undefined> {
  return lastOf(await disk.read(`${path}.commits`, 0, commits).catch(orNothing));
}

function orNothing(error: NodeJS.ErrnoException): Buffer {
  if (error.code === "ENOENT") return Buffer.alloc(0);
  throw error;
}
