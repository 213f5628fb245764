/**
 * The spool's folder, and what is done when it is opened: `NUMBER-KEY.segment` are frames of records, `NUMBER-KEY.body` those of a long body that a record of that segment has,
 * `KEY.part` such a body while it comes, `cursor` says how far all is settled, `rejected/` holds what was set aside.
 */
import { join } from "node:path";
import { checkFormat } from "../../format.js";
import type { Disk, DiskFile } from "./disk.js";
import { takeApart } from "./frames.js";
import { encodeMark, type Mark, MARK_BYTES, markAt } from "../marks.js";
import { decodeRecord } from "./record.js";

/** A file of records. */
export interface Segment {
  readonly number: number;
  readonly path: string;
  readonly key: string;
  /** Bytes that are durable. */
  bytes: number;
}

/** Up to where everything is settled. */
export interface Place {
  readonly number: number;
  readonly offset: number;
}

/** Version of what is in the folder; a spool that says none is of version 1. */
const FORMAT = 1;
const FORMAT_FILE = ".format.json";
/** Longest file that says a version, in bytes. */
const FORMAT_BYTES = 256;

/** Checks the version of a spool, and writes it where none is. Throws `LV_FORMAT` for a newer one. */
export async function checkSpool(disk: Disk, folder: string): Promise<void> {
  const path = join(folder, FORMAT_FILE);
  const text = await disk.read(path, 0, FORMAT_BYTES).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
    return undefined;
  });
  if (text !== undefined) return checkFormat(formatOf(text), { path, what: "the spool", supported: FORMAT });
  // A full disk must not keep what waits from being sent; without the file it is of version 1 as well.
  await writeFormat(disk, folder, path).catch(() => undefined);
}

/** What a file says, or null where it says nothing. */
function formatOf(text: Buffer): unknown {
  try {
    return (JSON.parse(text.toString()) as { format?: unknown }).format ?? null;
  } catch {
    return null;
  }
}

async function writeFormat(disk: Disk, folder: string, path: string): Promise<void> {
  const file = await disk.open(`${path}.part`);
  try {
    await file.truncate(0);
    await file.write(Buffer.from(`${JSON.stringify({ format: FORMAT })}\n`), 0);
    await file.datasync();
  } finally {
    await file.close();
  }
  await disk.rename(`${path}.part`, path);
  await disk.syncFolder(folder);
}

const NAME = /^(\d{16})-([0-9a-f]{32})\.(segment|body)$/;
const PART = /^[0-9a-f]{32}\.part$/;

export const fileName = (number: number, key: string, kind: "segment" | "body"): string => `${String(number).padStart(16, "0")}-${key}.${kind}`;

export interface Found {
  /** In order. */
  readonly segments: Segment[];
  /** Of the next segment. */
  readonly number: number;
  /** Records that are not settled. */
  readonly requests: number;
  /** Sizes of the files of bodies, by name. */
  readonly bodies: Map<string, number>;
}

/** What a reader comes upon in a segment besides records. */
export type Aside = (segment: Segment, at: number, bytes: Buffer) => Promise<void>;

/** Reads a folder: what is settled or was never kept is removed, what a crash left unfinished at the end of a segment is cut off, damage is told to `aside`. */
export async function readFolder(disk: Disk, folder: string, cursor: Place, aside: Aside): Promise<Found> {
  const files = await disk.list(folder);
  const found = { segments: [] as Segment[], number: cursor.number + 1, requests: 0, bodies: new Map<string, number>() };
  const kept = new Set<string>();
  for (const { name, bytes } of files.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const [, digits, key, kind] = NAME.exec(name) ?? [];
    if (PART.test(name) || (digits !== undefined && Number(digits) < cursor.number)) await disk.remove(join(folder, name));
    if (digits === undefined || Number(digits) < cursor.number) continue;
    found.number = Math.max(found.number, Number(digits) + 1);
    if (kind === "body") found.bodies.set(name, bytes);
    else found.segments.push({ number: Number(digits), path: join(folder, name), key: key!, bytes });
  }
  for (const segment of found.segments) {
    for (const record of await recordsOf(disk, segment, segment.number === cursor.number ? cursor.offset : 0, aside)) {
      found.requests++;
      if (record.body.key !== undefined) kept.add(fileName(segment.number, record.body.key, "body"));
    }
  }
  for (const name of found.bodies.keys()) {
    if (kept.has(name)) continue;
    found.bodies.delete(name);
    await disk.remove(join(folder, name));
  }
  await disk.syncFolder(folder);
  return found;
}

async function recordsOf(disk: Disk, segment: Segment, from: number, aside: Aside): Promise<ReturnType<typeof decodeRecord>[]> {
  const bytes = await disk.read(segment.path, from, Math.max(from, segment.bytes));
  const records: ReturnType<typeof decodeRecord>[] = [];
  for (const piece of takeApart(bytes, segment.key)) {
    if (piece.kind === "frame") records.push(decodeRecord(piece.payload));
    else if (piece.kind === "damaged") await aside(segment, from + piece.at, bytes.subarray(piece.at, piece.end));
    else {
      segment.bytes = from + piece.at;
      const file = await disk.open(segment.path);
      await file.truncate(segment.bytes);
      await file.datasync();
      await file.close();
    }
  }
  return records;
}

/** Where the two marks of the cursor stand: in blocks of their own, so that one that tears leaves the other whole. */
const SLOTS = [0, 4096] as const;
const CURSOR_BYTES = SLOTS[1] + MARK_BYTES;

/** The cursor on disk: a file that never grows, so that it can be written when the disk is full. The larger of two marks counts. */
export class Cursor {
  private constructor(
    private readonly file: DiskFile,
    /** What it said when it was opened: where nothing can be read, the beginning. */
    readonly place: Place,
    /** The slot that may be written over. */
    private turn: number,
  ) {}

  static async open(disk: Disk, folder: string): Promise<Cursor> {
    const path = join(folder, "cursor");
    const bytes = await disk.read(path, 0, CURSOR_BYTES).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return Buffer.alloc(0);
      throw error;
    });
    const marks = SLOTS.map((slot): Mark => markAt(bytes, slot) ?? [0, 0]);
    const [first, second] = marks as [Mark, Mark];
    const isFirst = first[0] > second[0] || (first[0] === second[0] && first[1] > second[1]);
    const [number, offset] = isFirst ? first : second;
    const file = await disk.open(path);
    const cursor = new Cursor(file, { number, offset }, isFirst ? 1 : 0);
    if (bytes.length < CURSOR_BYTES) {
      for (const _ of SLOTS) await cursor.save(cursor.place);
      await disk.syncFolder(folder);
    }
    return cursor;
  }

  /** Makes a place durable. */
  async save({ number, offset }: Place): Promise<void> {
    await this.file.write(encodeMark([number, offset]), SLOTS[this.turn]!);
    await this.file.datasync();
    this.turn = 1 - this.turn;
  }

  close(): Promise<void> {
    return this.file.close();
  }
}
