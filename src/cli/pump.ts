/** Moves bytes from a readable through the machine to a sink: back-pressure, silence, at most one write per read. */
import type { Readable, Writable } from "node:stream";
import type { RedactorStream } from "../live.js";
import { join } from "../stream/join.js";

/** Resolves when `source` has ended and everything is handed to `sink`, which stays open. Rejects with the first error of either. */
export function pump(source: Readable, machine: RedactorStream, sink: Writable, holdBackMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const fail = (error: Error): void => {
      stop();
      machine.close();
      source.destroy();
      reject(error);
    };
    const write = (pieces: Uint8Array[]): void => {
      const bytes = join(pieces);
      if (bytes === undefined || sink.write(bytes)) return;
      source.pause();
      sink.once("drain", resume);
    };
    const resume = (): void => void source.resume();
    const data = (chunk: Buffer): void => {
      clearTimeout(timer);
      try {
        write(machine.push(chunk));
        if (machine.heldBytes > 0) timer = setTimeout(() => write(machine.idle()), holdBackMs);
      } catch (error) {
        fail(error as Error);
      }
    };
    const end = (): void => {
      stop();
      try {
        const rest = join(machine.end());
        if (rest === undefined) resolve();
        else sink.write(rest, (error) => (error ? reject(error) : resolve()));
      } catch (error) {
        reject(error);
      }
    };
    const stop = (): void => {
      clearTimeout(timer);
      source.off("data", data).off("end", end);
      sink.off("error", fail).off("drain", resume);
    };
    source.on("data", data).on("end", end).on("error", fail);
    sink.on("error", fail);
  });
}
