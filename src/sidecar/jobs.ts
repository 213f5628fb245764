/**
 * Jobs and their streams: what comes in is masked and appended to the store; secrets of a job concern its own streams only, stay for a grace period after its end,
 * and are forgotten then.
 */
import type { Engine, Scope } from "../engine.js";
import type { RedactorStream } from "../live.js";
import type { Finding, SecretInput, SecretReport } from "../types.js";
import type { Accounts } from "./accounts.js";
import { Refusal } from "./refusal.js";
import { Flusher } from "./flusher.js";
import { HandedSecrets } from "./handed.js";
import { JobStream } from "./job-stream.js";
import { LF } from "./lines.js";
import type { FairShare } from "./share.js";
import type { Store } from "./store.js";

export interface JobLimits {
  readonly maxJobs: number;
  /** Most streams of one job. */
  readonly maxStreams: number;
  /** Most streams of all jobs. */
  readonly maxOpen: number;
  /** How long secrets of a job outlive its end, in milliseconds. */
  readonly graceMs: number;
}

/** Puts something around what masks a stream. */
export type Over = (masking: RedactorStream) => RedactorStream;

/** After so long without a request a job is forgotten though no one ended it. */
const ABANDONED_MS = 24 * 3600 * 1000;

class Job {
  readonly streams = new Map<string, Promise<JobStream>>();
  /** Those that are open, or being opened. */
  open = 0;
  readonly exposed: Finding[] = [];
  generation = 0;
  forgetting: NodeJS.Timeout | undefined;

  constructor(
    readonly name: string,
    readonly scope: Scope,
    readonly handed: HandedSecrets,
  ) {}
}

export class Jobs {
  private readonly jobs = new Map<string, Job>();
  private readonly openStreams = new Set<JobStream>();
  /** Streams that are open, or being opened. */
  private taken = 0;
  private readonly flusher: Flusher;

  constructor(
    private readonly engine: Engine,
    readonly store: Store,
    private readonly accounts: Accounts,
    /** Whose turn it is to open a stream. */
    private readonly turns: FairShare,
    public limits: JobLimits,
  ) {
    this.flusher = new Flusher(store.flushIntervalMs);
  }

  /** Jobs and streams that are open, and bytes that the streams hold back. */
  get counts(): { readonly jobs: number; readonly streams: number; readonly heldBytes: number } {
    let heldBytes = 0;
    for (const stream of this.openStreams) heldBytes += stream.heldBytes;
    return { jobs: this.jobs.size, streams: this.openStreams.size, heldBytes };
  }

  isLive(job: string): boolean {
    return this.jobs.has(job);
  }

  /** The stream to write to; opened if it is not, with `over` around what masks it. Throws what {@link Jobs.check} throws. */
  async stream(jobName: string, name: string, over?: Over): Promise<JobStream> {
    await this.check(jobName);
    return this.opened(jobName, name, over);
  }

  /** Throws what {@link HandedSecrets.check} throws. */
  check(name: string): Promise<void> {
    return this.job(name).handed.check();
  }

  /** The stream, to see how far it is or to end it. One that could not be written goes on where the disk has it. */
  async opened(jobName: string, name: string, over?: Over): Promise<JobStream> {
    const job = this.job(jobName);
    const open = job.streams.get(name);
    const stream = await open;
    if (stream?.failed === false) return stream;
    // Another request may have opened it meanwhile.
    if (job.streams.get(name) !== open) return this.opened(jobName, name, over);
    const opening = this.open(job, name, over, stream);
    job.streams.set(name, opening);
    opening.catch(() => job.streams.delete(name));
    return opening;
  }

  /** The stream if it is open. */
  live(job: string, name: string): Promise<JobStream> | undefined {
    return this.jobs.get(job)?.streams.get(name);
  }

  /** Closes a stream that no one writes to; asked for again, it goes on where it was. */
  async retire(jobName: string, name: string): Promise<void> {
    const job = this.jobs.get(jobName);
    const stream = await job?.streams.get(name);
    await stream?.close();
    job?.streams.delete(name);
  }

  /** Opens a stream when it is its job's turn, in the place of one that failed. */
  private async open(job: Job, name: string, over: Over | undefined, failed: JobStream | undefined): Promise<JobStream> {
    await failed?.close();
    const { maxStreams, maxOpen } = this.limits;
    const full =
      job.open >= maxStreams
        ? `the job has ${job.open} open streams, the limit limits.maxStreamsPerJob`
        : this.taken >= maxOpen
          ? `there are ${this.taken} open streams, the limit limits.maxStreams`
          : undefined;
    if (full !== undefined) throw new Refusal(503, `${full}: try again later`, { "retry-after": "10" });
    job.open++;
    this.taken++;
    let leave: (() => void) | undefined;
    try {
      leave = await this.turns.enter(job.name);
      const stream = await this.openStream(job, name, over);
      this.openStreams.add(stream);
      return stream;
    } catch (error) {
      job.open--;
      this.taken--;
      throw error;
    } finally {
      leave?.();
    }
  }

