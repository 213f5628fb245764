/**
 * The redactor: a pure machine from chunks to masked chunks. No I/O, no clock: the shells in stream/ call `idle` when there was silence.
 *
 * `push` is the walk: 1. the matcher scans the chunk, 2. its rows become spans, 3. everything before the release point leaves, spans masked.
 */
import { HEAD, type MatcherFactory, type MatcherStream, type NeedleSet, ROW, ROW_SIZE } from "./matcher.js";
import type { DetectorMask, StreamDetector, DetectorMatch } from "./detection.js";
import type { MaskPlan } from "./mask.js";
import { type Cause, Masked, Ranges, type RuleNote, RULES, type Span, SpanList } from "./spans.js";
import { Lines } from "./lines.js";
import { Window } from "./window.js";
import { SCAN_BYTES } from "../limits.js";

/** A span that left masked, or left unmasked before it was recognised. */
export interface RedactorFinding {
  readonly kind: "masked" | "fragment" | "exposed" | "counted";
  readonly set: number;
  readonly needle: number;
  /** 1-based line of `offset`. */
  readonly line: number;
  readonly offset: number;
  readonly length: number;
  /** Of a rule (`set` is RULES). */
  readonly note?: RuleNote;
}

/** What the redactor asks of its surroundings. */
export interface RedactorContext {
  readonly factory: MatcherFactory;
  readonly maxGapBytes: number;
  readonly exposureWindowBytes: number;
  /** Length of a needle in bytes. */
  needleBytes(set: number, needle: number): number;
  /** How a match of the needle is masked. */
  mask(set: number, needle: number, note?: RuleNote): MaskPlan;
  found(finding: RedactorFinding): void;
  /** The offset from which on matches of a needle count: one that was learned from the log itself is not looked for before. Absent: 0. */
  activeFrom?(set: number, needle: number): number;
  /** Whether the detector's findings changed the sets; and those in force from now on. */
  hasLearned?(): boolean;
  learned?(): readonly NeedleSet[];
  /** Absent: no rules. */
  detector?(mask: DetectorMask): StreamDetector;
}

const EMPTY = new Uint8Array(0);
const LF = 0x0a;
const CR = 0x0d;
const LEFT = 1;
const RIGHT = 2;
/** Released input kept even with no exposure window, in bytes: the neighbour a token's left side is judged by. */
const NEIGHBOUR_BYTES = 1;

interface Candidate {
  readonly cause: Cause;
  readonly sides: number;
}

export class Redactor {
  private stream: MatcherStream;
  private readonly window = new Window();
  /** The chunk at hand and its offset: not yet in the window. */
  private chunk: Uint8Array = EMPTY;
  private base = Infinity;
  private parser = 0;
  private total = 0;
  /** Bytes shown to the matcher: more than came in where sets changed. */
  private scanned = 0;
  private released = 0;
  /** Line feeds in the bytes taken in. */
  private lineFeeds = 0;
  private readonly lines = new Lines((from, to, each) => this.slices(from, to, each));
  /** What is to be masked and has not left. */
  private readonly spans = new SpanList();
  /** Like `spans`, without matches that depend on a masked neighbour. */
  private readonly firm = new Ranges();
  /** Control sequences inside spans, and ranges where the raw lane matched, which no longer count as such. */
  private readonly keeps = new Ranges();
  private readonly raws = new Ranges();
  /** Released ranges that left masked or were reported as exposed, as far back as the window. */
  private readonly shown = new Ranges();
  private candidates: Candidate[] = [];
  private readonly detector: StreamDetector | undefined;
  /** What rules masked and has not left: another set of needles does not change it. */
  private readonly ruled = new Masked();
  /** The mask that left last, while a span may still touch it. */
  private open: { start: number; end: number; cause: Cause; line: number; plan: MaskPlan } | undefined;

  constructor(
    private readonly context: RedactorContext,
    sets: readonly NeedleSet[],
  ) {
    this.stream = context.factory.open(sets, 0, context.maxGapBytes);
    this.detector = context.detector?.((start, end, rule, match) => this.ruleFound(start, end, rule, match));
  }

