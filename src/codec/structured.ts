/**
 * Structured data of syslog (RFC 5424 §6.3) around a text channel. The channel sees lines as they are, escapes included: secrets are looked for in that spelling too
 * (`syslog` in secrets/variants.ts), and `password="…"` is an assignment to the rules. What is done here is what a mask would break: in a value of a parameter its `"` and
 * `]` get a backslash. Lines without structured data, and those that come back as they went in, pass.
 *
 *     in    <34>1 - h a - - [x@1 k="sec\]ret"] text
 *     back  <34>1 - h a - - [x@1 k="[REDACTED:S]"] text
 *     out   <34>1 - h a - - [x@1 k="[REDACTED:S\]"] text
 */
import { countLines } from "../core/lines.js";
import type { TextMasker } from "./framing.js";

const LF = 0x0a;
const SPACE = 0x20;
const QUOTE = 0x22;
const EQUALS = 0x3d;
const LESS = 0x3c;
const GREATER = 0x3e;
const OPEN = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE = 0x5d;
/** Fields between the version and the structured data: time, host, application, process, kind. */
const HEADER_FIELDS = 5;

/** A line that may have structured data, until it has come back. */
interface Line {
  /** Counted from 0. */
  readonly number: number;
  /** As it went in; undefined: it passes as it comes back. */
  original: Uint8Array[] | undefined;
  bytes: number;
}

export class StructuredDataMasker implements TextMasker {
  private linesIn = 0;
  private linesOut = 0;
  private isInside = false;
  /** The line at whose middle the last chunk ended, if it may have structured data. */
  private open: Line | undefined;
  private readonly lines: Line[] = [];
  /** What has come back of the first of them. */
  private held: Buffer[] = [];
  private waiting = 0;

  /** Lines of more bytes than `maxLineBytes` pass as they come back. */
  constructor(
    private readonly channel: TextMasker,
    private readonly maxLineBytes: number,
  ) {}

  /** Bytes that have come back and wait for the end of their line. */
  get heldBytes(): number {
    return this.waiting;
  }

  push(chunk: Uint8Array): Uint8Array[] {
    for (let from = 0; from < chunk.length;) {
      const at = chunk.indexOf(LF, from);
      const end = at < 0 ? chunk.length : at + 1;
      this.look(chunk.subarray(from, end), at >= 0);
      from = end;
    }
    const out = this.place(this.channel.push(chunk));
    // The chunk is the caller's again; most lines have come back by now. Those of chunks before have bytes of their own: there may be thousands.
    for (let i = this.lines.length - 1; i >= 0; i--) {
      const { original } = this.lines[i]!;
      const last = original?.at(-1);
      if (last === undefined) continue;
      if (last.buffer !== chunk.buffer) break;
      original![original!.length - 1] = Buffer.from(last);
    }
    return out;
  }

  idle(): Uint8Array[] {
    return [...this.place(this.channel.idle()), ...this.giveUp()];
  }

  end(): Uint8Array[] {
    return [...this.place(this.channel.end()), ...this.giveUp()];
  }

  close(): void {
    this.channel.close();
  }

  /** Takes note of a piece of a line, and whether the line ends with it. */
  private look(piece: Uint8Array, isEnd: boolean): void {
    if (!this.isInside && piece[0] === LESS) this.lines.push((this.open = { number: this.linesIn, original: [], bytes: 0 }));
    if (this.open?.original !== undefined) {
      this.open.original.push(piece);
      this.open.bytes += piece.length;
      if (this.open.bytes > this.maxLineBytes) this.open.original = undefined;
    }
    this.isInside = !isEnd;
    if (!isEnd) return;
    this.open = undefined;
    this.linesIn++;
  }

  /** What may leave of what came back: what is the same in stretches, as views. */
  private place(pieces: readonly Uint8Array[]): Uint8Array[] {
    const out: Uint8Array[] = [];
    let passed = 0;
    for (const piece of pieces) {
      let same = 0;
      const leave = (to: number): void => void (to > same && out.push(piece.subarray(same, to)));
      for (let from = 0; from < piece.length;) {
        const line = this.lines[passed];
        if (line === undefined) {
          this.linesOut += countLines(piece.subarray(from));
          break;
        }
        const at = piece.indexOf(LF, from);
        const end = at < 0 ? piece.length : at + 1;
        const isFirst = line.number === this.linesOut;
        if (isFirst && line.original !== undefined) {
          const part = piece.subarray(from, end);
          if (at < 0 || this.waiting > 0 || !isSame(line.original, part)) {
            leave(from);
            same = end;
            this.hold(part, line, at >= 0, out);
          }
        } else if (this.waiting > 0) {
          leave(from);
          same = from;
          out.push(...this.takeHeld());
        }
        from = end;
        if (at < 0) continue;
        if (isFirst) passed++;
        this.linesOut++;
      }
      leave(piece.length);
    }
    this.lines.splice(0, passed);
    return out;
  }

