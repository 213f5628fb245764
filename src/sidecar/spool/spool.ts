/**
 * The spool: masked requests on disk, in the order in which they were kept, until they are settled. A request is kept when its record is durable. What is settled is remembered
 * by a cursor, and beyond it in memory alone: after a crash some may be delivered again, none is lost.
 */
import { join } from "node:path";
import { LogveilError } from "../../errors.js";
import { reasonAndCure, reasonOf } from "../../io-error.js";
import { type Lock, LOCK_RENEW_MS, takeLock } from "../../lock.js";
import { Rejected } from "./aside.js";
import { type Disk, DISK } from "./disk.js";
import { FRAME_HEAD_BYTES, takeApart } from "./frames.js";
import { Refusal } from "../refusal.js";
import { decodeRecord, Draft, encodeRecord, INLINE_BYTES, readBody, type RequestHead, type SpoolRecord } from "./record.js";
import { SegmentWriter } from "./writer.js";
import { checkSpool, Cursor, fileName, type Found, type Place, readFolder, type Segment } from "./folder.js";

export interface SpoolOptions {
  readonly folder: string;
  /** Most bytes on disk. What is set aside counts, and may go beyond by one request. */
  readonly maxBytes: number;
  readonly log: (level: "info" | "warn" | "error", message: string) => void;
  /** Absent: that of the system. */
  readonly disk?: Disk;
}

/** A request that is on disk. */
export interface Kept {
  readonly head: RequestHead;
  /** Length of the body. */
  readonly bytes: number;
  /** The body, from its beginning at each call. Throws {@link DamagedBody}. */
  body(this: void): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  /** Nothing waits before it: who kept it sends it, and then settles it or lets it wait. */
  readonly isNext: boolean;
  readonly place: Place;
  /** The offset behind its record. */
  readonly end: number;
  /** Path of its body's file. */
  readonly file: string | undefined;
}

export interface SpoolStatus {
  /** Requests that are kept and not settled. */
  readonly requests: number;
  /** Bytes of their records and bodies. */
  readonly bytes: number;
  /** Why requests cannot be kept; undefined: they can. */
  readonly trouble: string | undefined;
  /** Requests and bytes set aside since the start. */
  readonly refused: number;
  readonly damaged: number;
}

/** Segments are a sixteenth of all, within these bounds, in bytes: a segment is read at once, and removed when all of it is settled. */
const SEGMENT_BYTES = { least: 1 << 16, most: 1 << 22 };

/** Why requests cannot be kept. */
interface Trouble {
  readonly what: string;
  isOver(): Promise<boolean>;
}

const at = ({ number, offset }: Place): string => `${number}:${offset}`;

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? (error as Error).name;

export class Spool {
  private readonly disk: Disk;
  private readonly segments: Segment[];
  private readonly writer: SegmentWriter;
  /** Files of bodies that are kept, with their sizes. */
  private readonly bodies = new Map<string, number>();
  private cursor: Place;
  private requests: number;
  /** Bytes of the folder. */
  private used = 0;
  private trouble: Trouble | undefined;
  /** Places of requests that are being sent before it is the turn of their records. */
  private readonly sending = new Set<string>();
  /** What is settled from the cursor on, by its place. */
  private readonly settled = new Map<string, Pick<Kept, "end" | "file">>();
  /** To be removed once the cursor is durable. */
  private obsolete: { readonly path: string; readonly bytes: number }[] = [];
  private saving: Promise<void> | undefined;
  /** What was read of a segment. */
  private loaded: { readonly segment: Segment; readonly from: number; readonly bytes: Buffer } | undefined;
  private isClosed = false;
  private wake = (): void => undefined;
  private readonly timer: NodeJS.Timeout;