  private gone(job: Job, stream: JobStream): void {
    if (!this.openStreams.delete(stream)) return;
    job.open--;
    this.taken--;
  }

  private async openStream(job: Job, name: string, over: Over = (masking) => masking): Promise<JobStream> {
    const stored = await this.store.stream(job.name, name);
    const { input, output } = stored.position;
    let lines = 0;
    let opened: JobStream | undefined;
    const account = this.accounts.open(job.name, name, input);
    const redactor = job.scope.stream({
      name,
      onFinding: (finding) => {
        // A stream that goes on: it may have millions of findings, and most do not.
        const placed = input === 0 ? finding : { ...finding, line: finding.line + lines, offset: finding.offset + input };
        if (placed.kind === "exposed") job.exposed.push(placed);
        opened?.found(placed);
        account.found(placed);
      },
    });
    try {
      for await (const chunk of stored.read(0, false)) {
        account.restore(chunk);
        for (let at = chunk.indexOf(LF); at >= 0; at = chunk.indexOf(LF, at + 1)) lines++;
      }
    } catch (error) {
      redactor.close();
      await stored.close();
      throw error;
    }
    if (output === 0) this.accounts.evidence.event("job", job.name, { stream: name });
    const { holdBackMs } = this.engine.limits;
    return (opened = new JobStream(job.name, stored, over(redactor), account, holdBackMs, this.flusher, (stream) => this.gone(job, stream)));
  }

  private job(name: string): Job {
    let job = this.jobs.get(name);
    if (job === undefined) {
      if (this.jobs.size >= this.limits.maxJobs)
        throw new Refusal(503, `${this.jobs.size} jobs are open, the limit jobs.maxJobs: try again later`, { "retry-after": "10" });
      job = new Job(name, this.engine.scope(name), new HandedSecrets(this.store, name));
      this.jobs.set(name, job);
    }
    clearTimeout(job.forgetting);
    job.forgetting = setTimeout(() => void this.forget(job), ABANDONED_MS).unref();
    return job;
  }

  /** Masks bodies of a job that are forwarded. */
  scope(name: string): Scope {
    return this.job(name).scope;
  }

  /**
   * Makes secrets known to a job: when it resolves, every byte of its streams that has not been let go is checked against them. Answers what is not masked or only in
   * part, and what had left already.
   */
  async addSecrets(
    name: string,
    secrets: readonly SecretInput[],
  ): Promise<{ generation: number; reports: readonly SecretReport[]; exposed: readonly Finding[] }> {
    const job = this.job(name);
    job.exposed.length = 0;
    const reports = await job.scope.addSecrets(secrets);
    const exposed = job.exposed.splice(0);
    // On disk before the answer: the next process knows what it lacks.
    await job.handed.add(secrets.map((secret) => secret.name));
    // And so is what had left already.
    if (exposed.length > 0) await this.accounts.evidence.settled(name);
    return { generation: ++job.generation, reports, exposed };
  }

  /** Makes a secret of the sidecar's own known to a job: one that a process after this one does without. */
  async hide(name: string, secret: SecretInput): Promise<void> {
    await this.job(name).scope.addSecrets([secret]);
  }

  /**
   * Ends a job: its streams are kept to the last byte; its secrets are forgotten after the grace period. One that was begun before the sidecar was started anew is ended as
   * well. Throws a 404 for one that is not open.
   */
  async end(name: string): Promise<void> {
    const info = this.jobs.has(name) ? undefined : await this.store.info(name);
    if (!this.jobs.has(name) && (info === undefined || info.ended !== undefined)) throw new Refusal(404, "no such job is open");
    const job = this.job(name);
    for (const stream of info?.streams ?? job.streams.keys()) await (await this.opened(name, stream)).end();
    await this.store.end(name);
    this.accounts.forgive(name);
    await job.handed.forget();
    this.accounts.evidence.event("end", name);
    await this.accounts.evidence.settled(name);
    clearTimeout(job.forgetting);
    job.forgetting = setTimeout(() => void this.forget(job), this.limits.graceMs).unref();
  }

  private async forget(job: Job): Promise<void> {
    this.jobs.delete(job.name);
    for (const opening of job.streams.values()) {
      const stream = await opening;
      // Of a job that no one ended.
      await stream.end().catch(() => undefined);
      await stream.close();
    }
    job.scope.close();
    this.accounts.forgive(job.name);
    this.accounts.evidence.event("forget", job.name);
  }

  /** Lets go of everything: what is undecided is dropped, for it was not acknowledged. */
  async close(): Promise<void> {
    for (const job of this.jobs.values()) {
      clearTimeout(job.forgetting);
      for (const stream of job.streams.values()) await stream.then((open) => open.close()).catch(() => undefined);
    }
    this.jobs.clear();
  }
}
