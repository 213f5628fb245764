/** From a rule as it is written to one that can be evaluated: what the loader proved of it, in numbers and sets. */
import { ANCHOR } from "../core/anchors.js";
import { alphabet, type ByteSet, complement, EMPTY, interned, union } from "./bytes.js";
import { type Pattern, lazyPattern } from "./re2.js";
import {
  anchorPlace,
  behindAnchor,
  bytesOf,
  findGroup,
  type FoundGroup,
  lastRepeat,
  lengths,
  placesOf,
  type Run,
  requiredBytes,
  requiredRun,
  requiredWords,
  rightBehind,
  share,
} from "./analysis.js";
import { type Node, parseRegex, RegexError } from "./regex.js";
import type { RuleSource } from "./schema.js";

export const CONFIDENCES = ["low", "medium", "high", "certain"] as const;
export type Confidence = (typeof CONFIDENCES)[number];
export type Policy = "mask" | "mask+count" | "count";

/** Longest match of a line rule, in bytes. */
export const MAX_MATCH_BYTES = 4096;

export interface Anchor {
  /** Lower case if `fold`. */
  readonly literal: string;
  readonly fold: boolean;
  readonly flags: number;
}

/** Most bytes that are looked at behind an anchor before a rule is asked. */
const FOLLOW_BYTES = 16;
/** Even a set of nearly all bytes excludes some. */
const MOST_SHARE = 0.98;
const NO_RUN: Run = { set: EMPTY, count: 0 };

/** What every kind has. */
interface RuleBase {
  readonly source: RuleSource;
  readonly id: string;
  readonly confidence: Confidence;
  readonly anchors: readonly Anchor[];
  /** The alphabet that the mask runs on in; empty: it does not. */
  readonly alphabet: ByteSet;
  /** So many bytes of a set must follow an anchor. */
  readonly follow: Run;
  /** Bytes before an anchor in which the secret may begin; negative: it begins at least so many behind the anchor's start. */
  readonly ahead: number;
}

export interface LineRule extends RuleBase {
  readonly kind: "line";
  readonly pattern: () => Pattern;
  /** Most and fewest bytes of a match before the anchor. */
  readonly before: { readonly min: number; readonly max: number };
  /** Rare bytes one of which a match holds, behind its anchor if that stands first; empty: none are known. */
  readonly needs: ByteSet;
  /** Words one of which it holds there, in either case; none: none are known. */
  readonly words: readonly string[];
  /** What it holds there in a row; of no bytes: nothing is known. */
  readonly run: Run;
  /** Bytes that a match may begin with. */
  readonly first: ByteSet;
  /** Bytes that may stand from the start of the secret on: what is kept back before an anchor has them all. */
  readonly held: ByteSet;
  /** Most bytes of a match from the anchor on. */
  readonly after: number;
  /** Bytes that a match can hold: it ends before any other. */
  readonly bytes: ByteSet;
  /** Bytes of a match before and behind its secret. Absent where they vary: then the expression says it by a group, which costs RE2 many times as much. */
  readonly around?: { readonly lead: number; readonly trail: number };
}

export interface RunRule extends RuleBase {
  readonly kind: "run";
  readonly minLen: number;
}

export interface AssignRule extends RuleBase {
  readonly kind: "assign";
  readonly minLen: number;
  readonly maxLen: number;
  /** Bytes that a value may have; absent: any, but then noise is no value. */
  readonly values: ByteSet | undefined;
}

export interface BlockRule extends RuleBase {
  readonly kind: "block";
  readonly begin: () => Pattern;
  readonly end: string;
}

export interface MappingRule extends RuleBase {
  readonly kind: "mapping";
  readonly begin: () => Pattern;
  readonly keys: readonly string[];
  readonly minLen: number;
  /** Bytes of values in base64; absent: any value. */
  readonly values: ByteSet | undefined;
}

export type Rule = LineRule | RunRule | AssignRule | BlockRule | MappingRule;

/** A field of a rule that cannot be: what was expected, and what to do. */
export class RuleFault extends Error {
  constructor(
    readonly field: string,
    message: string,
  ) {
    super(message);
  }
}

/** Name of the group that is masked. */
const SECRET = "secret";
const SECRET_GROUP = "(?P<secret>";

