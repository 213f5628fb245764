/** Streams of a store without jobs around them: on any disk, with a journal of any size. */
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { Journal, JOURNAL_LIMITS, type JournalLimits } from "../../src/sidecar/journal.js";
import { type Disk, DISK } from "../../src/sidecar/spool/disk.js";
import { replayRun, StoredStream, type StreamHost, type StreamLimits } from "../../src/sidecar/stored.js";

export interface Streams {
  readonly host: StreamHost;
  readonly journal: Journal;
  /** Opens a stream, for writing. */
  open(this: void, stream: string): Promise<StoredStream>;
}

export interface StreamsOptions {
  readonly disk?: Disk;
  readonly limits?: StreamLimits;
  readonly journal?: Partial<JournalLimits>;
  readonly log?: (level: string, message: string) => void;
}

/** As a store opens them: what the journal holds goes into the files of its streams first. */
export async function openStreams(
  folder: string,
  { disk = DISK, limits = { maxFileBytes: 100, compress: "none" }, journal: change = {}, log = () => undefined }: StreamsOptions = {},
): Promise<Streams> {
  const journal = await Journal.open({
    folder: join(folder, ".journal"),
    disk,
    limits: { ...JOURNAL_LIMITS, ...change },
    replay: (run) => replayRun(disk, join(folder, run.stream), run),
    log,
  });
  onTestFinished(() => journal.close());
  const host: StreamHost = {
    disk,
    journal,
    limits,
    waitingBytes: 0,
    checkRoom: () => undefined,
    wrote: () => undefined,
    failed: (_, path, error) => new Error(`${path}: ${(error as NodeJS.ErrnoException).code}`, { cause: error }),
    closed: () => undefined,
  };
  return { host, journal, open: (stream) => StoredStream.open(host, { job: "j", stream, started: 1 }, join(folder, stream)) };
}

/** Everything of a stream from an offset on. */
export async function allOf(stream: StoredStream, from = 0): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of stream.read(from, false)) pieces.push(piece);
  return Buffer.concat(pieces).toString("latin1");
}
