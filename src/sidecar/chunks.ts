/** A stream chunk by chunk, as it comes. */
import type { Readable } from "node:stream";

/** Bytes that are taken from the stream ahead of the reader. */
const AHEAD_BYTES = 128 * 1024;

/** A chunk, which is the reader's; that nothing comes for a while; that nothing comes any more. */
export type Event = Buffer | "silence" | "end";

const idle = (): void => undefined;

/** Takes nothing before the first call. Whoever leaves before the end calls {@link close}. */
export class Chunks {
  private readonly queue: Buffer[] = [];
  private queuedBytes = 0;
  private isOpen = false;
  private isOver = false;
  private isClosed = false;
  private wasSilent = false;
  private failure: unknown;
  private wake = idle;

  /** `silenceMs`: after how long silence is told of, once, in milliseconds; undefined: never. */
  constructor(
    private readonly source: Readable,
    private readonly silenceMs: number | undefined,
  ) {}

  /** One call at a time. Throws, or rejects with, what broke the stream off, when all that came before has been read. */
  next(): Event | Promise<Event> {
    this.open();
    const chunk = this.queue.shift();
    if (chunk !== undefined) {
      this.wasSilent = false;
      this.queuedBytes -= chunk.length;
      if (this.queuedBytes < AHEAD_BYTES && this.source.isPaused()) this.source.resume();
      return chunk;
    }
    if (this.failure !== undefined) throw this.failure;
    return this.isOver ? "end" : this.wait();
  }

  /** Reads no more: who waits is told so by an error. */
  close(): void {
    this.queue.length = 0;
    if (!this.isOver) this.fail(new Error("no more is read"));
    if (!this.isOpen || this.isClosed) return;
    this.isClosed = true;
    this.source.off("data", this.take).off("end", this.end).off("close", this.gone);
    this.source.pause();
  }

  private async wait(): Promise<Event> {
    const ms = this.wasSilent ? undefined : this.silenceMs;
    const isSilent = await new Promise<boolean>((resolve) => {
      const timer = ms === undefined ? undefined : setTimeout(resolve, ms, true);
      this.wake = () => {
        clearTimeout(timer);
        resolve(false);
      };
    });
    if (!isSilent || this.queue.length > 0 || this.isOver) return this.next();
    this.wasSilent = true;
    return "silence";
  }

  private open(): void {
    if (this.isOpen || this.isOver) return;
    this.isOpen = true;
    // Of what is over already no event comes any more. What has ended unread was dropped by node:http2, for the client is gone.
    if (this.source.destroyed || this.source.readableEnded) return this.fail(this.source.errored ?? premature());
    this.source.on("data", this.take).on("end", this.end).on("error", this.fail).on("close", this.gone);
  }

  private readonly take = (chunk: Buffer): void => {
    this.queue.push(chunk);
    if ((this.queuedBytes += chunk.length) >= AHEAD_BYTES) this.source.pause();
    this.tell();
  };

  private readonly end = (): void => {
    // Of node:http2 a request that was reset ends like a whole one.
    if ((this.source as Readable & { readonly aborted?: boolean }).aborted === true) this.failure ??= premature();
    this.isOver = true;
    this.tell();
  };

  private readonly fail = (error: unknown): void => {
    if (this.isOver) return;
    this.failure = error;
    this.end();
  };

  private readonly gone = (): void => {
    if (!this.isOver) this.fail(premature());
  };

  private tell(): void {
    const { wake } = this;
    this.wake = idle;
    wake();
  }
}

const premature = (): Error => Object.assign(new Error("the stream was closed before its end"), { code: "ERR_STREAM_PREMATURE_CLOSE" });
