/** The portable engine: the {@link MatcherFactory} in plain TypeScript. It cannot lock or wipe memory (native/README.md says what that means). */
import { Automaton } from "./automaton.js";
import { Lane } from "./lanes.js";
import { HEAD, HEAD_SIZE, type MatcherFactory, type MatcherStream, MIN_NEEDLE_BYTES, NEEDLE, type NeedleSet, type NeedleTable, ROW_SIZE } from "./matcher.js";
import { KIND, type Token, tokenize } from "./projection.js";
import { countLines } from "./lines.js";
import { RawLane } from "./raw.js";
import { Rows } from "./rows.js";

class PortableSet implements NeedleSet {
  readonly needles: number;
  readonly needleBytes: number;
  readonly main: Automaton | undefined;
  readonly spaced: Automaton | undefined;

  constructor(table: NeedleTable) {
    this.needles = table.flags.length;
    this.needleBytes = table.bytes.length;
    const main: number[] = [];
    const spaced: number[] = [];
    for (let needle = 0; needle < this.needles; needle++) {
      if (table.offsets[needle + 1]! - table.offsets[needle]! < MIN_NEEDLE_BYTES) throw new RangeError("a needle is shorter than 4 bytes");
      (table.flags[needle]! & NEEDLE.SPACED ? spaced : main).push(needle);
    }
    if (main.length > 0) this.main = new Automaton(table, main);
    if (spaced.length > 0) this.spaced = new Automaton(table, spaced);
  }

  get memoryBytes(): number {
    return (this.main?.memoryBytes ?? 0) + (this.spaced?.memoryBytes ?? 0);
  }

  release(): void {}
}

/** The lanes of one set in one stream. */
class SetScanner {
  private readonly raw: RawLane | undefined;
  private readonly visible: Lane | undefined;
  private readonly unwrapped: Lane | undefined;
  private readonly spaced: Lane | undefined;

  constructor(set: PortableSet, index: number, rows: Rows, maxGapBytes: number) {
    if (set.main !== undefined) {
      this.raw = new RawLane(set.main, index, rows);
      this.visible = new Lane("visible", set.main, index, rows, maxGapBytes);
      this.unwrapped = new Lane("unwrapped", set.main, index, rows, maxGapBytes);
    }
    if (set.spaced !== undefined) this.spaced = new Lane("spaced", set.spaced, index, rows, maxGapBytes);
  }

  /** Feeds one run to every lane. `canPop` is whether a backspace right before the run would take a byte back, `lastText` that byte's offset. */
  feed(token: Token, chunk: Uint8Array, base: number, canPop: boolean, lastText: number): void {
    const { kind, start, end } = token;
    // A text run is nothing to a lane that sees what the raw lane sees: the common case, told first.
    const { visible, unwrapped, spaced } = this;
    const text = kind === KIND.TEXT;
    if (visible !== undefined && !(text && visible.attached)) this.feedLane(visible, token, chunk, base, canPop, lastText);
    if (unwrapped !== undefined && !(text && unwrapped.attached)) this.feedLane(unwrapped, token, chunk, base, canPop, lastText);
    if (spaced !== undefined) this.feedLane(spaced, token, chunk, base, canPop, lastText);
    this.raw?.run(chunk, start, end, base, kind);
  }

  private feedLane(lane: Lane, token: Token, chunk: Uint8Array, base: number, canPop: boolean, lastText: number): void {
    const { kind, start, end } = token;
    const state = this.raw?.state ?? lane.state;
    const prev = this.raw?.prev ?? lane.prev;
    if (kind === KIND.TEXT) lane.text(chunk, start, end, base, true);
    else if (kind === KIND.NEWLINE) {
      if (lane === this.visible) lane.text(chunk, start, end, base, false);
      else lane.gap(base + start, base + end, false, false, state, prev);
    } else if (kind === KIND.BACKSPACE && canPop) lane.takeBack(lastText, base + end, state, prev);
    else lane.gap(base + start, base + end, kind !== KIND.BACKSPACE, canPop, state, prev);
  }

  /** Earliest offset to hold and earliest a successor needs; `end` if none. */
  bounds(end: number, canPop: boolean, lastText: number): { hold: number; pending: number } {
    let hold = end;
    let pending = end;
    const held = (start: number): void => {
      if (start >= 0) hold = Math.min(hold, start);
    };
    if (this.raw !== undefined) held(this.raw.holdStart(end));
    for (const lane of [this.visible, this.unwrapped, this.spaced]) {
      if (lane === undefined) continue;
      held(lane.holdStart(canPop, end, this.raw?.prev ?? lane.prev, lastText));
      const origin = lane.originStart();
      if (origin >= 0) pending = Math.min(pending, origin);
    }
    return { hold, pending: Math.min(pending, hold) };
  }

  giveUp(end: number): void {
    this.raw?.giveUp(end);
    this.visible?.giveUp();
    this.unwrapped?.giveUp();
    this.spaced?.giveUp();
  }
}

class PortableStream implements MatcherStream {
  rows: Uint32Array = new Uint32Array(64 * ROW_SIZE);
  readonly head = new Uint32Array(HEAD_SIZE);
  private readonly found: Rows;
  private readonly scanners: SetScanner[];
  private total = 0;
  private canPop = false;
  private lastText = -1;

  constructor(
    sets: readonly PortableSet[],
    private parser: number,
    maxGapBytes: number,
  ) {
    this.found = new Rows(sets.length);
    this.scanners = sets.map((set, index) => new SetScanner(set, index, this.found, maxGapBytes));
  }

  scan(chunk: Uint8Array): number {
    this.found.clear();
    const base = this.total;
    this.parser = tokenize(chunk, this.parser, (token) => {
      for (const scanner of this.scanners) scanner.feed(token, chunk, base, this.canPop, this.lastText);
      if (token.kind === KIND.TEXT) {
        this.canPop = true;
        this.lastText = base + token.end - 1;
      } else if (token.kind === KIND.NEWLINE || token.kind === KIND.BACKSPACE) this.canPop = false;
    });
    this.total += chunk.length;
    this.head[HEAD.LINES] = countLines(chunk);
    return this.answer();
  }

  idle(): number {
    this.found.clear();
    for (const scanner of this.scanners) scanner.giveUp(this.total);
    return this.answer();
  }

  end(): number {
    return this.idle();
  }

  release(): void {}

  private answer(): number {
    let hold = this.total;
    let pending = this.total;
    for (const scanner of this.scanners) {
      const bounds = scanner.bounds(this.total, this.canPop, this.lastText);
      hold = Math.min(hold, bounds.hold);
      pending = Math.min(pending, bounds.pending);
    }
    this.head[HEAD.HOLD] = this.total - hold;
    this.head[HEAD.PENDING] = this.total - pending;
    this.head[HEAD.PARSER] = this.parser;
    this.rows = this.found.write(this.rows, this.total);
    return this.found.count;
  }
}

export const portable: MatcherFactory = {
  engine: "portable",
  build: (table) => new PortableSet(table),
  buildAsync: (table) => Promise.resolve().then(() => new PortableSet(table)),
  open: (sets, parser, maxGapBytes) => new PortableStream(sets as readonly PortableSet[], parser, maxGapBytes),
};
