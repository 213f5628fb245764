/** The secrets that were handed over for a job, by name: a process that follows one that died knows what it lacks. Values are never kept. */
import { Refusal } from "./refusal.js";
import type { Store } from "./store.js";

interface Names {
  /** Those that this process or one before was given. */
  readonly all: Set<string>;
  /** Those of them that this one was not given. */
  readonly lost: Set<string>;
}

export class HandedSecrets {
  private names: Promise<Names> | undefined;
  /** The last write of them. */
  private keeping: Promise<void> = Promise.resolve();

  constructor(
    private readonly store: Store,
    private readonly job: string,
  ) {}

  /** Throws a 503 while secrets are missing that a process before this one had been given: logs of the job could hold them. */
  async check(): Promise<void> {
    const { lost } = await this.read();
    if (lost.size === 0) return;
    const what = lost.size === 1 ? "1 secret of this job was" : `${lost.size} secrets of this job were`;
    throw new Refusal(503, `${what} lost when the sidecar was started anew: hand all of them over again`, { "retry-after": "1" }, "secrets");
  }

  /** These are known now. Resolves when that is on disk. */
  async add(names: readonly string[]): Promise<void> {
    const { all, lost } = await this.read();
    for (const name of names) {
      all.add(name);
      lost.delete(name);
    }
    await this.keep(all);
  }

  /** The job has ended: none are needed any more. */
  async forget(): Promise<void> {
    await this.keep(new Set());
    this.names = undefined;
  }

  private read(): Promise<Names> {
    this.names ??= this.store.secretsOf(this.job).then((names) => ({ all: new Set(names), lost: new Set(names) }));
    this.names.catch(() => (this.names = undefined));
    return this.names;
  }

  private keep(names: ReadonlySet<string>): Promise<void> {
    return (this.keeping = this.keeping.catch(() => undefined).then(() => this.store.keepSecrets(this.job, [...names])));
  }
}
