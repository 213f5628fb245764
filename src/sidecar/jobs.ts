/**
 * Jobs and their streams: what comes in is masked and appended to the store; secrets of a job concern its own streams only, stay for a grace period after its end,
 * and are forgotten then.
 */
import type { Engine, Scope } from "../engine.js";
import type { RedactorStream } from "../live.js";
import type { Finding, SecretInput, SecretReport } from "../types.js";
import type { Position } from "./segment.js";
import type { Store } from "./store.js";
import type { StoredStream } from "./stored.js";

/** What is told of what happens. Called in order; `settled` resolves when all of it is on record, and rejects when it cannot be: nothing is acknowledged then. */
export interface Evidence {
  finding(job: string, finding: Finding): void;
  event(type: "job" | "end" | "forget", job: string, facts?: Readonly<Record<string, unknown>>): void;
  settled(): Promise<void>;
}

export interface JobLimits {
  readonly maxJobs: number;
  readonly maxStreams: number;
  /** How long secrets of a job outlive its end, in milliseconds. */
  readonly graceMs: number;
}

/** A request that cannot be served now, with its HTTP status. */
export class Refusal extends Error {
  constructor(
    readonly status: 400 | 401 | 403 | 404 | 409 | 415 | 503,
    message: string,
    /** More of the answer: header fields. */
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }
}

const LF = 0x0a;

/**
 * Where a stream may go on after a crash: at the start of a line that nothing unfinished reaches over. Masks keep every line end, so the n-th of the output is the n-th of
 * the input: that tells which byte of one became of which of the other.
 */
class LineStarts {
  /** Offsets behind line ends since the last one that was answered. */
  private inputs: number[] = [];
  private outputs: number[] = [];
  /** Findings since then: lines that begin within one are no such place. */
  private found: { readonly start: number; readonly end: number }[] = [];

  constructor(
    private last: Position,
    private input = last.input,
    private output = last.output,
  ) {}

  takeInput(chunk: Uint8Array): void {
    this.input = collect(chunk, this.input, this.inputs);
  }

  takeOutput(pieces: readonly Uint8Array[]): void {
    for (const piece of pieces) this.output = collect(piece, this.output, this.outputs);
  }

  takeFinding({ offset, length }: Finding): void {
    this.found.push({ start: offset, end: offset + length });
  }

  /** The last such place, if nothing unfinished begins before `settled`. */
  before(settled: number): Position {
    let count = 0;
    while (count < this.outputs.length && this.inputs[count]! <= settled) count++;
    while (count > 0 && this.found.some(({ start, end }) => start < this.inputs[count - 1]! && this.inputs[count - 1]! < end)) count--;
    if (count === 0) return this.last;
    this.found = this.found.filter(({ end }) => end > this.inputs[count - 1]!);
    this.last = { input: this.inputs[count - 1]!, output: this.outputs[count - 1]! };
    this.inputs.splice(0, count);
    this.outputs.splice(0, count);
    return this.last;
  }

  /** The end of everything. */
  get end(): Position {
    return { input: this.input, output: this.output };
  }
}

/** Adds the offsets behind line ends of `piece`, which begins at `offset`; answers where it ends. */
function collect(piece: Uint8Array, offset: number, into: number[]): number {
  for (let at = piece.indexOf(LF); at >= 0; at = piece.indexOf(LF, at + 1)) into.push(offset + at + 1);
  return offset + piece.length;
}

/** A stream that is written to. Its input is masked in order; one request writes at a time. */
export class JobStream {
  private writer: symbol | undefined;
  private idleTimer: NodeJS.Timeout | undefined;
  private working: Promise<unknown> = Promise.resolve();
  /** Bytes of input that the stream went on behind when it was opened. */
  private readonly base: number;
  private readonly lines: LineStarts;

  constructor(
    private readonly stored: StoredStream,
    private readonly redactor: RedactorStream,
    private readonly evidence: Evidence,
    private readonly holdBackMs: number,
  ) {
    this.base = stored.position.input;
    this.lines = new LineStarts(stored.position);
  }

  /** Offset of the next byte that is expected. */
  get received(): number {
    return this.base + this.redactor.offset;
  }

  /** Where the stream goes on after a crash: everything before it may be forgotten by who sent it. */
  get position(): Position {
    return this.stored.position;
  }

  get ended(): boolean {
    return this.stored.ended;
  }

