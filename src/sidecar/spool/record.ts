/** What is kept of one request: a record in a segment of the spool, and, where its body is long, a file of its own. Everything in it is masked. */
import { join } from "node:path";
import type { Disk } from "./disk.js";
import { encodeFrame, FRAME_HEAD_BYTES, MAX_PAYLOAD_BYTES, newKey, takeApart } from "./frames.js";

/** What goes before a body. */
export interface RequestHead {
  readonly method: string;
  /** As the client wrote it, with its query. */
  readonly path: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
}

/** What a record says of a body: its length, and the key of its file if it is not in the record. */
interface BodyPlace {
  readonly bytes: number;
  readonly key?: string;
}

export interface SpoolRecord {
  readonly head: RequestHead;
  readonly body: BodyPlace & {
    /** What is in the record. */
    readonly inline: readonly Uint8Array[];
  };
}

/** Longest body that stands in the record itself, in bytes: what is collected in memory. */
export const INLINE_BYTES = 1 << 16;
/** Length of the head of a request, written as JSON. Node takes 16 KiB of header fields. */
const MAX_HEAD_BYTES = MAX_PAYLOAD_BYTES - INLINE_BYTES - 4;
/** Payload of a frame of a body's file. */
const BODY_FRAME_BYTES = 1 << 17;

/** What a draft asks of its spool. */
export interface DraftHost {
  /** Counts bytes that are about to be written. Throws a refusal if there is no room for them. */
  take(bytes: number): Promise<void>;
  give(bytes: number): void;
  /** A refusal for an error of the system. */
  failed(error: unknown): Error;
}

/** The payload of a record. */
export function encodeRecord(head: RequestHead, { bytes, sealed, inline }: Draft): Uint8Array[] {
  const body: BodyPlace = { bytes, ...(sealed === undefined ? {} : { key: sealed.key }) };
  const text = Buffer.from(JSON.stringify({ ...head, body }));
  if (text.length > MAX_HEAD_BYTES) throw new RangeError("the head of a request is too long for a record");
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  return [length, text, ...inline];
}

export function decodeRecord(payload: Buffer): SpoolRecord {
  const start = 4 + payload.readUInt32LE(0);
  const { body, ...head } = JSON.parse(payload.toString("utf8", 4, start)) as RequestHead & { body: BodyPlace };
  return { head, body: { ...body, inline: [payload.subarray(start)] } };
}

/** A body that is not on disk as it was written. */
export class DamagedBody extends Error {}

/** The body of a file, frame by frame. Throws {@link DamagedBody} where it is not whole. */
export async function* readBody(disk: Disk, path: string, key: string, bytes: number): AsyncGenerator<Buffer, void, void> {
  let left = bytes;
  for (let at = 0; left > 0;) {
    const read = await disk.read(path, at, at + FRAME_HEAD_BYTES + Math.min(left, BODY_FRAME_BYTES)).catch((error: NodeJS.ErrnoException) => {
      throw error.code === "ENOENT" ? new DamagedBody() : error;
    });
    const piece = takeApart(read, key).next().value;
    if (piece?.kind !== "frame" || piece.at !== 0 || piece.payload.length > left) throw new DamagedBody();
    yield piece.payload;
    at += piece.end;
    left -= piece.payload.length;
  }
}

/** The masked body of a request while it comes: in memory at first, in a file of its own when it gets long. */
export class Draft {
  private pieces: Uint8Array[] = [];
  private waiting = 0;
  private file: { readonly path: string; readonly key: string; readonly handle: Awaited<ReturnType<Disk["open"]>>; bytes: number } | undefined;
  /** Bytes of the body. */
  bytes = 0;

  constructor(
    private readonly disk: Disk,
    private readonly folder: string,
    private readonly host: DraftHost,
  ) {}

  /** What is not in a file. */
  get inline(): readonly Uint8Array[] {
    return this.pieces;
  }

  /** The body's file, once it is sealed. */
  get sealed(): { readonly path: string; readonly key: string; readonly bytes: number } | undefined {
    return this.file;
  }

  /** Takes a piece, which must stay as it is. Resolves when more may come. Throws a refusal. */
  async add(piece: Uint8Array): Promise<void> {
    this.pieces.push(piece);
    this.bytes += piece.length;
    this.waiting += piece.length;
    if (this.waiting > (this.file === undefined ? INLINE_BYTES : BODY_FRAME_BYTES)) await this.spill();
  }

  /** No more comes: what is in a file is on disk. Throws a refusal. */
  async seal(): Promise<void> {
    if (this.file === undefined) return;
    await this.spill();
    try {
      await this.file.handle.datasync();
      await this.file.handle.close();
    } catch (error) {
      throw this.host.failed(error);
    }
  }

  /** Gives the body up. */
  async drop(): Promise<void> {
    if (this.file === undefined) return;
    await this.file.handle.close().catch(() => undefined);
    await this.disk.remove(this.file.path);
    this.host.give(this.file.bytes);
    this.file = undefined;
  }

  private async spill(): Promise<void> {
    const all = Buffer.concat(this.pieces);
    [this.pieces, this.waiting] = [[], 0];
    for (let at = 0; at < all.length; at += BODY_FRAME_BYTES) {
      const piece = all.subarray(at, at + BODY_FRAME_BYTES);
      await this.host.take(FRAME_HEAD_BYTES + piece.length);
      try {
        await this.append(piece);
      } catch (error) {
        throw this.host.failed(error);
      }
    }
  }

  /** Writes bytes that have been counted. */
  private async append(piece: Buffer): Promise<void> {
    const size = FRAME_HEAD_BYTES + piece.length;
    if (this.file === undefined) {
      const key = newKey();
      const path = join(this.folder, `${key}.part`);
      try {
        this.file = { path, key, handle: await this.disk.open(path), bytes: 0 };
      } catch (error) {
        this.host.give(size);
        throw error;
      }
    }
    this.file.bytes += size;
    await this.file.handle.write(encodeFrame(this.file.key, [piece]), this.file.bytes - size);
  }
}
