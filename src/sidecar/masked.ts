/** A body while it is masked: decoded, masked, encoded again as it is read. Requests and responses alike. */
import type { Readable } from "node:stream";
import { contentCodings } from "../codec/content.js";
import type { BodyMasker, Framing, OpenText } from "../codec/framing.js";
import { type DecodeLimits, openDecoder, openEncoder } from "../codec/layers.js";
import type { Stage } from "../codec/stage.js";
import { type Pieces, Slices } from "../stream/slices.js";
import type { Tally } from "./accounts.js";
import { Chunks, type Event } from "./chunks.js";

interface Recoding {
  readonly decoder: Stage;
  readonly encoder: Stage;
}

export interface Stages {
  /** Absent: the body has no content coding. */
  readonly recoding?: Recoding;
  readonly masker: BodyMasker;
}

/** Throws `LV_DECODE` or `LV_IO` for a coding that cannot be decoded here. */
export function openStages(framing: Framing, coding: string | undefined, limits: Partial<DecodeLimits>, openText: OpenText): Stages {
  const isPlain = contentCodings(coding).length === 0;
  const recoding = isPlain ? {} : { recoding: { decoder: openDecoder(coding, limits), encoder: openEncoder(coding, limits) } };
  return { ...recoding, masker: framing.open(openText) };
}

export interface MaskedBodyHooks {
  /** In whose turn it is masked. */
  readonly job: string;
  /** Silence after which what is undecided leaves, in milliseconds; undefined: at the end only. */
  readonly holdBackMs: number | undefined;
  received?(this: void, chunk: Uint8Array): void;
  sent?(this: void, piece: Uint8Array): void;
  /** After the last chunk was received, before the last pieces are made. */
  read?(this: void): void;
  /** After the last piece, before the end is told: what throws here leaves the body without one. */
  ended(this: void): Promise<void>;
}

/** Iterated once. A source that breaks off, or is not what it says, ends it with an error: whoever sends it on must not end it well. */
export class MaskedBody {
  /** Why it broke off, unless by {@link stop}. */
  fault: unknown;
  /** Whether it was read to its end; known when no more will be read. */
  readonly whole: Promise<boolean>;
  private readonly chunks: Chunks;
  private readonly slices: Slices;
  private tell!: (isWhole: boolean) => void;
  private isStopped = false;

  constructor(
    source: Readable,
    private readonly stages: Stages,
    private readonly account: Tally,
    private readonly hooks: MaskedBodyHooks,
  ) {
    this.chunks = new Chunks(source, hooks.holdBackMs);
    this.slices = new Slices(hooks.job);
    this.whole = new Promise((resolve) => (this.tell = resolve));
  }

  /** No one needs the rest. */
  stop(): void {
    this.isStopped = true;
    this.chunks.close();
  }

  /** Frees what it holds; again and at any time. */
  dispose(): void {
    const { masker, recoding } = this.stages;
    this.stop();
    this.tell(false);
    masker.close();
    recoding?.decoder.destroy();
    recoding?.encoder.destroy();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    const { received, read, sent, ended } = this.hooks;
    const { recoding } = this.stages;
    try {
      let event: Event;
      do {
        event = await this.chunks.next();
        if (event === "end") read?.();
        else if (event !== "silence") received?.(event);
        if (recoding === undefined) {
          const piece = await this.masked(event);
          if (piece === undefined) continue;
          sent?.(piece);
          yield piece;
        } else
          for await (const piece of this.recoded(recoding, event)) {
            sent?.(piece);
            yield piece;
          }
      } while (event !== "end");
      await ended();
      this.tell(true);
    } catch (error) {
      if (!this.isStopped) this.fault = error;
      throw error;
    } finally {
      this.dispose();
    }
  }

  private async *recoded({ decoder, encoder }: Recoding, event: Event): AsyncGenerator<Buffer, void, void> {
    if (event === "silence") {
      yield* coded(encoder, await this.masked(event));
      yield* encoder.flush();
      return;
    }
    for await (const piece of event === "end" ? decoder.end() : decoder.push(event)) yield* coded(encoder, await this.masked(piece));
    if (event !== "end") return;
    yield* coded(encoder, await this.masked(event));
    yield* encoder.end();
  }

  /** What may leave now, which is the caller's. Throws a 422 where what was found fails the job. */
  private async masked(event: Event): Promise<Buffer | undefined> {
    const { account } = this;
    const pieces = await this.inTurns(event);
    account.output(pieces);
    account.check();
    const room = account.room();
    // Pieces that are no views of the chunk hold until the next call, which does not come before.
    if (room !== undefined) await room;
    const [first, ...others] = pieces;
    if (first === undefined) return undefined;
    // A view of the chunk lasts as long as it; others hold until the next call only.
    const isChunk = typeof event !== "string" && first.buffer === event.buffer;
    return isChunk && others.length === 0 ? Buffer.from(first.buffer, first.byteOffset, first.length) : Buffer.concat(pieces);
  }

  private inTurns(event: Event): Pieces | Promise<Pieces> {
    const { account, slices } = this;
    const { masker } = this.stages;
    if (typeof event === "string") return slices.whole(() => (event === "end" ? masker.end() : masker.idle()));
    return slices.chunk(event, (piece) => {
      account.input(piece);
      return masker.push(piece);
    });
  }
}

async function* coded(encoder: Stage, piece: Buffer | undefined): AsyncGenerator<Buffer, void, void> {
  if (piece !== undefined) yield* encoder.push(piece);
}
