/**
 * The rules over one stream: hits of anchors become candidates, candidates wait until the bytes they depend on are there, and answer spans to mask. What is
 * found does not depend on chunks: every candidate is judged by itself.
 */
import { type AnchorStream, HIT_SIZE } from "../core/anchors.js";
import type { DetectorMask, DetectorMatch, StreamDetector } from "../core/redactor.js";
import type { RuleNote } from "../core/spans.js";
import { blockBegin, OpenBlock } from "./blocks.js";
import { type ByteSet, EMPTY } from "./bytes.js";
import { type BlockRule, type Confidence, type MappingRule, type Rule, STOPS } from "./compile.js";
import { Decoding, type KnownSecret, type Searches } from "./decoding.js";
import { type AnchorKind, evaluate, type Match } from "./evaluate.js";
import { isOrdinary } from "./noise.js";
import { mappingBegin, OpenMapping } from "./mapping.js";
import { rank, type RulePack } from "./pack.js";
import { spellings } from "./spelled.js";
import { StreamText } from "./text.js";

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
}

/** A mask that runs on while bytes of its alphabet come. */
interface Run {
  readonly match: RuleMatch;
  readonly set: ByteSet;
  /** Where it goes on. */
  readonly from: number;
}

/** A block or mapping that has not ended, and what its spans are told to. */
interface Open {
  readonly block: OpenBlock | OpenMapping;
  readonly mask: (start: number, end: number) => void;
}

const BACKSLASH = 0x5c;
const QUOTE = 0x22;
/** Rules that are as sure as this teach what they find, unless they say otherwise, and mask what silence cuts off. */
const SURE_RANK = rank("high");
/** Fewest bytes behind an anchor that are masked where silence cuts a token off, as of a known secret. */
const FRAGMENT_BYTES = 4;

