/** Accounts of streams and forwarded bodies: what came, what left, what was found. Who must know is told: the evidence, the figures, and whoever `onFinding` names. */
import type { Finding } from "../types.js";
import { type Action, type ActionTable, Kinds, Warnings } from "./actions.js";
import { Buckets } from "./buckets.js";
import type { Gate } from "./gate.js";
import { Refusal } from "./refusal.js";
import { Webhook, type WebhookOptions, type WebhookStats } from "./webhook.js";

/** What is told of what happens, in order for each job. */
export interface Evidence {
  /** Opens the record of a stream that goes on at an offset of its input and is masked by the policy of a digest. */
  record(job: string, stream: string, offset: number, policy: string): StreamRecord;
  event(type: "job" | "end" | "failed" | "forget", job: string, facts?: Readonly<Record<string, unknown>>): void;
  /** From now on streams are masked by another policy. */
  policy(digest: string): void;
  /** Resolves when all that was told of a job is on record, and rejects while it cannot be: nothing is acknowledged then. */
  settled(job: string): Promise<void>;
  /** Why nothing can be put on record now; undefined: nothing stands against it. */
  problem(): string | undefined;
}

export interface StreamRecord {
  input(chunk: Uint8Array): void;
  output(piece: Uint8Array): void;
  finding(finding: Finding): void;
  /** No more comes; called once. */
  end(): void;
  /** Resolves when more of the job may come, which undefined says at once: too much of it waits to be put on record. */
  room(): Promise<void> | undefined;
  /** As that of the evidence. */
  settled(): Promise<void>;
}

/** What findings of requests without a job are filed under. */
export const NO_JOB = "-";

export interface FindingOptions {
  readonly actions: ActionTable;
  /** Needed where an action is `webhook`. */
  readonly webhook?: WebhookOptions;
}

/** For what waits to be sent by a webhook that another one takes the place of. */
const WEBHOOK_GRACE_MS = 60_000;

/** Figures with labels. */
export type Table = "findings" | "requests" | "refusals" | "upstreamFailures" | "syslogMessages" | "syslogDropped" | "syslogRefused";

/** Sums over all streams since the start. */
export class Figures {
  inputBytes = 0;
  outputBytes = 0;
  failedJobs = 0;
  /** By kind and sureness, joined by a space. */
  readonly findings = new Map<string, number>();
  /** By listener and class of the answer, joined by a space. */
  readonly requests = new Map<string, number>();
  /** Exchanges with the upstream that failed, by kind. */
  readonly upstreamFailures = new Map<string, number>();
  /** From the end of a request to the head of its answer. */
  readonly upstreamSeconds = new Buckets();
  /** What was refused, by reason. */
  readonly refusals = new Map<string, number>();
  /** Messages that were taken, by listener. */
  readonly syslogMessages = new Map<string, number>();
  /** Messages that were neither kept nor passed on, by listener; `forward`: on their way out. */
  readonly syslogDropped = new Map<string, number>();
  /** Connections that were not taken, or closed for what came, by listener. */
  readonly syslogRefused = new Map<string, number>();

  /** A finding, by a key of the table. */
  found(key: string): void {
    this.findings.set(key, (this.findings.get(key) ?? 0) + 1);
  }

  count(table: Table, ...labels: readonly string[]): void {
    this.add(table, 1, ...labels);
  }

  add(table: Table, count: number, ...labels: readonly string[]): void {
    const key = labels.join(" ");
    this[table].set(key, (this[table].get(key) ?? 0) + count);
  }
}

export class Accounts {
  readonly figures = new Figures();
  private readonly failed = new Map<string, string>();
  private readonly warnings: Warnings;
  private webhook: Webhook | undefined;
  private toldPolicy = "";
  private requests = 0;

  constructor(
    readonly evidence: Evidence,
    private readonly gate: Gate,
    /** Digest of what streams that are opened now are masked by. */
    private readonly policy: () => string,
    private readonly tell: (message: string) => void,
    private onFinding: FindingOptions,
  ) {
    this.warnings = new Warnings(tell);
    this.webhook = this.webhookFor(onFinding);
  }

  /** From now on other things are done about findings. */
  apply(onFinding: FindingOptions): void {
    const { webhook } = onFinding;
    if (webhook === undefined || this.webhook?.isFor(webhook) !== true) {
      // What waits there is still sent there.
      void this.webhook?.close(WEBHOOK_GRACE_MS);
      this.webhook = this.webhookFor(onFinding);
    }
    this.onFinding = onFinding;
  }

  get webhookStats(): WebhookStats {
    return this.webhook?.stats ?? { queued: 0, delivered: 0, dropped: 0 };
  }

  /** Tells the rest, for at most so long. */
  async close(graceMs: number): Promise<void> {
    this.warnings.sweep(0);
    await this.webhook?.close(graceMs);
  }

