/**
 * The registry: what is secret in one scope, as sets of needles that a matcher searches. It decides nothing about masks and sees no log bytes.
 *
 * A store holds frozen groups (big, built once) and one late group that is rebuilt with every addition, so that a late secret is live after
 * building a small automaton, whatever the base's size. The late group's needle bytes stay in buffers of this process, zeroed when it is frozen or closed.
 */
import { LogveilError } from "../errors.js";
import type { Limits } from "../limits.js";
import { type MaskFamilies, type MaskRisks, maskRisks } from "../core/mask.js";
import type { MatcherFactory, NeedleSet, NeedleTable } from "../core/matcher.js";
import { atOnce, inTurns } from "../turns.js";
import type { SecretInput, SecretReport } from "../types.js";
import { type Expansion, expandSecret, type Needle } from "./expand.js";
import { NameList } from "./names.js";
import type { SalienceOptions } from "./salience.js";

export interface SecretMeta {
  readonly name: string;
  readonly fingerprint: string;
  /** A rule found it: its name is the id of the rule. */
  readonly isLearned?: true;
}

/** A needle with the secret it spells. */
interface OwnedNeedle extends Needle {
  readonly secret: SecretMeta;
}

/** A set of needles and whose they are. Immutable. */
export interface Group {
  readonly set: NeedleSet;
  readonly owners: readonly SecretMeta[];
  readonly variants: readonly string[];
  readonly lengths: Uint32Array;
  readonly risks: MaskRisks;
}

/** A group for another thread of the process: the set by the number it is shared under. */
export interface SharedGroup extends Omit<Group, "set"> {
  readonly id: number;
}

/** What a store needs from its engine. */
export interface RegistryContext {
  readonly factory: MatcherFactory;
  readonly limits: Limits;
  readonly salience: SalienceOptions;
  readonly families: MaskFamilies;
  fingerprint(value: Uint8Array): string;
}

export class SecretStore {
  private readonly frozen: Group[] = [];
  private late: Group | undefined;
  private lateNeedles: OwnedNeedle[] = [];
  /** Secrets by fingerprint. */
  private readonly metas = new Map<string, SecretMeta>();
  /** Those that callers gave them; a rule's is its id. */
  private readonly names = new NameList();

  constructor(
    private readonly context: RegistryContext,
    /** The store whose secrets concern this scope, too. */
    private readonly above: () => SecretStore | undefined = () => undefined,
  ) {}

  /** The sets in force. A new array after every change. */
  get groups(): readonly Group[] {
    return this.late === undefined ? [...this.frozen] : [...this.frozen, this.late];
  }

  get secrets(): number {
    return this.metas.size;
  }

  /** Adds secrets, building on this thread. Throws `LV_SECRET_NAME` and what is wrong with an input; nothing has changed then. */
  add(inputs: readonly SecretInput[]): SecretReport[] {
    return this.addAtOnce(inputs, "caller");
  }

  /** What a rule found is named by the rule, and bounded more than the limit for needles does. */
  private addAtOnce(inputs: readonly SecretInput[], origin: "caller" | "rule"): SecretReport[] {
    const maxNeedleBytes = origin === "rule" ? this.context.limits.inlineBuildBytes : Infinity;
    const { needles, reports, metas } = atOnce(this.expand(inputs, maxNeedleBytes, origin));
    let group: Group | undefined;
    const all = [...this.lateNeedles, ...needles];
    if (needles.length > 0) {
      const table = atOnce(tableOf(all));
      const set = this.context.factory.build(table);
      group = { set, ...atOnce(this.describe(all, table)) };
      table.bytes.fill(0);
    }
    try {
      if (origin === "caller") atOnce(this.checkNames(inputs, group));
    } catch (error) {
      drop(group, needles);
      throw error;
    }
    if (group !== undefined) this.publish(all, group);
    this.remember(metas);
    return reports;
  }

  /** Throws `LV_SECRET_NAME` if one of the names holds a value, or a name that there is one of the values that `group` adds. */
  private *checkNames(inputs: readonly SecretInput[], group: Group | undefined): Generator<number, void> {
    const { factory, limits } = this.context;
    const above = this.above();
    const added = group === undefined ? [] : [group];
    const all = [...added, ...this.groups, ...(above?.groups ?? [])];
    yield* new NameList(inputs.map(({ name }) => name)).check(all, factory, limits.maxGapBytes);
    for (const list of [this.names, ...(above === undefined ? [] : [above.names])]) yield* list.check(added, factory, limits.maxGapBytes);
  }

  /** Whether `value` is one of its secrets. */
  knows(value: Buffer): boolean {
    return this.metas.size > 0 && this.metas.has(this.context.fingerprint(value));
  }

