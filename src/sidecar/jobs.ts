/**
 * Jobs and their streams: what comes in is masked and appended to the store; secrets of a job concern its own streams only, stay for a grace period after its end,
 * and are forgotten then.
 */
import type { Engine, Scope } from "../engine.js";
import type { RedactorStream } from "../live.js";
import type { Finding, SecretInput, SecretReport } from "../types.js";
import type { Account, Accounts } from "./accounts.js";
import { Refusal } from "./refusal.js";
import { HandedSecrets } from "./handed.js";
import { LF, LineStarts } from "./lines.js";
import type { FairShare } from "./share.js";
import type { Position } from "./segment.js";
import type { Store } from "./store.js";
import type { StoredStream } from "./stored.js";

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

/** A stream that is written to. Its input is masked in order; one request writes at a time. */
export class JobStream {
  private writer: symbol | undefined;
  private idleTimer: NodeJS.Timeout | undefined;
  private working: Promise<unknown> = Promise.resolve();
  private ending: Promise<void> | undefined;
  /** Bytes of input that the stream went on behind when it was opened. */
  private readonly base: number;
  private readonly lines: LineStarts;

  constructor(
    private readonly stored: StoredStream,
    private readonly redactor: RedactorStream,
    private readonly account: Account,
    private readonly holdBackMs: number,
    /** Called once, when nothing more comes and its files are closed. */
    private readonly closed: (stream: JobStream) => void,
  ) {
    this.base = stored.position.input;
    this.lines = new LineStarts(stored.position);
  }

  /** Offset of the next byte that is expected. */
  get received(): number {
    return this.base + this.redactor.offset;
  }

  /** Bytes that are held back. */
  get heldBytes(): number {
    return this.redactor.heldBytes;
  }

  /** Where the stream goes on after a crash: everything before it may be forgotten by who sent it. */
  get position(): Position {
    return this.stored.position;
  }

  get ended(): boolean {
    return this.stored.ended;
  }

  /** See {@link StoredStream.failed}. */
  get failed(): boolean {
    return this.stored.failed;
  }

  /** Throws a 409 with the offset that is expected unless the stream goes on at `offset`, if that is said. */
  expect(offset: number | undefined): void {
    if (offset === undefined || offset === this.received) return;
    throw new Refusal(409, `the stream goes on at offset ${this.received}, not at ${offset}: send what follows, or leave Logveil-Offset out`, {
      "logveil-offset": String(this.received),
    });
  }

  /** Claims the stream for a request that goes on at `offset`, if it says so. Throws a 409 with the offset that is expected. */
  claim(offset: number | undefined): symbol {
    const expected = { "logveil-offset": String(this.received) };
    if (this.ended) throw new Refusal(409, "the stream has ended", expected);
    this.expect(offset);
    if (this.writer !== undefined && offset === undefined)
      throw new Refusal(409, "another request is writing to this stream: wait for its answer, or say by Logveil-Offset where you go on", expected);
    // Who knows the offset goes on for a request whose connection is gone.
    return (this.writer = Symbol("writer"));
  }

  /** Told of what was found in it, at offsets of the whole stream. */
  found(finding: Finding): void {
    this.lines.takeFinding(finding);
  }

  release(writer: symbol): void {
    if (this.writer === writer) this.writer = undefined;
  }

  /** Masks and keeps a chunk of the request that holds the claim; resolves when more may come. Throws where no more may be taken: what came so far is kept then. */
  async write(writer: symbol, chunk: Uint8Array): Promise<void> {
    if (this.writer !== writer) throw new Refusal(409, "another request has taken this stream over", { "logveil-offset": String(this.received) });
    clearTimeout(this.idleTimer);
    this.lines.takeInput(chunk);
    this.account.input(chunk);
    await this.keep(() => this.redactor.push(chunk));
    // What fails then is told to the next request.
    if (this.redactor.heldBytes > 0) this.idleTimer = setTimeout(() => void this.flush().catch(() => undefined), this.holdBackMs).unref();
    try {
      this.account.check();
    } catch (error) {
      await this.commit();
      throw error;
    }
  }

  /** There was silence: what is undecided is kept as well. Resolves when it is durable, and on record. */
  async flush(): Promise<void> {
    clearTimeout(this.idleTimer);
    await this.keep(() => this.redactor.idle());
    await this.commit();
  }

  /** Appends what the redactor lets go, in order. */
  private keep(work: () => Uint8Array[], isEnd = false): Promise<void> {
    const pieces = work();
    this.lines.takeOutput(pieces);
    this.account.output(pieces);
    const position = isEnd ? this.lines.end : this.lines.before(this.base + this.redactor.settled);
    const next = this.working.then(() => this.stored.append(pieces, position));
    this.working = next.catch(() => undefined);
    return next;
  }

  /** Resolves when everything that was let go is durable, and on record. */
  async commit(): Promise<void> {
    await this.working;
    await this.account.settled();
    await this.stored.commit();
  }

  /** The end: everything is kept. */
  end(): Promise<void> {
    return (this.ending ??= this.finish());
  }

  private async finish(): Promise<void> {
    clearTimeout(this.idleTimer);
    await this.keep(() => this.redactor.end(), true);
    this.account.end();
    await this.account.settled();
    await this.stored.end();
    await this.stored.close();
    this.closed(this);
  }

  /** Gives the stream up where it is: what is held back was not acknowledged. */
  async close(): Promise<void> {
    clearTimeout(this.idleTimer);
    this.redactor.close();
    await this.working;
    await this.stored.close();
    this.closed(this);
  }

  /** Durable bytes, see {@link StoredStream.read}. */
  read(from: number, follow: boolean, signal: AbortSignal): AsyncGenerator<Buffer, void, void> {
    return this.stored.read(from, follow, signal);
  }
}

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

  constructor(
    private readonly engine: Engine,
    readonly store: Store,
    private readonly accounts: Accounts,
    /** Whose turn it is to open a stream. */
    private readonly turns: FairShare,
    public limits: JobLimits,
  ) {}

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
    const full = job.open >= this.limits.maxStreams ? `job has ${job.open}` : this.taken >= this.limits.maxOpen ? `there are ${this.taken}` : undefined;
    if (full !== undefined) throw new Refusal(503, `${full} open streams, the most there may be`, { "retry-after": "10" });
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
        const placed = { ...finding, line: finding.line + lines, offset: finding.offset + input };
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
    return (opened = new JobStream(stored, over(redactor), account, this.engine.limits.holdBackMs, (stream) => this.gone(job, stream)));
  }

  private job(name: string): Job {
    let job = this.jobs.get(name);
    if (job === undefined) {
      if (this.jobs.size >= this.limits.maxJobs) throw new Refusal(503, `${this.jobs.size} jobs are open, the most there may be`, { "retry-after": "10" });
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
    await this.accounts.evidence.settled();
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
