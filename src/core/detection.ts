/** What the redactor asks of the rules, and what they tell it. */
import type { RuleNote } from "./spans.js";

/** Finds secrets that no one told of: the rules over one stream. */
export interface StreamDetector {
  /** A detector that is shown only what stands from this offset on finds the same there. */
  readonly settled: number;
  /** Everything before this offset may leave. */
  readonly hold: number;
  /** Bytes that it has looked at. */
  readonly work: number;
  /** Takes the next bytes, which stay as they are until `keep`. */
  push(chunk: Uint8Array): void;
  keep(): void;
  idle(): void;
  end(): void;
  release(): void;
}

/** Masks `[start, end)` for rule `rule`. `match` is what the rule found, of which this may be a part. */
export type DetectorMask = (start: number, end: number, rule: number, match: DetectorMatch) => void;

export interface DetectorMatch {
  readonly start: number;
  readonly end: number;
  readonly note: RuleNote;
  /** Only reported, not masked. */
  readonly counted: boolean;
}
