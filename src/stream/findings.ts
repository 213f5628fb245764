/** Hands findings to async iterators. Each has its own queue; one that nobody reads stops growing at {@link MAX_QUEUED}. */
import type { Finding } from "../types.js";

/** Findings kept for a slow reader; later ones are dropped for it. Callbacks get them all. */
export const MAX_QUEUED = 100_000;

interface Reader {
  readonly queued: Finding[];
  wake: (() => void) | undefined;
}

export class FindingQueue {
  private readonly readers = new Set<Reader>();
  private closed = false;

  push(finding: Finding): void {
    for (const reader of this.readers) {
      if (reader.queued.length < MAX_QUEUED) reader.queued.push(finding);
      reader.wake?.();
    }
  }

  close(): void {
    this.closed = true;
    for (const reader of this.readers) reader.wake?.();
  }

  subscribe(): AsyncIterableIterator<Finding> {
    const reader: Reader = { queued: [], wake: undefined };
    this.readers.add(reader);
    return this.read(reader);
  }

  private async *read(reader: Reader): AsyncGenerator<Finding, void, void> {
    try {
      for (;;) {
        const finding = reader.queued.shift();
        if (finding !== undefined) yield finding;
        else if (this.closed) return;
        else await new Promise<void>((resolve) => (reader.wake = resolve));
      }
    } finally {
      this.readers.delete(reader);
    }
  }
}
