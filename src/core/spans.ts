/** Interval arithmetic: a list of disjoint spans in order, growing at its end, shrinking at its start. Nothing here knows of bytes or masks. */

/** What a rule knows of a secret that it found. */
export interface RuleNote {
  readonly confidence: string;
  readonly fingerprint: string;
}

/** `set` of a cause that is a rule; its `needle` is the rule's number. */
export const RULES = 0xffff_ffff;

/** Why a span is masked. The better of two causes is a known secret before a rule, then the one with the earlier start, then the longer match, then the surer rule, then the lower rank. */
export interface Cause {
  readonly set: number;
  readonly needle: number;
  /** Where the causing match starts and ends in the stream. */
  readonly start: number;
  readonly end: number;
  readonly fragment: boolean;
  readonly note?: RuleNote;
}

export interface Span {
  start: number;
  end: number;
  cause: Cause;
}

export function betterCause(a: Cause, b: Cause): Cause {
  if ((a.set === RULES) !== (b.set === RULES)) {
    if (a.fragment !== b.fragment) return a.fragment ? b : a;
    return a.set === RULES ? b : a;
  }
  if (a.start !== b.start) return a.start < b.start ? a : b;
  if (a.fragment !== b.fragment) return a.fragment ? b : a;
  if (a.end !== b.end) return a.end > b.end ? a : b;
  if (a.note !== undefined && b.note !== undefined && a.note.confidence !== b.note.confidence) return sureness(a.note) > sureness(b.note) ? a : b;
  if (a.set !== b.set) return a.set < b.set ? a : b;
  return a.needle <= b.needle ? a : b;
}

const SURENESS = ["low", "medium", "high", "certain"];
const sureness = ({ confidence }: RuleNote): number => SURENESS.indexOf(confidence);

export class SpanList {
  private spans: Span[] = [];

  get first(): Span | undefined {
    return this.spans[0];
  }

  /** Adds `[start, end)`, merging what it overlaps or touches. */
  add(start: number, end: number, cause: Cause): void {
    const { spans } = this;
    let at = spans.length;
    while (at > 0 && spans[at - 1]!.end >= start) at--;
    const added: Span = { start, end, cause };
    let until = at;
    for (; until < spans.length && spans[until]!.start <= added.end; until++) {
      const span = spans[until]!;
      added.start = Math.min(added.start, span.start);
      added.end = Math.max(added.end, span.end);
      added.cause = betterCause(span.cause, added.cause);
    }
    spans.splice(at, until - at, added);
  }

  shift(): void {
    this.spans.shift();
  }

  clear(): void {
    this.spans = [];
  }
}

/** Disjoint ranges in order, without causes. */
export class Ranges {
  private ranges: { start: number; end: number }[] = [];

  /** Adds `[start, end)`, merging what it overlaps or touches. */
  add(start: number, end: number): void {
    const { ranges } = this;
    let at = ranges.length;
    while (at > 0 && ranges[at - 1]!.end >= start) at--;
    const added = { start, end };
    let until = at;
    for (; until < ranges.length && ranges[until]!.start <= added.end; until++) {
      added.start = Math.min(added.start, ranges[until]!.start);
      added.end = Math.max(added.end, ranges[until]!.end);
    }
    ranges.splice(at, until - at, added);
  }

  covers(offset: number): boolean {
    const range = this.ranges[this.indexAfter(offset)];
    return range !== undefined && range.start <= offset;
  }

  /** Calls `each` with every overlap of a range with `[from, to)`. */
  within(from: number, to: number, each: (start: number, end: number) => void): void {
    for (let i = this.indexAfter(from); i < this.ranges.length && this.ranges[i]!.start < to; i++) {
      each(Math.max(from, this.ranges[i]!.start), Math.min(to, this.ranges[i]!.end));
    }
  }

  /** Calls `each` with every part of `[from, to)` that no range overlaps. */
  outside(from: number, to: number, each: (start: number, end: number) => void): void {
    let at = from;
    this.within(from, to, (start, end) => {
      if (start > at) each(at, start);
      at = end;
    });
    if (at < to) each(at, to);
  }

  /** Drops ranges that end before `offset`. */
  dropBefore(offset: number): void {
    let drop = 0;
    while (drop < this.ranges.length && this.ranges[drop]!.end < offset) drop++;
    if (drop > 0) this.ranges.splice(0, drop);
  }

  clear(): void {
    this.ranges = [];
  }

  /** Index of the first range that ends after `offset`. */
  private indexAfter(offset: number): number {
    let low = 0;
    let high = this.ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.ranges[middle]!.end <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
