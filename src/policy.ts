/**
 * What streams are opened with: the secrets that concern all of them, and the rules. A stream keeps the policy that it began with; when another one takes its place, the
 * secrets of the new one are added to it, and none is taken away.
 */
import { fastBlake3 } from "./blake3.js";
import type { MatcherFactory } from "./core/matcher.js";
import { Redactor } from "./core/redactor.js";
import { LogveilError } from "./errors.js";
import { packOf, type RulesOptions } from "./rules/builtin.js";
import type { Searches } from "./rules/decoding.js";
import { detect } from "./rules/detect.js";
import { anchorsOf, type RulePack } from "./rules/pack.js";
import { placesIn } from "./secrets/known.js";
import { type Group, type RegistryContext, SecretStore } from "./secrets/registry.js";
import type { MaskOptions, SecretInput, SecretReport } from "./types.js";

export interface PolicyRules {
  readonly pack: RulePack;
  readonly searches: Searches;
  readonly learn: boolean;
}

export interface Policy {
  readonly secrets: SecretStore;
  /** Absent: known secrets only. */
  readonly rules: PolicyRules | undefined;
  /** Live streams that were opened with it. */
  streams: number;
  /** Once asked for. */
  digest?: string;
}

/** The rules that options ask for. Throws `LV_RULES`, `LV_RE2_MISSING`. */
function rulesFor(factory: MatcherFactory, options: false | RulesOptions = {}): PolicyRules | undefined {
  if (options === false) return undefined;
  const pack = packOf(options);
  return { pack, searches: { anchors: anchorsOf(factory, pack), encoded: () => factory.encoded() }, learn: options.learn !== false };
}

/** The policy in force, and those before it that streams still have. */
export class Policies {
  current: Policy;
  private readonly used = new Set<Policy>();

  constructor(
    private readonly context: RegistryContext,
    rules: false | RulesOptions | undefined,
  ) {
    this.current = this.make(rules);
    this.used.add(this.current);
  }

  /** Adds secrets to all of them; answers what the one in force reports. */
  async add(secrets: readonly SecretInput[]): Promise<SecretReport[]> {
    const reports = await this.current.secrets.addAsync(secrets);
    await this.addToOthers(secrets, this.current);
    return reports;
  }

  /** Puts another one in force; those before it get its secrets as well. `check` throws if that is not to be. On an error nothing has changed. */
  async replace(secrets: readonly SecretInput[], rules: false | RulesOptions | undefined, check: (next: Policy) => void): Promise<SecretReport[]> {
    const next = this.make(rules);
    try {
      const reports = await next.secrets.addAsync(secrets);
      check(next);
      await this.addToOthers(secrets, next);
      check(next);
      const before = this.current;
      this.used.add((this.current = next));
      this.release(before);
      return reports;
    } catch (error) {
      next.secrets.close();
      throw error;
    }
  }

  private async addToOthers(secrets: readonly SecretInput[], one: Policy): Promise<void> {
    for (const policy of this.used) {
      if (policy === one) continue;
      // Their names were checked with those in force.
      await policy.secrets.addAsync(secrets, "unchecked");
      // Its last stream may have ended meanwhile.
      if (!this.used.has(policy)) policy.secrets.close();
    }
  }

  /** A stream was opened with the one in force. */
  take(): Policy {
    this.current.streams++;
    return this.current;
  }

  /** It has ended. */
  give(policy: Policy): void {
    policy.streams--;
    this.release(policy);
  }

  close(): void {
    for (const { secrets } of this.used) secrets.close();
    this.used.clear();
  }

  /** Forgets one that no stream has or gets any more. */
  private release(policy: Policy): void {
    if (policy === this.current || policy.streams > 0 || !this.used.delete(policy)) return;
    policy.secrets.close();
  }

  private make(rules: false | RulesOptions | undefined): Policy {
    return { rules: rulesFor(this.context.factory, rules), secrets: new SecretStore(this.context), streams: 0 };
  }
}

/** Where a mask may stand: by itself, and where rules take what comes for a value. */
const PLACES: readonly (readonly [before: string, after: string])[] = [
  ["", ""],
  ["password=", ""],
  ['"password": "', '"'],
  ["Authorization: Bearer ", ""],
  ["https://user:", "@host.example/"],
];

/**
 * Throws `LV_MASK_TEXT` for a mask with a text of its own that holds a secret, or that the rules would mask in turn: masking twice must change nothing. `groups`: the secrets
 * that are known.
 */
export function checkMaskText({ text, style }: MaskOptions, policy: Policy, groups: readonly Group[], context: RegistryContext): void {
  if (text === undefined || style !== "fixed") return;
  const bytes = Buffer.from(text);
  const [place] = placesIn(context.factory, groups, context.limits.maxGapBytes, bytes);
  const wrong = (what: string, facts: Record<string, unknown>): LogveilError =>
    new LogveilError("LV_MASK_TEXT", `${what}; choose another text (--mask-text, mask.text)`, { facts });
  if (place !== undefined) throw wrong(`the mask text contains the secret ${place.secret.name}`, { secret: place.secret.name });
  if (policy.rules === undefined) return;
  for (const [before, after] of PLACES) {
    const rule = ruleThatChanges(policy.rules, [before, text, after], context);
    if (rule !== undefined) throw wrong(`rule ${rule} masks the mask text${before === "" ? "" : ` after ${before}`}`, { rule });
  }
}

/** The id of a rule that masks a mask: where it stands alone, or as a value of which something is left. To put it in its own place changes nothing. */
function ruleThatChanges(
  { pack, searches }: PolicyRules,
  [before, mask, after]: readonly [string, string, string],
  context: RegistryContext,
): string | undefined {
  const bytes = Buffer.from(mask);
  const line = `${before}${mask}${after}\n`;
  const found: number[] = [];
  const redactor = new Redactor(
    {
      factory: context.factory,
      maxGapBytes: context.limits.maxGapBytes,
      exposureWindowBytes: 0,
      needleBytes: () => 0,
      mask: () => ({ kind: "text", bytes }),
      found: ({ needle }) => void found.push(needle),
      detector: (each) => detect(pack, { ...searches, known: () => [] }, each, (value) => context.fingerprint(value), undefined, false),
    },
    [],
  );
  const output = Buffer.concat([...redactor.push(Buffer.from(line)), ...redactor.end()]).toString();
  const isChanged = found.length > 0 && (before === "" || output !== line);
  return isChanged ? pack.rules[found[0]!]!.id : undefined;
}

/** What of a rule has no say in what it finds. */
const TALK = { examples: undefined, negatives: undefined, description: undefined, references: undefined, provenance: undefined };

/** BLAKE3 in hex over rules, what is done with their findings, and masks; nothing of secrets. The schema of rules puts their fields in order. */
export function policyDigest(policy: Policy, { style, text }: MaskOptions): string {
  if (policy.digest !== undefined) return policy.digest;
  const { pack, learn } = policy.rules ?? {};
  const each = (pack?.rules ?? []).map(({ source }, index) => [pack!.policies[index], { ...source, ...TALK }]);
  return (policy.digest = fastBlake3().hashHex(Buffer.from(JSON.stringify([each, learn ?? null, style, text ?? null]))));
}
