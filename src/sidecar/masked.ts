/** A body while it is masked: decoded, masked, encoded again as it is read. Requests and responses alike. */
import type { Readable } from "node:stream";
import type { BodyMasker, Framing, OpenText } from "../codec/framing.js";
import { type DecodeLimits, openDecoder, openEncoder } from "../codec/layers.js";
import type { Stage } from "../codec/stage.js";
import type { Tally } from "./accounts.js";

export interface Stages {
  readonly decoder: Stage;
  readonly masker: BodyMasker;
  readonly encoder: Stage;
}

/** Throws `LV_DECODE` or `LV_IO` for a coding that cannot be decoded here. */
export function openStages(framing: Framing, coding: string | undefined, limits: Partial<DecodeLimits>, openText: OpenText): Stages {
  const [decoder, encoder] = [openDecoder(coding, limits), openEncoder(coding, limits)];
  return { decoder, encoder, masker: framing.open(openText) };
}

export interface MaskedBodyHooks {
  /** Silence after which what is undecided leaves, in milliseconds; undefined: at the end only. */
  readonly holdBackMs: number | undefined;
  received?(this: void, chunk: Uint8Array): void;
  sent?(this: void, piece: Uint8Array): void;
  /** After the last chunk was received, before the last pieces are made. */
  read?(this: void): void;
  /** After the last piece, before the end is told: what throws here leaves the body without one. */
  ended(this: void): Promise<void>;
}

/** There is nothing to interrupt. */
const idle = (): void => undefined;

/** Iterated once. A source that breaks off, or is not what it says, ends it with an error: whoever sends it on must not end it well. */
export class MaskedBody {
  /** Why it broke off, unless by {@link stop}. */
  fault: unknown;
  /** Whether it was read to its end; known when no more will be read. */
  readonly whole: Promise<boolean>;
  private tell!: (isWhole: boolean) => void;
  private isStopped = false;
  private interrupt = idle;

  constructor(
    private readonly source: Readable,
    private readonly stages: Stages,
    private readonly account: Tally,
    private readonly hooks: MaskedBodyHooks,
  ) {
    this.whole = new Promise((resolve) => (this.tell = resolve));
  }

  /** No one needs the rest. */
  stop(): void {
    this.isStopped = true;
    this.interrupt();
  }

  /** Frees what it holds; again and at any time. */
  dispose(): void {
    this.stop();
    this.tell(false);
    this.stages.masker.close();
    this.stages.decoder.destroy();
    this.stages.encoder.destroy();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    const { sent, ended } = this.hooks;
    try {
      for await (const piece of this.pieces()) {
        sent?.(piece);
        yield piece;
      }
      await ended();
      this.tell(true);
    } catch (error) {
      if (!this.isStopped) this.fault = error;
      throw error;
    } finally {
      this.dispose();
    }
  }

  private async *pieces(): AsyncGenerator<Uint8Array, void, void> {
    const { decoder, masker, encoder } = this.stages;
    const { holdBackMs, received, read } = this.hooks;
    const chunks = this.source[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    for (;;) {
      const next = chunks.next();
      if (await this.isSilent(next, holdBackMs)) {
        yield* this.encoded(masker.idle());
        yield* encoder.flush();
        await this.isSilent(next, undefined);
      }
      const { done, value } = await next;
      if (done === true) break;
      received?.(value);
      for await (const piece of decoder.push(value)) yield* this.encoded(this.mask(piece));
    }
    read?.();
    for await (const piece of decoder.end()) yield* this.encoded(this.mask(piece));
    yield* this.encoded(masker.end());
    yield* encoder.end();
  }

  private mask(piece: Uint8Array): Uint8Array[] {
    this.account.input(piece);
    return this.stages.masker.push(piece);
  }

  /** Throws a 422 where what was found fails the job. */
  private async *encoded(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array, void, void> {
    this.account.output(pieces);
    this.account.check();
    // Pieces hold until the next call; what is sent may wait longer.
    if (pieces.length > 0) yield* this.stages.encoder.push(Buffer.concat(pieces));
  }

  /** Whether nothing comes for so many milliseconds, if there is a limit. Throws when stopped. */
  private isSilent(next: Promise<unknown>, ms: number | undefined): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const timer = ms === undefined ? undefined : setTimeout(resolve, ms, true);
      this.interrupt = () => {
        clearTimeout(timer);
        reject(new Error("stopped"));
      };
      if (this.isStopped) this.interrupt();
      const came = (): void => {
        clearTimeout(timer);
        this.interrupt = idle;
        resolve(false);
      };
      next.then(came, came);
    });
  }
}