/** Compiles a rule; `facts` of a line rule spare the analysis. Throws {@link RuleFault}. */
export function compileRule(source: RuleSource, facts?: LineFacts): Rule {
  for (const [field, kinds] of Object.entries(FIELDS)) {
    if (source[field as keyof RuleSource] !== undefined && !kinds.includes(source.kind)) throw new RuleFault(field, `a ${source.kind} rule has no ${field}`);
  }
  const base = { source, id: source.id, confidence: source.confidence };
  const named = source.charset === undefined ? undefined : alphabet(source.charset);
  if (source.charset !== undefined && named === undefined)
    throw new RuleFault("charset", `"${source.charset}" is no alphabet; expected a name of patterns/README.md or a [class]`);
  const set = named && interned(named);
  switch (source.kind) {
    case "run": {
      if (set === undefined) throw new RuleFault("charset", "a run rule needs an alphabet to run in");
      if (source.minLen === undefined) throw new RuleFault("minLen", "a run rule needs the fewest bytes behind its anchor");
      return {
        ...base,
        kind: "run",
        anchors: anchorsOf(source, 0),
        alphabet: set,
        follow: { set, count: Math.min(source.minLen, FOLLOW_BYTES) },
        ahead: 0,
        minLen: source.minLen,
      };
    }
    case "assign": {
      if (source.words === undefined) throw new RuleFault("words", "an assign rule needs the words that its names hold");
      const anchors = source.words.map((word) => ({ literal: word.toLowerCase(), fold: true, flags: ANCHOR.FOLD | ANCHOR.ASSIGN }));
      const shortest = Math.min(...source.words.map((word) => word.length));
      return {
        ...base,
        kind: "assign",
        anchors,
        alphabet: EMPTY,
        follow: NO_RUN,
        ahead: -shortest,
        minLen: source.minLen ?? 8,
        maxLen: source.maxLen ?? Infinity,
        values: set,
      };
    }
    case "block": {
      if (source.begin === undefined || source.end === undefined || set === undefined)
        throw new RuleFault("begin", "a block rule needs begin, end and charset");
      checkSyntax(source.begin, "begin");
      return {
        ...base,
        kind: "block",
        anchors: anchorsOf(source, 0),
        alphabet: set,
        follow: NO_RUN,
        ahead: 0,
        begin: lazyPattern(`^(?:${source.begin})`),
        end: source.end,
      };
    }
    case "mapping": {
      if (source.begin === undefined || source.words === undefined) throw new RuleFault("begin", "a mapping rule needs begin and words");
      checkSyntax(source.begin, "begin");
      return {
        ...base,
        kind: "mapping",
        anchors: anchorsOf(source, 0),
        alphabet: EMPTY,
        follow: NO_RUN,
        ahead: 0,
        begin: lazyPattern(`^(?:${source.begin})`),
        keys: source.words,
        minLen: source.minLen ?? 4,
        values: set,
      };
    }
    default:
      return compileLine(source, set, facts);
  }
}

/** Fields that not every kind has. */
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  regex: ["line"],
  maxLen: ["line", "assign"],
  right: ["line"],
  skipNoise: ["line"],
  words: ["assign", "mapping"],
  begin: ["block", "mapping"],
  end: ["block"],
  anchors: ["line", "run", "block", "mapping"],
};

/** What the analysis of a line rule's expression gives: kept with the built-in rules, since it takes a while. */
export type LineFacts = Pick<
  LineRule,
  "alphabet" | "follow" | "ahead" | "before" | "after" | "bytes" | "needs" | "words" | "run" | "first" | "held" | "around"
>;

function compileLine(source: RuleSource, set: ByteSet | undefined, known: LineFacts | undefined): LineRule {
  if (source.regex === undefined) throw new RuleFault("regex", "a line rule needs a regex");
  const anchors = anchorsOf(source, 0);
  const facts = known ?? analyse(source, source.regex, anchors, set);
  const exact = facts.before.min === facts.before.max;
  const regex = facts.around === undefined ? source.regex : source.regex.replace(SECRET_GROUP, "(?:");
  const pattern = lazyPattern(exact ? `^(?:${regex})` : regex, facts.around === undefined ? "d" : "");
  return {
    source,
    id: source.id,
    confidence: source.confidence,
    kind: "line",
    anchors,
    pattern,
    ...facts,
    alphabet: interned(facts.alphabet),
    needs: interned(facts.needs),
    run: { ...facts.run, set: interned(facts.run.set) },
  };
}

