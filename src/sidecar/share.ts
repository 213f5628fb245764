/** Fair share: so many may be served at a time, each job has its turn, and who waits too long is told so. Within a job: first come, first served. */
import { Refusal } from "./refusal.js";

export interface ShareLimits {
  /** Most that are served at a time. */
  readonly slots: number;
  /** Most of one job; fewer than `slots`, so that no job holds them all. */
  readonly slotsPerJob: number;
  /** Longest wait, in milliseconds. */
  readonly waitMs: number;
  /** Most that wait. */
  readonly maxWaiting: number;
}

interface Queue {
  served: number;
  readonly waiting: (() => void)[];
}

export class FairShare {
  /** Jobs that are served or wait; whose turn is next comes first. */
  private readonly jobs = new Map<string, Queue>();
  private free: number;
  /** Requests that wait now. */
  waiting = 0;
  /** Requests that were told to come again. */
  refused = 0;

  constructor(private readonly limits: ShareLimits) {
    this.free = limits.slots;
  }

  /** What to call when a request has been served, if it is its turn at once. */
  enterNow(job: string): (() => void) | undefined {
    const queue = this.queueOf(job);
    if (this.free === 0 || queue.waiting.length > 0 || queue.served >= this.limits.slotsPerJob) return undefined;
    this.serve(job, queue);
    return this.leaving(job, queue);
  }

  /** Resolves when it is a request's turn, with what to call when it has been served. Throws a 503 after too long a wait, and what `gone` was aborted with. */
  async enter(job: string, gone?: AbortSignal): Promise<() => void> {
    gone?.throwIfAborted();
    const leave = this.enterNow(job);
    if (leave !== undefined) return leave;
    const queue = this.queueOf(job);
    this.jobs.set(job, queue);
    await this.turn(queue, gone).finally(() => this.forget(job, queue));
    return this.leaving(job, queue);
  }

  private queueOf(job: string): Queue {
    return this.jobs.get(job) ?? { served: 0, waiting: [] };
  }

  private leaving(job: string, queue: Queue): () => void {
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.free++;
      queue.served--;
      this.forget(job, queue);
      this.next();
    };
  }

  private turn(queue: Queue, gone: AbortSignal | undefined): Promise<void> {
    if (this.waiting >= this.limits.maxWaiting) return Promise.reject(this.refuse());
    return new Promise((resolve, reject) => {
      const settle = (done: () => void): void => {
        clearTimeout(timer);
        gone?.removeEventListener("abort", left);
        this.waiting--;
        done();
      };
      const quit = (error: unknown): void => {
        queue.waiting.splice(queue.waiting.indexOf(go), 1);
        settle(() => reject(error));
      };
      const go = (): void => settle(resolve);
      const left = (): void => quit(gone!.reason);
      const timer = setTimeout(() => quit(this.refuse()), this.limits.waitMs);
      gone?.addEventListener("abort", left, { once: true });
      queue.waiting.push(go);
      this.waiting++;
    });
  }

  private refuse(): Refusal {
    this.refused++;
    return new Refusal(503, "too many requests are waiting: try again later, or raise limits.queueTimeout", { "retry-after": "5" });
  }

  private serve(job: string, queue: Queue): void {
    this.free--;
    queue.served++;
    // Behind all others: each job has its turn.
    this.jobs.delete(job);
    this.jobs.set(job, queue);
  }

  private forget(job: string, queue: Queue): void {
    if (queue.served === 0 && queue.waiting.length === 0) this.jobs.delete(job);
  }

  /** Serves whose turn it is. */
  private next(): void {
    for (const [job, queue] of this.jobs) {
      const go = queue.served < this.limits.slotsPerJob ? queue.waiting.shift() : undefined;
      if (go === undefined) continue;
      this.serve(job, queue);
      return go();
    }
  }
}
