/**
 * The lanes that delete bytes: visible, unwrapped, spaced. Each runs an automaton over what it leaves and maps matches back to the stream.
 * raw.ts runs the raw lane, scanner.ts feeds them all.
 *
 * Worked example. Needle `hunter2-x`, stream `a hunter ESC[1m 2-x` (without the blanks around ESC). Up to the ESC the visible lane sees what the raw
 * lane sees, so it is *attached*: it has no state of its own. At the ESC its prefix `hunter` would be lost to the raw lane, so it is *detached*
 * with that state and the segments `hunter` (visible) and `ESC[1m` (keep). It steps over `2-x` alone, finds the needle and walks its segments back
 * to the `h`. As soon as its state no longer reaches back over the gap, the raw lane knows the same again and it is attached once more.
 */
import { type Automaton, copyState, NODE, rootState, type State } from "./automaton.js";
import { NEEDLE, ROW } from "./matcher.js";
import type { LaneName, Rows } from "./rows.js";

/** Depth from which on an unfinished match is masked rather than released when it is given up, in bytes. */
export const FRAGMENT_BYTES = 4;

/** Segments that are tried one after the other before the rest is searched. */
const NEAR_SEGMENTS = 8;

/** A range of the stream under an unfinished match: visible bytes or, between them, bytes to keep. `before` counts the lane's visible bytes before it. */
interface Segment {
  start: number;
  end: number;
  readonly keep: boolean;
  before: number;
}

/** The segments of one unfinished match, oldest first. It may have very many, so nothing here walks them all per byte. */
class Segments {
  private list: Segment[] = [];
  private head = 0;
  /** Visible bytes so far; only differences mean something. */
  private counted = 0;
  /** Sum of the lengths of visible segments. */
  seen = 0;
  /** Kept segments before this offset have been reported: a needle that repeats itself may match at every byte. */
  private told = 0;

  get single(): boolean {
    return this.list.length - this.head === 1;
  }

  clear(): void {
    if (this.list.length > 0) this.list = [];
    this.head = 0;
    this.seen = 0;
  }

  /** Starts anew with the `length` visible bytes before `end`. */
  begin(length: number, end: number): void {
    this.list = [{ start: end - length, end, keep: false, before: 0 }];
    this.head = 0;
    this.counted = length;
    this.seen = length;
  }

  push(offset: number): void {
    const last = this.list.at(-1);
    if (last !== undefined && !last.keep && last.end === offset) last.end++;
    else this.list.push({ start: offset, end: offset + 1, keep: false, before: this.counted });
    this.counted++;
    this.seen++;
  }

  /** Takes the newest visible byte out. */
  pop(): void {
    for (let i = this.list.length - 1; i >= this.head; i--) {
      const segment = this.list[i]!;
      if (segment.keep) {
        segment.before--;
        continue;
      }
      segment.end--;
      this.counted--;
      this.seen--;
      if (segment.end === segment.start) this.list.splice(i, 1);
      return;
    }
  }

  keep(start: number, end: number): void {
    const last = this.list.at(-1);
    if (last !== undefined && last.keep && last.end === start) last.end = end;
    else this.list.push({ start, end, keep: true, before: this.counted });
  }

  /** Keeps only the last `needed` bytes of one visible segment. */
  trim(needed: number): void {
    if (this.seen <= needed) return;
    const segment = this.list[this.head]!;
    segment.start = segment.end - needed;
    segment.before = this.counted - needed;
    this.seen = needed;
  }

  /** Drops segments beyond the last `needed` visible bytes. */
  dropBeyond(needed: number): void {
    while (this.head < this.list.length) {
      const segment = this.list[this.head]!;
      const length = segment.keep ? 0 : segment.end - segment.start;
      if (this.seen - length < needed || (this.seen === needed && !segment.keep)) break;
      this.seen -= length;
      this.head++;
    }
    if (this.head > 64 && this.head * 2 > this.list.length) {
      this.list.splice(0, this.head);
      this.head = 0;
    }
  }

  /** Offset of the byte `length` visible bytes back, or of the first one known if more were given up; -1 if there is none. */
  startOf(length: number): number {
    if (length === 0) return -1;
    const target = Math.max(0, this.counted - length);
    // Mostly it is one of the first: a search through thousands of segments costs a cache miss each step.
    for (let i = this.head; i < Math.min(this.head + NEAR_SEGMENTS, this.list.length); i++) {
      const { keep, start, end, before } = this.list[i]!;
      if (!keep && target >= before && target - before < end - start) return start + target - before;
    }
    let low = this.head;
    let high = this.list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.list[middle]!.before <= target) low = middle + 1;
      else high = middle;
    }
    const segment = low > this.head ? this.list[low - 1]! : undefined;
    if (segment !== undefined && !segment.keep) return segment.start + target - segment.before;
    for (let i = this.head; i < this.list.length; i++) if (!this.list[i]!.keep) return this.list[i]!.start;
    return -1;
  }

  /** End of the newest visible byte. */
  get end(): number {
    for (let i = this.list.length - 1; i >= this.head; i--) if (!this.list[i]!.keep) return this.list[i]!.end;
    return -1;
  }

  /** Reports what is to be kept before `end` and was not reported yet; what lies before the match comes along, it is kept all the same. */
  tell(end: number, each: (start: number, end: number) => void): void {
    for (let i = this.list.length - 1; i >= this.head && this.list[i]!.start >= this.told; i--) {
      const segment = this.list[i]!;
      if (segment.keep && segment.end <= end) each(segment.start, segment.end);
    }
    this.told = end;
  }
}

