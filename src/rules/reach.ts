/**
 * What must come behind an anchor before its rule is worth asking. The matcher tests it on the bytes of the log, for all rules of an anchor at once (core/anchors.ts); a
 * rule does so again before it reads what a string spells, so that nothing it finds depends on other rules or on where a chunk ends.
 */
import type { Run } from "./analysis.js";
import { type ByteSet, EMPTY } from "./bytes.js";
import type { LineRule, Rule } from "./compile.js";
import { spelling, spellings } from "./spelled.js";
import type { StreamText } from "./text.js";
import { Wait } from "./waiting.js";

/** Within so many bytes of an anchor's start a run, one of some words, and a byte that is needed; until then only bytes that may be passed. */
export interface Reach {
  readonly passed: ByteSet;
  /** Empty: none is. */
  readonly needed: ByteSet;
  readonly words: readonly string[];
  /** Of no bytes: none must come. */
  readonly run: Run;
  readonly most: number;
}

/** Largest {@link Reach.most} that the matcher takes. */
const MOST_REACH = 0xffff;
/** Bytes of the longest word of a {@link Reach}. */
const MOST_WORD_BYTES = 0xff;

/** What must stand right behind an anchor, and what further behind (undefined if nothing is known), spelled or not. */
export interface Asked {
  readonly follow: Run;
  readonly reach: Reach | undefined;
}

const known = new WeakMap<Rule, Asked>();

export function askedOf(rule: Rule): Asked {
  let asked = known.get(rule);
  if (asked === undefined) {
    const isLine = rule.kind === "line";
    asked = { follow: isLine ? spelledRun(rule.follow) : rule.follow, reach: isLine ? lineReach(rule) : undefined };
    known.set(rule, asked);
  }
  return asked;
}

const spelledRun = ({ set, count }: Run): Run => ({ set: spellings(set), count });

function lineReach({ before, needs, words, run, after, bytes }: LineRule): Reach | undefined {
  if (before.max > 0 || 2 * after > MOST_REACH || (needs === EMPTY && words.length === 0 && run.count === 0)) return undefined;
  const spelled = words.flatMap((word) => {
    const once = spelling(word) ?? word;
    return [word, once, spelling(once) ?? once, word.replaceAll("/", "\\/"), word.replaceAll("/", "\\\\/")];
  });
  return {
    passed: spellings(bytes),
    needed: spellings(needs),
    words: [...new Set(spelled)],
    run: spelledRun(run),
    most: 2 * after,
  };
}

/**
 * Whether what must come does, behind the anchor of `length` bytes at `at`: then up to where a match can reach, the first byte that none has included.
 */
export function reaches(rule: LineRule, text: StreamText, at: number, length: number): number | Wait | undefined {
  const from = at + length;
  const { follow, reach } = askedOf(rule);
  for (let offset = from; offset < from + follow.count && text.at(offset) >= 0; offset++) if (follow.set[text.at(offset)] === 0) return undefined;
  const until = at + (reach?.most ?? 2 * rule.after);
  const passed = reach?.passed ?? spellings(rule.bytes);
  const stop = from < until ? text.runEnd(passed, from, until) : from;
  if (stop < until && text.at(stop) < 0 && !text.ended) return new Wait(passed, until);
  const end = Math.min(stop + 1, Math.max(until, from));
  if (reach === undefined) return end;
  const { needed, words, run } = reach;
  if (run.count > 0 && !text.holdsRun(run, from, end)) return undefined;
  if (needed !== EMPTY && !text.holds(needed, from, end)) return undefined;
  if (words.length === 0) return end;
  // A word may reach over the end.
  const behind = text.latin1(from, end + MOST_WORD_BYTES).toLowerCase();
  return words.some((word) => (behind.indexOf(word) + 1 || Infinity) <= end - from) ? end : undefined;
}