export class Detector {
  readonly text: StreamText;
  private pending: Candidate[] = [];
  private runs: Run[] = [];
  /** By alphabet the stretch of the chunk at hand that was walked last. */
  private readonly walked = new Map<ByteSet, { readonly from: number; readonly end: number }>();
  private blocks: Open[] = [];
  /** Everything before it may leave as far as the rules are concerned. */
  hold = 0;
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
    const { text, pack } = this;
    const chunk = text.push(bytes);
    this.walked.clear();
    this.runOn();
    this.goOnWithBlocks();
    const waiting = this.pending;
    this.pending = [];
    for (const candidate of waiting) this.judge(candidate);
    const hits = this.anchors.scan(chunk);
    for (let i = 0; i < hits * HIT_SIZE; i += HIT_SIZE) {
      const anchor = pack.anchors[this.anchors.hits[i]!]!;
      const at = text.total - this.anchors.hits[i + 1]!;
      for (const rule of anchor.rules) this.judge({ rule, at, anchor });
    }
    this.decoding?.push(chunk);
    this.hold = this.holdStart();
  }

  /** Forgets the chunk of the last `push`, but for what may be looked at again. */
  keep(): void {
    let from = this.hold;
    for (const { rule, at } of this.pending) from = Math.min(from, at - reach(this.pack.rules[rule]!));
    this.text.keep(from);
  }

  /**
   * Silence: what is undecided is judged as if the stream had ended, and may leave; it is judged again when more comes. What has come of a token whose beginning is telling
   * leaves masked, though it is too short for one.
   */
  idle(): void {
    const { pending, blocks } = this;
    this.text.ended = true;
    for (const candidate of pending) if (!this.judge(candidate)) this.maskFragment(candidate);
    this.decoding?.idle();
    this.text.ended = false;
    this.pending = pending;
    for (const { block, mask } of blocks) if (block.isInside && block.hold < this.text.total) mask(block.hold, this.text.total);
    this.hold = this.text.total;
  }

  /** The end: nothing more will come. */
  end(): void {
    this.text.ended = true;
    const waiting = this.pending;
    this.pending = [];
    for (const candidate of waiting) this.judge(candidate);
    this.goOnWithBlocks();
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
    if (match === "more") {
      this.pending.push(candidate);
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
    const isOpen = this.blocks.some(({ block }) => block.start === candidate.at && block.rule === rule);
    const open = rule.kind === "block" ? this.openBlock(candidate, rule, isOpen) : this.openMapping(candidate, rule, isOpen);
    if (open === "more") this.pending.push(candidate);
    if (open === "more" || open === undefined) return;
    if (open.block.go(this.text, open.mask) === undefined) this.blocks.push(open);
  }

  private openBlock({ rule: number, at }: Candidate, rule: BlockRule, isOpen: boolean): Open | "more" | undefined {
    const begin = blockBegin(rule, this.text, at);
    if (isOpen || typeof begin !== "number") return begin === "more" ? begin : undefined;
    const match: RuleMatch = { rule: number, start: at, end: begin, confidence: rule.confidence, variant: "plain" };
    this.host.found(match, "");
    this.host.mask(at, begin, match);
    return { block: new OpenBlock(rule, at, begin), mask: (start, end) => this.host.mask(start, end, match) };
  }

  /** Every value is a match of its own. */
  private openMapping({ rule: number, at }: Candidate, rule: MappingRule, isOpen: boolean): Open | "more" | undefined {
    const begin = mappingBegin(rule, this.text, at);
    if (isOpen || begin === undefined || begin === "more") return begin === "more" ? begin : undefined;
    const mask = (start: number, end: number): void => {
      const match: RuleMatch = { rule: number, start, end, confidence: rule.confidence, variant: "plain" };
      this.host.found(match, this.text.latin1(start, end));
      this.host.mask(start, end, match);
    };
    return { block: new OpenMapping(rule, at, this.text, begin.isInString), mask };
  }

  private goOnWithBlocks(): void {
    if (this.blocks.length === 0) return;
    this.blocks = this.blocks.filter(({ block, mask }) => block.go(this.text, mask) === undefined);
  }

  /** The offset at which a detector that knows nothing of what was before would find the same: no candidate, mask or block reaches over it. */
  get settled(): number {
    const starts = [...this.runs.map(({ match }) => match.start), ...this.blocks.map(({ block }) => block.start)];
    for (const { rule, at } of this.pending) starts.push(this.earliest(this.pack.rules[rule]!, at));
    return Math.min(this.holdStart(), ...starts);
  }

  /** Where a match with its anchor at `at` may begin at the earliest: it holds no byte that its expression cannot consume. */
  private earliest(rule: Rule, at: number): number {
    if (rule.kind !== "line") return at;
    let start = at;
    const bytes = spellings(rule.bytes);
    while (start > at - 2 * rule.before.max && bytes[this.text.at(start - 1)] === 1) start--;
    return start;
  }

  /** The offset from which on bytes may be part of a secret that is not known yet. */
  private holdStart(): number {
    const { text, pack } = this;
    let hold = this.decoding?.hold ?? text.total;
    for (const { rule, at, anchor } of this.pending) {
      const { kind, ahead } = pack.rules[rule]!;
      hold = Math.min(hold, kind === "assign" ? at + anchor.length : at - ahead);
    }
    for (const { block } of this.blocks) hold = Math.min(hold, block.hold);
    for (const { from } of this.runs) hold = Math.min(hold, from);
    hold = Math.min(hold, this.unfinishedAnchor());
    const last = text.at(text.total - 1);
    if (last < 0 || pack.aheadBytes[last] === 0) return hold;
    for (const { set, length } of pack.ahead) {
      let at = text.total;
      while (at > text.total - length && at > text.start && set[text.at(at - 1)] === 1) at--;
      hold = Math.min(hold, at);
    }
    return hold;
  }

  /** Where the longest beginning of an anchor starts that the stream ends with. */
  private unfinishedAnchor(): number {
    const { total } = this.text;
    const { exact, folded, firsts, lasts } = this.pack.prefixes;
    let lengths = total === 0 ? 0 : lasts[this.text.at(total - 1)]!;
    while (lengths !== 0) {
      const length = 31 - Math.clz32(lengths);
      lengths &= ~(1 << length);
      const first = this.text.at(total - length);
      if (first < 0 || (firsts[first]! & (1 << length)) === 0) continue;
      const tail = this.text.latin1(total - length, total);
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

/** Whether what a rule found is looked for from then on. Words such as `pass` of a URL stand elsewhere too; what someone declared a secret is one. */
function teaches({ source, confidence }: Rule, value: string): boolean {
  return value !== "" && (source.learn ?? rank(confidence) >= SURE_RANK) && (confidence === "certain" || !isOrdinary(value));
}

/** What a rule found, for the registry: from `end` on it is a known secret. */
export type Learn = (rule: number, value: Buffer, end: number) => void;

class Note implements RuleNote {
  private hashed: string | undefined;

  constructor(
    private readonly match: RuleMatch,
    private readonly value: Uint8Array,
    private readonly hash: (value: Uint8Array) => string,
  ) {
    this.hashed = match.known?.fingerprint;
  }

  get confidence(): string {
    return this.match.confidence;
  }

  get variant(): string {
    return this.match.variant;
  }

  get secret(): string | undefined {
    return this.match.known?.name;
  }

  /** Empty for a block: what it holds comes later. */
  get fingerprint(): string {
    return (this.hashed ??= this.value.length === 0 ? "" : this.hash(this.value));
  }
}

/** A detector for a redactor: its findings get fingerprints, are masked as the pack's policies say, and learned where their rules say so. */
export function detect(
  pack: RulePack,
  searches: Searches,
  mask: DetectorMask,
  fingerprint: (value: Uint8Array) => string,
  learn: Learn | undefined,
  joined: boolean,
): StreamDetector {
  const notes = new WeakMap<RuleMatch, DetectorMatch>();
  const host: DetectorHost = {
    found(match, value) {
      const counted = pack.policies[match.rule] === "count";
      const bytes = Buffer.from(value, "latin1");
      const known = { start: match.start, end: match.end, note: new Note(match, bytes, fingerprint), counted };
      const rule = pack.rules[match.rule];
      if (rule !== undefined && !counted && teaches(rule, value)) learn?.(match.rule, bytes, match.end);
      if (counted) mask(match.start, match.end, match.rule, known);
      else notes.set(match, known);
    },
    mask(start, end, match) {
      const known = notes.get(match);
      if (known !== undefined) mask(start, end, match.rule, known);
    },
  };
  return new Detector(pack, searches, host, joined);
}

/** Bytes before an anchor that its rule looks at. */
function reach(rule: Rule): number {
  return rule.kind === "line" ? rule.before.max : rule.kind === "assign" ? 64 : 0;
}