export type LaneKind = Exclude<LaneName, "raw">;

const scratch = rootState();

export class Lane {
  /** No state of its own: the raw lane's, as far as it does not reach before `gapEnd`. Never true for the spaced lane. */
  attached: boolean;
  /** Start of the bytes since the last gap, while attached. */
  gapEnd = 0;
  readonly state: State = rootState();
  /** State before the last byte, for a backspace. */
  readonly prev: State = rootState();
  /** Bytes since the last gap, while detached. */
  private since = 0;
  /** What the unfinished match runs over. */
  private segments = new Segments();
  /** Start of what was given up at the gap limit and is still being matched, or -1. */
  private origin = -1;
  /** The spaced lane's own rule: the last text byte was whitespace, so a backspace takes nothing from it. */
  private blankLast = false;

  constructor(
    private readonly kind: LaneKind,
    private readonly automaton: Automaton,
    private readonly set: number,
    private readonly rows: Rows,
    private readonly maxGapBytes: number,
  ) {
    this.attached = kind !== "spaced";
  }

  private get wrapped(): boolean {
    return this.kind === "unwrapped";
  }

  /** Deletes `[start, end)`. `raw` and `rawPrev` are the raw lane's states at `start` and one byte before it. */
  gap(start: number, end: number, keep: boolean, canPop: boolean, raw: State, rawPrev: State): void {
    if (this.attached && !this.detach(start, canPop, raw, rawPrev)) {
      this.gapEnd = end;
      return;
    }
    this.since = 0;
    this.prune(canPop);
    this.extendGap(start, end, keep, canPop);
  }

  /** Takes back the last byte, at `at`, and deletes the backspace after it, which ends at `end`. */
  takeBack(at: number, end: number, raw: State, rawPrev: State): void {
    if (this.attached) {
      const since = at + 1 - this.gapEnd;
      copyState(since > 0 ? rawPrev : raw, scratch);
      this.automaton.clip(scratch, Math.max(0, since - 1));
      if (this.automaton.pendingDepth(scratch, 0, this.wrapped) === 0) {
        this.gapEnd = end;
        return;
      }
      this.attached = false;
      copyState(scratch, this.state);
      this.segments.begin(scratch.depth, at);
      this.origin = -1;
    } else if (!this.blankLast) {
      copyState(this.prev, this.state);
      this.segments.pop();
    }
    this.since = 0;
    this.prune(false);
    this.extendGap(at, end, false, false);
  }

  /** Steps over visible bytes `chunk[from, to)`; `base` is the offset of `chunk[0]`. An attached lane has nothing to do. */
  text(chunk: Uint8Array, from: number, to: number, base: number, canPop: boolean): void {
    const spaced = this.kind === "spaced";
    for (let at = from; at < to && !this.attached; at++) {
      const byte = chunk[at]!;
      if (spaced) {
        this.blankLast = isBlank(byte);
        if (this.blankLast) {
          if (this.state.depth > 0 || this.prev.depth > 0) {
            this.prune(true);
            this.extendGap(base + at, base + at + 1, false, true);
          }
          continue;
        }
        if (this.state.depth === 0 && this.automaton.shallowDepth(byte, 1) === 0) {
          if (this.segments.seen > 0 || this.prev.depth > 0) this.forget();
          continue;
        }
      }
      this.visible(byte, base + at, canPop);
    }
  }

  private visible(byte: number, offset: number, canPop: boolean): void {
    copyState(this.state, this.prev);
    this.automaton.step(this.state, byte);
    this.segments.push(offset);
    this.since++;
    const node = this.state.node;
    if (node >= 0 && this.automaton.flags[node]! & NODE.OUT) this.report(node, offset + 1);
    if (this.kind === "spaced") {
      // Long runs without a match would grow one segment; a taken-back byte needs the last one only.
      if (this.segments.single && this.state.depth === 0) this.segments.trim(this.prev.depth + 1);
      return;
    }
    if (this.state.depth <= this.since && (!canPop || this.prev.depth < this.since)) {
      this.attached = true;
      this.gapEnd = offset + 1 - this.since;
      this.forget();
    }
  }

  /** Forgets all bytes: no match is under way. */
  private forget(): void {
    this.state.node = this.prev.node = -1;
    this.state.depth = this.prev.depth = 0;
    this.segments.clear();
    this.origin = -1;
  }

