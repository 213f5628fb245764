/** The composition root: secrets + matcher + masks -> {@link Engine}. Each part is tested on its own; this file only connects them. */
import type { Transform } from "node:stream";
import type { TransformStream } from "node:stream/web";
import { LogveilError } from "./errors.js";
import { type Limits, resolveLimits } from "./limits.js";
import { checkMask, maskFamilies, type Masks } from "./core/mask.js";
import type { MatcherFactory } from "./core/matcher.js";
import { Redactor } from "./core/redactor.js";
import { LiveStream, type RedactorHost, type RedactorStream, type StreamHost, type StreamOptions } from "./live.js";
import { type EngineChoice, loadMatcher, portableNotice } from "./native/loader.js";
import { checkMaskText, Policies, type Policy, policyDigest } from "./policy.js";
import type { RulesOptions } from "./rules/builtin.js";
import { detect } from "./rules/detect.js";
import { fingerprinter } from "./secrets/fingerprint.js";
import { type Place, placesIn } from "./secrets/known.js";
import { MaskTable } from "./core/masks.js";
import { type Group, type RegistryContext, type SecretMeta, SecretStore, type SharedGroup } from "./secrets/registry.js";
import { DEFAULT_SALIENCE, type SalienceOptions } from "./secrets/salience.js";
import { FindingQueue } from "./stream/findings.js";
import { iterate } from "./stream/iterate.js";
import { transform } from "./stream/node.js";
import { transformWeb } from "./stream/web.js";
import { TURNS } from "./turns.js";
import type { EngineStats, Finding, MaskOptions, MaskStyle, SecretInput, SecretReport, Warning } from "./types.js";
import { randomBytes } from "node:crypto";

/** What a caller may say. */
export interface EngineOptions {
  readonly secrets?: readonly SecretInput[];
  /** What {@link Engine.share} of another thread's engine answered: its secrets, mask and limits hold here too; `mask` and `limits` must then be absent. */
  readonly shared?: SharedSecrets;
  readonly mask?: MaskStyle | MaskOptions;
  readonly limits?: Partial<Limits>;
  /** Rules for secrets that no one told of: all built-in ones by default. False: known secrets only. */
  readonly rules?: false | RulesOptions;
  /** What is worth masking, see {@link SalienceOptions}. */
  readonly salience?: Partial<SalienceOptions>;
  /** `auto` (default): native where the addon loads, else portable. */
  readonly engine?: EngineChoice;
  /** 32 random bytes that fingerprints are keyed with; absent: random for this engine. Throws `LV_KEY_LENGTH` for another length. */
  readonly fingerprintKey?: Uint8Array;
  readonly onFinding?: (finding: Finding) => void;
  readonly onWarning?: (warning: Warning) => void;
}

export type Chunk = Uint8Array | string;

/** Everything that masks: an engine, or a scope of it. */
export interface Masker {
  /** Masks a whole text at once; a string gives a string, bytes give bytes. The event loop waits for it: large texts and those of strangers belong in a stream, which is masked in turns. */
  redact(input: string, options?: StreamOptions): string;
  redact(input: Uint8Array, options?: StreamOptions): Buffer;
  stream(options?: StreamOptions): RedactorStream;
  /** A Node stream. A chunk is its own until its write callback ran. */
  transform(options?: StreamOptions): Transform;
  transformWeb(options?: StreamOptions): TransformStream<Uint8Array, Uint8Array>;
  iterate(source: AsyncIterable<Chunk> | Iterable<Chunk>, options?: StreamOptions): AsyncGenerator<Buffer, void, void>;
  /** When it has resolved, every byte not yet released is checked against the new secrets, in every live stream concerned; released ones are reported as `exposed`. */
  addSecrets(secrets: readonly SecretInput[]): Promise<readonly SecretReport[]>;
}

/** One job: its secrets mask only its own streams. */
export interface Scope extends Masker {
  readonly name: string;
  /** Forgets the job's secrets. Its streams must have ended. */
  close(): void;
}

/** The secrets of an engine for the worker threads of the same process; survives `postMessage` and `workerData`. Holds no secret bytes. */
export interface SharedSecrets {
  readonly scopes: readonly { readonly name: string; readonly groups: readonly SharedGroup[] }[];
  readonly mask: MaskOptions;
  readonly limits: Limits;
}

