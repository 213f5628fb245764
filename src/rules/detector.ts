/**
 * The rules over one stream: hits of anchors become candidates, candidates wait until the bytes they depend on are there, and answer spans to mask. What is
 * found does not depend on chunks: every candidate is judged by itself.
 */
import { type AnchorStream, HIT_SIZE } from "../core/anchors.js";
import { blockBegin, Blocks } from "./blocks.js";
import { type ByteSet, EMPTY } from "./bytes.js";
import { type BlockRule, type Confidence, type LineRule, type MappingRule, STOPS } from "./compile.js";
import { Decoding, type KnownSecret, type Searches } from "./decoding.js";
import { type AnchorKind, evaluate, type Match } from "./evaluate.js";
import { mappingBegin, Mappings } from "./mapping.js";
import { prefixKey, rank, type RulePack } from "./pack.js";
import { spellings } from "./spelled.js";
import { StreamText } from "./text.js";
import { Wait, Waiting } from "./waiting.js";
import { examined } from "./work.js";

/** A secret that a rule found. */
export interface RuleMatch {
  /** Number of the rule; -1: it is `known`, and was found where it is encoded twice. */
  readonly rule: number;
  readonly start: number;
  readonly end: number;
  readonly confidence: Confidence;
  /** `plain`, or what hides it: `base64`, `escaped+hex`. */
  readonly variant: string;
  readonly known?: KnownSecret;
}

export interface DetectorHost {
  /** `[start, end)` is to be masked because of `match`; more of the same match may follow. */
  mask(start: number, end: number, match: RuleMatch): void;
  /** A whole match, before its mask, with its bytes as Latin-1. */
  found(match: RuleMatch, value: string): void;
  /** A rule found nothing at its anchor, which starts at `at`. */
  missed?(rule: number, at: number, reason: string): undefined;
}

interface Candidate {
  readonly rule: number;
  readonly at: number;
  readonly anchor: AnchorKind;
  /** From here on bytes are held back for it while it is undecided. */
  readonly hold: number;
  /** First byte that its rule looks at. */
  readonly from: number;
  /** Where a match may begin at the earliest: looked for when it has to wait. */
  start: number;
}

/** A mask that runs on while bytes of its alphabet come. */
interface Run {
  readonly match: RuleMatch;
  readonly set: ByteSet;
  /** Where it goes on. */
  readonly from: number;
}

/** The blocks or mappings of a rule. */
type Grammar = Blocks | Mappings;

const BACKSLASH = 0x5c;
const QUOTE = 0x22;
/** Rules that are as sure as this teach what they find, unless they say otherwise, and mask what silence cuts off. */
export const SURE_RANK = rank("high");
/** Bytes before a word that the reader of assignments looks at. */
const ASSIGN_LOOKBEHIND_BYTES = 64;
/** Fewest bytes behind an anchor that are masked where silence cuts a token off, as of a known secret. */
const FRAGMENT_BYTES = 4;

export class Detector {
  readonly text: StreamText;
  private readonly waiting = new Waiting<Candidate>();
  /** Where a block or a mapping may begin. */
  private readonly begins = new Waiting<Candidate>();
  private runs: Run[] = [];
  /** By alphabet the stretch of the chunk at hand that was walked last. */
  private readonly walked = new Map<ByteSet, { readonly from: number; readonly end: number }>();
  /** By number of the rule, and where it reads: made when something begins. */
  private readonly grammars = new Map<string, { readonly rule: number; readonly grammar: Grammar }>();
  /** Everything before it may leave as far as the rules are concerned. */
  hold = 0;
  /** Bytes that rules have looked at, those of pushes. */
  work = 0;
  private readonly anchors: AnchorStream;
  private readonly decoding: Decoding | undefined;

  constructor(
    private readonly pack: RulePack,
    searches: Searches,
    private readonly host: DetectorHost,
    joined = false,
  ) {
    this.text = new StreamText(joined);
    this.anchors = searches.anchors.open();
    const { encoded } = searches;
    if (encoded !== undefined)
      this.decoding = new Decoding(pack, { ...searches, encoded }, this.text, ({ value, ...match }) => {
        this.host.found(match, value);
        this.host.mask(match.start, match.end, match);
      });
  }

  /** Takes the next bytes, which must stay as they are until `keep`. */
  push(bytes: Uint8Array): void {
    const before = examined.bytes;
    this.look(bytes);
    this.work += examined.bytes - before;
  }

  private look(bytes: Uint8Array): void {
    const { text, pack } = this;
    const chunk = text.push(bytes);
    this.walked.clear();
    this.runOn();
    for (const candidate of this.begins.take(chunk, text.total)) this.judge(candidate);
    for (const candidate of this.waiting.take(chunk, text.total)) this.judge(candidate);
    const hits = this.anchors.scan(chunk);
    for (let i = 0; i < hits * HIT_SIZE; i += HIT_SIZE) {
      const anchor = pack.anchors[this.anchors.hits[i]!]!;
      const at = text.total - this.anchors.hits[i + 1]!;
      for (const rule of anchor.rules) this.judge(this.candidate(rule, at, anchor));
    }
    this.readOn();
    this.decoding?.push(chunk);
    this.hold = this.holdStart();
  }