  /** Adds a value that a rule found; answers whose it is and whether it is new, or undefined if it is not worth masking by itself. */
  learn(name: string, value: Buffer): { readonly secret: SecretMeta; readonly isNew: boolean } | undefined {
    const fingerprint = this.context.fingerprint(value);
    const known = this.metas.get(fingerprint);
    if (known !== undefined) return { secret: known, isNew: false };
    // What was masked before: a mask is no secret.
    if (this.context.families.texts.some(({ open }) => value.equals(Buffer.from(open)))) return undefined;
    this.addAtOnce([{ name, value }], "rule");
    const secret = this.metas.get(fingerprint);
    return secret === undefined ? undefined : { secret, isNew: true };
  }

  /**
   * Adds secrets: in turns with everything else, and many of them are built by another thread where the engine can. Calls must not overlap, but {@link learn} may be called.
   * Rejects as {@link add} throws; with `names` unchecked not for a name.
   */
  async addAsync(inputs: readonly SecretInput[], names: "checked" | "unchecked" = "checked"): Promise<SecretReport[]> {
    const { needles, reports, metas } = await inTurns(this.expand(inputs, Infinity, "caller"));
    const late = this.lateNeedles;
    const all = [...late, ...needles];
    let group: Group | undefined;
    if (needles.length > 0) {
      const table = await inTurns(tableOf(all));
      const { factory, limits } = this.context;
      const isSmall = needles.length <= limits.inlineBuildNeedles && bytesOf(needles) <= limits.inlineBuildBytes;
      const building = isSmall ? factory.build(table) : factory.buildAsync(table);
      // Described while another thread builds.
      const description = await inTurns(this.describe(all, table));
      group = { set: await building, ...description };
      table.bytes.fill(0);
    }
    try {
      if (names === "checked") await inTurns(this.checkNames(inputs, group));
    } catch (error) {
      drop(group, needles);
      throw error;
    }
    if (group === undefined || this.lateNeedles === late) {
      if (group !== undefined) this.publish(all, group);
    } else {
      // A rule found a value meanwhile: what is late now has that one, too, and stays.
      this.frozen.push(group);
      wipe(needles);
    }
    this.remember(metas);
    return reports;
  }

  /** The sets in force, for other threads of this process. */
  share(): SharedGroup[] {
    const { factory } = this.context;
    return this.groups.map(({ set, ...rest }) => {
      if (factory.share === undefined) throw new LogveilError("LV_USAGE", "only the native engine can share secrets with other threads");
      return { id: factory.share(set), ...rest };
    });
  }

  /** Adds what a store of another thread shares. */
  adoptShared(groups: readonly SharedGroup[]): void {
    const { factory } = this.context;
    for (const { id, ...rest } of groups) {
      if (factory.openShared === undefined) throw new LogveilError("LV_USAGE", "only the native engine can use secrets of other threads");
      this.frozen.push({ set: factory.openShared(id), ...rest });
      for (const owner of rest.owners) this.metas.set(owner.fingerprint, owner);
    }
  }

  close(): void {
    for (const group of this.groups) group.set.release();
    this.frozen.length = 0;
    this.late = undefined;
    wipe(this.lateNeedles);
    this.lateNeedles = [];
    this.metas.clear();
    this.names.clear();
  }

  private *describe(needles: readonly OwnedNeedle[], table: NeedleTable): Generator<number, Omit<Group, "set">> {
    const risks = yield* maskRisks(table, this.context.families);
    return {
      owners: needles.map((needle) => needle.secret),
      variants: needles.map((needle) => needle.variant),
      lengths: Uint32Array.from(needles, (needle) => needle.bytes.length),
      risks,
    };
  }

  /** Puts a new late group in force; a large one is frozen. The old one's automaton lives on in the streams that use it. */
  private publish(needles: OwnedNeedle[], group: Group): void {
    const { inlineBuildNeedles, inlineBuildBytes } = this.context.limits;
    this.late?.set.release();
    if (needles.length > inlineBuildNeedles || bytesOf(needles) > inlineBuildBytes) {
      this.frozen.push(group);
      this.late = undefined;
      this.lateNeedles = [];
      wipe(needles);
    } else {
      this.late = group;
      this.lateNeedles = needles;
    }
  }

  /** Only when they are looked for: until then one that is handed over again is no duplicate. */
  private remember(metas: ReadonlyMap<string, SecretMeta>): void {
    for (const [fingerprint, meta] of metas) {
      this.metas.set(fingerprint, meta);
      if (meta.isLearned !== true) this.names.add(meta.name);
    }
  }