export interface Engine extends Masker {
  readonly engine: "native" | "portable";
  readonly limits: Limits;
  /** Secrets that are not masked, or only with restrictions. */
  readonly reports: readonly SecretReport[];
  /** Digest of rules, of what is done with what they find, and of masks: BLAKE3, 64 hex digits. Nothing of secrets is in it. */
  readonly policy: string;
  stats(): EngineStats;
  /** For who has handed over secrets before the first stream: throws `LV_MASK_TEXT` if the mask's own text holds one, or is masked by a rule. Later another mask is used. */
  checkMask(): void;
  scope(name: string): Scope;
  /** Whether streams of a scope, or of none, are masked by anything: by rules, or by secrets. */
  masksAnything(scope?: string): boolean;
  /**
   * Puts other secrets of all streams and other rules in place of those that there are; those of scopes stay, and the secrets' own `scope` does not count. When it has resolved, streams that are open are masked by the
   * new secrets too, as by `addSecrets`, and by all they were masked by before; streams opened from then on by the new secrets and rules alone. Rejects where secrets
   * or rules are wrong, as `createEngine` throws, and nothing has changed.
   */
  replace(options: Pick<EngineOptions, "secrets" | "rules">): Promise<readonly SecretReport[]>;
  /**
   * The secrets known now, for {@link EngineOptions.shared} in worker threads: they use the same memory. Open the workers' engines before this one is closed
   * or gets more secrets; those that come later are unknown to the workers until they are given a new share. Throws `LV_USAGE` on the portable engine.
   */
  share(): SharedSecrets;
  /** Findings from now on, until the engine is closed or the loop is left. */
  findings(): AsyncIterableIterator<Finding>;
  /** Forgets all secrets. Streams that are open can no longer be used. */
  close(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Builds an engine. Throws `LV_USAGE`, `LV_KEY_LENGTH`, `LV_SECRET_NAME`, `LV_SECRET_TOO_LONG`, `LV_MASK_TEXT`, `LV_NATIVE_MISSING`. */
export function createEngine(options: EngineOptions = {}): Engine {
  return new EngineCore(options);
}

/** Name of the scope that every stream belongs to. */
const GLOBAL = "";

class EngineCore implements Engine, StreamHost {
  readonly limits: Limits;
  readonly reports: SecretReport[] = [];
  private readonly factory: MatcherFactory;
  private readonly mask: MaskOptions & { style: MaskStyle };
  private readonly stores = new Map<string, SecretStore>();
  private readonly masks: MaskTable;
  private readonly live = new Set<LiveStream>();
  private readonly queue = new FindingQueue();
  private readonly context: RegistryContext;
  private readonly policies: Policies;
  private readonly warnedLearned = new Set<string>();
  private adding: Promise<unknown> = Promise.resolve();
  private opened = 0;
  private closed = false;

  constructor(private readonly options: EngineOptions) {
    const { shared } = options;
    if (shared !== undefined && (options.mask !== undefined || options.limits !== undefined)) {
      throw new LogveilError("LV_USAGE", "shared secrets bring their mask and limits along: leave out mask and limits");
    }
    this.limits = resolveLimits(shared?.limits ?? options.limits);
    this.factory = loadMatcher(options.engine);
    this.mask = checkMask(shared?.mask ?? options.mask);
    this.context = {
      factory: this.factory,
      limits: this.limits,
      salience: { ...DEFAULT_SALIENCE, ...options.salience },
      families: maskFamilies(this.mask),
      fingerprint: fingerprinter(options.fingerprintKey ?? randomBytes(32)),
    };
    this.masks = new MaskTable(this.context, (warning) => this.warn(warning));
    this.policies = new Policies(this.context, options.rules);
    const notice = portableNotice(options.engine, this.engine);
    if (notice !== undefined) this.warn({ code: "LV_PORTABLE", message: notice });
    for (const { name, groups } of shared?.scopes ?? []) this.store(name).adoptShared(groups);
    const inputs = options.secrets ?? [];
    try {
      const scopeOf = (input: SecretInput): string => input?.scope ?? GLOBAL;
      for (const scope of new Set(inputs.map(scopeOf))) this.reports.push(...this.store(scope).add(inputs.filter((input) => scopeOf(input) === scope)));
      this.checkMask();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get engine(): "native" | "portable" {
    return this.factory.engine;
  }

  get policy(): string {
    return policyDigest(this.policies.current, this.mask);
  }

  stats(): EngineStats {
    const stats = { rules: this.policies.current.rules?.pack.rules.length ?? 0, secrets: 0, needles: 0, needleBytes: 0, memoryBytes: 0 };
    for (const store of [this.policies.current.secrets, ...this.stores.values()]) {
      stats.secrets += store.secrets;
      for (const { set } of store.groups) {
        stats.needles += set.needles;
        stats.needleBytes += set.needleBytes;
        stats.memoryBytes += set.memoryBytes;
      }
    }
    return stats;
  }

  checkMask(policy = this.policies.current): void {
    for (const scope of [GLOBAL, ...this.stores.keys()]) checkMaskText(this.mask, policy, this.groupsOf(scope, policy), this.context);
  }

  redact(input: string, options?: StreamOptions): string;
  redact(input: Uint8Array, options?: StreamOptions): Buffer;
  redact(input: string | Uint8Array, options?: StreamOptions): string | Buffer {
    const stream = this.stream(options);
    const output = Buffer.concat([...stream.push(typeof input === "string" ? Buffer.from(input) : input), ...stream.end()]);
    return typeof input === "string" ? output.toString() : output;
  }

  stream(options: StreamOptions = {}): RedactorStream {
    this.checkOpen();
    const stream = new LiveStream(this, this.policies.take(), options, options.name ?? `stream-${++this.opened}`);
    this.live.add(stream);
    return stream;
  }

  transform(options: StreamOptions = {}): Transform {
    return transform(this.stream(options), this.limits.holdBackMs, options.signal, options.scope ?? GLOBAL);
  }

  transformWeb(options: StreamOptions = {}): TransformStream<Uint8Array, Uint8Array> {
    return transformWeb(this.stream(options), this.limits.holdBackMs, options.signal, options.scope ?? GLOBAL);
  }

  iterate(source: AsyncIterable<Chunk> | Iterable<Chunk>, options: StreamOptions = {}): AsyncGenerator<Buffer, void, void> {
    return iterate(this.stream(options), source, this.limits.holdBackMs, options.signal, options.scope ?? GLOBAL);
  }

  addSecrets(secrets: readonly SecretInput[], scope?: string): Promise<readonly SecretReport[]> {
    return this.inTurn(() => this.add(secrets, scope));
  }

  replace(options: Pick<EngineOptions, "secrets" | "rules">): Promise<readonly SecretReport[]> {
    return this.inTurn(() => this.exchange(options));
  }

  masksAnything(scope: string = GLOBAL): boolean {
    const { current } = this.policies;
    return (current.rules?.pack.rules.length ?? 0) > 0 || this.groupsOf(scope, current).length > 0;
  }

  scope(name: string): Scope {
    if (typeof name !== "string" || name === GLOBAL) throw new LogveilError("LV_USAGE", "a scope needs a non-empty name");
    const bound = (options?: StreamOptions): StreamOptions => ({ ...options, scope: name });
    const redact = (input: never, options?: StreamOptions): never => this.redact(input, bound(options)) as never;
    return {
      name,
      redact: redact,
      stream: (options) => this.stream(bound(options)),
      transform: (options) => this.transform(bound(options)),
      transformWeb: (options) => this.transformWeb(bound(options)),
      iterate: (source, options) => this.iterate(source, bound(options)),
      addSecrets: (secrets) => this.addSecrets(secrets, name),
      close: () => this.closeScope(name),
    };
  }

  share(): SharedSecrets {
    this.checkOpen();
    const stores = [[GLOBAL, this.policies.current.secrets] as const, ...this.stores];
    return { scopes: stores.map(([name, store]) => ({ name, groups: store.share() })), mask: this.mask, limits: this.limits };
  }

  findings(): AsyncIterableIterator<Finding> {
    this.checkOpen();
    return this.queue.subscribe();
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    for (const stream of this.live) stream.close();
    for (const store of this.stores.values()) store.close();
    this.stores.clear();
    this.policies.close();
    this.queue.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.adding;
    this.close();
  }

  /** The sets that concern a stream of `scope`. */
  groupsOf(scope: string, { secrets }: Policy): readonly Group[] {
    return [...secrets.groups, ...(this.stores.get(scope)?.groups ?? [])];
  }

  masksOf(scope: string, groups: readonly Group[]): Masks {
    return this.masks.of(scope, groups);
  }

  learn(origin: LiveStream, rule: number, value: Buffer): SecretMeta | undefined {
    if (origin.policy.secrets.knows(value)) return undefined;
    const store = this.store(origin.scope);
    if (store.secrets >= this.limits.maxLearned && !this.warnedLearned.has(origin.scope)) {
      this.warnedLearned.add(origin.scope);
      this.warn({
        code: "LV_LEARNED",
        message: `rules found more than ${this.limits.maxLearned} values (limits.maxLearned); further ones are masked where rules find them only`,
      });
    }
    const learned = this.warnedLearned.has(origin.scope) ? undefined : store.learn(origin.ruleId(rule), value);
    if (learned?.isNew === true) for (const stream of this.live) if (stream !== origin && stream.scope === origin.scope) stream.outdate();
    return learned?.secret;
  }

  placesIn(groups: readonly Group[], text: Uint8Array): Place[] {
    return placesIn(this.factory, groups, this.limits.maxGapBytes, text);
  }

  openRedactor({ rules }: Policy, groups: () => readonly Group[], masks: () => Masks, host: RedactorHost, joined: boolean): Redactor {
    const { ruleId, found, learn, known, activeFrom, hasLearned, learned } = host;
    return new Redactor(
      {
        factory: this.factory,
        maxGapBytes: this.limits.maxGapBytes,
        exposureWindowBytes: this.limits.exposureWindowBytes,
        needleBytes: (set, needle) => groups()[set]!.lengths[needle]!,
        mask: (set, needle, note) => {
          if (note !== undefined) return masks().for(note.secret ?? ruleId(needle), note.fingerprint);
          const { name, fingerprint } = groups()[set]!.owners[needle]!;
          return masks().for(name, fingerprint);
        },
        found,
        ...(rules && {
          detector: (mask) =>
            detect(rules.pack, { ...rules.searches, known }, mask, (value) => this.context.fingerprint(value), rules.learn ? learn : undefined, joined),
        }),
        ...(rules?.learn === true ? { activeFrom, hasLearned, learned } : {}),
      },
      groups().map((group) => group.set),
    );
  }

  report(finding: Finding, onFinding: ((finding: Finding) => void) | undefined): void {
    this.options.onFinding?.(finding);
    onFinding?.(finding);
    this.queue.push(finding);
  }

  warn(warning: Warning): void {
    this.options.onWarning?.(warning);
  }

  drop(stream: LiveStream): void {
    this.live.delete(stream);
    this.policies.give(stream.policy);
    if (stream.isPrivate) this.forget(stream.scope);
  }

  /** One after the other: a store is rebuilt from what the call before left. */
  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.adding.then(work);
    this.adding = result.catch(() => undefined);
    return result;
  }

  private async exchange({ secrets = [], rules }: Pick<EngineOptions, "secrets" | "rules">): Promise<readonly SecretReport[]> {
    this.checkOpen();
    const reports = await this.policies.replace(secrets, rules, (next) => {
      this.checkOpen();
      this.checkMask(next);
    });
    await this.catchUp(GLOBAL);
    this.reports.splice(0, Infinity, ...reports);
    return reports;
  }

  private store(scope: string): SecretStore {
    if (scope === GLOBAL) return this.policies.current.secrets;
    let store = this.stores.get(scope);
    if (store === undefined) this.stores.set(scope, (store = new SecretStore(this.context, () => this.policies.current.secrets)));
    return store;
  }

  private async add(secrets: readonly SecretInput[], bound: string | undefined): Promise<readonly SecretReport[]> {
    this.checkOpen();
    const reports: SecretReport[] = [];
    const scopeOf = (input: SecretInput): string => bound ?? input?.scope ?? GLOBAL;
    for (const scope of new Set(secrets.map(scopeOf))) {
      const own = secrets.filter((input) => scopeOf(input) === scope);
      const added = await (scope === GLOBAL ? this.policies.add(own) : this.store(scope).addAsync(own));
      this.checkOpen();
      reports.push(...added);
      await this.catchUp(scope);
    }
    this.reports.push(...reports);
    return reports;
  }

  /** Shows the streams of a scope its secrets. From now on none lets go of anything before it knows them; when this has resolved, all do. There may be thousands, each with 64 KiB to look at again. */
  private async catchUp(scope: string): Promise<void> {
    const streams = [...this.live].filter((stream) => scope === GLOBAL || stream.scope === scope);
    for (const stream of streams) stream.outdate();
    await TURNS.each(scope, streams, (stream) => stream.catchUp());
  }

  private closeScope(name: string): void {
    for (const stream of this.live) if (stream.scope === name) stream.close();
    this.forget(name);
  }

  private forget(scope: string): void {
    this.stores.get(scope)?.close();
    this.stores.delete(scope);
    this.masks.forget(scope);
    this.warnedLearned.delete(scope);
  }

  private checkOpen(): void {
    if (this.closed) throw new LogveilError("LV_CLOSED", "the engine has been closed");
  }
}