  private ruleFound(start: number, end: number, rule: number, { note, counted, ...match }: DetectorMatch): void {
    const cause: Cause = { set: RULES, needle: rule, start: match.start, end: match.end, fragment: false, note };
    if (counted) return this.report("counted", cause, this.lines.at(start), start, end);
    this.ruled.add({ start, end, cause }, this.released);
    this.mask(start, end, cause, true);
  }

  /** Bytes taken in. */
  get offset(): number {
    return this.total;
  }

  /** Bytes looked at so far, of the input and of what is made of it: grows with the input, whatever that is. */
  get work(): number {
    return this.scanned + (this.detector?.work ?? 0);
  }

  /** Bytes taken in and not released. */
  get heldBytes(): number {
    return this.total - this.released;
  }

  /**
   * A redactor that is shown only what stands from this offset on, or from one before it that is not within a finding, masks the same there: nothing unfinished reaches
   * over it, whether it has left or not.
   */
  get settled(): number {
    const pending = this.total - this.stream.head[HEAD.PENDING]!;
    return Math.min(pending, this.detector?.settled ?? pending, this.open?.start ?? pending, ...this.candidates.map(({ cause }) => cause.start));
  }

  /** Takes the next bytes; answers what may leave. Pieces may be views of `chunk`; nothing of it is kept once the caller has used them. */
  push(chunk: Uint8Array): Uint8Array[] {
    const out: Uint8Array[] = [];
    for (let at = 0; at < chunk.length; at += SCAN_BYTES) this.pushPiece(chunk.length > SCAN_BYTES ? chunk.subarray(at, at + SCAN_BYTES) : chunk, out);
    return out;
  }

  /** Silence: what is undecided leaves, 4 bytes or more of a secret masked. Matching goes on where it was. */
  idle(): Uint8Array[] {
    const out: Uint8Array[] = [];
    this.take(this.stream.idle(), false);
    this.detector?.idle();
    this.adoptLearned();
    this.release(this.total, out);
    return out;
  }

  /** The end: everything leaves. */
  end(): Uint8Array[] {
    const out: Uint8Array[] = [];
    this.take(this.stream.end(), false);
    this.detector?.end();
    this.adoptLearned();
    this.release(this.total, out);
    this.closeMask();
    this.dispose();
    return out;
  }

  /** Frees the matching state and forgets the kept input. */
  dispose(): void {
    this.stream.release();
    this.detector?.release();
    this.window.clear();
  }

  /** Goes on with other sets of needles: all that is not released is looked at again, and what left unmasked is reported as exposed. */
  adopt(sets: readonly NeedleSet[]): void {
    this.spans.clear();
    this.firm.clear();
    this.keeps.clear();
    this.raws.clear();
    this.replay(sets);
    for (const { start, end, cause } of this.ruled.from(this.released)) this.mask(start, end, cause, true);
  }

  /** Shows the window to other sets. */
  private replay(sets: readonly NeedleSet[]): void {
    this.stream.release();
    this.stream = this.context.factory.open(sets, this.window.parser, this.context.maxGapBytes);
    this.candidates = [];
    const total = this.total;
    this.total = this.window.start;
    this.window.slices(this.total, total, (piece) => {
      for (let at = 0; at < piece.length; at += SCAN_BYTES) {
        const part = piece.subarray(at, at + SCAN_BYTES);
        const rows = this.stream.scan(part);
        this.total += part.length;
        this.scanned += part.length;
        this.take(rows, true);
      }
    });
    this.total = total;
  }

  private pushPiece(chunk: Uint8Array, out: Uint8Array[]): void {
    const parser = this.parser;
    const rows = this.stream.scan(chunk);
    const { head } = this.stream;
    this.parser = head[HEAD.PARSER]!;
    this.chunk = chunk;
    this.base = this.total;
    this.lines.mark(this.base, this.lineFeeds);
    this.total += chunk.length;
    this.scanned += chunk.length;
    this.lineFeeds += head[HEAD.LINES]!;
    this.detector?.push(chunk);
    if (rows > 0) this.take(rows, false);
    this.detector?.keep();
    if (this.context.hasLearned?.() === true) {
      this.keep(parser);
      this.adoptLearned();
    }
    let to = Math.min(this.total - this.stream.head[HEAD.HOLD]!, this.detector?.hold ?? Infinity);
    if (this.candidates.length > 0) to = this.settle(to);
    this.release(Math.max(to, this.released), out);
    if (this.chunk !== EMPTY) this.keep(parser);
    this.lines.mark(this.total, this.lineFeeds);
  }

