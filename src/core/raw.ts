/** The raw lane: every byte of the stream through the automaton, and the token rule. The only loop that sees all bytes; lanes.ts borrows its state. */
import { type Automaton, copyState, NODE, rootState, type State, WORD } from "./automaton.js";
import { FRAGMENT_BYTES } from "./lanes.js";
import { MAX_TOKEN_BYTES, NEEDLE, ROW } from "./matcher.js";
import { KIND } from "./projection.js";
import type { Rows } from "./rows.js";

const NO_BYTES = new Uint8Array(0);
const LEFT = 1;
const RIGHT = 2;
/** Size of the ring of word marks: a power of two above the longest token and one neighbour. */
const RING = MAX_TOKEN_BYTES * 2;

interface PendingToken {
  readonly needle: number;
  readonly start: number;
  readonly end: number;
  readonly sides: number;
  /** The needle's last byte is a word byte, so the next byte decides. */
  readonly open: boolean;
}

export class RawLane {
  readonly state: State = rootState();
  /** State before the last byte. Only valid after a run that was not followed by a newline. */
  readonly prev: State = rootState();
  /** Whether the byte at `offset & (RING - 1)` is a word byte outside control sequences. */
  private readonly marks = new Uint8Array(RING);
  /** Tokens that end at the end of the input: the next byte decides. */
  private pending: PendingToken[] = [];
  /** The run under way: its bytes, the offset of `chunk[0]`, where it starts and ends, and whether word bytes in it count as such. */
  private chunk: Uint8Array = NO_BYTES;
  private base = 0;
  private runStart = 0;
  private runEnd = 0;
  private words = true;

  constructor(
    private readonly automaton: Automaton,
    private readonly set: number,
    private readonly rows: Rows,
  ) {}

  /** Steps over the run `chunk[from, to)` of one `kind`; `base` is the offset of `chunk[0]`. */
  run(chunk: Uint8Array, from: number, to: number, base: number, kind: number): void {
    const words = kind !== KIND.SEQUENCE;
    this.chunk = chunk;
    this.base = base;
    this.runStart = from;
    this.runEnd = to;
    this.words = words;
    if (this.pending.length > 0) this.settle(words && WORD[chunk[from]!] === 1);
    const next = to < chunk.length ? chunk[to]! : -1;
    if (next === 0x0a || next === 0x0d) {
      this.advance(from, to);
    } else {
      this.advance(from, to - 1);
      copyState(this.state, this.prev);
      this.advance(to - 1, to);
    }
    if (this.automaton.hasTokens) for (let at = Math.max(from, to - RING); at < to; at++) this.marks[(base + at) & (RING - 1)] = words ? WORD[chunk[at]!]! : 0;
    this.chunk = NO_BYTES;
  }

  /** Whether no more than `bytes` (3 or less) are under way. */
  isShallow(bytes: number): boolean {
    return this.state.node < 0 && this.state.depth <= bytes && this.pending.length === 0;
  }

  /** Forgets all bytes. */
  restart(): void {
    copyState(rootState(), this.state);
    copyState(rootState(), this.prev);
    this.marks.fill(0);
  }

  /** Offset of the earliest byte that must stay back, or -1; `end` is the end of the input. */
  holdStart(end: number): number {
    const depth = this.automaton.pendingDepth(this.state, 0, false);
    let start = depth > 0 ? end - depth : -1;
    for (const token of this.pending) if (start < 0 || token.start < start) start = token.start;
    return start;
  }

  /** Reports what is unfinished at `end`: nothing may follow, or silence stands for it. */
  giveUp(end: number): void {
    this.settle(false);
    const depth = this.automaton.pendingDepth(this.state, 0, false);
    if (depth >= FRAGMENT_BYTES) this.rows.add(ROW.FRAGMENT, this.set, this.automaton.needleBelow(this.state, depth), end - depth, end, 1);
  }

  private settle(wordFollows: boolean): void {
    for (const token of this.pending) this.addToken(token.needle, token.start, token.end, token.sides | (token.open && wordFollows ? RIGHT : 0));
    this.pending = [];
  }

  private addToken(needle: number, start: number, end: number, sides: number): void {
    if (sides === 0) this.rows.addMatch("raw", this.set, needle, start, end);
    else this.rows.add(ROW.TOKEN, this.set, needle, start, end, sides);
  }

  /**
   * 1. While nothing of 4+ bytes is under way, slide a window over the run: one filter look-up per byte. All starts before the window are dead.
   * 2. A 4-byte prefix found: step from its node until the match under way is shorter again.
   * 3. What remains of the run is shorter than 4 bytes: step exactly.
   */
  private advance(from: number, to: number): void {
    const { automaton, chunk, state } = this;
    const { grams, flags } = automaton;
    let at = from;
    while (at < to) {
      if (state.node < 0 && state.depth <= at - from && to - at >= 4) {
        const { filter, filterShift } = grams;
        let start = at - state.depth;
        let gram = chunk[start]! | (chunk[start + 1]! << 8) | (chunk[start + 2]! << 16) | (chunk[start + 3]! << 24);
        const last = to - 4;
        for (;;) {
          const bit = Math.imul(gram, 0x9e3779b1) >>> filterShift;
          if (filter[bit >>> 5]! & (1 << (bit & 31))) {
            const node = grams.get(gram);
            if (node >= 0) {
              state.node = node;
              state.depth = 4;
              break;
            }
          }
          if (start === last) break;
          start++;
          gram = (gram >>> 8) | (chunk[start + 3]! << 24);
        }
        if (state.node >= 0) {
          at = start + 4;
          state.tail = (gram >>> 8) & 0xffffff;
          state.tail = ((state.tail & 0xff) << 16) | (state.tail & 0xff00) | (state.tail >>> 16);
          if (flags[state.node]! & NODE.OUT) this.report(at);
        } else {
          at = to;
          state.tail = (chunk[to - 3]! << 16) | (chunk[to - 2]! << 8) | chunk[to - 1]!;
          state.depth = automaton.shallowDepth(state.tail, 3);
        }
        continue;
      }
      automaton.step(state, chunk[at]!);
      at++;
      if (state.node >= 0 && flags[state.node]! & NODE.OUT) this.report(at);
    }
  }

  /** Reports the needles that end at `chunk[at]`: every token up to the longest ordinary one. */
  private report(at: number): void {
    const { automaton } = this;
    const first = this.state.node;
    const end = this.base + at;
    for (let node = automaton.ends[first]! >= 0 ? first : automaton.suffixes[first]!; node >= 0; node = automaton.suffixes[node]!) {
      const needle = automaton.ends[node]!;
      const start = end - automaton.depths[node]!;
      if ((automaton.needleFlags[needle]! & NEEDLE.TOKEN) === 0) {
        this.rows.addMatch("raw", this.set, needle, start, end);
        return;
      }
      this.token(needle, start, end, at);
    }
  }

  private token(needle: number, start: number, end: number, at: number): void {
    const edges = this.automaton.edges[needle]!;
    const sides = edges & LEFT && this.wordAt(start - 1) ? LEFT : 0;
    const open = (edges & RIGHT) !== 0;
    if (at < this.runEnd) this.addToken(needle, start, end, sides | (open && this.wordAt(end) ? RIGHT : 0));
    else this.pending.push({ needle, start, end, sides, open });
  }

  private wordAt(offset: number): boolean {
    if (offset >= this.base + this.runStart) return this.words && WORD[this.chunk[offset - this.base]!] === 1;
    return offset >= 0 && this.marks[offset & (RING - 1)] === 1;
  }
}
