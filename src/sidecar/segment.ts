/**
 * One file of masked log on disk, with its commits beside it: `<start>.log` holds bytes, `<start>.commits` marks: an offset in the output, the offset in the
 * input that it became of. A machine that knows nothing of what was before may go on there. What stands behind the last commit was not acknowledged; it is cut off
 * when the stream is opened again.
 */
import { type FileHandle, open } from "node:fs/promises";
import { encodeMark, MARK_BYTES, markAt } from "./marks.js";

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

/** A file that is being written. */
export class Segment {
  private constructor(
    readonly path: string,
    /** Offset in the output where the file begins. */
    readonly start: number,
    private readonly log: FileHandle,
    private readonly records: FileHandle,
    /** Offset behind its last byte. */
    public end: number,
    /** The last one; absent: none yet. */
    public commit: Position | undefined,
  ) {}

  /** Opens `<path>.log` and `<path>.commits`, or makes them (0600), for output from `start` on. What stands behind the last commit is cut off. */
  static async open(path: string, start: number): Promise<Segment> {
    const [log, records] = await Promise.all([open(`${path}.log`, "a+", 0o600), open(`${path}.commits`, "a+", 0o600)]);
    const last = lastOf(await records.readFile());
    const end = last?.position.output ?? start;
    await log.truncate(end - start);
    await records.truncate(last?.bytes ?? 0);
    return new Segment(path, start, log, records, end, last?.position);
  }

  /** Puts pieces on disk. */
  async write(pieces: readonly Uint8Array[]): Promise<void> {
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (bytes === 0) return;
    const { bytesWritten } = await this.log.writev(pieces);
    if (bytesWritten !== bytes) throw Object.assign(new Error("the file took only a part of what was written"), { code: "EIO" });
    await this.log.datasync();
    this.end += bytes;
  }

  /** Records that one may go on at `position`, which is on disk. */
  async record(position: Position): Promise<void> {
    await this.records.appendFile(encodeMark([position.output, position.input]));
    await this.records.datasync();
    this.commit = position;
  }

  async close(): Promise<void> {
    await Promise.all([this.log.close(), this.records.close()]);
  }
}
