/** The built-in rules as `patterns.json` keeps them: as written, without what only their proof needs, and with what their analysis gave. */
import type { ByteSet } from "./bytes.js";
import { compileRule, type LineFacts, type Rule } from "./compile.js";
import type { RuleSource } from "./schema.js";

/** A byte set as base64 of 256 bits, lowest first. */
type Bits = string;

interface StoredRun {
  readonly set: Bits;
  readonly count: number;
}

export interface StoredRule {
  readonly source: RuleSource;
  readonly facts?: Omit<LineFacts, "alphabet" | "bytes" | "needs" | "first" | "held" | "follow" | "run"> & {
    readonly alphabet: Bits;
    readonly bytes: Bits;
    readonly needs: Bits;
    readonly first: Bits;
    readonly held: Bits;
    readonly follow: StoredRun;
    readonly run: StoredRun;
  };
}

export function storeRule(rule: Rule): StoredRule {
  const { examples: _, negatives: __, ...rest } = rule.source;
  const source: RuleSource = { ...rest, examples: [] };
  if (rule.kind !== "line") return { source };
  const { alphabet, bytes, needs, words, run, first, held, follow, ahead, before, after, around } = rule;
  return {
    source,
    facts: {
      words,
      ahead,
      before,
      after,
      ...(around === undefined ? {} : { around }),
      alphabet: toBits(alphabet),
      bytes: toBits(bytes),
      needs: toBits(needs),
      first: toBits(first),
      held: toBits(held),
      follow: { set: toBits(follow.set), count: follow.count },
      run: { set: toBits(run.set), count: run.count },
    },
  };
}

export function restoreRule({ source, facts }: StoredRule): Rule {
  if (facts === undefined) return compileRule(source);
  return compileRule(source, {
    ...facts,
    alphabet: fromBits(facts.alphabet),
    bytes: fromBits(facts.bytes),
    needs: fromBits(facts.needs),
    first: fromBits(facts.first),
    held: fromBits(facts.held),
    follow: { set: fromBits(facts.follow.set), count: facts.follow.count },
    run: { set: fromBits(facts.run.set), count: facts.run.count },
  });
}

function toBits(set: ByteSet): Bits {
  const bits = Buffer.alloc(32);
  set.forEach((member, byte) => (bits[byte >> 3]! |= member << (byte & 7)));
  return bits.toString("base64");
}

function fromBits(text: Bits): ByteSet {
  const bits = Buffer.from(text, "base64");
  const set = new Uint8Array(256);
  for (let byte = 0; byte < 256; byte++) set[byte] = (bits[byte >> 3]! >> (byte & 7)) & 1;
  return set;
}
