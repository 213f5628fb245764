/** Rules as an engine uses them: compiled, with their anchors laid out for the matcher. Immutable. */
import { ANCHOR, ANCHOR_SIZES, type AnchorSet, type AnchorTable, MAX_ANCHOR_BYTES } from "../core/anchors.js";
import type { MatcherFactory } from "../core/matcher.js";
import type { Run } from "./analysis.js";
import { BIGRAMS } from "./bigrams.js";
import { type ByteSet, EMPTY, keyOf, union } from "./bytes.js";
import { type Anchor, type Confidence, CONFIDENCES, type LineRule, type Policy, type Rule } from "./compile.js";
import type { AnchorKind } from "./evaluate.js";
import { askedOf, type Reach } from "./reach.js";
import { spelling, spellings } from "./spelled.js";

export interface RulePack {
  readonly rules: readonly Rule[];
  readonly policies: readonly Policy[];
  readonly table: AnchorTable;
  /** By anchor number: the anchor, and the rules that it belongs to. */
  readonly anchors: readonly (AnchorKind & { readonly rules: readonly number[] })[];
  /** Beginnings of anchors that stand at the start of a secret: a chunk that ends with one keeps it back. Folded ones in lower case. */
  readonly prefixes: Prefixes;
  /**
   * For rules whose secrets may begin before their anchors: bytes that their matches have, and how many of them may stand before or in
   * an anchor that is not complete.
   */
  readonly ahead: readonly { readonly set: ByteSet; readonly length: number }[];
  /** Bytes that any of those have. */
  readonly aheadBytes: ByteSet;
}

export interface Prefixes {
  readonly exact: ReadonlySet<string>;
  readonly folded: ReadonlySet<string>;
  /** For each byte the lengths, a bit each, of prefixes that begin with it; and of those that end with it. */
  readonly firsts: Uint32Array;
  readonly lasts: Uint32Array;
  /** A bit for each {@link prefixKey}: most of what passes the two above is none all the same. */
  readonly filter: Uint32Array;
}

const FILTER_BITS = 1 << 16;

/** The bit of {@link Prefixes.filter} of a prefix with these bytes: its first two, the one in its middle, its last. Letters of either case are one. */
export function prefixKey(first: number, second: number, middle: number, last: number, length: number): number {
  const bytes = (first | 0x20) + (second | 0x20) * 0x1003f + (middle | 0x20) * 0x9e377 + (last | 0x20) * 0x3d4d51 + length * 0x2545f;
  return (Math.imul(bytes, 0x9e3779b1) >>> 16) & (FILTER_BITS - 1);
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
  const literals: Literal[] = [];
  rules.forEach((rule, index) => {
    for (const { literal, flags, length, bytes, isSpelling } of rule.anchors.flatMap((anchor) => spelledToo(rule, anchor))) {
      const key = `${flags} ${length} ${literal}`;
      const known = numbers.get(key);
      if (known === undefined) {
        numbers.set(key, literals.length);
        literals.push({ literal, flags, length, bytes, isSpelling, rules: [index], token: beginsToken(rule), ...askedOf(rule) });
      } else {
        const shared = literals[known]!;
        const { follow, reach } = askedOf(rule);
        shared.token &&= beginsToken(rule);
        shared.follow = either(shared.follow, follow);
        shared.reach = eitherReach(shared.reach, reach);
        if (!shared.rules.includes(index)) shared.rules.push(index);
      }
    }
  });
  const offsets = new Uint32Array(literals.length + 1);
  literals.forEach(({ literal }, anchor) => (offsets[anchor + 1] = offsets[anchor]! + literal.length));
  const ahead = rules.filter((rule) => rule.kind === "line" && rule.ahead > 0) as LineRule[];
  return {
    rules,
    policies: rules.map((rule) => options.policy?.[rule.id] ?? rule.source.policy ?? options.policy?.[rule.confidence] ?? "mask"),
    table: {
      bytes: Buffer.from(literals.map(({ literal }) => literal).join(""), "latin1"),
      offsets,
      ...hintTable(literals),
      flags: Uint8Array.from(literals, ({ literal, flags, token }) => flags | (token && /^\w/.test(literal) ? ANCHOR.TOKEN : 0)),
    },
    anchors: literals.map(({ length, bytes, isSpelling, rules: owners }) => ({ length, bytes, isSpelling, rules: owners })),
    prefixes: prefixesOf(rules),
    aheadBytes: union(new Uint8Array(256), ...ahead.map((rule) => spellings(rule.held))),
    ahead: ahead.map((rule) => ({ set: spellings(rule.held), length: rule.ahead + Math.max(...rule.anchors.map(({ literal }) => literal.length)) - 1 })),
  };
}

