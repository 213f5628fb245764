/**
 * One anchor hit and one rule: is there a secret, and where? A pure question about the bytes of the stream: neither chunks nor other hits matter. A {@link Wait} says that it
 * depends on bytes to come, and on which.
 */
import { MAX_ANCHOR_BYTES } from "../core/anchors.js";
import { type Assignment, PLAIN_VALUE, readAssignment } from "./assign.js";
import { tokenMayEnd, tokenMayStart } from "./boundary.js";
import { type ByteSet, EMPTY, interned } from "./bytes.js";
import { checksumHolds } from "./checksums.js";
import { type AssignRule, type Confidence, type LineRule, type Rule, type RunRule, runsOn, unstopped } from "./compile.js";
import { isNoise, isPhrase } from "./noise.js";
import { classes, randomness, shannon } from "./random.js";
import { compilePattern, type Pattern, type PatternMatch } from "./re2.js";
import { reaches } from "./reach.js";
import { isSpelled, LONGEST_ESCAPE, readSpelled, type Spelled, spellings, stringStart, SYNC_BYTES } from "./spelled.js";
import { LOOKBACK_BYTES, type StreamText } from "./text.js";
import { NEXT_BYTE, Wait } from "./waiting.js";

/** A secret that a rule found: `[start, end)`, offsets in the stream. */
export interface Match {
  readonly start: number;
  /** Of what the rule asks for; the mask may run on from here. */
  readonly end: number;
  readonly confidence: Confidence;
  /** The mask runs on in it. */
  readonly alphabet: ByteSet;
}

/** How an anchor stands in the text. */
export interface AnchorKind {
  /** Bytes of what it means. */
  readonly length: number;
  /** Bytes that stand there: as a string spells it, it has more, and only what is spelled is judged. */
  readonly bytes: number;
  readonly isSpelling: boolean;
}

/** Why a rule that came close found nothing: for `explain`. */
export type Near = (reason: string) => undefined;

/** Least p-value of what counts as random. */
const RANDOM_P = 0.001;

const LF = 0x0a;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** How often what is spelled may be a spelling itself. */
const MAX_SPELLED = 2;
/** Bytes before a match that {@link accept} looks at, at most. */
const AROUND_BYTES = 160;
/** Bytes before an anchor that are read whatever the chunks: it may have begun in one that is gone, and what is spelled is read from some way before on. */
const MOST_BEFORE = LOOKBACK_BYTES - MAX_ANCHOR_BYTES - LONGEST_ESCAPE - 2 * SYNC_BYTES;

/** Judges the hit of an anchor at `at`. Blocks are not judged here: they have a beginning and go on. */
export function evaluate(rule: Rule, text: StreamText, at: number, anchor: AnchorKind, near?: Near): Match | Wait | undefined {
  const { length } = anchor;
  switch (rule.kind) {
    case "run":
      return evaluateRun(rule, text, at, length, near);
    case "line": {
      let reason = "its expression does not match";
      return evaluateText(rule, text, at, anchor, MAX_SPELLED, (why) => void (reason = why)) ?? near?.(reason);
    }
    case "assign":
      return evaluateAssign(rule, text, at, length, near);
    default:
      return undefined;
  }
}

function evaluateRun(rule: RunRule, text: StreamText, at: number, length: number, near?: Near): Match | Wait | undefined {
  if (rule.source.left !== "any" && !tokenMayStart(text, at)) return near?.("it begins inside a word");
  const least = at + length + rule.minLen;
  let end = at + length;
  while (end < least && runsOn(rule, text.at(end))) end++;
  if (end < least) {
    if (text.at(end) < 0 && !text.ended) return new Wait(unstopped(rule.alphabet), least);
    return near?.(`it has ${end - at - length} bytes behind its anchor; ${rule.minLen} are the fewest`);
  }
  return accept(rule, text, at, at, end, near);
}

