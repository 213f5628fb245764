/**
 * What the store's journal holds: entries, several in one frame ([spool/frames.ts](spool/frames.ts)). The first one of a file tells the format; those up to `whole` say what the
 * streams had in the journal alone when the file was begun, the others came since. How runs of bytes are read back from them.
 */
import { checkFormat } from "../format.js";
import { takeApart } from "./spool/frames.js";
import type { Position } from "./segment.js";

/** Version of journal files. */
const FORMAT = 1;

const KIND = { format: 0, bytes: 1, whole: 2 } as const;

/** A stream, by its names, and when its job began: a job of the same name that was removed is another one. */
export interface StreamName {
  readonly job: string;
  readonly stream: string;
  /** Milliseconds since the epoch. */
  readonly started: number;
}

/** Bytes of a stream from offset `start` of its output on. With them one may go on at `position`. */
export interface Entry extends StreamName {
  readonly start: number;
  readonly position: Position;
  readonly pieces: readonly Uint8Array[];
}

/** Kind, the lengths of two names, four numbers, the length of the bytes. */
const HEAD_BYTES = 1 + 1 + 1 + 4 * 8 + 4;

export const sizeOf = (pieces: readonly Uint8Array[]): number => pieces.reduce((sum, { length }) => sum + length, 0);

export function encodeEntry({ job, stream, started, start, position, pieces }: Entry): Buffer {
  const [jobBytes, streamBytes, bytes] = [Buffer.byteLength(job), Buffer.byteLength(stream), sizeOf(pieces)];
  const entry = Buffer.allocUnsafe(HEAD_BYTES + jobBytes + streamBytes + bytes);
  let at = entry.writeUInt8(KIND.bytes, 0);
  at = entry.writeUInt8(jobBytes, at);
  at = entry.writeUInt8(streamBytes, at);
  // Whole numbers below 2^53.
  for (const number of [started, start, position.input, position.output]) at = entry.writeDoubleLE(number, at);
  at = entry.writeUInt32LE(bytes, at);
  at += entry.write(job, at);
  at += entry.write(stream, at);
  for (const piece of pieces) {
    entry.set(piece, at);
    at += piece.length;
  }
  return entry;
}

/** An entry as several, none of which has more than so many bytes. */
export function* split(entry: Entry, maxBytes: number): Generator<Entry, void, void> {
  const whole = Buffer.concat(entry.pieces);
  // One without bytes says where one may go on.
  for (let at = 0; at === 0 || at < whole.length; at += maxBytes) yield { ...entry, start: entry.start + at, pieces: [whole.subarray(at, at + maxBytes)] };
}

export const encodeFormat = (): Buffer => Buffer.from([KIND.format, FORMAT]);

export const encodeWhole = (): Buffer => Buffer.from([KIND.whole]);

/** Bytes of a stream that are in the journal, one behind the other from `start` on. */
export interface Run extends StreamName {
  readonly start: number;
  end: number;
  pieces: Uint8Array[];
  /** Where one may go on. */
  position: Position;
}

/** What a file of the journal says. */
export interface JournalContent {
  readonly runs: readonly Run[];
  /** Absent: the file was being begun, and the one before it counts. */
  readonly isWhole: boolean;
  /** Bytes in the middle of the file that are no frame. */
  readonly damagedBytes: number;
}

/** Reads a file of the journal. Throws `LV_FORMAT` for a newer one. */
export function readJournal(bytes: Buffer, key: string, path: string): JournalContent {
  const runs = new Map<string, Run>();
  let [isWhole, damagedBytes] = [false, 0];
  for (const piece of takeApart(bytes, key)) {
    if (piece.kind === "damaged") damagedBytes += piece.end - piece.at;
    if (piece.kind !== "frame") continue;
    for (let at = 0; at < piece.payload.length;) {
      const kind = piece.payload[at];
      if (kind === KIND.bytes) at = takeBytes(piece.payload, at, runs);
      else if (kind === KIND.whole) {
        isWhole = true;
        at += 1;
      } else {
        // An unknown kind is of a newer format, which a file tells first.
        checkFormat(kind === KIND.format ? piece.payload[at + 1] : FORMAT + 1, { path, what: "the journal of the store", supported: FORMAT });
        at += 2;
      }
    }
  }
  return { runs: [...runs.values()], isWhole, damagedBytes };
}

function takeBytes(payload: Buffer, from: number, runs: Map<string, Run>): number {
  const [jobEnd, streamEnd] = [from + HEAD_BYTES + payload[from + 1]!, from + HEAD_BYTES + payload[from + 1]! + payload[from + 2]!];
  const [started, start, input, output] = [0, 1, 2, 3].map((index) => payload.readDoubleLE(from + 3 + 8 * index)) as [number, number, number, number];
  const end = streamEnd + payload.readUInt32LE(from + HEAD_BYTES - 4);
  const [job, stream] = [payload.toString("utf8", from + HEAD_BYTES, jobEnd), payload.toString("utf8", jobEnd, streamEnd)];
  const run = { job, stream, started, start, end: start + end - streamEnd, pieces: [payload.subarray(streamEnd, end)], position: { input, output } };
  const key = `${job}\0${stream}\0${started}`;
  const before = runs.get(key);
  // After a gap the files of the stream had all that was before.
  if (before === undefined || start > before.end || start < before.start) runs.set(key, run);
  else join(before, run);
  return end;
}

/** Puts `run`, which begins within or right behind `before`, behind it: what it overlaps was not acknowledged. */
function join(before: Run, run: Run): void {
  if (run.start < before.end) before.pieces = [Buffer.concat(before.pieces).subarray(0, run.start - before.start)];
  before.pieces.push(...run.pieces);
  before.end = run.end;
  before.position = run.position;
}
