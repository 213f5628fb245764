/** Has streams make durable what they took, within an interval of it: in the order in which they took it, a few at a time, so that ten thousand do not hold up the others. */

export interface Flushable {
  /** Makes everything that was taken durable. What it rejects with is told to the next request. */
  commit(): Promise<void>;
  /** Whether it keeps nothing any more. */
  readonly failed: boolean;
}

/** Part of the interval for waiting, so that more streams share a sync; the rest is for the audit and the disk. */
const WAITING = 0.25;
/** Streams that are begun in one turn of the event loop. */
const TURN = 128;

export class Flusher {
  /** When streams are to begin, on the clock of `performance.now()`; the earliest first. */
  private readonly due = new Map<Flushable, number>();
  private timer: NodeJS.Timeout | undefined;

  /** In milliseconds. */
  private readonly waitMs: number;

  constructor(intervalMs: number) {
    this.waitMs = intervalMs * WAITING;
  }

  /** A stream took something. */
  add(stream: Flushable): void {
    if (this.due.has(stream)) return;
    this.due.set(stream, performance.now() + this.waitMs);
    this.timer ??= setTimeout(() => this.run(), this.waitMs).unref();
  }

  /** A stream is closed. */
  delete(stream: Flushable): void {
    this.due.delete(stream);
  }

  private run(): void {
    let begun = 0;
    const now = performance.now();
    this.timer = undefined;
    for (const [stream, at] of this.due) {
      if (at > now || ++begun > TURN) {
        this.timer = setTimeout(() => this.run(), Math.max(0, at - now)).unref();
        return;
      }
      this.due.delete(stream);
      // What cannot be on record yet is tried again.
      stream.commit().catch(() => (stream.failed ? undefined : this.add(stream)));
    }
  }
}
