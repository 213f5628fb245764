/** One exchange with the upstream: what goes out, what comes back, and what a client is told when nothing does. */
import { Readable } from "node:stream";
import { errors } from "undici";
import type { Fields } from "./fields.js";
import { Refusal } from "./refusal.js";

export interface TransportOptions {
  readonly url: string;
  /** Until a connection is there that no other request uses. */
  readonly connectTimeoutMs: number;
  /** From the end of the request to the end of the head of the response. */
  readonly headersTimeoutMs: number;
  /** Of silence within the body of a response. */
  readonly bodyTimeoutMs: number;
  readonly maxConnections: number;
}

export interface Outgoing {
  readonly method: string;
  readonly path: string;
  /** Without those of the connection, and without the body's length. */
  readonly fields: Fields;
  /** A whole body goes with its length, others in chunks. Where the iteration throws, the connection is reset. */
  readonly body: Uint8Array | AsyncIterable<Uint8Array> | Iterable<Uint8Array> | undefined;
  /** Asked when the body has ended; present if the fields announce trailers. */
  readonly trailers?: () => Fields;
  /** Called when the response is there to its end, or there will be none: no one needs the rest of the body. */
  over(this: void): void;
}

export interface Incoming {
  readonly status: number;
  readonly fields: Fields;
  readonly body: ResponseBody;
  /** When the body has been read to its end. */
  trailers(): Fields;
}

const EMPTY = Buffer.alloc(0);
/** Most bytes of a response that wait for who reads it. */
const WAITING_BYTES = 64 * 1024;

/** The body of a response that is pushed into it. Given up before its end, it aborts the request. */
export class ResponseBody extends Readable {
  private isWhole = false;

  constructor(
    private readonly source: { resume(): void },
    private readonly abort: (error: Error) => void,
  ) {
    super({ highWaterMark: WAITING_BYTES });
    // It may break off while no one reads it yet; who does is told.
    this.on("error", () => undefined);
  }

  /** The end has come. */
  finish(): void {
    this.isWhole = true;
    this.push(null);
  }

  /** The whole body, read, if all of it is here; else undefined. */
  arrived(): Buffer | undefined {
    return this.isWhole && this.errored === null ? ((this.read() as Buffer | null) ?? EMPTY) : undefined;
  }

  override _read(): void {
    this.source.resume();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.isWhole) this.abort(error ?? new errors.RequestAbortedError());
    done(error);
  }
}

/** Of a connection that did not come about. */
const UNREACHED = ["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ENOTFOUND", "EAI_AGAIN"];

/** What a client is told of an upstream that cannot be reached (503), is silent (504), or breaks off and talks nonsense (502). */
export function refusalOf(error: unknown): Refusal {
  const later = { "retry-after": "5" };
  if (error instanceof errors.HeadersTimeoutError) return new Refusal(504, "the log storage did not answer in time", later);
  const isUnreached = error instanceof errors.ConnectTimeoutError || UNREACHED.includes((error as NodeJS.ErrnoException).code ?? "");
  return isUnreached
    ? new Refusal(503, "the log storage cannot be reached", later, "upstream")
    : new Refusal(502, "the log storage closed the connection or sent an invalid response", later);
}