/** Judges text as it stands, and as what it spells: where that is the string of a key, a match does not reach over it. */
function evaluateText(rule: LineRule, text: StreamText, at: number, anchor: AnchorKind, depth: number, near?: Near): Match | Wait | undefined {
  const match = anchor.isSpelling ? undefined : evaluateLine(rule, text, at, anchor.length, near);
  if (match instanceof Wait || depth === 0) return match;
  if (match === undefined && !isSpelled(text, at, rule.before.max, at + 2 * rule.after, spellings(rule.bytes), rule.bytes[LF] === 1)) return undefined;
  const string = stringStart(text, at);
  if (match !== undefined && string === undefined) return match;
  const until = reaches(rule, text, at, anchor.bytes);
  if (until === undefined) return match;
  if (until instanceof Wait) return until;
  const before = Math.max(rule.before.max, Math.min(rule.before.max + AROUND_BYTES + (rule.source.near?.within ?? 0), MOST_BEFORE));
  const inside = string === undefined ? undefined : readSpelled(text, at, before, until, string);
  const found = inside === undefined ? undefined : evaluateSpelled(rule, inside, at, anchor.length, depth);
  if (found !== undefined || match !== undefined || (inside !== undefined && !inside.endsAtQuote)) return found ?? match;
  const spelled = readSpelled(text, at, before, until);
  return spelled === undefined ? undefined : evaluateSpelled(rule, spelled, at, anchor.length, depth);
}

function evaluateSpelled(rule: LineRule, spelled: Spelled, at: number, length: number, depth: number): Match | Wait | undefined {
  const index = spelled.indexOf(at);
  const match = index === undefined ? undefined : evaluateText(rule, spelled.text, index, { length, bytes: length, isSpelling: false }, depth - 1);
  // What is spelled ends with an escape of which the end is yet to come.
  if (match instanceof Wait) return NEXT_BYTE;
  if (match === undefined) return match;
  const set = rule.source.charset === undefined ? insideString(match.alphabet) : match.alphabet;
  return { ...match, start: spelled.placeOf(match.start), end: spelled.placeOf(match.end), alphabet: set };
}

/** What of the alphabet that an expression ends in does not end a string. */
function insideString(set: ByteSet): ByteSet {
  return set[BACKSLASH] === 0 && set[QUOTE] === 0 ? set : interned(set.map((member, byte) => (byte === BACKSLASH || byte === QUOTE ? 0 : member)));
}

function evaluateLine(rule: LineRule, text: StreamText, at: number, length: number, near?: Near): Match | Wait | undefined {
  // Asked again though the matcher did: there the rules of one anchor share what must follow.
  const { set, count } = rule.follow;
  for (let offset = at + length; offset < at + length + count; offset++) {
    const byte = text.at(offset);
    if (byte < 0) break;
    if (set[byte] === 0) return near?.("its expression does not match");
  }
  // A match holds no byte that the rule's expression cannot consume: it ends there at the latest.
  const limit = at + rule.after;
  const { bytes, needs, before } = rule;
  const until = text.runEnd(bytes, at, limit);
  if (text.at(until) < 0 && !text.ended) return new Wait(bytes, limit + 1);
  const needed = before.max === 0 ? at + length : at - before.max;
  if (needs !== EMPTY && !text.holds(needs, needed, until)) return near?.("its expression does not match");
  if (rule.run.count > 0 && !text.holdsRun(rule.run, needed, until)) return near?.("its expression does not match");
  const found = search(rule, text, at, length, until + 1);
  if (found === undefined) return near?.("its expression does not match");
  const { from, start } = found;
  // The backslashes of a quote that ends the secret stay.
  let { end } = found;
  if (isQuote(text.at(end))) while (end > start && text.at(end - 1) === BACKSLASH) end--;
  const isEscape = end < found.end;
  if (rule.source.left !== "any" && isWord(text.at(from)) && !tokenMayStart(text, from)) return near?.("it begins inside a word");
  if (rule.source.right === "token") {
    if (text.at(end) < 0 && !text.ended) return NEXT_BYTE;
    if (!tokenMayEnd(text, end)) return near?.("it goes on in a word");
  }
  const match = accept(rule, text, from, start, end, near);
  return isEscape && match !== undefined ? { ...match, alphabet: insideString(match.alphabet) } : match;
}

