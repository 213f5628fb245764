/** The iterator shell: masks what a source yields, and lets undecided bytes go when it is silent. */
import type { Chunk } from "../engine.js";
import type { RedactorStream } from "../live.js";
import { join } from "./join.js";
import { aborted } from "./node.js";
import { Slices } from "./slices.js";

const SILENT = Symbol("silent");

/**
 * Yields masked chunks, at most one per source chunk, one after silence and one at the end. Leaving the loop closes the source and drops what is held. Chunks are masked in
 * turns with other streams, those of `job` together.
 */
export async function* iterate(
  machine: RedactorStream,
  source: AsyncIterable<Chunk> | Iterable<Chunk>,
  holdBackMs: number,
  signal: AbortSignal | undefined,
  job: string,
): AsyncGenerator<Buffer, void, void> {
  const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  const slices = new Slices(job);
  const push = (piece: Uint8Array): Uint8Array[] => {
    if (signal?.aborted) throw aborted(signal);
    return machine.push(piece);
  };
  let done = false;
  try {
    let next = Promise.resolve(iterator.next());
    for (;;) {
      if (signal?.aborted) throw aborted(signal);
      const result = machine.heldBytes > 0 ? await withSilence(next, holdBackMs) : await next;
      if (result === SILENT) {
        const out = join(await slices.whole(() => machine.idle()));
        if (out !== undefined) yield out;
        continue;
      }
      if (result.done === true) break;
      const { value } = result;
      const out = join(await slices.chunk(typeof value === "string" ? Buffer.from(value) : value, push));
      if (out !== undefined) yield out;
      next = Promise.resolve(iterator.next());
    }
    done = true;
    const rest = join(await slices.whole(() => machine.end()));
    if (rest !== undefined) yield rest;
  } finally {
    machine.close();
    if (!done) await iterator.return?.();
  }
}

async function withSilence<T>(next: Promise<T>, ms: number): Promise<T | typeof SILENT> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<typeof SILENT>((resolve) => (timer = setTimeout(resolve, ms, SILENT)));
  try {
    return await Promise.race([next, silence]);
  } finally {
    clearTimeout(timer);
  }
}