  /** Looks for what rules found just now: in what is in the window already, too. What was found stays. */
  private adoptLearned(): void {
    if (this.context.hasLearned?.() === true) this.replay(this.context.learned!());
  }

  /** Keeps of the chunk what may be needed again. `parser` is the state of the byte classifier before it. */
  private keep(parser: number): void {
    const { chunk, base, window } = this;
    const pending = this.total - this.stream.head[HEAD.PENDING]!;
    const from = Math.min(pending - NEIGHBOUR_BYTES, this.released - Math.max(NEIGHBOUR_BYTES, this.context.exposureWindowBytes));
    // What is not copied need not be read: of a large chunk the end will do, from a line on, where the classifier is in its first state.
    const line = from > base ? Buffer.prototype.lastIndexOf.call(chunk, LF, from - base - 1) + 1 : 0;
    if (line > 0) {
      window.restart(base + line);
      window.append(chunk.subarray(line), 0);
    } else {
      window.append(chunk, parser);
      window.dropBefore(from);
    }
    this.shown.dropBefore(window.start);
    this.chunk = EMPTY;
    this.base = Infinity;
  }

  /** Calls `each` with the bytes of `[from, to)`, piece by piece. The pieces are valid during the call and must not be changed. */
  private slices(from: number, to: number, each: (piece: Buffer) => void): void {
    const { chunk, base } = this;
    if (from < base) this.window.slices(from, Math.min(to, base), each);
    if (to > base) each(Buffer.from(chunk.buffer, chunk.byteOffset + Math.max(0, from - base), to - Math.max(from, base)));
  }

  /** Turns the matcher's rows into spans. With `replay`, more rows follow for the same bytes. */
  private take(count: number, replay: boolean): void {
    const { rows } = this.stream;
    for (let i = 0; i < count * ROW_SIZE; i += ROW_SIZE) {
      const kind = rows[i]!;
      const set = rows[i + 1]!;
      const needle = rows[i + 2]!;
      const matchStart = this.total - rows[i + 3]!;
      const end = this.total - rows[i + 4]!;
      if (kind === ROW.KEEP) {
        this.keeps.add(matchStart, end);
        continue;
      }
      const active = this.context.activeFrom?.(set, needle) ?? 0;
      if (end <= active) continue;
      // One that began before it was learned is told of as a fragment: what taught it comes first.
      const start = Math.max(matchStart, active);
      const ownEnd = kind === ROW.LANE ? this.total - rows[i + 5]! : end;
      const causeEnd = kind === ROW.RAW || kind === ROW.TOKEN ? matchStart + this.context.needleBytes(set, needle) : ownEnd;
      const cause: Cause = { set, needle, start: matchStart, end: causeEnd, fragment: kind === ROW.FRAGMENT || matchStart < active };
      if (kind === ROW.TOKEN) this.candidates.push({ cause, sides: rows[i + 5]! });
      else this.mask(start, end, cause, kind === ROW.RAW || (kind === ROW.FRAGMENT && rows[i + 5] === 1));
    }
    if (this.candidates.length > 0 && !replay) this.settle(this.released);
  }

  /** Marks `[start, end)` for masking; what of it has left unmasked is reported as exposed. */
  private mask(start: number, end: number, cause: Cause, raw: boolean): void {
    if (raw) this.raws.add(start, end);
    this.firm.add(start, end);
    if (start < this.released) this.expose(start, Math.min(end, this.released), cause);
    if (end > this.released) this.spans.add(Math.max(start, this.released), end, cause);
  }

  private expose(from: number, to: number, cause: Cause): void {
    if (cause.fragment) return;
    this.shown.outside(from, to, (start, end) => this.report("exposed", cause, this.lines.at(start), start, end));
    this.shown.add(from, to);
  }

