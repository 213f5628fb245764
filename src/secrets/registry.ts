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
import type { SalienceOptions } from "./salience.js";

export interface SecretMeta {
  readonly name: string;
  readonly fingerprint: string;
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

  constructor(private readonly context: RegistryContext) {}

  /** The sets in force. A new array after every change. */
  get groups(): readonly Group[] {
    return this.late === undefined ? [...this.frozen] : [...this.frozen, this.late];
  }

  get secrets(): number {
    return this.metas.size;
  }

  /** Adds secrets, building on this thread. `maxNeedleBytes` bounds each more than the limit of that name does. */
  add(inputs: readonly SecretInput[], maxNeedleBytes = Infinity): SecretReport[] {
    const { needles, reports, metas } = atOnce(this.expand(inputs, maxNeedleBytes));
    if (needles.length > 0) {
      const all = [...this.lateNeedles, ...needles];
      const table = atOnce(tableOf(all));
      const set = this.context.factory.build(table);
      this.publish(all, { set, ...atOnce(this.describe(all, table)) });
      table.bytes.fill(0);
    }
    this.remember(metas);
    return reports;
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
    this.add([{ name, value }], this.context.limits.inlineBuildBytes);
    const secret = this.metas.get(fingerprint);
    return secret === undefined ? undefined : { secret, isNew: true };
  }

  /** Adds secrets: in turns with everything else, and many of them are built by another thread where the engine can. Calls must not overlap, but {@link learn} may be called. */
  async addAsync(inputs: readonly SecretInput[]): Promise<SecretReport[]> {
    const { needles, reports, metas } = await inTurns(this.expand(inputs, Infinity));
    if (needles.length > 0) {
      const late = this.lateNeedles;
      const all = [...late, ...needles];
      const table = await inTurns(tableOf(all));
      const { factory, limits } = this.context;
      const isSmall = needles.length <= limits.inlineBuildNeedles && bytesOf(needles) <= limits.inlineBuildBytes;
      const building = isSmall ? factory.build(table) : factory.buildAsync(table);
      // Described while another thread builds.
      const description = await inTurns(this.describe(all, table));
      const group = { set: await building, ...description };
      if (this.lateNeedles === late) {
        this.publish(all, group);
      } else {
        // A rule found a value meanwhile: what is late now has that one, too, and stays.
        this.frozen.push(group);
        wipe(needles);
      }
      table.bytes.fill(0);
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
    for (const [fingerprint, meta] of metas) this.metas.set(fingerprint, meta);
  }

  /** Throws before anything is expanded if an input is wrong. */
  private *expand(
    inputs: readonly SecretInput[],
    maxNeedleBytes: number,
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
      const secret: SecretMeta = { name, fingerprint };
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
