/** The web shell: a TransformStream around the machine, with a timer for silence. */
import { TransformStream, type TransformStreamDefaultController } from "node:stream/web";
import type { RedactorStream } from "../live.js";
import { join } from "./join.js";
import { aborted } from "./node.js";
import { type Pieces, Slices } from "./slices.js";

/** Wraps `machine`; see {@link transform} for silence, abort and turns. */
export function transformWeb(
  machine: RedactorStream,
  holdBackMs: number,
  signal: AbortSignal | undefined,
  job: string,
): TransformStream<Uint8Array, Uint8Array> {
  const slices = new Slices(job);
  let timer: NodeJS.Timeout | undefined;
  let abort: (() => void) | undefined;
  const stop = (): void => {
    clearTimeout(timer);
    if (abort !== undefined) signal?.removeEventListener("abort", abort);
  };
  const emit = (pieces: Pieces, controller: TransformStreamDefaultController<Uint8Array>): void => {
    const out = join(pieces);
    // What an abort has closed passes nothing on.
    if (out !== undefined && signal?.aborted !== true) controller.enqueue(out);
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
    async transform(chunk, controller) {
      clearTimeout(timer);
      emit(await slices.chunk(chunk, (piece) => machine.push(piece)), controller);
      if (machine.heldBytes === 0) return;
      timer = setTimeout(() => {
        Promise.resolve(slices.whole(() => machine.idle()))
          .then((pieces) => emit(pieces, controller))
          .catch((error: unknown) => controller.error(error));
      }, holdBackMs);
    },
    async flush(controller) {
      clearTimeout(timer);
      const rest = await slices.whole(() => machine.end());
      stop();
      emit(rest, controller);
    },
  });
}
