/** What is done with what rules find: findings get fingerprints, are masked as the pack's policies say, and learned where their rules say so. */
import type { DetectorMask, DetectorMatch, StreamDetector } from "../core/detection.js";
import type { RuleNote } from "../core/spans.js";
import type { Rule } from "./compile.js";
import type { Searches } from "./decoding.js";
import { Detector, type DetectorHost, type RuleMatch, SURE_RANK } from "./detector.js";
import { isOrdinary } from "./noise.js";
import { rank, type RulePack } from "./pack.js";

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
