/**
 * Stages: one coding at work on one body, as async generators. A piece is made when it is asked for, so back-pressure holds and nothing is decoded ahead of who looks at
 * its size. What they check: that the coded bytes are whole, and that nothing follows them.
 */
import type { Transform } from "node:stream";
import { LogveilError } from "../errors.js";

/** Read each answer to its end before the next call. A chunk is its own until then; pieces are the caller's. Errors: `LV_DECODE`. */
export interface Stage {
  push(chunk: Uint8Array): AsyncGenerator<Buffer, void, void>;
  /** Encoders: all that was pushed can be decoded from what has come out. Decoders: nothing. */
  flush(): AsyncGenerator<Buffer, void, void>;
  end(): AsyncGenerator<Buffer, void, void>;
  /** Frees native state; needed whenever `end` was not read to its end. */
  destroy(): void;
}

export type DecodeFault = "damaged" | "cut" | "trailing" | "ratio" | "size" | "layers" | "window" | "unknown";

const FAULTS: Readonly<Record<DecodeFault, string>> = {
  damaged: "the compressed data is damaged",
  cut: "the compressed data is cut off",
  trailing: "something follows the compressed data",
  ratio: "it decodes to more times its size than allowed",
  size: "it decodes to more bytes than allowed",
  layers: "it is coded more times than allowed",
  window: "it needs a larger window than allowed",
  unknown: "this content coding is not known",
};

export function decodeError(coding: string, reason: DecodeFault, cause?: unknown): LogveilError {
  return new LogveilError("LV_DECODE", `content coding ${coding}: ${FAULTS[reason]}`, { facts: { coding, reason }, ...(cause === undefined ? {} : { cause }) });
}

const NOTHING: readonly Buffer[] = [];

const closed = (): LogveilError => new LogveilError("LV_CLOSED", "the body has ended");

type Flushing = Transform & { flush?(done: () => void): void; readonly bytesWritten?: number };

/** A stage over a Node stream of zlib, brotli or zstd. */
export class StreamStage implements Stage {
  private fed = 0;
  private isOver = false;
  private failure: LogveilError | undefined;
  private wake = (): void => undefined;

  constructor(
    private readonly coding: string,
    private readonly stream: Flushing,
    private readonly direction: "decode" | "encode",
  ) {
    stream.on("readable", () => this.wake());
    stream.on("end", () => {
      this.isOver = true;
      this.wake();
    });
    stream.on("error", (error: NodeJS.ErrnoException) => {
      this.failure = decodeError(coding, error.code === "Z_BUF_ERROR" ? "cut" : "damaged", error);
      this.wake();
    });
  }

  async *push(chunk: Uint8Array): AsyncGenerator<Buffer, void, void> {
    if (chunk.length === 0) return;
    this.fed += chunk.length;
    let isDone = false;
    this.stream.write(chunk, () => {
      isDone = true;
      this.wake();
    });
    yield* this.read(() => isDone || this.isOver);
    // Only what follows the end of the data makes a decoder end by itself.
    if (this.isOver) throw decodeError(this.coding, "trailing");
  }

  async *flush(): AsyncGenerator<Buffer, void, void> {
    if (this.direction === "decode" || this.stream.flush === undefined) return;
    let isDone = false;
    this.stream.flush(() => {
      isDone = true;
      this.wake();
    });
    yield* this.read(() => isDone);
  }

  async *end(): AsyncGenerator<Buffer, void, void> {
    if (this.direction === "decode" && this.fed === 0) throw decodeError(this.coding, "cut");
    this.stream.end();
    yield* this.read(() => this.isOver);
    if (this.direction === "decode" && (this.stream.bytesWritten ?? this.fed) < this.fed) throw decodeError(this.coding, "trailing");
    this.destroy();
  }

  destroy(): void {
    this.failure ??= closed();
    this.stream.destroy();
    this.wake();
  }

  private async *read(isDone: () => boolean): AsyncGenerator<Buffer, void, void> {
    for (;;) {
      if (this.failure !== undefined) throw this.failure;
      const wasDone = isDone();
      const piece = this.stream.read() as Buffer | null;
      if (piece !== null) yield piece;
      else if (wasDone) return;
      else if (!isDone() && this.failure === undefined) await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }
}

/** `deflate` as it comes: with the head of zlib (RFC 1950), as RFC 9110 §8.4.1.2 has it, or without (RFC 1951), as some send it. The first two bytes tell. */
export class DeflateStage implements Stage {
  private head: Buffer = Buffer.alloc(0);
  private stage: Stage | undefined;

  constructor(
    private readonly zlib: () => Stage,
    private readonly raw: () => Stage,
  ) {}

  async *push(chunk: Uint8Array): AsyncGenerator<Buffer, void, void> {
    if (this.stage !== undefined) {
      yield* this.stage.push(chunk);
      return;
    }
    this.head = Buffer.concat([this.head, chunk]);
    if (this.head.length < 2) return;
    yield* this.begin();
  }

  async *flush(): AsyncGenerator<Buffer, void, void> {
    yield* NOTHING;
  }

  async *end(): AsyncGenerator<Buffer, void, void> {
    if (this.stage === undefined) yield* this.begin();
    yield* this.stage!.end();
  }

  destroy(): void {
    this.stage?.destroy();
  }

  private begin(): AsyncGenerator<Buffer, void, void> {
    const [first = 0, second = 0] = this.head;
    const isZlib = (first & 0x0f) === 8 && first >> 4 <= 7 && (first * 256 + second) % 31 === 0;
    this.stage = isZlib ? this.zlib() : this.raw();
    return this.stage.push(this.head);
  }
}

/** What zstd-napi's decoder offers: how much is missing (0: a frame ended), bytes made, bytes taken. */
export interface ZstdDecoder {
  decompressStream(target: Uint8Array, source: Uint8Array): [number, number, number];
}

const ZSTD_BYTES = 64 * 1024;

/** zstd by zstd-napi without its stream, which decodes all of a chunk at once, and without Node's, which in version 22 takes a cut body for a whole one. */
export class ZstdStage implements Stage {
  /** A frame has begun; also true of a body without one. */
  private inFrame = true;

  constructor(private decoder: ZstdDecoder | undefined) {}

  async *push(chunk: Uint8Array): AsyncGenerator<Buffer, void, void> {
    let source = chunk;
    let isFull = false;
    while (source.length > 0 || isFull) {
      if (this.decoder === undefined) throw closed();
      const target = Buffer.allocUnsafe(ZSTD_BYTES);
      let made: number;
      try {
        const [missing, bytes, taken] = this.decoder.decompressStream(target, source);
        made = bytes;
        source = source.subarray(taken);
        this.inFrame = missing !== 0;
      } catch (error) {
        // libzstd tells its errors apart by their texts only.
        throw decodeError("zstd", (error as Error).message.includes("too much memory") ? "window" : "damaged", error);
      }
      isFull = made === target.length && this.inFrame;
      if (made > 0) yield target.subarray(0, made);
    }
  }

  async *flush(): AsyncGenerator<Buffer, void, void> {
    yield* NOTHING;
  }

  async *end(): AsyncGenerator<Buffer, void, void> {
    if (this.decoder === undefined) throw closed();
    this.destroy();
    if (this.inFrame) throw decodeError("zstd", "cut");
    yield* NOTHING;
  }

  /** The addon frees its memory with the object. */
  destroy(): void {
    this.decoder = undefined;
  }
}
