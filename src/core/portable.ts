/** The portable engine: the {@link MatcherFactory} in plain TypeScript. It cannot lock or wipe memory (native/README.md says what that means). */
import { PortableAnchors } from "./anchors.js";
import { PortableEncodedStream } from "./encoded.js";
import { atOnce, inTurns } from "../turns.js";
import type { Automaton } from "./automaton.js";
import { buildAutomaton } from "./automaton-build.js";
import { Lane } from "./lanes.js";
import { HEAD, HEAD_SIZE, type MatcherFactory, type MatcherStream, MIN_NEEDLE_BYTES, NEEDLE, type NeedleSet, type NeedleTable, ROW_SIZE } from "./matcher.js";
import { KIND, PARSER, parserAfter, type Token, tokenize } from "./projection.js";
import { countLines } from "./lines.js";
import { RawLane } from "./raw.js";
import { Rows } from "./rows.js";
import { KNOWN_BYTES, Search } from "./search.js";
import { Sieve } from "./sieve.js";

class PortableSet implements NeedleSet {
  readonly needles: number;
  readonly needleBytes: number;

  private constructor(
    table: NeedleTable,
    readonly main: Automaton | undefined,
    readonly spaced: Automaton | undefined,
    /** Of the main automaton's needles. */
    readonly sieve: Sieve | undefined,
  ) {
    this.needles = table.flags.length;
    this.needleBytes = table.bytes.length;
  }

  /** In pieces, as {@link buildAutomaton}. */
  static *build(table: NeedleTable): Generator<number, PortableSet> {
    const main: number[] = [];
    const spaced: number[] = [];
    for (let needle = 0; needle < table.flags.length; needle++) {
      if (table.offsets[needle + 1]! - table.offsets[needle]! < MIN_NEEDLE_BYTES) throw new RangeError("a needle is shorter than 4 bytes");
      (table.flags[needle]! & NEEDLE.SPACED ? spaced : main).push(needle);
    }
    const automata = [];
    for (const order of [main, spaced]) automata.push(order.length > 0 ? yield* buildAutomaton(table, order) : undefined);
    return new PortableSet(table, automata[0], automata[1], main.length > 0 ? Sieve.of(table, main) : undefined);
  }

  get memoryBytes(): number {
    return (this.main?.memoryBytes ?? 0) + (this.sieve?.memoryBytes ?? 0) + (this.spaced?.memoryBytes ?? 0);
  }

  release(): void {}
}

/** Where lanes stand in the stream. */
class Place {
  /** A backspace would take back the byte at `lastText`. */
  canPop = false;
  lastText = -1;

  constructor(public parser: number) {}

  /** Cuts `chunk[from, to)` into runs; `base` is the offset of `chunk[0]`. Runs count from `from`. */
  walk(chunk: Uint8Array, from: number, to: number, base: number, each: (run: Token, piece: Uint8Array, base: number) => void): void {
    const piece = from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to);
    const start = base + from;
    this.parser = tokenize(piece, this.parser, (run) => {
      each(run, piece, start);
      if (run.kind === KIND.TEXT) {
        this.canPop = true;
        this.lastText = start + run.end - 1;
      } else if (run.kind === KIND.NEWLINE || run.kind === KIND.BACKSPACE) this.canPop = false;
    });
  }

  restart(): void {
    this.parser = PARSER.GROUND;
    this.canPop = false;
    this.lastText = -1;
  }
}

/** Shorter chunks go through the lanes: they are done before a search has begun. */
const SEARCH_BYTES = 64;
/** How far the lanes go before they are asked again whether anything is under way, in bytes: this much at first, then twice as much each time. */
const FIRST_STEP_BYTES = 16;
const LAST_STEP_BYTES = 1024;

/** The lanes of one set in one stream. */
class SetScanner {
  private readonly raw: RawLane | undefined;
  private readonly visible: Lane | undefined;
  private readonly unwrapped: Lane | undefined;
  private readonly main: Place;
  private readonly search: Search | undefined;
  private readonly spaced: Lane | undefined;
  private readonly spacedPlace: Place;

  constructor(set: PortableSet, index: number, rows: Rows, parser: number, maxGapBytes: number) {
    this.main = new Place(parser);
    this.spacedPlace = new Place(parser);
    if (set.main !== undefined) {
      this.raw = new RawLane(set.main, index, rows);
      this.visible = new Lane("visible", set.main, index, rows, maxGapBytes);
      this.unwrapped = new Lane("unwrapped", set.main, index, rows, maxGapBytes);
      if (set.sieve !== undefined) this.search = new Search(set.sieve, maxGapBytes);
    }
    if (set.spaced !== undefined) this.spaced = new Lane("spaced", set.spaced, index, rows, maxGapBytes);
  }

