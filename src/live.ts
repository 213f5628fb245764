/** A live stream: a redactor that the engine keeps up to date with late secrets, and whose findings get names. */
import { LogveilError } from "./errors.js";
import type { Masks } from "./core/mask.js";
import type { NeedleSet } from "./core/matcher.js";
import type { Redactor, RedactorFinding } from "./core/redactor.js";
import type { Limits } from "./limits.js";
import type { Policy } from "./policy.js";
import type { Learn } from "./rules/detect.js";
import type { Place } from "./secrets/known.js";
import type { Group, SecretMeta } from "./secrets/registry.js";
import type { Finding, Warning } from "./types.js";

export interface StreamOptions {
  /** Job whose secrets are masked besides the global ones. */
  readonly scope?: string;
  /** What findings call the stream. */
  readonly name?: string;
  /** Ends the stream with `LV_ABORTED`; nothing held back is released. */
  readonly signal?: AbortSignal;
  readonly onFinding?: (finding: Finding) => void;
  /** The bytes are strings of a structured body that a framing has joined: rules tell keys, values and their ends by its separators. */
  readonly joined?: boolean;
}

/**
 * The push/end machine. `push` answers what may leave, in order; the pieces may be views of the chunk: use or copy them before you reuse its memory.
 * Call `idle` after `limits.holdBackMs` of silence, `end` once. Throws `LV_CLOSED` after `end` or `close`.
 */
export interface RedactorStream {
  readonly name: string;
  /** Bytes taken in. */
  readonly offset: number;
  /** Bytes held back. */
  readonly heldBytes: number;
  /** Bytes looked at so far, those of rules included: at most a constant times what came in. */
  readonly work: number;
  /** Offset at which a new stream may go on, as at those before it that are not within a finding: nothing unfinished reaches over it, though it may have left after silence. */
  readonly settled: number;
  push(chunk: Uint8Array): Uint8Array[];
  idle(): Uint8Array[];
  end(): Uint8Array[];
  /** Gives the stream up: what is held back is dropped. */
  close(): void;
}

/** What a redactor asks of its stream. */
export interface RedactorHost {
  /** Id of a rule by its number. */
  ruleId(this: void, rule: number): string;
  found(this: void, finding: RedactorFinding): void;
  learn: Learn;
  activeFrom(this: void, set: number, needle: number): number;
  hasLearned(this: void): boolean;
  learned(this: void): readonly NeedleSet[];
  /** The registered secrets in a text that was decoded. */
  known(this: void, text: Uint8Array): Place[];
}

/** What a stream asks of its engine. */
export interface StreamHost {
  readonly limits: Limits;
  /** The sets that concern a stream of `scope`. */
  groupsOf(scope: string, policy: Policy): readonly Group[];
  masksOf(scope: string, groups: readonly Group[]): Masks;
  openRedactor(policy: Policy, groups: () => readonly Group[], masks: () => Masks, host: RedactorHost, joined: boolean): Redactor;
  /** Makes what a rule found in `origin` a known secret of its scope; undefined if it is not worth that. */
  learn(origin: LiveStream, rule: number, value: Buffer): SecretMeta | undefined;
  /** The secrets of groups in a text of its own. */
  placesIn(groups: readonly Group[], text: Uint8Array): Place[];
  report(finding: Finding, onFinding: ((finding: Finding) => void) | undefined): void;
  warn(warning: Warning): void;
  drop(stream: LiveStream): void;
}

/** Streams opened in this process: what makes the scope of one without a job its own. */
let opened = 0;

/** A stream that the engine keeps up to date with late secrets, and names findings for. */
export class LiveStream implements RedactorStream {
  /** The job, or a name of its own: what rules find in a stream without a job is its own. */
  readonly scope: string;
  readonly isPrivate: boolean;
  /** Where the log itself gave a secret away: from there on it is looked for. */
  private readonly learnedAt = new Map<SecretMeta, number>();
  private learnedNew = false;
  /** There are other secrets than it knows: it takes them on before anything else. */
  private isStale = false;
  private groups: readonly Group[];
  private masks: Masks;
  private readonly redactor: Redactor;
  private readonly counts = new Map<string, number>();
  private closed = false;