function analyse(source: RuleSource, regex: string, anchors: readonly Anchor[], set: ByteSet | undefined): LineFacts {
  const node = checkSyntax(regex, "regex");
  const { max } = lengths(node);
  if (max > MAX_MATCH_BYTES) {
    const most = max === Infinity ? "any number of" : `up to ${max}`;
    throw new RuleFault("regex", `its matches have ${most} bytes; at most ${MAX_MATCH_BYTES} are allowed: bound its repetitions, or use charset to run on`);
  }
  if (source.maxLen !== undefined && source.maxLen < max)
    throw new RuleFault("maxLen", `its regex matches up to ${max} bytes, more than the ${source.maxLen} claimed`);
  const fold = anchors.every((anchor) => anchor.fold || anchor.literal.toUpperCase() === anchor.literal.toLowerCase());
  const before = anchorPlace(node, (text) => findAnchor(text, anchors), fold);
  if (before === undefined) throw new RuleFault("anchors", "the regex can match without any of the anchors");
  const found = findGroup(node, SECRET);
  if (found === undefined) throw new RuleFault("regex", "what is masked must stand in a group (?P<secret>…)");
  // With the anchor before the secret, all of it stands behind.
  const secretBehind = anchorPlace(found.before, (text) => findAnchor(text, anchors), fold) !== undefined;
  const rest = before.max === 0 ? behindAnchor(node, (text) => findAnchor(text, anchors), fold) : found.behind;
  return {
    // Where something must follow the secret, its mask cannot run on.
    alphabet: set ?? (lengths(found.behind).min > 0 ? EMPTY : lastRepeat(found.group)),
    follow: followOf(node, anchors, before, fold),
    ahead: Math.min(before.max - lengths(found.before).min, secretBehind ? -Math.min(...anchors.map(({ literal }) => literal.length)) : Infinity),
    before,
    after: max - before.min,
    bytes: bytesOf(node),
    needs: requiredBytes(rest),
    words: requiredWords(rest),
    run: requiredRun(rest) ?? NO_RUN,
    first: placesOf(node, 1)[0]!,
    held: found.isNested ? bytesOf(node) : union(bytesOf(found.group), bytesOf(found.behind)),
    ...aroundOf(regex, found),
  };
}

/** Where the secret stands in a match, if that is the same in all. */
function aroundOf(regex: string, { before, behind, isNested }: FoundGroup): Pick<LineRule, "around"> {
  const [lead, trail] = [lengths(before), lengths(behind)];
  if (isNested || lead.min !== lead.max || trail.min !== trail.max || regex.split(SECRET_GROUP).length !== 2) return {};
  return { around: { lead: lead.min, trail: trail.min } };
}

/** What must stand behind the anchors of a line rule, if they stand at one place. */
function followOf(node: Node, anchors: readonly Anchor[], place: { readonly min: number; readonly max: number }, fold: boolean): Run {
  const rest = rightBehind(
    node,
    anchors.map(({ literal }) => literal),
    fold,
  );
  if (rest !== undefined) return rarestFollow(placesOf(rest, Math.min(FOLLOW_BYTES, lengths(rest).min)), 0, 0);
  const behind = Math.max(...anchors.map(({ literal }) => literal.length)) + place.min;
  const count = Math.min(FOLLOW_BYTES, lengths(node).min - behind);
  if (place.min !== place.max || count <= 0) return NO_RUN;
  // Behind a shorter anchor stands what is part of a longer one.
  const first = Math.min(...anchors.map(({ literal }) => literal.length)) + place.min;
  return rarestFollow(placesOf(node, behind + count), first, behind);
}

/** One byte of a few, or many of many: what a log is less likely to hold by chance of what stands in `places` from `first` on; `behind` of them do not count. */
function rarestFollow(places: readonly ByteSet[], first: number, behind: number): Run {
  let best = NO_RUN;
  let most = 0;
  for (let count = 1; behind + count <= places.length; count++) {
    const set = union(...places.slice(first, behind + count));
    const surprise = -count * Math.log(Math.min(share(set), MOST_SHARE));
    if (surprise > most) [best, most] = [{ set, count }, surprise];
  }
  return best;
}

function checkSyntax(regex: string, field: string): Node {
  try {
    return parseRegex(regex);
  } catch (error) {
    if (error instanceof RegexError) throw new RuleFault(field, error.message);
    throw error;
  }
}

function anchorsOf(source: RuleSource, flags: number): Anchor[] {
  if (source.anchors === undefined) throw new RuleFault("anchors", `a ${source.kind} rule needs anchors`);
  return source.anchors.map((anchor) => {
    const { literal, fold } = typeof anchor === "string" ? { literal: anchor, fold: false } : anchor;
    return { literal: fold ? literal.toLowerCase() : literal, fold, flags: flags | (fold ? ANCHOR.FOLD : 0) };
  });
}

/** Where the first of `anchors` stands in `text`, or -1. */
function findAnchor(text: string, anchors: readonly Anchor[]): number {
  const lower = text.toLowerCase();
  const places = anchors.map(({ literal, fold }) => (fold ? lower : text).indexOf(literal)).filter((place) => place >= 0);
  return places.length === 0 ? -1 : Math.min(...places);
}

/** Bytes that a mask must not run over, whatever an alphabet says: line ends and control sequences. */
export const STOPS = union(complement(EMPTY).map((_, byte) => (byte < 0x20 || byte === 0x7f ? 1 : 0)));

const withoutStops = new WeakMap<ByteSet, ByteSet>();

/** The bytes of an alphabet that a mask may run over. */
export function unstopped(set: ByteSet): ByteSet {
  let known = withoutStops.get(set);
  if (known === undefined) withoutStops.set(set, (known = interned(set.map((member, byte) => member & (1 - STOPS[byte]!)))));
  return known;
}

/** Whether an alphabet runs on over `byte`. */
export const runsOn = (rule: RuleBase, byte: number): boolean => byte >= 0 && rule.alphabet[byte] === 1 && STOPS[byte] === 0;