  private report(node: number, end: number): void {
    const { automaton } = this;
    const spaced = this.kind === "spaced";
    for (let at = automaton.ends[node]! >= 0 ? node : automaton.suffixes[node]!; at >= 0; at = automaton.suffixes[at]!) {
      const needle = automaton.ends[at]!;
      const length = automaton.depths[at]!;
      if (!spaced && length <= this.since) return;
      if (this.wrapped && (automaton.needleFlags[needle]! & NEEDLE.WRAPPED) === 0) continue;
      this.emit(ROW.LANE, needle, length, end);
      return;
    }
  }

  private emit(kind: number, needle: number, length: number, end: number): void {
    const start = this.segments.startOf(length);
    if (kind === ROW.LANE) this.rows.addMatch(this.kind, this.set, needle, start, end);
    else this.rows.add(kind, this.set, needle, start, end, 0);
    this.segments.tell(end, (from, to) => this.rows.add(ROW.KEEP, 0, 0, from, to, 0));
  }

  /** Gives the lane its own state if an unfinished match would be lost in a gap at `at`. */
  private detach(at: number, canPop: boolean, raw: State, rawPrev: State): boolean {
    const since = at - this.gapEnd;
    copyState(raw, this.state);
    this.automaton.clip(this.state, since);
    let needed = this.automaton.pendingDepth(this.state, 0, this.wrapped) > 0 ? this.state.depth : 0;
    if (canPop && since > 0) {
      copyState(rawPrev, this.prev);
      this.automaton.clip(this.prev, since - 1);
      if (this.automaton.pendingDepth(this.prev, 0, this.wrapped) > 0) needed = Math.max(needed, this.prev.depth + 1);
    } else {
      this.prev.node = -1;
      this.prev.depth = 0;
    }
    if (needed === 0) return false;
    this.attached = false;
    // The prefix of the state itself may be longer than what counts; matches need its bytes too.
    needed = Math.max(needed, this.state.depth);
    this.segments.begin(needed, at);
    this.origin = -1;
    return true;
  }

  /** Drops segments that no unfinished match reaches. */
  private prune(canPop: boolean): void {
    const needed = Math.max(this.state.depth, canPop && this.prev.depth > 0 ? this.prev.depth + 1 : 0);
    if (this.segments.seen <= needed) {
      if (needed === 0) this.segments.clear();
      return;
    }
    this.segments.dropBeyond(needed);
    this.origin = -1;
  }

  /** Adds deleted bytes; at the gap limit the unfinished match is given up. */
  private extendGap(start: number, end: number, keep: boolean, canPop: boolean): void {
    const pending = this.pendingStart(canPop, 0);
    if (pending.start < 0) return;
    const limit = pending.start + pending.seen + this.maxGapBytes;
    if (end < limit) {
      if (keep) this.segments.keep(start, end);
      return;
    }
    if (keep && limit > start) this.segments.keep(start, limit);
    this.giveUp(0);
    if (this.origin < 0) this.origin = pending.start;
    this.segments.clear();
  }

  /** Start of the earliest unfinished match (-1 if none), and how many visible bytes lie from there. */
  private pendingStart(canPop: boolean, above: number): { start: number; seen: number } {
    const depth = this.automaton.pendingDepth(this.state, above, this.wrapped);
    const back = canPop ? this.automaton.pendingDepth(this.prev, 0, this.wrapped) : 0;
    const seen = Math.min(this.segments.seen, Math.max(depth, back > 0 ? back + 1 : 0));
    return { start: this.segments.startOf(seen), seen };
  }

  /** Offset of the earliest byte that must stay back, or -1. */
  holdStart(canPop: boolean, end: number, rawPrev: State, lastText: number): number {
    if (!this.attached) return this.pendingStart(canPop && !this.blankLast, this.kind === "spaced" ? 0 : this.since).start;
    if (!canPop || lastText < this.gapEnd || end !== lastText + 1) return -1;
    copyState(rawPrev, scratch);
    this.automaton.clip(scratch, lastText - this.gapEnd);
    const depth = this.automaton.pendingDepth(scratch, 0, this.wrapped);
    return depth > 0 ? lastText - depth : -1;
  }

  /** Like {@link holdStart}, with what was given up at the gap limit. */
  originStart(): number {
    return this.attached ? -1 : this.origin;
  }

  /** Reports an unfinished match of {@link FRAGMENT_BYTES} or more as a fragment. */
  giveUp(above = this.kind === "spaced" ? 0 : this.since): void {
    if (this.attached) return;
    const depth = this.automaton.pendingDepth(this.state, above, this.wrapped);
    if (depth < FRAGMENT_BYTES || this.segments.seen === 0) return;
    this.emit(ROW.FRAGMENT, this.automaton.needleBelow(this.state, depth), Math.min(depth, this.segments.seen), this.segments.end);
  }
}

export function isBlank(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}