  /** Throws before anything is expanded if an input is wrong. */
  private *expand(
    inputs: readonly SecretInput[],
    maxNeedleBytes: number,
    origin: "caller" | "rule",
  ): Generator<number, { needles: OwnedNeedle[]; reports: SecretReport[]; metas: Map<string, SecretMeta> }> {
    const { limits, salience } = this.context;
    const options = { ...salience, maxLeaves: limits.maxLeaves, maxNeedleBytes: Math.min(limits.maxNeedleBytes, maxNeedleBytes) };
    const values = inputs.map((input, index) => copyValue(input, checkName(input, index), limits.maxSecretBytes));
    const needles: OwnedNeedle[] = [];
    const reports: SecretReport[] = [];
    const metas = new Map<string, SecretMeta>();
    for (const [index, { name, expiresAt }] of inputs.entries()) {
      const value = values[index]!;
      const fingerprint = this.context.fingerprint(value);
      const twin = this.metas.get(fingerprint) ?? metas.get(fingerprint);
      yield value.length;
      const expansion: Expansion =
        expiresAt !== undefined && Number(expiresAt) <= Date.now()
          ? { needles: [], refused: "it has expired" }
          : twin === undefined
            ? yield* expandSecret(value, options)
            : { needles: [] };
      value.fill(0);
      reports.push(...reportsOf(name, expansion, twin));
      if (expansion.refused !== undefined || twin !== undefined) continue;
      const secret: SecretMeta = { name, fingerprint, ...(origin === "rule" && { isLearned: true }) };
      metas.set(fingerprint, secret);
      for (const needle of expansion.needles) needles.push({ ...needle, secret });
    }
    forgetMatches();
    return { needles, reports, metas };
  }
}

function reportsOf(name: string, { refused, token, limited }: Expansion, twin: SecretMeta | undefined): SecretReport[] {
  if (refused !== undefined) return [{ kind: "refused", name, reason: refused }];
  if (twin !== undefined) return [{ kind: "duplicate", name, reason: `it has the same value as ${twin.name}` }];
  return [
    ...(token === undefined ? [] : [{ kind: "token", name, reason: token } as const]),
    ...(limited === undefined ? [] : [{ kind: "limited", name, ...limited } as const]),
  ];
}

const bytesOf = (needles: readonly Needle[]): number => needles.reduce((sum, { bytes }) => sum + bytes.length, 0);

function wipe(needles: readonly Needle[]): void {
  for (const { bytes } of needles) bytes.fill(0);
}

/** Frees what was made of secrets that are refused. */
function drop(group: Group | undefined, needles: readonly Needle[]): void {
  group?.set.release();
  wipe(needles);
}

/** The engine keeps the text that a regular expression matched last, for `RegExp.$1` and its kin: makes that a text without secrets. */
function forgetMatches(): void {
  /(?:)/.test("");
}

/** Lays needles back to back. */
function* tableOf(needles: readonly Needle[]): Generator<number, NeedleTable> {
  const offsets = new Uint32Array(needles.length + 1);
  needles.forEach((needle, i) => (offsets[i + 1] = offsets[i]! + needle.bytes.length));
  const bytes = Buffer.allocUnsafeSlow(offsets[needles.length]!);
  for (const [i, needle] of needles.entries()) {
    bytes.set(needle.bytes, offsets[i]);
    yield needle.bytes.length >> 2;
  }
  return { bytes, offsets, flags: Uint8Array.from(needles, (needle) => needle.flags) };
}

function checkName(input: SecretInput, index: number): string {
  if (input === null || typeof input !== "object") throw new LogveilError("LV_USAGE", `secret ${index + 1}: expected an object with name and value`);
  if (typeof input.name !== "string" || input.name.trim() === "") throw new LogveilError("LV_USAGE", `secret ${index + 1}: name must be a non-empty string`);
  return input.name;
}

function copyValue(input: SecretInput, name: string, maxBytes: number): Buffer {
  const { value } = input;
  if (typeof value !== "string" && !(value instanceof Uint8Array)) {
    throw new LogveilError("LV_USAGE", `secret ${name}: value must be a string or a Uint8Array`, { facts: { name } });
  }
  const copy = typeof value === "string" ? Buffer.from(value) : Buffer.from(value);
  if (copy.length > maxBytes) {
    throw new LogveilError("LV_SECRET_TOO_LONG", `secret ${name}: ${copy.length} bytes; at most ${maxBytes} are accepted (limits.maxSecretBytes)`, {
      facts: { name, bytes: copy.length, maxBytes },
    });
  }
  return copy;
}