  private webhookFor({ webhook }: FindingOptions): Webhook | undefined {
    return webhook && new Webhook(webhook, this.tell);
  }

  /** Puts the policy in force on record, before anything refers to it. */
  tellPolicy(): string {
    const digest = this.policy();
    if (digest !== this.toldPolicy) this.evidence.policy((this.toldPolicy = digest));
    return digest;
  }

  /** Jobs of which nothing more is taken. */
  get failedJobs(): number {
    return this.failed.size;
  }

  /** Of a stream that is opened now and goes on at an offset of its input. */
  open(job: string, stream: string, offset = 0): Account {
    const policy = this.tellPolicy();
    return new Account(this, job, stream, policy, this.evidence.record(job, stream, offset, policy));
  }

  /** Of a forwarded body, under a name of its own. */
  openRequest(job: string | undefined): Account {
    return this.open(job ?? NO_JOB, `request-${STARTED}-${++this.requests}`);
  }

  /** Throws a {@link Refusal} where nothing may be taken: 503, or 422 for a job that has failed. */
  check(job: string | undefined): void {
    this.gate.check(job);
    const problem = this.evidence.problem();
    if (problem !== undefined) throw new Refusal(503, `${problem}; nothing is taken until it can be`, { "retry-after": "10" }, "store");
    const why = job === undefined ? undefined : this.failed.get(job);
    if (why !== undefined) throw failure(why);
  }

  /** A job has ended: what comes under its name is another one's. */
  forgive(job: string): void {
    this.failed.delete(job);
  }

  /** Tells what is due of warnings that were held back. */
  sweep(): void {
    this.warnings.sweep();
  }

  /** For {@link Account} only: does what is to be done about a finding. A million may come in one body: what they have in common is looked up once. */
  found(account: Account, finding: Finding): readonly Action[] {
    const kind = account.kinds.of(finding, this.onFinding.actions);
    this.figures.found(kind.figure);
    if (kind.warns) this.warnings.found(kind.what, finding);
    if (kind.isSent) this.webhook?.send(account.job, finding, account.policy);
    return kind.actions;
  }

  /** For {@link Account} only. */
  fail(job: string, stream: string, why: string): void {
    if (this.failed.has(job)) return;
    this.figures.failedJobs++;
    this.evidence.event("failed", job, { stream });
    // Without a job there is nothing that could be ended: the request alone fails.
    if (job === NO_JOB) return;
    this.failed.set(job, why);
    this.tell(`job ${job} has failed: ${why}, stream ${stream}; nothing more of it is taken until it is ended`);
  }
}

/** What an account is told while a body is masked. */
export type Tally = Pick<Account, "input" | "output" | "check" | "end" | "room" | "settled">;

/** Tells requests of this process from those of others: names of streams in the audit. */
const STARTED = Date.now().toString(36);

const failure = (why: string): Refusal =>
  new Refusal(
    422,
    `${why} was found in this job, and onFinding.actions says fail-job: what was taken stays, masked; nothing more is taken until the job is ended`,
  );

export class Account {
  private failed: string | undefined;
  /** For {@link Accounts} only. */
  readonly kinds: Kinds;

  constructor(
    private readonly accounts: Accounts,
    readonly job: string,
    readonly stream: string,
    readonly policy: string,
    private readonly record: StreamRecord,
  ) {
    this.kinds = new Kinds(job);
  }

  input(chunk: Uint8Array): void {
    this.accounts.figures.inputBytes += chunk.length;
    this.record.input(chunk);
  }

  output(pieces: readonly Uint8Array[]): void {
    for (const piece of pieces) {
      this.accounts.figures.outputBytes += piece.length;
      this.record.output(piece);
    }
  }

  /** Output of before: it is part of the stream, and was counted. */
  restore(piece: Uint8Array): void {
    this.record.output(piece);
  }

  found(finding: Finding): void {
    this.record.finding(finding);
    if (!this.accounts.found(this, finding).includes("fail-job") || this.failed !== undefined) return;
    this.failed = finding.rule === undefined ? `secret ${finding.secret}` : `a match of rule ${finding.rule}`;
    this.accounts.fail(this.job, this.stream, this.failed);
  }

  /** Throws a {@link Refusal} where no more may be taken. */
  check(): void {
    if (this.job === NO_JOB && this.failed !== undefined) throw failure(this.failed);
    this.accounts.check(this.job === NO_JOB ? undefined : this.job);
  }

  end(): void {
    this.record.end();
  }

  /** See {@link StreamRecord.room}. */
  room(): Promise<void> | undefined {
    return this.record.room();
  }

  /** Resolves when all that was found is on record; rejects while it cannot be. */
  settled(): Promise<void> {
    return this.record.settled();
  }
}