  private undecided(): Candidate[] {
    return [...this.begins.all(), ...this.waiting.all()];
  }

  private candidate(rule: number, at: number, anchor: AnchorKind): Candidate {
    const judged = this.pack.rules[rule]!;
    const { kind, ahead } = judged;
    const lookbehind = kind === "line" ? judged.before.max : kind === "assign" ? ASSIGN_LOOKBEHIND_BYTES : 0;
    return { rule, at, anchor, hold: kind === "assign" ? at + anchor.length : at - ahead, from: at - lookbehind, start: at };
  }

  /** Forgets the chunk of the last `push`, but for what may be looked at again. */
  keep(): void {
    this.text.keep(Math.min(this.hold, this.waiting.from, this.begins.from));
  }

  /**
   * Silence: what is undecided is judged as if the stream had ended, and may leave; it is judged again when more comes. What has come of a token whose beginning is telling
   * leaves masked, though it is too short for one.
   */
  idle(): void {
    const undecided = this.undecided();
    this.text.ended = true;
    for (const candidate of undecided) if (!this.judge(candidate)) this.maskFragment(candidate);
    this.decoding?.idle();
    this.text.ended = false;
    for (const { grammar } of this.grammars.values()) grammar.maskRest(this.text.total);
    this.hold = this.text.total;
  }

  /** The end: nothing more will come. */
  end(): void {
    this.text.ended = true;
    const undecided = this.undecided();
    this.waiting.clear();
    this.begins.clear();
    for (const candidate of undecided) this.judge(candidate);
    this.readOn();
    this.decoding?.end();
    this.hold = this.text.total;
  }

  release(): void {
    this.anchors.release();
    this.decoding?.release();
  }

  private maskFragment({ rule: index, at, anchor: { length } }: Candidate): void {
    const { kind, confidence } = this.pack.rules[index]!;
    const end = this.text.total;
    if (kind !== "run" || rank(confidence) < SURE_RANK || end - at - length < FRAGMENT_BYTES) return;
    const match: RuleMatch = { rule: index, start: at, end, confidence, variant: "plain" };
    this.host.found(match, "");
    this.host.mask(at, end, match);
  }

  /** Whether there is a match; undecided candidates wait. */
  private judge(candidate: Candidate): boolean {
    const { text } = this;
    const rule = this.pack.rules[candidate.rule]!;
    if (rule.kind === "block" || rule.kind === "mapping") {
      this.begin(candidate, rule);
      return false;
    }
    const match = evaluate(
      rule,
      text,
      candidate.at,
      candidate.anchor,
      this.host.missed && ((reason) => this.host.missed?.(candidate.rule, candidate.at, reason)),
    );
    if (match === undefined) return false;
    if (match instanceof Wait) {
      if (rule.kind === "line" && candidate.start === candidate.at) candidate.start = this.earliest(rule, candidate.at);
      this.waiting.add(candidate, match);
      return false;
    }
    this.accept(candidate.rule, match);
    return true;
  }

  private accept(index: number, { start, end, confidence, alphabet }: Match): void {
    const match: RuleMatch = { rule: index, start, end, confidence, variant: "plain" };
    this.host.found(match, this.text.latin1(start, end));
    const until = this.runEnd(alphabet, end);
    this.host.mask(start, until, match);
    this.mayRunOn({ match, set: alphabet, from: until });
  }

  private mayRunOn(run: Run): void {
    const { text, runs } = this;
    let open = run.from;
    if (endsEscape(run.set, text, text.total)) while (text.at(open) === BACKSLASH) open++;
    if (open === text.total && run.set !== EMPTY && !runs.some(({ set }) => set === run.set)) runs.push(run);
  }

  /** Where bytes of `set` end that start at `from`. A stretch that many matches end in is walked once. */
  private runEnd(set: ByteSet, from: number): number {
    const { text, walked } = this;
    const known = walked.get(set);
    if (known !== undefined && known.from <= from && from <= known.end) return known.end;
    let end = from;
    for (let byte = text.at(end); byte >= 0 && set[byte] === 1 && STOPS[byte] === 0; byte = text.at(end)) end++;
    // The backslashes of a quote that ends a string are none of the secret.
    if (endsEscape(set, text, end)) while (end > from && text.at(end - 1) === BACKSLASH) end--;
    if (end > from) walked.set(set, { from, end });
    return end;
  }

  /** Lets masks that reached the end of the last chunk run on. */
  private runOn(): void {
    if (this.runs.length === 0) return;
    const { runs } = this;
    this.runs = [];
    for (const run of runs) {
      const end = this.runEnd(run.set, run.from);
      if (end > run.from) this.host.mask(run.from, end, run.match);
      this.mayRunOn({ ...run, from: end });
    }
  }