  private constructor(
    private readonly options: SpoolOptions,
    found: Found,
    private readonly cursorFile: Cursor,
    private readonly rejected: Rejected,
    private readonly lock: Lock,
  ) {
    this.disk = options.disk ?? DISK;
    const segmentBytes = Math.min(Math.max(options.maxBytes / 16, SEGMENT_BYTES.least), SEGMENT_BYTES.most);
    this.segments = found.segments;
    this.writer = new SegmentWriter(this.disk, options.folder, segmentBytes, this.segments, found.number);
    this.cursor = cursorFile.place;
    this.requests = found.requests;
    for (const { bytes } of found.segments) this.used += bytes;
    for (const [name, bytes] of found.bodies) {
      this.used += bytes;
      this.bodies.set(join(options.folder, name), bytes);
    }
    this.timer = setInterval(() => this.renew(), LOCK_RENEW_MS).unref();
  }

  /** Opens the spool of a folder, or makes it (0700). Throws `LV_CONFIG` while another process has it, `LV_FORMAT` for one of a newer version, `LV_IO`. */
  static async open(options: SpoolOptions): Promise<Spool> {
    const { folder, disk = DISK, log } = options;
    let lock: Lock | undefined;
    try {
      await disk.makeFolder(folder);
      lock = takeLock(join(folder, "spool.lock"), { code: "LV_CONFIG", does: "uses this spool: set spool.dir to a folder of its own" });
      await checkSpool(disk, folder);
      const rejected = await Rejected.open(disk, join(folder, "rejected"), log);
      const cursor = await Cursor.open(disk, folder);
      const found = await readFolder(disk, folder, cursor.place, (segment, offset, bytes) => rejected.damage(segment, offset, bytes));
      return new Spool(options, found, cursor, rejected, lock);
    } catch (error) {
      lock?.release();
      if (error instanceof LogveilError) throw error;
      throw new LogveilError("LV_IO", `${folder}: the spool cannot be opened: ${reasonOf(error)}; set spool.dir to a folder of your own`, { cause: error });
    }
  }

  /** Whether nothing is kept that is not settled. */
  get isEmpty(): boolean {
    return this.requests === 0;
  }

  get status(): SpoolStatus {
    const passed = this.segments[0]?.number === this.cursor.number ? this.cursor.offset : 0;
    const bytes = [...this.segments.map((segment) => segment.bytes), ...this.bodies.values()].reduce((sum, each) => sum + each, -passed);
    return { requests: this.requests, bytes, trouble: this.trouble?.what, refused: this.rejected.refused, damaged: this.rejected.damaged };
  }

  /** Why requests cannot be kept, after another look. */
  async check(): Promise<string | undefined> {
    if (this.trouble !== undefined && (await this.trouble.isOver())) this.well();
    return this.trouble?.what;
  }

  /** For the body of a request that is to be kept. Throws a refusal where nothing can be until a restart. */
  draft(): Draft {
    if (this.writer.broken !== undefined) throw this.failed(this.writer.broken);
    return new Draft(this.disk, this.options.folder, {
      take: (bytes) => this.take(bytes),
      give: (bytes) => void (this.used -= bytes),
      failed: (error) => this.failed(error),
    });
  }

  /** Keeps a request; resolves when it is on disk. Rejects with a refusal, and nothing is kept. The draft has had its use either way. */
  async keep(draft: Draft, head: RequestHead): Promise<Kept> {
    let taken = 0;
    try {
      await draft.seal();
      const { sealed, inline, bytes } = draft;
      const payload = encodeRecord(head, draft);
      const size = payload.reduce((sum, piece) => sum + piece.length, FRAME_HEAD_BYTES);
      await this.take(size);
      taken = size;
      const kept = await this.writer.put({ payload, bytes: size, body: sealed }, (segment, offset) => {
        // Whatever else is kept is being sent already.
        const isNext = this.requests === this.sending.size;
        const place = { number: segment.number, offset };
        this.requests++;
        if (isNext) this.sending.add(at(place));
        else this.wake();
        const added = this.kept({ head, body: { bytes, inline, ...(sealed === undefined ? {} : { key: sealed.key }) } }, place, offset + size, isNext);
        if (added.file !== undefined) this.bodies.set(added.file, sealed!.bytes);
        return added;
      });
      this.well();
      return kept;
    } catch (error) {
      this.used -= taken;
      await draft.drop().catch(() => undefined);
      throw error instanceof Refusal ? error : this.failed(error);
    }
  }