const isQuote = (byte: number): boolean => byte === QUOTE || byte === 0x27;

/** The match that holds the anchor at `at`: where it starts, and its secret. */
function search(rule: LineRule, text: StreamText, at: number, length: number, until: number): { from: number; start: number; end: number } | undefined {
  const { min, max } = rule.before;
  const pattern = rule.pattern();
  let from = Math.max(text.start, at - max);
  if (min === max && from > at - max) return undefined;
  if (min < max && !beginsIn(rule, text, from, at - min)) return undefined;
  if (rule.words.length > 0) {
    const behind = text.latin1(max === 0 ? at + length : from, until).toLowerCase();
    if (!rule.words.some((word) => behind.includes(word))) return undefined;
  }
  for (;;) {
    const match = pattern.exec(text.latin1(from, until));
    if (match === null || from + match.index > at) return undefined;
    const begin = from + match.index;
    if (begin + match[0].length > at) return { from: begin, ...secretOf(rule, match, from) };
    from = begin + 1;
  }
}

function secretOf({ around }: LineRule, match: PatternMatch, from: number): { start: number; end: number } {
  if (around !== undefined) return { start: from + match.index + around.lead, end: from + match.index + match[0].length - around.trail };
  const [start, end] = match.indices!.groups!["secret"] ?? match.indices![0]!;
  return { start: from + start, end: from + end };
}

/** Whether a match may begin in `[from, to]`. */
function beginsIn(rule: LineRule, text: StreamText, from: number, to: number): boolean {
  for (let at = from; at <= to; at++) if (rule.first[text.at(at)] === 1) return true;
  return false;
}

function evaluateAssign(rule: AssignRule, text: StreamText, at: number, length: number, near?: Near): Match | Wait | undefined {
  const found = readAssignment(text, at, at + length);
  if (found instanceof Wait || found === undefined) return found;
  if (length <= SHORT_WORD_BYTES && !standsAlone(text, at, at + length)) return near?.("its word is part of another");
  const { name, start, end, open } = found;
  if (end - start < rule.minLen) return near?.(`its value has ${end - start} bytes; ${rule.minLen} are the fewest`);
  if (isHarmlessName(name)) return near?.("its name says that it is no secret");
  const match = accept(rule, text, at, start, end, near, (value) => valueFault(rule, value, found));
  return match === undefined || !open ? match : { ...match, alphabet: PLAIN_VALUE };
}

/** Words that are parts of others too often: `pass` in `passed`, `auth` in `author`. */
const SHORT_WORD_BYTES = 4;

/** Whether `[from, to)` is a part of its name by itself: between separators, or a hump of camelCase. */
function standsAlone(text: StreamText, from: number, to: number): boolean {
  const [before, first, last, after] = [text.at(from - 1), text.at(from), text.at(to - 1), text.at(to)];
  const humpBegins = !isLetter(before) || (isUpper(first) && !isUpper(before));
  const humpEnds = !isLetter(after) || (isUpper(after) && !isUpper(last));
  return humpBegins && humpEnds;
}

const isUpper = (byte: number): boolean => byte >= 0x41 && byte <= 0x5a;
const isLetter = (byte: number): boolean => isUpper(byte) || (byte >= 0x61 && byte <= 0x7a);

/** Why a value cannot be one that the rule looks for. */
function valueFault(rule: AssignRule, value: string, { quoted, isConstant, isEqual }: Assignment): string | undefined {
  const { values, maxLen } = rule;
  if (values === undefined) {
    if (quoted && value.includes(" ")) return isEqual && isPhrase(value) ? undefined : "its value is a sentence";
    return isNoise(value, isConstant && !quoted) ? "its value is a reference, a placeholder or the like" : undefined;
  }
  if (value.length > maxLen) return `its value has ${value.length} bytes; ${maxLen} are the most`;
  for (let i = 0; i < value.length; i++) if (values[value.charCodeAt(i)] === 0) return "its value has other characters than the rule's alphabet";
  return undefined;
}