/** An anchor of a rule, and how strings spell it. */
function spelledToo({ kind }: Rule, { literal, flags }: Anchor): (Pick<Literal, "literal" | "flags"> & AnchorKind)[] {
  const plain = { literal, flags, length: literal.length, bytes: literal.length, isSpelling: false };
  const spelled = kind === "line" || kind === "mapping" ? spelling(literal) : undefined;
  return spelled === undefined || spelled.length > MAX_ANCHOR_BYTES
    ? [plain]
    : [plain, { ...plain, literal: spelled, bytes: spelled.length, isSpelling: true }];
}

const either = (a: Run, b: Run): Run => ({ set: union(a.set, b.set), count: Math.min(a.count, b.count) });

/** What one of two rules asks, or less. */
function eitherReach(a: Reach | undefined, b: Reach | undefined): Reach | undefined {
  if (a === undefined || b === undefined) return undefined;
  const words = a.words.length > 0 && b.words.length > 0 ? [...new Set([...a.words, ...b.words])] : [];
  const needed = a.needed === EMPTY || b.needed === EMPTY ? EMPTY : union(a.needed, b.needed);
  const run = either(a.run, b.run);
  if (words.length === 0 && needed === EMPTY && run.count === 0) return undefined;
  return { passed: union(a.passed, b.passed), needed, words, run, most: Math.max(a.most, b.most) };
}

/** An anchor, and what its rules have in common. */
interface Literal extends AnchorKind {
  readonly literal: string;
  readonly flags: number;
  readonly rules: number[];
  token: boolean;
  follow: Run;
  reach: Reach | undefined;
}

/** Lays alphabets out, equal ones once, and says where the rarest bytes of anchors are. */
function hintTable(literals: readonly Literal[]): Pick<AnchorTable, "hints" | "reaches" | "alphabets" | "words"> {
  const numbers = new Map<string, number>();
  const sets: ByteSet[] = [];
  /** Undefined where there is no room for another. */
  const numberOf = (set: ByteSet, room: number): number | undefined => {
    const key = keyOf(set);
    let number = numbers.get(key);
    if (number === undefined && sets.length < room) {
      numbers.set(key, (number = sets.length));
      sets.push(set);
    }
    return number !== undefined && number < room ? number : undefined;
  };
  const hints = new Uint8Array(literals.length * ANCHOR_SIZES.HINT);
  literals.forEach(({ literal, follow: { set, count } }, anchor) => {
    const number = count === 0 ? undefined : numberOf(set, 256);
    // With no room for another alphabet the rule is asked each time.
    hints.set([...(number === undefined ? [0, 0] : [number, count]), rarestFive(literal)], anchor * ANCHOR_SIZES.HINT);
  });
  const reaches = new Uint16Array(literals.length * ANCHOR_SIZES.REACH);
  const lists = new WordLists();
  literals.forEach(({ reach }, anchor) => {
    if (reach === undefined) return;
    const [passed, needed, run] = [reach.passed, reach.needed, reach.run.set].map((set) => numberOf(set, 0xffff));
    const list = lists.placeOf(reach.words);
    if (passed === undefined || needed === undefined || run === undefined || list === undefined) return;
    reaches.set([reach.most, passed, reach.needed === EMPTY ? 0 : 1 + needed, list, run, reach.run.count], anchor * ANCHOR_SIZES.REACH);
  });
  return { hints, reaches, alphabets: Uint8Array.from(sets.flatMap((set) => [...set])), words: lists.bytes };
}

/** Lists of words as {@link AnchorTable.words} has them, equal ones once. */
class WordLists {
  private readonly places = new Map<string, number>();
  private readonly table: number[] = [];

  get bytes(): Uint8Array {
    return Uint8Array.from(this.table);
  }

