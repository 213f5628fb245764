/**
 * What streams are opened with: the secrets that concern all of them, and the rules. A stream keeps the policy that it began with; when another one takes its place, the
 * secrets of the new one are added to it, and none is taken away.
 */
import { fastBlake3 } from "./blake3.js";
import type { MatcherFactory } from "./core/matcher.js";
import { packOf, type RulesOptions } from "./rules/builtin.js";
import type { Searches } from "./rules/decoding.js";
import { anchorsOf, type RulePack } from "./rules/pack.js";
import { type RegistryContext, SecretStore } from "./secrets/registry.js";
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

  /** Puts another one in force; those before it get its secrets as well. `check` throws if that is not to be any more. On an error nothing has changed. */
  async replace(secrets: readonly SecretInput[], rules: false | RulesOptions | undefined, check: () => void): Promise<SecretReport[]> {
    const next = this.make(rules);
    try {
      const reports = await next.secrets.addAsync(secrets);
      await this.addToOthers(secrets, next);
      check();
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
      await policy.secrets.addAsync(secrets);
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

/** What of a rule has no say in what it finds. */
const TALK = { examples: undefined, negatives: undefined, description: undefined, references: undefined, provenance: undefined };

/** BLAKE3 in hex over rules, what is done with their findings, and masks; nothing of secrets. The schema of rules puts their fields in order. */
export function policyDigest(policy: Policy, { style, text }: MaskOptions): string {
  if (policy.digest !== undefined) return policy.digest;
  const { pack, learn } = policy.rules ?? {};
  const each = (pack?.rules ?? []).map(({ source }, index) => [pack!.policies[index], { ...source, ...TALK }]);
  return (policy.digest = fastBlake3().hashHex(Buffer.from(JSON.stringify([each, learn ?? null, style, text ?? null]))));
}
