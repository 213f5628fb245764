/** Trying again where nobody can notice: as long as no byte of a body was handed over, and, for requests without one, as long as the upstream cannot have seen them. */
import { setTimeout as sleep } from "node:timers/promises";

/** Between attempts at first, in milliseconds; four times as long each time, at most the wait for a connection. Meanwhile the client waits, as nothing is read of it. */
const LEAST_MS = 250;

export interface RetryOptions {
  /** Attempts after the first. */
  readonly retries: number;
  readonly connectTimeoutMs: number;
}

/** Errors after which nothing was sent: there was no connection. */
const UNCONNECTED = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN", "ENETDOWN", "UND_ERR_CONNECT_TIMEOUT"]);

/** A body that can be given to one attempt after the other until its first piece was taken. */
class Untouched {
  isTouched = false;
  private first: Promise<IteratorResult<Uint8Array, void>> | undefined;
  private attempts = 0;

  constructor(private readonly body: AsyncGenerator<Uint8Array, void, void>) {}

  async *attempt(): AsyncGenerator<Uint8Array, void, void> {
    const attempt = ++this.attempts;
    const { done, value } = await (this.first ??= this.body.next().catch((error: unknown) => {
      // It is no body: another attempt would not get one either.
      this.isTouched = true;
      throw error;
    }));
    // An attempt that was given up while it waited must not take the piece from the next one.
    if (attempt !== this.attempts) return;
    this.isTouched = true;
    if (done === true) return;
    yield value;
    yield* this.body;
  }

  /** No attempt follows: the body ends when what it waits for has come. */
  drop(): void {
    void this.body.return().catch(() => undefined);
  }
}

/** Sends a request with `send`, and again where that is safe. Rejects as the last attempt did. */
export async function sendWithRetries<T>(
  { retries, connectTimeoutMs }: RetryOptions,
  body: AsyncGenerator<Uint8Array, void, void> | undefined,
  send: (body: AsyncIterable<Uint8Array> | null) => Promise<T>,
): Promise<T> {
  const untouched = body && new Untouched(body);
  for (let attempt = 0; ; attempt++) {
    try {
      return await send(untouched?.attempt() ?? null);
    } catch (error) {
      const isSafe = untouched === undefined ? UNCONNECTED.has((error as NodeJS.ErrnoException).code ?? "") : !untouched.isTouched;
      if (attempt >= retries || !isSafe) {
        untouched?.drop();
        throw error;
      }
      await sleep(Math.min(connectTimeoutMs, LEAST_MS * 4 ** attempt) * (1 - Math.random() / 2));
    }
  }
}
