/** A line of progress on stderr: only on a terminal, only when the work outlasts a second. */
import type { RedactorStream } from "../live.js";

export interface Progress {
  /** Counts what goes through `machine`. */
  watch(machine: RedactorStream): RedactorStream;
  stop(): void;
}

export function startProgress(quiet: boolean): Progress {
  if (quiet || !process.stderr.isTTY) return { watch: (machine) => machine, stop() {} };
  const started = performance.now();
  const seen: RedactorStream[] = [];
  let shown = false;
  const timer = setInterval(() => {
    const bytes = seen.reduce((sum, machine) => sum + machine.offset, 0);
    const seconds = (performance.now() - started) / 1000;
    shown = true;
    process.stderr.write(`\r\x1b[Klogveil: ${seen.at(-1)?.name ?? ""} ${(bytes / 1e6).toFixed(1)} MB, ${(bytes / 1e6 / seconds).toFixed(0)} MB/s`);
  }, 1000);
  timer.unref();
  return {
    watch(machine) {
      seen.push(machine);
      return machine;
    },
    stop() {
      clearInterval(timer);
      if (shown) process.stderr.write("\r\x1b[K");
    },
  };
}
