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

  /** Adds secrets, building on this thread. */
  add(inputs: readonly SecretInput[]): SecretReport[] {
    const { needles, reports } = this.expand(inputs);
    if (needles.length > 0) {
      const all = [...this.lateNeedles, ...needles];
      const table = tableOf(all);
      const set = this.context.factory.build(table);
      this.publish(all, { set, ...this.describe(all, table) });
      table.bytes.fill(0);
    }
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
    this.add([{ name, value }]);
    const secret = this.metas.get(fingerprint);
    return secret === undefined ? undefined : { secret, isNew: true };
  }

  /** Adds secrets; many of them are built off the event loop. Calls must not overlap. */
  async addAsync(inputs: readonly SecretInput[]): Promise<SecretReport[]> {
    const { needles, reports } = this.expand(inputs);
    if (needles.length > 0) {
      const all = [...this.lateNeedles, ...needles];
      const table = tableOf(all);
      const { factory, limits } = this.context;
      const building = needles.length <= limits.inlineBuildNeedles ? factory.build(table) : factory.buildAsync(table);
      // Described while another thread builds.
      const description = this.describe(all, table);
      const set = await building;
      this.publish(all, { set, ...description });
      table.bytes.fill(0);
    }
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
    this.wipeLate();
    this.metas.clear();
  }

  private describe(needles: readonly OwnedNeedle[], table: NeedleTable): Omit<Group, "set"> {
    return {
      owners: needles.map((needle) => needle.secret),
      variants: needles.map((needle) => needle.variant),
      lengths: Uint32Array.from(needles, (needle) => needle.bytes.length),
      risks: maskRisks(table, this.context.families),
    };
  }

  /** Puts a new late group in force; a large one is frozen. The old one's automaton lives on in the streams that use it. */
  private publish(needles: OwnedNeedle[], group: Group): void {
    this.late?.set.release();
    if (needles.length > this.context.limits.inlineBuildNeedles) {
      this.frozen.push(group);
      this.late = undefined;
      this.lateNeedles = needles;
      this.wipeLate();
    } else {
      this.late = group;
      this.lateNeedles = needles;
    }
  }

  private wipeLate(): void {
    for (const needle of this.lateNeedles) needle.bytes.fill(0);
    this.lateNeedles = [];
  }

  private expand(inputs: readonly SecretInput[]): { needles: OwnedNeedle[]; reports: SecretReport[] } {
    const needles: OwnedNeedle[] = [];
    const reports: SecretReport[] = [];
    for (const [index, input] of inputs.entries()) {
      const name = checkName(input, index);
      const value = copyValue(input, name, this.context.limits.maxSecretBytes);
      const expired = input.expiresAt !== undefined && Number(input.expiresAt) <= Date.now();
      const expansion: Expansion = expired
        ? { needles: [], refused: "it has expired" }
        : expandSecret(value, { ...this.context.salience, maxLeaves: this.context.limits.maxLeaves });
      const fingerprint = this.context.fingerprint(value);
      value.fill(0);
      if (expansion.refused !== undefined) {
        reports.push({ kind: "refused", name, reason: expansion.refused });
        continue;
      }
      const twin = this.metas.get(fingerprint);
      if (twin !== undefined) {
        reports.push({ kind: "duplicate", name, reason: `it has the same value as ${twin.name}` });
        for (const needle of expansion.needles) needle.bytes.fill(0);
        continue;
      }
      const secret: SecretMeta = { name, fingerprint };
      this.metas.set(fingerprint, secret);
      if (expansion.token !== undefined) reports.push({ kind: "token", name, reason: expansion.token });
      for (const needle of expansion.needles) needles.push({ ...needle, secret });
    }
    forgetMatches();
    return { needles, reports };
  }
}

/** The engine keeps the text that a regular expression matched last, for `RegExp.$1` and its kin: makes that a text without secrets. */
function forgetMatches(): void {
  /(?:)/.test("");
}

/** Lays needles back to back. */
function tableOf(needles: readonly Needle[]): NeedleTable {
  const offsets = new Uint32Array(needles.length + 1);
  needles.forEach((needle, i) => (offsets[i + 1] = offsets[i]! + needle.bytes.length));
  const bytes = Buffer.allocUnsafeSlow(offsets[needles.length]!);
  needles.forEach((needle, i) => bytes.set(needle.bytes, offsets[i]));
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
