/** The Node shell: a Transform around the machine, with a timer for silence. */
import { Transform } from "node:stream";
import type { RedactorStream } from "../live.js";
import { LogveilError } from "../errors.js";
import { join } from "./join.js";

/** Wraps `machine`. `holdBackMs` of silence let undecided bytes go. An abort destroys the stream with `LV_ABORTED`. */
export function transform(machine: RedactorStream, holdBackMs: number, signal: AbortSignal | undefined): Transform {
  let timer: NodeJS.Timeout | undefined;
  const abort = (): void => void stream.destroy(aborted(signal));
  const stream = new Transform({
    transform(chunk: Buffer | string, encoding, callback) {
      clearTimeout(timer);
      try {
        const bytes = typeof chunk === "string" ? Buffer.from(chunk, encoding) : chunk;
        const out = join(machine.push(bytes));
        if (machine.heldBytes > 0) timer = setTimeout(idle, holdBackMs);
        callback(null, out);
      } catch (error) {
        callback(error as Error);
      }
    },
    flush(callback) {
      clearTimeout(timer);
      try {
        callback(null, join(machine.end()));
      } catch (error) {
        callback(error as Error);
      }
    },
    destroy(error, callback) {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      machine.close();
      callback(error);
    },
  });
  function idle(): void {
    const out = join(machine.idle());
    if (out !== undefined) stream.push(out);
  }
  if (signal?.aborted) abort();
  else signal?.addEventListener("abort", abort, { once: true });
  return stream;
}

export function aborted(signal: AbortSignal | undefined): LogveilError {
  return new LogveilError("LV_ABORTED", "masking was aborted; what was held back has been dropped", { cause: signal?.reason });
}