  /** Scans the next bytes, which start at offset `base`. */
  scan(chunk: Uint8Array, base: number): void {
    if (this.search !== undefined && chunk.length >= SEARCH_BYTES) this.scanWith(this.search, chunk, base);
    else if (this.raw !== undefined) this.step(chunk, 0, chunk.length, base);
    const { spaced, spacedPlace } = this;
    if (spaced === undefined) return;
    spacedPlace.walk(chunk, 0, chunk.length, base, (run, piece, start) => this.feedLane(spaced, run, piece, start, spacedPlace));
  }

  /** The search says where a match may begin; the lanes skip what lies before, if nothing is under way. */
  private scanWith(search: Search, chunk: Uint8Array, base: number): void {
    search.begin(chunk);
    let at = 0;
    let until = 0;
    let step = FIRST_STEP_BYTES;
    while (at < chunk.length) {
      if (at >= until && this.isIdle(at)) {
        search.next(at, Math.max(0, this.unwrapped!.gapEnd - base));
        if (search.from > at) {
          at = search.from;
          this.skipTo(base + at);
        }
        until = search.until;
        step = FIRST_STEP_BYTES;
      }
      const end = Math.min(Math.max(until, at + step), chunk.length);
      step = Math.min(step * 2, LAST_STEP_BYTES);
      this.step(chunk, at, end, base);
      at = end;
    }
    search.finish();
  }

  /** Whether all that is under way is less than 4 bytes, in one piece, and in the chunk: what the search can start from. */
  private isIdle(at: number): boolean {
    return this.main.parser === PARSER.GROUND && this.raw!.isShallow(Math.min(at, KNOWN_BYTES - 1)) && this.visible!.attached && this.unwrapped!.attached;
  }

  /** Goes on at `offset`: nothing that begins before it matters. */
  private skipTo(offset: number): void {
    this.main.restart();
    this.raw!.restart();
    this.visible!.gapEnd = offset;
    this.unwrapped!.gapEnd = offset;
  }

  /** Feeds `chunk[from, to)` to the lanes of the main automaton. */
  private step(chunk: Uint8Array, from: number, to: number, base: number): void {
    const { main, raw, visible, unwrapped } = this;
    main.walk(chunk, from, to, base, (run, piece, start) => {
      // A text run is nothing to a lane that sees what the raw lane sees: the common case, told first.
      const text = run.kind === KIND.TEXT;
      if (!(text && visible!.attached)) this.feedLane(visible!, run, piece, start, main);
      if (!(text && unwrapped!.attached)) this.feedLane(unwrapped!, run, piece, start, main);
      raw!.run(piece, run.start, run.end, start, run.kind);
    });
  }

  private feedLane(lane: Lane, run: Token, chunk: Uint8Array, base: number, { canPop, lastText }: Place): void {
    const { kind, start, end } = run;
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
  bounds(end: number): { hold: number; pending: number } {
    let hold = end;
    let pending = end;
    const held = (start: number): void => {
      if (start >= 0) hold = Math.min(hold, start);
    };
    if (this.raw !== undefined) held(this.raw.holdStart(end));
    for (const lane of [this.visible, this.unwrapped, this.spaced]) {
      if (lane === undefined) continue;
      const { canPop, lastText } = lane === this.spaced ? this.spacedPlace : this.main;
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

  constructor(
    sets: readonly PortableSet[],
    private parser: number,
    maxGapBytes: number,
  ) {
    this.found = new Rows(sets.length);
    this.scanners = sets.map((set, index) => new SetScanner(set, index, this.found, parser, maxGapBytes));
  }

  scan(chunk: Uint8Array): number {
    this.found.clear();
    for (const scanner of this.scanners) scanner.scan(chunk, this.total);
    this.parser = parserAfter(chunk, this.parser);
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
      const bounds = scanner.bounds(this.total);
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
  build: (table) => atOnce(PortableSet.build(table)),
  buildAsync: (table) => inTurns(PortableSet.build(table)),
  anchors: (table) => new PortableAnchors(table),
  encoded: () => new PortableEncodedStream(),
  open: (sets, parser, maxGapBytes) => new PortableStream(sets as readonly PortableSet[], parser, maxGapBytes),
};
