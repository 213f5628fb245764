/** Whether logs may be taken: what stands against it, by name. Asked before a request is taken, and with every piece of it. */
import type { Engine } from "../engine.js";
import { Refusal } from "./refusal.js";

export class Gate {
  /** Spellings that the self-test got out unmasked. */
  leaked: readonly string[] = [];
  private ttlMs: number | undefined;
  private loadedAt = 0;

  constructor(
    private readonly engine: Engine,
    /** Milliseconds that never step back. */
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** Secrets were read just now; after `ttlMs` they are too old. Undefined: they never are. */
  loaded(ttlMs: number | undefined): void {
    this.ttlMs = ttlMs;
    this.loadedAt = this.now();
  }

  /** How old the secrets are, in milliseconds. */
  get ageMs(): number {
    return this.now() - this.loadedAt;
  }

  /** What is wrong with the self-test. */
  get distrust(): string | undefined {
    return this.leaked.length > 0 ? `masking failed for ${this.leaked.join(", ")}` : undefined;
  }

  /** What is wrong with what is known: for streams of a job, or of none. */
  ignorance(job?: string): string | undefined {
    if (this.ttlMs !== undefined && this.ageMs > this.ttlMs) return "the secrets are older than secrets.ttl: their files could not be read again";
    return this.engine.masksAnything(job) ? undefined : "neither rules nor secrets are loaded";
  }

  /** Throws a 503 unless logs may be taken. */
  check(job?: string): void {
    if (this.leaked.length > 0) throw new Refusal(503, "the self-test of masking failed: nothing is taken", { "retry-after": "60" }, "untrusted");
    const why = this.ignorance(job);
    if (why !== undefined) throw new Refusal(503, `${why}: nothing is taken`, { "retry-after": "10" }, "untrusted");
  }
}
