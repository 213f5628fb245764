/**
 * Import of gitleaks configurations (https://github.com/gitleaks/gitleaks, v8): what their rules mean, as rules of ours. Keywords become anchors where every match
 * holds one, else the expression's own literals do; entropy becomes Shannon; allowlists and stopwords become `allow`.
 */
import { gunzipSync } from "node:zlib";
import { parse, TomlError } from "smol-toml";
import { z } from "zod";
import { LogveilError } from "../errors.js";
import { anchorPlace, lengths, literals } from "./analysis.js";
import { compileRule, RuleFault } from "./compile.js";
import { compilePattern } from "./re2.js";
import { groupAt, parseRegex, RegexError } from "./regex.js";
import type { RuleSource } from "./schema.js";

const strings = z.array(z.string()).optional();
const allowlist = z.object({ regexes: strings, stopwords: strings, paths: strings, regexTarget: z.string().optional(), condition: z.string().optional() });
const config = z.object({
  allowlist: allowlist.optional(),
  allowlists: z.array(allowlist).optional(),
  rules: z.array(
    z.object({
      id: z.string(),
      description: z.string().optional(),
      regex: z.string().optional(),
      path: z.string().optional(),
      secretGroup: z.number().optional(),
      entropy: z.number().optional(),
      keywords: strings,
      allowlist: allowlist.optional(),
      allowlists: z.array(allowlist).optional(),
    }),
  ),
});

type Given = z.infer<typeof config>["rules"][number];
type Allowlist = z.infer<typeof allowlist>;

export interface Imported {
  readonly rules: readonly RuleSource[];
  readonly rejected: readonly { readonly id: string; readonly reason: string }[];
}

/** Translates a configuration; `maxLen` bounds repetitions without an end. Throws `LV_RULES` if it is none. */
export function importGitleaks(toml: string, file: string, maxLen?: number): Imported {
  let data: unknown;
  try {
    data = parse(toml);
  } catch (error) {
    if (error instanceof TomlError) throw new LogveilError("LV_RULES", `${file}:${error.line}: no TOML: ${error.message.split("\n")[0]}`);
    throw error;
  }
  const result = config.safeParse(data);
  if (!result.success) {
    const issue = result.error.issues[0]!;
    throw new LogveilError("LV_RULES", `${file}: no gitleaks configuration: ${issue.path.map(String).join(".")}: ${issue.message}`);
  }
  const { data: given } = result;
  const everywhere = [...(given.allowlist === undefined ? [] : [given.allowlist]), ...(given.allowlists ?? [])];
  const rules: RuleSource[] = [];
  const rejected: { id: string; reason: string }[] = [];
  for (const rule of given.rules) {
    try {
      rules.push(translate(rule, everywhere, maxLen));
    } catch (error) {
      if (!(error instanceof RuleFault || error instanceof RegexError || error instanceof SyntaxError)) throw error;
      rejected.push({ id: rule.id, reason: error.message });
    }
  }
  return { rules, rejected };
}

/** Unpacks a configuration that is compressed. */
export function unpack(bytes: Buffer): Buffer {
  return bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes;
}

function translate(rule: Given, everywhere: readonly Allowlist[], maxLen: number | undefined): RuleSource {
  if (rule.regex === undefined) throw new RuleFault("regex", "it is about paths of files only");
  const bounded = maxLen === undefined ? rule.regex : bound(rule.regex, maxLen);
  const regex = nameSecret(bounded, rule.secretGroup);
  if (lengths(parseRegex(regex)).max === Infinity) throw new RuleFault("regex", "its expression has repetitions without an end; bound them with --max-len");
  const allow = [...everywhere, ...(rule.allowlist === undefined ? [] : [rule.allowlist]), ...(rule.allowlists ?? [])].flatMap(allowOf);
  const source: RuleSource = {
    id: rule.id
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, "-")
      .replace(/^-|-$/g, ""),
    description: rule.description ?? rule.id,
    category: "token",
    confidence: "medium",
    kind: "line",
    anchors: anchorsOf(regex, rule.keywords ?? []),
    regex,
    left: "any",
    learn: false,
    decode: false,
    ...(rule.entropy === undefined || rule.entropy === 0 ? {} : { random: { measure: "shannon" as const, min: rule.entropy } }),
    ...(allow.length === 0 ? {} : { allow }),
    examples: [],
    references: ["https://github.com/gitleaks/gitleaks"],
    provenance: "imported from a gitleaks configuration",
  };
  for (const expression of [regex, ...allow]) compilePattern(expression);
  compileRule(source);
  return source;
}

/** What an allowlist lets through by its secret. One by path says nothing here, and one that wants both neither. */
function allowOf({ regexes = [], stopwords = [], paths = [], condition, regexTarget }: Allowlist): string[] {
  if (condition?.toUpperCase() === "AND" && paths.length > 0) return [];
  const words = stopwords.map((word) => word.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return [...(regexTarget === undefined || regexTarget === "secret" ? regexes : []), ...(words.length === 0 ? [] : [`(?i)${words.join("|")}`])];
}

/** Names the group that holds the secret: `secretGroup`, or the first, or all of it. */
function nameSecret(regex: string, secretGroup: number | undefined): string {
  const group = groupAt(parseRegex(regex), secretGroup === undefined || secretGroup === 0 ? 1 : secretGroup, regex);
  if (group === undefined) {
    const flags = /^\(\?[imsU]+\)/.exec(regex)?.[0] ?? "";
    return `${flags}(?P<secret>${regex.slice(flags.length)})`;
  }
  const head = /^\((?:\?P?<[^>]*>)?/.exec(regex.slice(group))![0];
  return `${regex.slice(0, group)}(?P<secret>${regex.slice(group + head.length)}`;
}

/** Bounds `*`, `+` and `{n,}` outside classes. */
function bound(regex: string, most: number): string {
  let out = "";
  for (let at = 0, inClass = false; at < regex.length; at++) {
    const char = regex[at]!;
    if (char === "\\") {
      out += char + (regex[++at] ?? "");
      continue;
    }
    if (inClass) inClass = char !== "]" || regex[at - 1] === "[" || (regex[at - 1] === "^" && regex[at - 2] === "[");
    else if (char === "[") inClass = true;
    else if (char === "*" || char === "+") {
      out += `{${char === "*" ? 0 : 1},${most}}`;
      continue;
    } else if (char === "{") {
      const open = /^\{(\d+),\}/.exec(regex.slice(at));
      if (open !== null) {
        out += `{${open[1]},${Math.max(most, Number(open[1]))}}`;
        at += open[0].length - 1;
        continue;
      }
    }
    out += char;
  }
  return out;
}

/** The keywords, if every match holds one; else literals that every match holds. */
function anchorsOf(regex: string, keywords: readonly string[]): { literal: string; fold: boolean }[] {
  const node = parseRegex(regex);
  const proven = (words: readonly string[]): boolean =>
    words.length > 0 &&
    words.every((word) => word.length >= 3 && word.length <= 32) &&
    anchorPlace(
      node,
      (text) => {
        const places = words.map((word) => text.indexOf(word.toLowerCase())).filter((place) => place >= 0);
        return places.length === 0 ? -1 : Math.min(...places);
      },
      true,
    ) !== undefined;
  const own = keywords.filter((word) => word.length >= 3);
  const words = proven(own) ? own : literals(node).map((word) => word.slice(0, 32));
  if (!proven(words)) throw new RuleFault("keywords", "no literal of 3 bytes or more is in every match, so nothing says where to look");
  return [...new Set(words.map((word) => word.toLowerCase()))].map((literal) => ({ literal, fold: true }));
}
