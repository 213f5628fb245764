/** Interval arithmetic: a list of disjoint spans in order, growing at its end, shrinking at its start. Nothing here knows of bytes or masks. */

/** What a rule knows of a secret that it found. */
export interface RuleNote {
  readonly confidence: string;
  /** Computed when it is asked for: of many findings one gives a mask its name. */
  readonly fingerprint: string;
  /** Spelling of the secret: `plain`, or what encodes it. */
  readonly variant: string;
  /** Name of a known secret, which was found by decoding. */
  readonly secret?: string | undefined;
}

/** `set` of a cause that is a rule; its `needle` is the rule's number. */
export const RULES = 0xffff_ffff;

/** Why a span is masked. The better of two causes is a known secret before a rule, then the one with the earlier start, then the longer match, then the surer rule, then the lower rank, then the plainer reading. */
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
  if (a.needle !== b.needle || a.note === undefined || b.note === undefined) return a.needle <= b.needle ? a : b;
  // Which reading found it first depends on how the text was cut: the one with fewer layers counts.
  return a.note.variant.length <= b.note.variant.length ? a : b;
}

const SURENESS = ["low", "medium", "high", "certain"];
const sureness = ({ confidence }: RuleNote): number => SURENESS.indexOf(confidence);

interface Range {
  start: number;
  end: number;
}

/** As many as are not worth sorting. */
const FEW = 8;

/** Disjoint ranges in order. Those added behind the last are cheap; others wait until the list is read, and are sorted in then, all at once. */
abstract class RangeList<T extends Range> {
  protected ranges: T[] = [];
  private late: T[] = [];

  /** Adds a range, merging what it overlaps or touches. The list owns it from now on. */
  protected insert(added: T): void {
    const last = this.ranges.at(-1);
    if (this.late.length > 0 || (last !== undefined && added.start < last.start)) this.late.push(added);
    else if (last !== undefined && added.start <= last.end) this.unite(last, added);
    else this.ranges.push(added);
  }

  /** Makes `into` cover `other` too, which begins no sooner. */
  protected unite(into: T, other: T): void {
    into.end = Math.max(into.end, other.end);
  }

  /** Brings the list in order, if it is not: a few find their places one by one, many are sorted in. */
  protected settle(): void {
    const { late } = this;
    if (late.length === 0) return;
    if (late.length <= FEW) {
      this.late = [];
      for (const added of late) this.place(added);
      return;
    }
    const all = [...this.live(), ...late].sort((a, b) => a.start - b.start);
    this.clear();
    for (const each of all) this.insert(each);
  }

  /** Puts a range where it belongs among those that are left. */
  private place(added: T): void {
    const { ranges } = this;
    let low = this.start;
    let high = ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ranges[middle]!.end < added.start) low = middle + 1;
      else high = middle;
    }
    let until = low;
    let whole = added;
    for (; until < ranges.length && ranges[until]!.start <= whole.end; until++) {
      const other = ranges[until]!;
      const [earlier, later] = other.start <= whole.start ? [other, whole] : [whole, other];
      this.unite(earlier, later);
      whole = earlier;
    }
    ranges.splice(low, until - low, whole);
  }

  /** Index of the first range that is left. */
  protected get start(): number {
    return 0;
  }

  protected live(): readonly T[] {
    return this.ranges;
  }

  clear(): void {
    this.ranges = [];
    this.late = [];
  }
}

export class SpanList extends RangeList<Span> {
  /** Those before it have been taken off: many spans of one chunk leave one by one. */
  private head = 0;

  get first(): Span | undefined {
    this.settle();
    return this.ranges[this.head];
  }

  protected override get start(): number {
    return this.head;
  }

  /** Adds `[start, end)`, merging what it overlaps or touches. */
  add(start: number, end: number, cause: Cause): void {
    this.insert({ start, end, cause });
  }

  protected override unite(into: Span, other: Span): void {
    super.unite(into, other);
    into.cause = betterCause(into.cause, other.cause);
  }

  protected override live(): readonly Span[] {
    return this.ranges.slice(this.head);
  }

  shift(): void {
    if (++this.head === this.ranges.length) this.clear();
  }

  override clear(): void {
    super.clear();
    this.head = 0;
  }
}

/** Disjoint ranges in order, without causes. */
export class Ranges extends RangeList<Range> {
  /** Adds `[start, end)`, merging what it overlaps or touches. */
  add(start: number, end: number): void {
    this.insert({ start, end });
  }

  covers(offset: number): boolean {
    const index = this.indexAfter(offset);
    const range = this.ranges[index];
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
    this.settle();
    let drop = 0;
    while (drop < this.ranges.length && this.ranges[drop]!.end < offset) drop++;
    if (drop > 0) this.ranges.splice(0, drop);
  }

  /** Index of the first range that ends after `offset`. */
  private indexAfter(offset: number): number {
    this.settle();
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

/** Spans in the order in which they came, until they have left. */
export class Masked {
  private spans: Readonly<Span>[] = [];
  /** As many as there may be before those that have left are dropped: each is looked at twice, whatever comes. */
  private room = 64;

  /** `released`: what ends there or before has left. */
  add(span: Readonly<Span>, released: number): void {
    this.spans.push(span);
    if (this.spans.length <= this.room) return;
    this.spans = this.from(released);
    this.room = 64 + 2 * this.spans.length;
  }

  /** Those that reach over `released`. */
  from(released: number): Readonly<Span>[] {
    return this.spans.filter(({ end }) => end > released);
  }
}