  private begin(candidate: Candidate, rule: BlockRule | MappingRule): void {
    const begin = rule.kind === "block" ? blockBegin(rule, this.text, candidate.at) : mappingBegin(rule, this.text, candidate.at);
    if (begin instanceof Wait) this.begins.add(candidate, begin);
    else if (typeof begin === "number") this.beginBlock(candidate, begin);
    else if (begin !== undefined) this.beginMapping(candidate, begin.end, begin.isInString);
  }

  private beginBlock({ rule: number, at }: Candidate, end: number): void {
    const rule = this.pack.rules[number] as BlockRule;
    const match: RuleMatch = { rule: number, start: at, end, confidence: rule.confidence, variant: "plain" };
    const begin = { at, end, mask: (start: number, behind: number): void => this.host.mask(start, behind, match) };
    if (!this.grammar(number, "", () => new Blocks(rule)).add(begin)) return;
    this.host.found(match, "");
    begin.mask(at, end);
  }

  /** Every value is a match of its own. */
  private beginMapping({ rule: number, at }: Candidate, end: number, isInString: boolean): void {
    const rule = this.pack.rules[number] as MappingRule;
    const mask = (start: number, behind: number): void => {
      const match: RuleMatch = { rule: number, start, end: behind, confidence: rule.confidence, variant: "plain" };
      this.host.found(match, this.text.latin1(start, behind));
      this.host.mask(start, behind, match);
    };
    this.grammar(number, isInString ? "string" : "", () => new Mappings(rule, isInString)).add({ at, end, mask });
  }

  private grammar(rule: number, where: string, make: () => Grammar): Grammar {
    const key = `${rule} ${where}`;
    let known = this.grammars.get(key);
    if (known === undefined) this.grammars.set(key, (known = { rule, grammar: make() }));
    return known.grammar;
  }

  /** Goes on with blocks and mappings, up to where others may begin. */
  private readOn(): void {
    for (const { rule, grammar } of this.grammars.values()) grammar.go(this.text, this.begins.firstOf(rule));
  }

  /** The offset at which a detector that knows nothing of what was before would find the same: no candidate, mask or block reaches over it. */
  get settled(): number {
    let settled = Math.min(this.holdStart(), this.waiting.start, this.begins.start);
    for (const { match } of this.runs) settled = Math.min(settled, match.start);
    for (const { grammar } of this.grammars.values()) settled = Math.min(settled, grammar.start ?? Infinity);
    return settled;
  }

  /** Where a match with its anchor at `at` may begin at the earliest: it holds no byte that its expression cannot consume. */
  private earliest(rule: LineRule, at: number): number {
    let start = at;
    const bytes = spellings(rule.bytes);
    while (start > at - 2 * rule.before.max && bytes[this.text.at(start - 1)] === 1) start--;
    return start;
  }

  /** The offset from which on bytes may be part of a secret that is not known yet. */
  private holdStart(): number {
    const { text } = this;
    let hold = this.decoding?.hold ?? text.total;
    hold = Math.min(hold, this.waiting.hold, this.begins.hold, this.unfinishedAnchor());
    for (const { grammar } of this.grammars.values()) hold = Math.min(hold, grammar.hold);
    for (const { from } of this.runs) hold = Math.min(hold, from);
    return Math.min(hold, this.aheadStart());
  }

  /** Where the bytes begin that the text ends with and in which the secret of a rule may begin whose anchor is yet to come. */
  private aheadStart(): number {
    const { text, pack } = this;
    const { total } = text;
    const last = text.at(total - 1);
    if (last < 0 || pack.aheadBytes[last] === 0) return total;
    let start = total;
    for (const { set, length } of pack.ahead) {
      const least = Math.max(total - length, text.start);
      if (least >= start || set[last] === 0) continue;
      let at = total - 1;
      while (at > least && set[text.at(at - 1)] === 1) at--;
      start = Math.min(start, at);
    }
    return start;
  }

  /** Where the longest beginning of an anchor starts that the stream ends with. */
  private unfinishedAnchor(): number {
    const { total } = this.text;
    const { exact, folded, firsts, lasts, filter } = this.pack.prefixes;
    const { text } = this;
    const last = text.at(total - 1);
    let lengths = total === 0 ? 0 : lasts[last]!;
    while (lengths !== 0) {
      const length = 31 - Math.clz32(lengths);
      lengths &= ~(1 << length);
      const first = text.at(total - length);
      if (first < 0 || (firsts[first]! & (1 << length)) === 0) continue;
      const key = prefixKey(first, text.at(total - length + (length > 1 ? 1 : 0)), text.at(total - length + (length >> 1)), last, length);
      if ((filter[key >> 5]! & (1 << (key & 31))) === 0) continue;
      const tail = text.latin1(total - length, total);
      if (exact.has(tail) || folded.has(tail.toLowerCase())) return total - length;
    }
    return total;
  }
}

/** Whether backslashes before `end` belong to a quote that is escaped, or to what is yet to come. */
function endsEscape(set: ByteSet, text: StreamText, end: number): boolean {
  if (set[BACKSLASH] === 0) return false;
  const next = text.at(end);
  return next < 0 ? !text.ended : next === QUOTE;
}