  /** A part of a line waits for its end: then it is compared with what it was. */
  private hold(part: Uint8Array, line: Line, isEnd: boolean, out: Uint8Array[]): void {
    this.held.push(Buffer.from(part));
    this.waiting += part.length;
    if (isEnd) out.push(repaired(Buffer.concat(line.original!), Buffer.concat(this.takeHeld())));
    else if (this.waiting > 2 * this.maxLineBytes) {
      line.original = undefined;
      out.push(...this.takeHeld());
    }
  }

  private takeHeld(): Buffer[] {
    const { held } = this;
    this.held = [];
    this.waiting = 0;
    return held;
  }

  /** The line that has begun to come back leaves as far as it has. */
  private giveUp(): Buffer[] {
    if (this.waiting > 0) this.lines[0]!.original = undefined;
    return this.takeHeld();
  }
}

/** Where in a line the values of its parameters stand; undefined: it has no structured data, or none that holds to its syntax. */
function valuesOf(line: Uint8Array): { readonly data: number; readonly values: readonly (readonly [number, number])[] } | undefined {
  let at = 1;
  while (at < 4 && isDigit(line[at])) at++;
  if (at === 1 || line[at++] !== GREATER) return undefined;
  const version = at;
  while (at < version + 3 && isDigit(line[at])) at++;
  if (at === version || line[at] !== SPACE) return undefined;
  for (let field = 0; field < HEADER_FIELDS; field++) {
    const start = ++at;
    at = line.indexOf(SPACE, start);
    if (at <= start) return undefined;
  }
  const data = ++at;
  const values: [number, number][] = [];
  while (line[at] === OPEN) {
    at = endOfName(line, at + 1);
    while (line[at] === SPACE) {
      at = endOfName(line, at + 1);
      if (line[at] !== EQUALS || line[at + 1] !== QUOTE) return undefined;
      const start = (at += 2);
      for (; line[at] !== QUOTE; at++) {
        if (line[at] === BACKSLASH) at++;
        else if (line[at] === CLOSE) return undefined;
        if (at >= line.length) return undefined;
      }
      values.push([start, at++]);
    }
    if (line[at++] !== CLOSE) return undefined;
  }
  return values.length === 0 ? undefined : { data, values };
}

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 0x30 && byte <= 0x39;

/** Where a name ends that begins at `at`. */
function endOfName(line: Uint8Array, at: number): number {
  let end = at;
  for (; end < line.length; end++) {
    const byte = line[end]!;
    if (byte <= SPACE || byte === EQUALS || byte === QUOTE || byte === CLOSE || byte > 0x7e) break;
  }
  return end;
}

const isSame = (original: readonly Uint8Array[], part: Uint8Array): boolean => original.length === 1 && Buffer.compare(original[0]!, part) === 0;

/** The masked line with values that hold to the syntax. What a mask took more of than values stays as it is. */
function repaired(original: Buffer, masked: Buffer): Buffer {
  const found = masked.equals(original) ? undefined : valuesOf(original);
  if (found === undefined) return masked;
  const out: Buffer[] = [];
  let at = 0;
  let before = found.data;
  for (const [index, [start, end]] of found.values.entries()) {
    // 1. What stands before the value is found again as it was; so is what stands behind it, up to the next value, or the bracket and what follows it. Neither can stand in a value, where quotes
    // and brackets have backslashes.
    const opening = original.subarray(before, start);
    const opened = index === 0 ? masked.indexOf(opening) : at;
    const next = found.values[index + 1]?.[0] ?? end + 3;
    const closed = masked.indexOf(original.subarray(end, next), opened + opening.length);
    if (opened < 0 || closed < 0) return masked;
    // 2. The value between them, if it differs, gets its backslashes.
    const value = masked.subarray(opened + opening.length, closed);
    out.push(masked.subarray(at, opened + opening.length), value.equals(original.subarray(start, end)) ? value : escaped(value));
    at = closed;
    before = end;
  }
  return Buffer.concat([...out, masked.subarray(at)]);
}

/** A value with a backslash before each quote and bracket that has none, and none left over at its end. */
function escaped(value: Buffer): Buffer {
  const out: number[] = [];
  for (let at = 0; at < value.length; at++) {
    const byte = value[at]!;
    if (byte === BACKSLASH) {
      out.push(byte, value[++at] ?? BACKSLASH);
      continue;
    }
    if (byte === QUOTE || byte === CLOSE) out.push(BACKSLASH);
    out.push(byte);
  }
  return Buffer.from(out);
}