/** Ends of names whose values are no secrets though the name holds a word like `token`. */
const HARMLESS = [
  "id ids name names type types file files path paths dir directory url uri urls endpoint host length len size count number num max min limit limits ttl expiry",
  "expires expiration expired timeout policy policies prefix suffix format version algorithm alg algo method mode scope scopes class usage enabled disabled required",
  "hash digest checksum fingerprint sha1 sha256 sha512 md5 index status state label labels field fields column error errors message description title schema store",
  "manager provider service server role roles user username login email locale lang date time at kind source public pub cert certificate ref reference used line",
  "begin end start position offset list map set keys words word code codes event events rate budget tokens",
]
  .join(" ")
  .split(" ");
const HARMLESS_END = new Set(HARMLESS);
const PUBLIC = [
  "public",
  "pubkey",
  "publishable",
  "keyid",
  "key_id",
  "keyword",
  "keyboard",
  "monkey",
  "turkey",
  "author",
  "tokenize",
  "passed",
  "passing",
  "bypass",
  "compass",
  "passive",
];

function isHarmlessName(name: string): boolean {
  const last = 1 + Math.max(name.lastIndexOf("."), name.lastIndexOf("_"), name.lastIndexOf("-"));
  return HARMLESS_END.has(last === 0 ? name : name.slice(last)) || PUBLIC.some((word) => name.includes(word));
}

/** The tests that every kind shares, and what is wrong with a value by those of one; `from` is where the match starts, `[start, end)` its secret. */
function accept(
  rule: Rule,
  text: StreamText,
  from: number,
  start: number,
  end: number,
  near?: Near,
  faultOf?: (value: string) => string | undefined,
): Match | undefined {
  const { source } = rule;
  const value = text.latin1(start, end);
  if (value.startsWith(MASK) || isInMask(text, start)) return near?.("it is masked already");
  if (source.minLen !== undefined && rule.kind === "line" && value.length < source.minLen)
    return near?.(`it has ${value.length} bytes; ${source.minLen} are the fewest`);
  if (source.classes !== undefined && classes(value) < source.classes) return near?.(`it has fewer than ${source.classes} kinds of characters`);
  if (source.skipNoise === true && isNoise(value)) return near?.("its value is a reference, a placeholder or the like");
  if (!looksRandom(rule, value)) return near?.("it does not look random");
  const fault = faultOf?.(value);
  if (fault !== undefined) return near?.(fault);
  if (source.near !== undefined) {
    const before = text.latin1(Math.max(text.start, from - source.near.within), from).toLowerCase();
    if (!source.near.words.some((word) => before.includes(word.toLowerCase())))
      return near?.(`none of its near words stands within ${source.near.within} bytes before it`);
  }
  if (allowed(rule).some((pattern) => pattern.test(value))) return near?.("its rule allows such a value");
  const sure = source.checksum !== undefined && checksumHolds(source.checksum, value);
  return { start, end, confidence: sure ? "certain" : rule.confidence, alphabet: rule.alphabet };
}

/** How labelled masks begin. What a rule finds there has been masked by another. */
const MASK = "[REDACTED";
const LONGEST_LABEL = 140;

/** Whether the label of a mask stands open at `at`. */
function isInMask(text: StreamText, at: number): boolean {
  const before = text.latin1(Math.max(text.start, at - LONGEST_LABEL), at);
  return before.lastIndexOf(MASK) > before.lastIndexOf("]");
}

function looksRandom(rule: Rule, value: string): boolean {
  const { random } = rule.source;
  if (random === undefined || random === false) return true;
  if (random === true) return randomness(value) >= RANDOM_P;
  return (random.measure === "p" ? randomness(value) : shannon(value)) >= random.min;
}

const patterns = new WeakMap<Rule, readonly Pattern[]>();
const NONE: readonly Pattern[] = [];

function allowed(rule: Rule): readonly Pattern[] {
  if (rule.source.allow === undefined) return NONE;
  let compiled = patterns.get(rule);
  if (compiled === undefined) patterns.set(rule, (compiled = rule.source.allow.map((source) => compilePattern(source))));
  return compiled;
}

const isWord = (byte: number): boolean => (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x5a) || byte === 0x5f || (byte >= 0x61 && byte <= 0x7a);