  /** Claims the stream for a request that goes on at `offset`, if it says so. Throws a 409 with the offset that is expected. */
  claim(offset: number | undefined): symbol {
    const expected = { "logveil-offset": String(this.received) };
    if (this.ended) throw new Refusal(409, "the stream has ended", expected);
    if (offset !== undefined && offset !== this.received)
      throw new Refusal(409, `the stream goes on at offset ${this.received}, not at ${offset}: send what follows, or leave Logveil-Offset out`, expected);
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

  /** Masks and keeps a chunk of the request that holds the claim; resolves when more may come. */
  async write(writer: symbol, chunk: Uint8Array): Promise<void> {
    if (this.writer !== writer) throw new Refusal(409, "another request has taken this stream over", { "logveil-offset": String(this.received) });
    clearTimeout(this.idleTimer);
    this.lines.takeInput(chunk);
    await this.keep(() => this.redactor.push(chunk));
    if (this.redactor.heldBytes === 0) return;
    // What fails then is told to the next request.
    this.idleTimer = setTimeout(() => void this.flush().catch(() => undefined), this.holdBackMs).unref();
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
    const position = isEnd ? this.lines.end : this.lines.before(this.base + this.redactor.settled);
    const next = this.working.then(() => this.stored.append(pieces, position));
    this.working = next.catch(() => undefined);
    return next;
  }

  /** Resolves when everything that was let go is durable, and on record. */
  async commit(): Promise<void> {
    await this.working;
    await this.evidence.settled();
    await this.stored.commit();
  }

  /** The end: everything is kept. */
  async end(): Promise<void> {
    if (this.ended) return;
    clearTimeout(this.idleTimer);
    await this.keep(() => this.redactor.end(), true);
    await this.evidence.settled();
    await this.stored.end();
  }

  /** Gives the stream up where it is: what is held back was not acknowledged. */
  async close(): Promise<void> {
    clearTimeout(this.idleTimer);
    this.redactor.close();
    await this.working;
    await this.stored.close();
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
  exposed: Finding[] = [];
  generation = 0;
  forgetting: NodeJS.Timeout | undefined;

  constructor(
    readonly name: string,
    readonly scope: Scope,
  ) {}
}

export class Jobs {
  private readonly jobs = new Map<string, Job>();

  constructor(
    private readonly engine: Engine,
    readonly store: Store,
    private readonly evidence: Evidence,
    private readonly limits: JobLimits,
  ) {}

  /** Jobs and streams that are open. */
  get counts(): { readonly jobs: number; readonly streams: number } {
    let streams = 0;
    for (const job of this.jobs.values()) streams += job.streams.size;
    return { jobs: this.jobs.size, streams };
  }

  isLive(job: string): boolean {
    return this.jobs.has(job);
  }

  /** The stream to write to; opened if it is not, with `over` around what masks it. */
  async stream(jobName: string, name: string, over?: (masking: RedactorStream) => RedactorStream): Promise<JobStream> {
    const job = this.job(jobName);
    let stream = job.streams.get(name);
    if (stream === undefined) {
      if (job.streams.size >= this.limits.maxStreams)
        throw new Refusal(503, `job has ${job.streams.size} streams, the most there may be`, { "retry-after": "10" });
      stream = this.open(job, name, over);
      job.streams.set(name, stream);
      stream.catch(() => job.streams.delete(name));
    }
    return stream;
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

  private async open(job: Job, name: string, over: (masking: RedactorStream) => RedactorStream = (masking) => masking): Promise<JobStream> {
    const stored = await this.store.stream(job.name, name);
    const { input, output } = stored.position;
    let lines = 0;
    for await (const chunk of stored.read(0, false)) for (let at = chunk.indexOf(LF); at >= 0; at = chunk.indexOf(LF, at + 1)) lines++;
    let opened: JobStream | undefined;
    const redactor = job.scope.stream({
      name,
      onFinding: (finding) => {
        const placed = { ...finding, line: finding.line + lines, offset: finding.offset + input };
        if (placed.kind === "exposed") job.exposed.push(placed);
        opened?.found(placed);
        this.evidence.finding(job.name, placed);
      },
    });
    if (output === 0) this.evidence.event("job", job.name, { stream: name });
    return (opened = new JobStream(stored, over(redactor), this.evidence, this.engine.limits.holdBackMs));
  }

  private job(name: string): Job {
    let job = this.jobs.get(name);
    if (job === undefined) {
      if (this.jobs.size >= this.limits.maxJobs) throw new Refusal(503, `${this.jobs.size} jobs are open, the most there may be`, { "retry-after": "10" });
      job = new Job(name, this.engine.scope(name));
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
    job.exposed = [];
    const reports = await job.scope.addSecrets(secrets);
    const { exposed } = job;
    job.exposed = [];
    return { generation: ++job.generation, reports, exposed };
  }

  /** Ends a job: its streams are kept to the last byte; its secrets are forgotten after the grace period. Throws a 404 for one that is not open. */
  async end(name: string): Promise<void> {
    const job = this.jobs.get(name);
    if (job === undefined) throw new Refusal(404, "no such job is open");
    for (const stream of await Promise.all(job.streams.values())) await stream.end();
    await this.store.end(name);
    this.evidence.event("end", name);
    clearTimeout(job.forgetting);
    job.forgetting = setTimeout(() => void this.forget(job), this.limits.graceMs).unref();
  }

  private async forget(job: Job): Promise<void> {
    this.jobs.delete(job.name);
    for (const stream of job.streams.values()) await (await stream).close();
    job.scope.close();
    this.evidence.event("forget", job.name);
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
