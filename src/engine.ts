/** The composition root: secrets + matcher + masks -> {@link Engine}. Each part is tested on its own; this file only connects them. */
import type { Transform } from "node:stream";
import type { TransformStream } from "node:stream/web";
import { LogveilError } from "./errors.js";
import { type Limits, resolveLimits } from "./limits.js";
import { type MaskFamilies, maskFamilies, Masks } from "./core/mask.js";
import type { MatcherFactory } from "./core/matcher.js";
import { Redactor, type RedactorFinding } from "./core/redactor.js";
import { type EngineChoice, loadMatcher, nativeMissing } from "./native/loader.js";
import { fingerprinter } from "./secrets/fingerprint.js";
import { type Group, type RegistryContext, SecretStore } from "./secrets/registry.js";
import { DEFAULT_SALIENCE, type SalienceOptions } from "./secrets/salience.js";
import { FindingQueue } from "./stream/findings.js";
import { iterate } from "./stream/iterate.js";
import { transform } from "./stream/node.js";
import { transformWeb } from "./stream/web.js";
import type { Finding, MaskOptions, MaskStyle, SecretInput, SecretReport, Warning } from "./types.js";
import { randomBytes } from "node:crypto";

/** What a caller may say. */
export interface EngineOptions {
  readonly secrets?: readonly SecretInput[];
  readonly mask?: MaskStyle | MaskOptions;
  readonly limits?: Partial<Limits>;
  /** What is worth masking, see {@link SalienceOptions}. */
  readonly salience?: Partial<SalienceOptions>;
  /** `auto` (default): native where the addon loads, else portable. */
  readonly engine?: EngineChoice;
  /** 32 random bytes that fingerprints are keyed with; absent: random for this engine. Throws `LV_KEY_LENGTH` for another length. */
  readonly fingerprintKey?: Uint8Array;
  readonly onFinding?: (finding: Finding) => void;
  readonly onWarning?: (warning: Warning) => void;
}

export interface StreamOptions {
  /** Job whose secrets are masked besides the global ones. */
  readonly scope?: string;
  /** What findings call the stream. */
  readonly name?: string;
  /** Ends the stream with `LV_ABORTED`; nothing held back is released. */
  readonly signal?: AbortSignal;
  readonly onFinding?: (finding: Finding) => void;
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
  push(chunk: Uint8Array): Uint8Array[];
  idle(): Uint8Array[];
  end(): Uint8Array[];
  /** Gives the stream up: what is held back is dropped. */
  close(): void;
}

export type Chunk = Uint8Array | string;

