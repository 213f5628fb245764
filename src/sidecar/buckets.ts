/** Times in buckets, as plain numbers: what a histogram of Prometheus is made of. */

/** Upper bounds, in seconds: from a storage beside the sidecar to one that is about to time out. */
export const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30] as const;

export class Buckets {
  /** By bound, of all that were at most so long. */
  readonly counts = SECONDS.map(() => 0);
  count = 0;
  /** In seconds. */
  sum = 0;

  observe(seconds: number): void {
    this.count++;
    this.sum += seconds;
    for (const [i, bound] of SECONDS.entries()) if (seconds <= bound) this.counts[i]!++;
  }
}