  /** A request that was sent before its turn, and not delivered, waits with the others. */
  wait({ place }: Kept): void {
    this.sending.delete(at(place));
    this.wake();
  }

  /** A request is delivered, or set aside. */
  settle({ place, end, file }: Kept): void {
    this.sending.delete(at(place));
    this.settled.set(at(place), { end, file });
    this.requests--;
    this.pass();
    this.saving ??= this.save();
    this.wake();
  }

  /** Sets a request aside that the upstream refuses for good, or whose body is damaged, and settles it. Throws what the system says: it stays then. */
  async reject(kept: Kept, why: number | "damaged"): Promise<void> {
    await this.rejected.request(`${kept.place.number}-${kept.place.offset}-${why}.http`, kept, why);
    this.settle(kept);
  }

  /** The first request that is not settled, once there is one and it is not being sent. Undefined: the spool is closed. */
  async next(): Promise<Kept | undefined> {
    for (;;) {
      if (this.isClosed) return undefined;
      const changed = new Promise<void>((resolve) => (this.wake = resolve));
      const kept = await this.read();
      if (kept !== undefined) return kept;
      await changed;
    }
  }

  /** Nothing more comes from `next`. */
  end(): void {
    this.isClosed = true;
    this.wake();
  }

  /** Closes it: what is being kept is, what waits stays. */
  async close(): Promise<void> {
    this.end();
    clearInterval(this.timer);
    await this.writer.close();
    this.pass();
    await this.saving;
    await this.save();
    await this.cursorFile.close();
    this.lock.release();
  }

  private kept({ head, body: { bytes, key, inline } }: SpoolRecord, place: Place, end: number, isNext: boolean): Kept {
    const file = key === undefined ? undefined : join(this.options.folder, fileName(place.number, key, "body"));
    return { head, bytes, body: () => (file === undefined ? inline : readBody(this.disk, file, key!, bytes)), isNext, place, end, file };
  }

  /** The record at the cursor. Undefined: there is none, or it is being sent. What is damaged is set aside and passed. */
  private async read(): Promise<Kept | undefined> {
    for (;;) {
      this.pass();
      const segment = this.segments[0];
      const { offset } = this.cursor;
      if (segment === undefined || offset >= segment.bytes) {
        // Where damage was passed, nobody knows how many were in it.
        this.requests = this.sending.size;
        return undefined;
      }
      if (this.sending.has(at(this.cursor))) return undefined;
      const bytes = await this.load(segment, offset);
      const piece = takeApart(bytes, segment.key).next().value;
      if (piece?.kind === "frame") return this.kept(decodeRecord(piece.payload), this.cursor, offset + piece.end, false);
      const end = piece?.end ?? segment.bytes - offset;
      await this.rejected.damage(segment, offset, bytes.subarray(0, end));
      this.settled.set(at(this.cursor), { end: offset + end, file: undefined });
    }
  }

  /** What a segment holds from an offset on. */
  private async load(segment: Segment, offset: number): Promise<Buffer> {
    const has = (loaded = this.loaded): boolean => loaded?.segment === segment && loaded.from <= offset && offset < loaded.from + loaded.bytes.length;
    if (!has()) this.loaded = { segment, from: offset, bytes: await this.disk.read(segment.path, offset, segment.bytes) };
    return this.loaded!.bytes.subarray(offset - this.loaded!.from);
  }