/** Everything that masks: an engine, or a scope of it. */
export interface Masker {
  /** Masks a whole text; a string gives a string, bytes give bytes. */
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

export interface EngineStats {
  readonly secrets: number;
  readonly needles: number;
  readonly needleBytes: number;
  readonly memoryBytes: number;
}

export interface Engine extends Masker {
  readonly engine: "native" | "portable";
  readonly limits: Limits;
  /** Secrets that are not masked, or only with restrictions. */
  readonly reports: readonly SecretReport[];
  stats(): EngineStats;
  scope(name: string): Scope;
  /** Findings from now on, until the engine is closed or the loop is left. */
  findings(): AsyncIterableIterator<Finding>;
  /** Forgets all secrets. Streams that are open can no longer be used. */
  close(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Builds an engine. Throws `LV_USAGE`, `LV_KEY_LENGTH`, `LV_SECRET_TOO_LONG`, `LV_NATIVE_MISSING`. */
export function createEngine(options: EngineOptions = {}): Engine {
  return new EngineCore(options);
}

/** Name of the scope that every stream belongs to. */
const GLOBAL = "";

let warnedPortable = false;

class EngineCore implements Engine {
  readonly limits: Limits;
  readonly reports: SecretReport[] = [];
  private readonly factory: MatcherFactory;
  private readonly families: MaskFamilies;
  private readonly stores = new Map<string, SecretStore>();
  private readonly masks = new Map<string, { groups: readonly Group[]; masks: Masks }>();
  private readonly live = new Set<LiveStream>();
  private readonly queue = new FindingQueue();
  private readonly context: RegistryContext;
  private adding: Promise<unknown> = Promise.resolve();
  private opened = 0;
  private closed = false;

  constructor(private readonly options: EngineOptions) {
    this.limits = resolveLimits(options.limits);
    this.factory = loadMatcher(options.engine);
    this.families = maskFamilies(checkMask(options.mask));
    this.context = {
      factory: this.factory,
      limits: this.limits,
      salience: { ...DEFAULT_SALIENCE, ...options.salience },
      families: this.families,
      fingerprint: fingerprinter(options.fingerprintKey ?? randomBytes(32)),
    };
    if ((options.engine ?? "auto") === "auto" && this.engine === "portable" && !process.env["LOGVEIL_ENGINE"] && nativeMissing() && !warnedPortable) {
      warnedPortable = true;
      this.warn({ code: "LV_PORTABLE", message: "no native addon for this platform: masking runs on the portable engine, with the same results but slower" });
    }
    const inputs = options.secrets ?? [];
    for (const scope of new Set(inputs.map((input) => input?.scope ?? GLOBAL))) {
      this.reports.push(...this.store(scope).add(inputs.filter((input) => (input?.scope ?? GLOBAL) === scope)));
    }
  }

  get engine(): "native" | "portable" {
    return this.factory.engine;
  }

  stats(): EngineStats {
    const stats = { secrets: 0, needles: 0, needleBytes: 0, memoryBytes: 0 };
    for (const store of this.stores.values()) {
      stats.secrets += store.secrets;
      for (const { set } of store.groups) {
        stats.needles += set.needles;
        stats.needleBytes += set.needleBytes;
        stats.memoryBytes += set.memoryBytes;
      }
    }
    return stats;
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
    const stream = new LiveStream(this, options, options.name ?? `stream-${++this.opened}`);
    this.live.add(stream);
    return stream;
  }

  transform(options: StreamOptions = {}): Transform {
    return transform(this.stream(options), this.limits.holdBackMs, options.signal);
  }

  transformWeb(options: StreamOptions = {}): TransformStream<Uint8Array, Uint8Array> {
    return transformWeb(this.stream(options), this.limits.holdBackMs, options.signal);
  }

  iterate(source: AsyncIterable<Chunk> | Iterable<Chunk>, options: StreamOptions = {}): AsyncGenerator<Buffer, void, void> {
    return iterate(this.stream(options), source, this.limits.holdBackMs, options.signal);
  }

  addSecrets(secrets: readonly SecretInput[], scope?: string): Promise<readonly SecretReport[]> {
    // One after the other: a store is rebuilt from what the call before left.
    const result = this.adding.then(() => this.add(secrets, scope));
    this.adding = result.catch(() => undefined);
    return result;
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
    this.queue.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.adding;
    this.close();
  }

  /** The sets that concern a stream of `scope`. */
  groupsOf(scope: string | undefined): readonly Group[] {
    const own = scope === undefined || scope === GLOBAL ? [] : (this.stores.get(scope)?.groups ?? []);
    return [...(this.stores.get(GLOBAL)?.groups ?? []), ...own];
  }

  masksOf(scope: string | undefined, groups: readonly Group[]): Masks {
    const key = scope ?? GLOBAL;
    const known = this.masks.get(key);
    if (known !== undefined && known.groups.length === groups.length && known.groups.every((group, i) => group === groups[i])) return known.masks;
    const masks = new Masks(
      this.families,
      groups.map((group) => group.risks),
      (text) => this.holdsNeedle(text, groups),
      () =>
        this.warn({
          code: "LV_MASK_MAY_COMPOSE",
          message: "every mask that logveil knows meets the start or end of some secret; choose another --mask or mask text",
        }),
    );
    this.masks.set(key, { groups, masks });
    return masks;
  }

  openRedactor(
    groups: () => readonly Group[],
    mask: (group: Group, needle: number) => ReturnType<Masks["for"]>,
    found: (finding: RedactorFinding) => void,
  ): Redactor {
    return new Redactor(
      {
        factory: this.factory,
        maxGapBytes: this.limits.maxGapBytes,
        exposureWindowBytes: this.limits.exposureWindowBytes,
        needleBytes: (set, needle) => groups()[set]!.lengths[needle]!,
        mask: (set, needle) => mask(groups()[set]!, needle),
        found,
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
  }

  private store(scope: string): SecretStore {
    let store = this.stores.get(scope);
    if (store === undefined) this.stores.set(scope, (store = new SecretStore(this.context)));
    return store;
  }

  private async add(secrets: readonly SecretInput[], bound: string | undefined): Promise<readonly SecretReport[]> {
    this.checkOpen();
    const reports: SecretReport[] = [];
    const scopeOf = (input: SecretInput): string => bound ?? input?.scope ?? GLOBAL;
    for (const scope of new Set(secrets.map(scopeOf))) {
      const added = await this.store(scope).addAsync(secrets.filter((input) => scopeOf(input) === scope));
      this.checkOpen();
      reports.push(...added.reports);
      for (const stream of this.live) if (scope === GLOBAL || stream.scope === scope) stream.adopt(added.isNew);
    }
    this.reports.push(...reports);
    return reports;
  }

  private closeScope(name: string): void {
    for (const stream of this.live) if (stream.scope === name) stream.close();
    this.stores.get(name)?.close();
    this.stores.delete(name);
    this.masks.delete(name);
  }

  private holdsNeedle(text: Buffer, groups: readonly Group[]): boolean {
    const probe = this.factory.open(
      groups.map((group) => group.set),
      0,
      this.limits.maxGapBytes,
    );
    // A line end on both sides: a token needle counts inside a mask only if the mask itself bounds it.
    const rows = probe.scan(Buffer.concat([Buffer.from("\n"), text, Buffer.from("\n")]));
    probe.release();
    return rows > 0;
  }

  private checkOpen(): void {
    if (this.closed) throw new LogveilError("LV_CLOSED", "the engine has been closed");
  }
}

/** A stream that the engine keeps up to date with late secrets, and names findings for. */
class LiveStream implements RedactorStream {
  readonly scope: string | undefined;
  private groups: readonly Group[];
  private masks: Masks;
  private readonly redactor: Redactor;
  private readonly counts = new Map<string, number>();
  private closed = false;

  constructor(
    private readonly engine: EngineCore,
    private readonly options: StreamOptions,
    readonly name: string,
  ) {
    this.scope = options.scope;
    this.groups = engine.groupsOf(this.scope);
    this.masks = engine.masksOf(this.scope, this.groups);
    this.redactor = engine.openRedactor(
      () => this.groups,
      (group, needle) => this.masks.for(group.owners[needle]!.name, group.owners[needle]!.fingerprint),
      (finding) => this.found(finding),
    );
  }

  get offset(): number {
    return this.redactor.offset;
  }

  get heldBytes(): number {
    return this.redactor.heldBytes;
  }

  push(chunk: Uint8Array): Uint8Array[] {
    this.checkOpen();
    if (!(chunk instanceof Uint8Array)) throw new LogveilError("LV_USAGE", "push takes a Uint8Array; encode strings first");
    return this.redactor.push(chunk);
  }

  idle(): Uint8Array[] {
    this.checkOpen();
    return this.redactor.heldBytes === 0 ? [] : this.redactor.idle();
  }

  end(): Uint8Array[] {
    this.checkOpen();
    const rest = this.redactor.end();
    this.finish();
    return rest;
  }

  close(): void {
    if (this.closed) return;
    this.redactor.dispose();
    this.finish();
  }

  adopt(isNew: (group: Group, needle: number) => boolean): void {
    const groups = this.engine.groupsOf(this.scope);
    this.groups = groups;
    this.masks = this.engine.masksOf(this.scope, groups);
    this.redactor.adopt(
      groups.map((group) => group.set),
      (set, needle) => isNew(groups[set]!, needle),
    );
  }

  private found({ kind, set, needle, line, offset, length }: RedactorFinding): void {
    const group = this.groups[set]!;
    const secret = group.owners[needle]!;
    const variant = group.variants[needle]!;
    this.engine.report(
      { kind, secret: secret.name, variant, fingerprint: secret.fingerprint, stream: this.name, line, offset, length },
      this.options.onFinding,
    );
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

function checkMask(given: MaskStyle | MaskOptions | undefined): MaskOptions & { style: MaskStyle } {
  const options = typeof given === "string" ? { style: given } : { ...given };
  const style = options.style ?? "label";
  if (!["label", "fixed", "length", "keyed"].includes(style)) throw new LogveilError("LV_USAGE", "mask style must be label, fixed, length or keyed");
  const { text } = options;
  if (text !== undefined) {
    if (style !== "fixed" && style !== "length") throw new LogveilError("LV_USAGE", `a mask text goes with the styles fixed and length, not ${style}`);
    if (style === "length" && !/^[\x21-\x7e]$/.test(text))
      throw new LogveilError("LV_USAGE", "the text of a length mask must be one printable ASCII character");
    if (text === "" || Buffer.byteLength(text) > 64 || /[\p{Cc}\p{Zl}\p{Zp}]/u.test(text)) {
      throw new LogveilError("LV_USAGE", "a mask text must be 1 to 64 bytes without control characters or line ends");
    }
  }
  return { ...options, style };
}
