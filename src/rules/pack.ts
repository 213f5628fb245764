/** Rules as an engine uses them: compiled, with their anchors laid out for the matcher. Immutable. */
import { ANCHOR, type AnchorTable } from "../core/anchors.js";
import { type ByteSet, EMPTY, union } from "./bytes.js";
import { type Confidence, CONFIDENCES, type Policy, type Rule } from "./compile.js";

export interface RulePack {
  readonly rules: readonly Rule[];
  readonly policies: readonly Policy[];
  readonly table: AnchorTable;
  /** By anchor number: the anchor's length, and the rules that it belongs to. */
  readonly anchors: readonly { readonly length: number; readonly rules: readonly number[] }[];
  /** Beginnings of anchors that stand at the start of a secret: a chunk that ends with one keeps it back. Folded ones in lower case. */
  readonly prefixes: { readonly exact: ReadonlySet<string>; readonly folded: ReadonlySet<string>; readonly longest: number };
  /** Bytes that may stand before an anchor and be part of its secret, and how many of them. */
  readonly ahead: { readonly set: ByteSet; readonly length: number };
}

export interface PackOptions {
  /** Rules below it are left out. Default: medium. */
  readonly minConfidence?: Confidence;
  /** Ids of rules that are left out. */
  readonly disable?: readonly string[];
  /** What is done with findings, by rule id or confidence. Default: `mask`. */
  readonly policy?: Readonly<Record<string, Policy>>;
}

export const rank = (confidence: Confidence): number => CONFIDENCES.indexOf(confidence);

export function makePack(all: readonly Rule[], options: PackOptions = {}): RulePack {
  const least = rank(options.minConfidence ?? "medium");
  const rules = all.filter((rule) => rank(rule.confidence) >= least && !options.disable?.includes(rule.id));
  const numbers = new Map<string, number>();
  const literals: { literal: string; flags: number; rules: number[] }[] = [];
  rules.forEach((rule, index) => {
    for (const { literal, flags } of rule.anchors) {
      const key = `${flags}${literal}`;
      const known = numbers.get(key);
      if (known === undefined) {
        numbers.set(key, literals.length);
        literals.push({ literal, flags, rules: [index] });
      } else if (!literals[known]!.rules.includes(index)) literals[known]!.rules.push(index);
    }
  });
  const offsets = new Uint32Array(literals.length + 1);
  literals.forEach(({ literal }, anchor) => (offsets[anchor + 1] = offsets[anchor]! + literal.length));
  const ahead = rules.filter((rule) => rule.ahead > 0);
  return {
    rules,
    policies: rules.map((rule) => options.policy?.[rule.id] ?? rule.source.policy ?? options.policy?.[rule.confidence] ?? "mask"),
    table: {
      bytes: Buffer.from(literals.map(({ literal }) => literal).join(""), "latin1"),
      offsets,
      flags: Uint8Array.from(literals, ({ flags }) => flags),
    },
    anchors: literals.map(({ literal, rules: owners }) => ({ length: literal.length, rules: owners })),
    prefixes: prefixesOf(rules),
    ahead: { set: union(EMPTY, ...ahead.map((rule) => rule.alphabet)), length: Math.max(0, ...ahead.map((rule) => rule.ahead)) },
  };
}

function prefixesOf(rules: readonly Rule[]): RulePack["prefixes"] {
  const exact = new Set<string>();
  const folded = new Set<string>();
  let longest = 0;
  for (const rule of rules) {
    // What an assignment gives away stands behind its word.
    if (rule.kind === "assign") continue;
    for (const { literal, flags } of rule.anchors) {
      // Behind so many bytes of the anchor the secret may begin.
      for (let length = Math.max(1, 1 - rule.ahead); length < literal.length; length++) {
        ((flags & ANCHOR.FOLD) === 0 ? exact : folded).add(literal.slice(0, length));
        longest = Math.max(longest, length);
      }
    }
  }
  return { exact, folded, longest };
}