  constructor(
    private readonly engine: StreamHost,
    /** What it was opened with. */
    readonly policy: Policy,
    private readonly options: StreamOptions,
    readonly name: string,
  ) {
    this.isPrivate = options.scope === undefined;
    this.scope = options.scope ?? `\0${name}\0${++opened}`;
    this.groups = engine.groupsOf(this.scope, policy);
    this.masks = engine.masksOf(this.scope, this.groups);
    this.redactor = engine.openRedactor(
      policy,
      () => this.groups,
      () => this.masks,
      {
        ruleId: (rule) => this.ruleId(rule),
        found: (finding) => this.found(finding),
        learn: (rule, value, end) => this.learn(rule, value, end),
        activeFrom: (set, needle) => (this.learnedAt.size === 0 ? 0 : (this.learnedAt.get(this.groups[set]!.owners[needle]!) ?? 0)),
        hasLearned: () => this.learnedNew,
        learned: () => this.refresh(),
        // What was learned does not count: where it is known from depends on the stream.
        known: (text) => engine.placesIn(engine.groupsOf(this.scope, policy), text).filter(({ secret }) => !this.learnedAt.has(secret)),
      },
      options.joined === true,
    );
  }

  get offset(): number {
    return this.redactor.offset;
  }

  get heldBytes(): number {
    return this.redactor.heldBytes;
  }

  get work(): number {
    return this.redactor.work;
  }

  get settled(): number {
    return this.redactor.settled;
  }

  push(chunk: Uint8Array): Uint8Array[] {
    this.checkOpen();
    if (!(chunk instanceof Uint8Array)) throw new LogveilError("LV_USAGE", "push takes a Uint8Array; encode strings first");
    this.catchUp();
    return this.redactor.push(chunk);
  }

  idle(): Uint8Array[] {
    this.checkOpen();
    this.catchUp();
    return this.redactor.heldBytes === 0 ? [] : this.redactor.idle();
  }

  end(): Uint8Array[] {
    this.checkOpen();
    this.catchUp();
    const rest = this.redactor.end();
    this.finish();
    return rest;
  }

  close(): void {
    if (this.closed) return;
    // What has left is still told of.
    this.catchUp();
    this.redactor.dispose();
    this.finish();
  }

  ruleId(rule: number): string {
    return this.policy.rules!.pack.rules[rule]!.id;
  }

  /** The secrets have changed. What is looked at again for that is its own time: it takes them on when it is used next, or by {@link catchUp}. */
  outdate(): void {
    this.isStale = true;
  }

  /** Takes on the secrets that have come since. */
  catchUp(): void {
    if (!this.isStale || this.closed) return;
    this.isStale = false;
    this.redactor.adopt(this.refresh());
  }

  private refresh(): NeedleSet[] {
    this.learnedNew = false;
    this.groups = this.engine.groupsOf(this.scope, this.policy);
    this.masks = this.engine.masksOf(this.scope, this.groups);
    return this.groups.map((group) => group.set);
  }

  private learn(rule: number, value: Buffer, end: number): void {
    const secret = this.engine.learn(this, rule, value);
    if (secret === undefined) return;
    const before = this.learnedAt.get(secret);
    // Known from elsewhere: everywhere.
    if (before === undefined && this.groups.some((group) => group.owners.includes(secret))) return;
    if (before !== undefined && before <= end) return;
    this.learnedAt.set(secret, end);
    this.learnedNew = true;
  }

  private found({ kind, set, needle, line, offset, length, note }: RedactorFinding): void {
    const place = { stream: this.name, line, offset, length };
    if (note !== undefined) {
      const { variant, confidence, fingerprint } = note;
      const rule = note.secret === undefined ? this.ruleId(needle) : undefined;
      const what = rule === undefined ? { secret: note.secret! } : { secret: rule, rule, confidence };
      this.engine.report({ kind, ...what, variant, fingerprint, ...place }, this.options.onFinding);
      return;
    }
    const group = this.groups[set]!;
    const secret = group.owners[needle]!;
    const variant = group.variants[needle]!;
    this.engine.report({ kind, secret: secret.name, variant, fingerprint: secret.fingerprint, ...place }, this.options.onFinding);
    this.judge(secret.name, offset);
  }

  /** Reports a secret that masks absurdly often: most likely it is no secret. It stays masked. */
  private judge(secret: string, offset: number): void {
    const count = (this.counts.get(secret) ?? 0) + 1;
    this.counts.set(secret, count);
    const { overMaskHits, overMaskPerKiB } = this.engine.limits;
    if (count < overMaskHits || count < (offset / 1024) * overMaskPerKiB) return;
    this.counts.set(secret, -Infinity);
    this.engine.warn({
      code: "LV_OVER_MASK",
      message: `secret ${secret} was masked ${count} times in the first ${offset} bytes of ${this.name}: its value may be ordinary text; it stays masked`,
      secret,
      stream: this.name,
    });
  }

  private finish(): void {
    this.closed = true;
    this.engine.drop(this);
  }

  private checkOpen(): void {
    if (this.closed) throw new LogveilError("LV_CLOSED", `stream ${this.name} has ended`);
  }
}
