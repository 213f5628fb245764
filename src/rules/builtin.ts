/** The built-in rules, and the pack of an engine. They were proven when they were built into `patterns.json`. */
import { readFileSync } from "node:fs";
import { LogveilError } from "../errors.js";
import { compileRule, type Confidence, type Policy, type Rule } from "./compile.js";
import { makePack, type PackOptions, type RulePack } from "./pack.js";
import { requireRe2 } from "./re2.js";
import type { RuleSource } from "./schema.js";
import { restoreRule, type StoredRule } from "./stored.js";

/** Which rules an engine has, and what it does with what they find. */
export interface RulesOptions {
  /** False: without the built-in rules. */
  readonly builtin?: boolean;
  /** Rules of your own, as `loadRules` gives them. One with the id of a built-in rule takes its place. */
  readonly extra?: readonly RuleSource[];
  /** Ids of rules to leave out. */
  readonly disable?: readonly string[];
  /** Rules of less confidence are left out. Default: `medium`. */
  readonly minConfidence?: Confidence;
  /** By rule id or confidence: `mask` (default), `count` (report, do not mask). */
  readonly policy?: Readonly<Record<string, Policy>>;
  /** False: what rules find is not masked in other spellings from then on. */
  readonly learn?: boolean;
}

/** Beside the compiled code, or in `dist/` of a checkout. */
const FILES = ["../patterns.json", "../../dist/patterns.json"];

let stored: readonly StoredRule[] | undefined;
let rules: readonly Rule[] | undefined;

function load(): readonly StoredRule[] {
  if (stored !== undefined) return stored;
  for (const file of FILES) {
    try {
      return (stored = JSON.parse(readFileSync(new URL(file, import.meta.url), "utf8")) as StoredRule[]);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  throw new LogveilError("LV_RULES", 'the built-in rules (patterns.json) are not where logveil is installed: run "npm run build", or switch rules off');
}

/** The built-in rules as they are written, without their examples. Throws `LV_RULES` where their file is missing. */
export const builtinSources = (): readonly RuleSource[] => load().map(({ source }) => source);

const packs = new Map<string, RulePack>();

/** The pack of an engine with these options. Equal packs of built-in rules are made once. Throws `LV_RULES`, `LV_RE2_MISSING`. */
export function packOf(options: RulesOptions): RulePack {
  // Now, not when the first candidate turns up in the middle of a log.
  requireRe2();
  const { extra, builtin = true } = options;
  const build = (): RulePack => {
    const own = (extra ?? []).map((source) => compileRule(source));
    const ids = new Set(own.map(({ id }) => id));
    const all = [...(builtin ? (rules ??= load().map(restoreRule)) : []).filter(({ id }) => !ids.has(id)), ...own];
    checkIds(options, new Set(all.map(({ id }) => id)));
    return makePack(all, options satisfies PackOptions);
  };
  if (extra !== undefined) return build();
  const key = JSON.stringify([builtin, options.disable, options.minConfidence, options.policy]);
  let pack = packs.get(key);
  if (pack === undefined) packs.set(key, (pack = build()));
  return pack;
}

function checkIds({ disable = [] }: RulesOptions, known: ReadonlySet<string>): void {
  for (const id of disable)
    if (!known.has(id)) throw new LogveilError("LV_RULES", `there is no rule ${id} to disable; "logveil rules list" names them`, { facts: { id } });
}