  /** Where a list stands, counted from 1; 0 for none. Undefined if it cannot be told. */
  placeOf(words: readonly string[]): number | undefined {
    if (words.length === 0) return 0;
    const key = words.join("\n");
    const known = this.places.get(key);
    if (known !== undefined) return known;
    const place = this.table.length + 1;
    if (words.length > 0xff || place > 0xffff || words.some(({ length }) => length > 0xff)) return undefined;
    this.table.push(words.length);
    for (const word of words) this.table.push(word.length, ...Buffer.from(word, "latin1"));
    this.places.set(key, place);
    return place;
  }
}

/** Words that logs are full of: bytes out of them tell nothing. */
const LOG_WORDS =
  "package packages testing tests building builds modules compile compiling installing installed executing execute production product development staging default version versions " +
  "session sessions options option configure configuration source sources script scripts passed password error errors warning information info true false https customer custom " +
  "encrypted decrypt crypto external internal enable disable container containers trailing training interface internet account counter code resource release create created require " +
  "download downloading upload uploaded process processing project directory repository environment variables platform service server security -security sprockets lambda gitlab- " +
  "metadata- alibaba session segment";

/** Where the five bytes begin that text is least likely to hold; 0 for an anchor that is too short. */
function rarestFive(literal: string): number {
  const pairs = Array.from({ length: literal.length - 1 }, (_, at) => commonness(literal.charCodeAt(at), literal.charCodeAt(at + 1)));
  const lower = literal.toLowerCase();
  let best = 0;
  let least = Infinity;
  for (let at = 0; at + 5 <= literal.length; at++) {
    const [a, b, c, d] = [pairs[at]!, pairs[at + 1]!, pairs[at + 2]!, pairs[at + 3]!];
    // The filter goes by three bytes of them, the first or the next: what it lets through costs more than what is found.
    const score = 2 * Math.max(a + b, b + c) + 0.5 * (a + b + c + d) + (LOG_WORDS.includes(lower.slice(at, at + 5)) ? 1000 : 0);
    if (score < least) [best, least] = [at, score];
  }
  return best;
}

/** How common two characters are in logs: letters as in text, others less so, one and the same most of all. */
function commonness(first: number, second: number): number {
  if (first === second) return 100;
  const [a, b] = [(first | 0x20) - 0x61, (second | 0x20) - 0x61];
  return a >= 0 && a < 26 && b >= 0 && b < 26 ? BIGRAMS[a * 26 + b]! : -10;
}

/** Whether a rule finds nothing at an anchor inside a word. */
function beginsToken(rule: Rule): boolean {
  return rule.source.left !== "any" && (rule.kind === "run" || (rule.kind === "line" && rule.before.max === 0));
}

function prefixesOf(rules: readonly Rule[]): RulePack["prefixes"] {
  const exact = new Set<string>();
  const folded = new Set<string>();
  const firsts = new Uint32Array(256);
  const lasts = new Uint32Array(256);
  const filter = new Uint32Array(FILTER_BITS / 32);
  for (const rule of rules) {
    // What an assignment gives away stands behind its word.
    if (rule.kind === "assign") continue;
    for (const { literal, flags } of rule.anchors) {
      // Behind so many bytes of the anchor the secret may begin.
      for (let length = Math.max(1, 1 - rule.ahead); length < literal.length; length++) {
        const prefix = literal.slice(0, length);
        const isFolded = (flags & ANCHOR.FOLD) !== 0;
        (isFolded ? folded : exact).add(prefix);
        const [first, second, middle, last] = [0, length > 1 ? 1 : 0, length >> 1, length - 1].map((at) => prefix.charCodeAt(at));
        const key = prefixKey(first!, second!, middle!, last!, length);
        filter[key >> 5]! |= 1 << (key & 31);
        for (const text of isFolded ? [prefix, prefix.toUpperCase()] : [prefix]) {
          firsts[text.charCodeAt(0) & 0xff]! |= 1 << length;
          lasts[text.charCodeAt(length - 1) & 0xff]! |= 1 << length;
        }
      }
    }
  }
  return { exact, folded, firsts, lasts, filter };
}

/** Anchors by engine and pack: most engines of a process have the same. */
const anchorSets = { native: new WeakMap<RulePack, AnchorSet>(), portable: new WeakMap<RulePack, AnchorSet>() };

export function anchorsOf(factory: MatcherFactory, pack: RulePack): AnchorSet {
  const sets = anchorSets[factory.engine];
  let set = sets.get(pack);
  if (set === undefined) sets.set(pack, (set = factory.anchors(pack.table)));
  return set;
}
