/**
 * Turns: masking shares one thread with everything else that a process does. Work is done slice by slice; when the event loop has been held long enough, the rest waits
 * until it has turned. Whose slice is next goes round over jobs, and within a job over its streams, so a job that is slow to mask delays nobody but itself.
 *
 *     run ──▶ time left, nobody waits? ──▶ slice, slice … all done: answers at once, without a promise
 *                     │ no                    │ time is up
 *                     └───────▶ queue of the job ◀──┘ ──▶ the event loop turns ──▶ each job in turn, SLICE_MS each, TURN_MS in all ──▶ …
 */
import { AsyncResource } from "node:async_hooks";

/** What a slice is sized for, and what a job gets before the next one has its turn, in milliseconds. */
export const SLICE_MS = 2;
/** How long the event loop is held at most before no other slice begins, in milliseconds. A request needs several of its turns, and 50 ms must do for all of them. */
export const TURN_MS = 4;
/** Work below which nobody asks whether the event loop has turned, in milliseconds: to be told costs a few microseconds. */
const FREE_MS = 0.5;
/** How long slices are looked at more closely after one took long, in milliseconds. */
const WARY_MS = 1000;

/** A part of some work that begins now; answers whether that was the last one. */
export type Slice = (now: number) => boolean;

/** Told how long a slice took, in milliseconds; with `isSure` without the time in which the process had no processor. */
export type Took = (ms: number, isSure: boolean, now: number) => void;

export interface Clock {
  /** Milliseconds from any start. */
  now(this: void): number;
  /** Milliseconds of CPU that the process has used. */
  cpu(this: void): number;
  /** Calls back when the event loop has turned. */
  afterTurn(this: void, call: () => void): void;
}

const CLOCK: Clock = {
  now: () => performance.now(),
  cpu() {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  },
  afterTurn: (call) => void setImmediate(call),
};

const ignore = (): void => undefined;

interface Waiter {
  readonly slice: Slice;
  readonly took: Took;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class Turns {
  /** Jobs that wait; whose turn is next comes first. */
  private readonly jobs = new Map<string, Waiter[]>();
  /** Time used while nobody asked, in milliseconds. */
  private freeMs = 0;
  /** When the event loop turned last, if `isAsked`: it will tell when it does so again. */
  private turnedAt = 0;
  private isAsked = false;
  /** Until then it is measured whether slices that take long use the processor, or a busy machine makes them wait for it. */
  private waryUntil = -Infinity;

  constructor(readonly clock: Clock = CLOCK) {}

  /** Streams that wait for their turn. */
  get waiting(): number {
    let count = 0;
    for (const queue of this.jobs.values()) count += queue.length;
    return count;
  }

  /** Whether work is done at once: nobody waits. */
  get isFree(): boolean {
    return this.jobs.size === 0;
  }

  /**
   * Works slice by slice until one says that it was the last: at once while there is time, which undefined tells; else in turns. Throws, or rejects with, what a slice throws. `took` is told of each slice.
   */
  run(job: string, slice: Slice, took: Took = ignore): Promise<void> | undefined {
    while (this.isFree) {
      const now = this.clock.now();
      if (this.isOver(now)) break;
      if (this.work(slice, took, now)) return undefined;
    }
    return new Promise((resolve, reject) => {
      // Callbacks within the work find what the caller has put around it (AsyncLocalStorage).
      const waiter = { slice: AsyncResource.bind(slice), took, resolve, reject };
      const queue = this.jobs.get(job);
      if (queue === undefined) this.jobs.set(job, [waiter]);
      else queue.push(waiter);
      if (!this.isAsked) this.ask(this.clock.now());
    });
  }

  /** Does something with each item, in turns. */
  async each<T>(job: string, items: readonly T[], work: (item: T) => void): Promise<void> {
    let done = 0;
    if (items.length === 0) return;
    await this.run(job, () => {
      work(items[done++]!);
      return done === items.length;
    });
  }

  private isOver(now: number): boolean {
    return this.isAsked && now - this.turnedAt >= TURN_MS;
  }

  private work(slice: Slice, took: Took, started: number): boolean {
    const { clock } = this;
    const isSure = started < this.waryUntil;
    const cpu = isSure ? clock.cpu() : 0;
    try {
      return slice(started);
    } finally {
      const now = clock.now();
      let ms = now - started;
      if (!this.isAsked && (this.freeMs += ms) >= FREE_MS) this.ask(now);
      if (ms > SLICE_MS) {
        this.waryUntil = now + WARY_MS;
        if (isSure) ms = Math.min(ms, clock.cpu() - cpu);
      }
      took(ms, isSure, now);
    }
  }

  private ask(now: number): void {
    this.isAsked = true;
    this.turnedAt = now - this.freeMs;
    this.freeMs = 0;
    this.clock.afterTurn(() => this.turn());
  }

  /** The event loop has turned. */
  private turn(): void {
    const now = this.clock.now();
    this.isAsked = false;
    this.freeMs = 0;
    if (this.isFree) return;
    this.ask(now);
    while (!this.isFree && !this.isOver(this.clock.now())) this.serveNext();
  }

  /** Serves the job whose turn it is, its streams in turn. */
  private serveNext(): void {
    const [job, queue] = this.jobs.entries().next().value!;
    const started = this.clock.now();
    let now = started;
    do {
      const waiter = queue.shift()!;
      if (!this.serve(waiter, now)) queue.push(waiter);
      now = this.clock.now();
    } while (queue.length > 0 && now - started < SLICE_MS);
    // Behind all others.
    this.jobs.delete(job);
    if (queue.length > 0) this.jobs.set(job, queue);
  }

  /** Answers whether its work is over. */
  private serve({ slice, took, resolve, reject }: Waiter, now: number): boolean {
    try {
      if (!this.work(slice, took, now)) return false;
      resolve();
    } catch (error) {
      reject(error);
    }
    return true;
  }
}

/** The turns of this thread: it has one event loop. */
export const TURNS = new Turns();

/** Bytes of {@link inTurns} that make a slice: one to three milliseconds. */
const SLICE_BYTES = 512 << 10;
/** What a piece of it costs at least, in bytes: making one takes time whatever is in it. */
const PIECE_COST = 2 << 10;
/** Whose turn the making of secrets and tables uses. */
const MAKING = "\0making";

/** Long work in pieces, at once: a generator that yields how many bytes it worked on since the last time. */
export function atOnce<T>(work: Generator<number, T>): T {
  for (;;) {
    const { done, value } = work.next();
    if (done === true) return value;
  }
}

/** The same in turns with everything else. */
export async function inTurns<T>(work: Generator<number, T>): Promise<Awaited<T>> {
  let result: T | undefined;
  await TURNS.run(MAKING, () => {
    for (let spent = 0; spent < SLICE_BYTES;) {
      const { done, value } = work.next();
      if (done === true) {
        result = value;
        return true;
      }
      spent += value + PIECE_COST;
    }
    return false;
  });
  return await (result as T);
}
