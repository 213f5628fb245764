/** The web shell: a TransformStream around the machine, with a timer for silence. */
import { TransformStream } from "node:stream/web";
import type { RedactorStream } from "../live.js";
import { join } from "./join.js";
import { aborted } from "./node.js";

/** Wraps `machine`; see {@link transform} for silence and abort. */
export function transformWeb(machine: RedactorStream, holdBackMs: number, signal: AbortSignal | undefined): TransformStream<Uint8Array, Uint8Array> {
  let timer: NodeJS.Timeout | undefined;
  let abort: (() => void) | undefined;
  const stop = (): void => {
    clearTimeout(timer);
    if (abort !== undefined) signal?.removeEventListener("abort", abort);
  };
  return new TransformStream<Uint8Array, Uint8Array>({
    start(controller) {
      abort = () => {
        stop();
        machine.close();
        controller.error(aborted(signal));
      };
      if (signal?.aborted) abort();
      else signal?.addEventListener("abort", abort, { once: true });
    },
    transform(chunk, controller) {
      clearTimeout(timer);
      const emit = (pieces: Uint8Array[]): void => {
        const out = join(pieces);
        if (out !== undefined) controller.enqueue(out);
      };
      emit(machine.push(chunk));
      if (machine.heldBytes > 0) timer = setTimeout(() => emit(machine.idle()), holdBackMs);
    },
    flush(controller) {
      stop();
      const out = join(machine.end());
      if (out !== undefined) controller.enqueue(out);
    },
  });
}
