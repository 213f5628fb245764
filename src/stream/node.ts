/** The Node shell: a Transform around the machine, with a timer for silence. */
import { Transform } from "node:stream";
import type { RedactorStream } from "../live.js";
import { LogveilError } from "../errors.js";
import { join } from "./join.js";
import { type Pieces, Slices } from "./slices.js";

/**
 * Wraps `machine`. `holdBackMs` of silence let undecided bytes go. An abort destroys the stream with `LV_ABORTED`. Chunks are masked in turns with other streams, those
 * of `job` together.
 */
export function transform(machine: RedactorStream, holdBackMs: number, signal: AbortSignal | undefined, job: string): Transform {
  const slices = new Slices(job);
  let timer: NodeJS.Timeout | undefined;
  const abort = (): void => void stream.destroy(aborted(signal));
  const stream = new Transform({
    transform(chunk: Buffer | string, encoding, callback) {
      clearTimeout(timer);
      settle(
        () => slices.chunk(typeof chunk === "string" ? Buffer.from(chunk, encoding) : chunk, (piece) => machine.push(piece)),
        (out) => {
          if (machine.heldBytes > 0) timer = setTimeout(idle, holdBackMs);
          callback(null, out);
        },
        callback,
      );
    },
    flush(callback) {
      clearTimeout(timer);
      settle(
        () => slices.whole(() => machine.end()),
        (out) => callback(null, out),
        callback,
      );
    },
    destroy(error, callback) {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      machine.close();
      callback(error);
    },
  });
  /** Passes on what was masked; a stream that was destroyed meanwhile passes nothing on. */
  function settle(mask: () => Pieces | Promise<Pieces>, done: (out: Buffer | undefined) => void, failed: (error: Error) => void): void {
    const pass = (pieces: Pieces): void => {
      if (!stream.destroyed) done(join(pieces));
    };
    const fail = (error: unknown): void => {
      if (!stream.destroyed) failed(error as Error);
    };
    try {
      const masked = mask();
      if (masked instanceof Promise) masked.then(pass).catch(fail);
      else pass(masked);
    } catch (error) {
      fail(error);
    }
  }
  function idle(): void {
    settle(
      () => slices.whole(() => machine.idle()),
      (out) => {
        if (out !== undefined) stream.push(out);
      },
      (error) => stream.destroy(error),
    );
  }
  if (signal?.aborted) abort();
  else signal?.addEventListener("abort", abort, { once: true });
  return stream;
}

export function aborted(signal: AbortSignal | undefined): LogveilError {
  return new LogveilError("LV_ABORTED", "masking was aborted; what was held back has been dropped", { cause: signal?.reason });
}