  /** Decides token matches whose neighbour may turn out masked; answers the release point `to`, moved before the undecided ones. */
  private settle(to: number): number {
    const undecided: Candidate[] = [];
    for (const candidate of this.candidates) {
      const { start, end } = candidate.cause;
      const left = (candidate.sides & LEFT) === 0 || this.firm.covers(start - 1);
      const right = (candidate.sides & RIGHT) === 0 || this.firm.covers(end);
      if (left && right) {
        this.raws.add(start, end);
        if (end > this.released) this.spans.add(Math.max(start, this.released), end, candidate.cause);
      } else if (to <= ((candidate.sides & RIGHT) === 0 ? start - 1 : end)) undecided.push(candidate);
    }
    this.candidates = undecided;
    return undecided.reduce((least, { cause }) => Math.min(least, cause.start), to);
  }

  /** Lets everything before `to` leave. */
  private release(to: number, out: Uint8Array[]): void {
    if (to === this.total) this.candidates = [];
    while (this.released < to) {
      const span = this.spans.first;
      if (span === undefined || span.start >= to) {
        this.text(to, out);
        break;
      }
      if (span.start > this.released) this.text(span.start, out);
      this.maskTo(Math.min(span.end, to), span, out);
      if (span.end <= to) this.spans.shift();
    }
    this.firm.dropBefore(this.released);
    this.keeps.dropBefore(this.released);
    this.raws.dropBefore(this.released);
  }

  private text(to: number, out: Uint8Array[]): void {
    this.closeMask();
    const { chunk, base } = this;
    // The window's memory is used again; the chunk is the caller's.
    if (this.released < base) this.window.slices(this.released, Math.min(to, base), (piece) => out.push(Buffer.from(piece)));
    const start = Math.max(0, this.released - base);
    if (to > base) out.push(start === 0 && to - base === chunk.length ? chunk : chunk.subarray(start, to - base));
    this.released = to;
  }

  /** Masks from the release point to `to`, inside `span`. A span that touches the last mask continues it. */
  private maskTo(to: number, span: Span, out: Uint8Array[]): void {
    const from = this.released;
    if (this.open?.end === from) {
      // A whole match that began in a fragment takes its place.
      if (this.open.cause.fragment && !span.cause.fragment && span.cause.start <= this.open.start) this.open.cause = span.cause;
    } else {
      this.closeMask();
      const plan = this.context.mask(span.cause.set, span.cause.needle, span.cause.note);
      this.open = { start: from, end: from, cause: span.cause, line: this.lines.at(from), plan };
      if (plan.kind === "text") out.push(plan.bytes);
    }
    this.open.end = to;
    this.shown.add(from, to);
    this.slices(from, to, (piece) => this.maskPiece(piece, out));
    this.released = to;
  }

  private maskPiece(piece: Buffer, out: Uint8Array[]): void {
    const { plan } = this.open!;
    const from = this.released;
    let kept: Uint8Array | undefined;
    this.keeps.within(from, from + piece.length, (start, end) => (kept ??= new Uint8Array(piece.length)).fill(1, start - from, end - from));
    if (kept !== undefined) this.raws.within(from, from + piece.length, (start, end) => kept!.fill(0, start - from, end - from));
    let target: Buffer | undefined;
    let length = 0;
    for (let i = 0; i < piece.length; i++) {
      const byte = piece[i]!;
      const isKept = byte === LF || byte === CR || (kept !== undefined && kept[i] === 1);
      if (isKept || plan.kind === "fill") (target ??= Buffer.allocUnsafe(piece.length))[length++] = plan.kind === "fill" && !isKept ? plan.byte : byte;
    }
    this.released += piece.length;
    if (target !== undefined) out.push(target.subarray(0, length));
  }

  /** Reports the mask that left last: nothing can touch it any more. */
  private closeMask(): void {
    const { open } = this;
    if (open === undefined) return;
    this.open = undefined;
    this.report(open.cause.fragment ? "fragment" : "masked", open.cause, open.line, open.start, open.end);
  }

  private report(kind: RedactorFinding["kind"], { set, needle, note }: Cause, line: number, start: number, end: number): void {
    this.context.found({ kind, set, needle, line, offset: start, length: end - start, ...(note === undefined ? {} : { note }) });
  }
}