  /** Moves the cursor over what is settled, and out of segments in which all is. */
  private pass(): void {
    for (let segment = this.segments[0]; segment !== undefined; segment = this.segments[0]) {
      if (this.cursor.number !== segment.number) this.cursor = { number: segment.number, offset: 0 };
      const settled = this.settled.get(at(this.cursor));
      if (settled !== undefined) {
        this.settled.delete(at(this.cursor));
        this.cursor = { number: segment.number, offset: settled.end };
        if (settled.file !== undefined) this.outdated(settled.file, this.bodies.get(settled.file) ?? 0);
      } else if (this.cursor.offset >= segment.bytes && !this.writer.isOpen(segment)) {
        this.segments.shift();
        this.cursor = { number: segment.number + 1, offset: 0 };
        this.outdated(segment.path, segment.bytes);
      } else return;
    }
    this.loaded = undefined;
  }

  private outdated(path: string, bytes: number): void {
    this.bodies.delete(path);
    this.obsolete.push({ path, bytes });
  }

  /** Makes the cursor durable, then removes what it has left behind. What cannot be is tried again with the next one. */
  private async save(): Promise<void> {
    for (let saved: Place | undefined; saved !== this.cursor;) {
      saved = this.cursor;
      const { obsolete } = this;
      this.obsolete = [];
      try {
        await this.cursorFile.save(saved);
        for (const { path } of obsolete) await this.disk.remove(path);
        for (const { bytes } of obsolete) this.used -= bytes;
      } catch (error) {
        this.obsolete.push(...obsolete);
        this.fell(`the cursor cannot be written: ${reasonAndCure(error)}`, () => this.probe());
        break;
      }
    }
    this.saving = undefined;
  }

  private fits(bytes: number): boolean {
    return this.used + bytes + this.rejected.bytes <= this.options.maxBytes;
  }

  /** Counts bytes that are about to be written. Throws a refusal if there is no room for them. */
  private async take(bytes: number): Promise<void> {
    // Someone may have looked at what was set aside, and removed it.
    if (!this.fits(bytes) && this.rejected.bytes > 0) await this.rejected.count();
    if (this.fits(bytes)) {
      this.used += bytes;
      return;
    }
    const aside = this.rejected.bytes > 0 ? `; ${this.rejected.bytes} bytes of it are set aside in ${this.rejected.folder}` : "";
    this.fell(`full${aside}`, async () => {
      await this.rejected.count();
      return this.fits(Math.min(bytes, INLINE_BYTES));
    });
    throw new Refusal(503, "the spool is full: nothing was taken; raise spool.maxBytes, or wait for the log storage", { "retry-after": "30" }, "spool");
  }

  private failed(error: unknown): Refusal {
    const code = codeOf(error);
    const cure = this.writer.broken === undefined ? "" : ", nor what was begun be cut off: restart when the disk is well";
    this.fell(`it cannot be written: ${reasonOf(code)}${cure}`, () => this.probe());
    return new Refusal(503, `the spool cannot be written: ${reasonOf(code)}: nothing was taken`, { "retry-after": "30" }, "spool");
  }

  /** Whether the disk takes something again. */
  private async probe(): Promise<boolean> {
    if (this.writer.broken !== undefined) return false;
    const draft = this.draft();
    try {
      await draft.add(Buffer.alloc(INLINE_BYTES + 1));
      await draft.seal();
      return true;
    } catch {
      return false;
    } finally {
      await draft.drop().catch(() => undefined);
    }
  }

  private fell(what: string, isOver: () => Promise<boolean>): void {
    if (what !== this.trouble?.what) this.options.log("error", `the spool is in trouble: ${what}; what cannot be kept gets 503`);
    this.trouble = { what, isOver };
  }

  private well(): void {
    if (this.trouble !== undefined) this.options.log("info", "the spool keeps requests again");
    this.trouble = undefined;
  }

  private renew(): void {
    try {
      this.lock.renew();
    } catch (error) {
      this.writer.broken ??= error;
      this.end();
      this.fell("its lock is lost: another process has it", async () => false);
    }
  }
}
