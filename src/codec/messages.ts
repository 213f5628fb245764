/**
 * Syslog messages of one sender as text, and masked text as messages again. The text has a line end behind each message, so that a stream of the engine can take one sender
 * after the other's end as lines; since masks keep line ends, the n-th of what comes back is the n-th of what went in, and messages are told apart by counting. Line ends
 * that tell nothing, or more than that a message ends, have a {@link Mark}.
 *
 *     octet counting   3 SP a LF b  1 SP c      text  a LF b LF c LF      marks  0 inside
 */
import { isUtf8 } from "node:buffer";
import { LogveilError } from "../errors.js";
import { countLines } from "../core/lines.js";
import { type BinaryFormat, FORMAT_HEAD_BYTES, formatOf, isPlainStart } from "./formats.js";

/** How messages of a connection are told apart: RFC 6587 §3.4. `auto`: by the first byte, a digit begins a count. */
export type MessageFraming = "auto" | "octet-counting" | "newline";

/** A line end of the text, counted from 0, that stands inside a message, or is the last byte of it. Others were put behind a message, or ended it on the wire. */
export interface Mark {
  readonly line: number;
  readonly is: "inside" | "last";
}

export interface MessageText {
  readonly text: Uint8Array;
  readonly marks: readonly Mark[];
}

const LF = 0x0a;
const SPACE = 0x20;
const ZERO = 0x30;
const NINE = 0x39;
/** Most digits of a count. */
const MAX_DIGITS = 10;
const LINE_END = Buffer.from([LF]);
const EMPTY = Buffer.alloc(0);

/** Puts text together, and marks. */
class TextBuilder {
  private pieces: Uint8Array[] = [];
  private marks: Mark[] = [];
  private lines = 0;
  private last = -1;

  /** A piece of a message. */
  add(piece: Uint8Array): void {
    if (piece.length === 0) return;
    for (let at = piece.indexOf(LF); at >= 0; at = piece.indexOf(LF, at + 1)) this.marks.push({ line: this.lines++, is: "inside" });
    this.pieces.push(piece);
    this.last = piece.at(-1)!;
  }

  /** The message ends: a line end of its own will do, if it has not been told of otherwise. */
  end(): void {
    const own = this.marks.at(-1);
    if (this.last === LF && own?.line === this.lines - 1) this.marks[this.marks.length - 1] = { line: own.line, is: "last" };
    else {
      this.pieces.push(LINE_END);
      this.lines++;
    }
    this.last = -1;
  }

  take(): MessageText {
    const taken = { text: this.pieces.length === 1 ? this.pieces[0]! : Buffer.concat(this.pieces), marks: this.marks };
    this.pieces = [];
    this.marks = [];
    return taken;
  }
}

/**
 * From the bytes of one sender to text. Throws `LV_FRAMING` for a count that is none, or that is too large; nothing may be read then. Nor may it once there is a
 * {@link MessageReader.fault}: what came is no text, and was dropped from there on.
 */
export class MessageReader {
  private readonly builder = new TextBuilder();
  private mode: MessageFraming;
  /** Bytes of the message at hand that are yet to come; -1: its count is read. */
  private left = -1;
  private count = 0;
  private digits = 0;
  private isCut = false;
  private whole = 0;
  /** What came is in a format that has no text. */
  fault: LogveilError | undefined;
  /** The beginning of a message whose format is not known yet. */
  private held: Buffer = EMPTY;
  /** The beginning of the message at hand, as far as it was looked at, while it may still turn out to be binary. */
  private opening: Buffer = EMPTY;
  private isOpening = true;
  /** The piece at hand is UTF-8. */
  private isText = false;

  constructor(
    framing: MessageFraming,
    private readonly maxMessageBytes: number,
  ) {
    this.mode = framing;
  }

  /** How many messages came to their end since this was asked last. */
  takeCount(): number {
    const { whole } = this;
    this.whole = 0;
    return whole;
  }

  /** Whether a part of a message was read, or of its count. */
  get isInside(): boolean {
    return this.isCut || this.left > 0 || this.digits > 0 || this.held.length > 0;
  }

  /** The text of a piece of the connection, a view of it if it can be. */
  read(piece: Uint8Array): MessageText {
    if (this.fault !== undefined) return this.builder.take();
    const chunk = this.held.length === 0 ? piece : Buffer.concat([this.held, piece]);
    this.held = EMPTY;
    this.isText = isUtf8(chunk);
    if (this.mode === "auto" && chunk.length > 0) this.mode = isDigit(chunk[0]!) ? "octet-counting" : "newline";
    if (this.mode === "octet-counting") {
      this.readCounted(chunk);
      return this.builder.take();
    }
    const text = this.readLines(chunk);
    this.whole += countLines(text);
    if (text.length > 0) this.isCut = text.at(-1) !== LF;
    return { text, marks: [] };
  }

  /** What of lines may go on: all, or what stands before one that is no text or not known to be. */
  private readLines(chunk: Uint8Array): Uint8Array {
    for (let at = 0; at < chunk.length;) {
      const end = chunk.indexOf(LF, at);
      const to = end < 0 ? chunk.length : end;
      if (this.isOpening && !this.look(chunk, at, to, end >= 0)) return chunk.subarray(0, at);
      if (end < 0) break;
      at = end + 1;
      this.begin();
    }
    return chunk;
  }

  /** A message begins behind this. */
  private begin(): void {
    this.isOpening = true;
    this.opening = EMPTY;
  }

  /** Looks at the beginning of a message, which goes on at `from`; false if no more may go on: the rest is held, or there is a fault. */
  private look(chunk: Uint8Array, from: number, to: number, isEnd: boolean): boolean {
    const end = Math.min(to, from + FORMAT_HEAD_BYTES - this.opening.length);
    // Of a whole piece it is quickly known whether it is UTF-8; so are nearly all of them.
    const isQuick = this.isText && this.opening.length === 0 && (isEnd || end - from === FORMAT_HEAD_BYTES);
    if (isQuick && (from === end || isPlainStart(chunk[from]!))) {
      this.isOpening = false;
      return true;
    }
    const more = chunk.subarray(from, end);
    const head = this.opening.length === 0 ? more : Buffer.concat([this.opening, more]);
    const isAll = isEnd || head.length === FORMAT_HEAD_BYTES;
    const format = formatOf(head, isAll);
    if (format === "more") this.held = Buffer.from(chunk.subarray(from));
    else if (format !== undefined) this.fail(format);
    else {
      this.isOpening = !isAll;
      this.opening = isAll ? EMPTY : Buffer.from(head);
      return true;
    }
    return false;
  }

  private fail({ name, advice }: BinaryFormat): void {
    this.fault = formatFault(name, advice);
    // Nothing of the message was taken: it is not half of one.
    if (this.opening.length === 0) this.left = -1;
  }

  /** The text of messages that came each by itself. */
  readWhole(messages: readonly Uint8Array[]): MessageText {
    for (const message of messages) {
      this.builder.add(message);
      this.builder.end();
    }
    this.whole += messages.length;
    return this.builder.take();
  }

  /** Nothing more comes: half a message is one. */
  end(): MessageText {
    const { held } = this;
    this.held = EMPTY;
    if (held.length > 0) {
      const format = formatOf(held, true);
      if (format !== undefined && format !== "more") this.fail(format);
      else {
        this.builder.add(held);
        this.isCut = true;
      }
    }
    const isPart = this.isCut || this.left > 0;
    [this.isCut, this.left, this.digits] = [false, -1, 0];
    if (isPart) {
      this.builder.end();
      this.whole++;
    }
    return this.builder.take();
  }

  private readCounted(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length;) {
      if (this.left < 0) {
        this.readCount(chunk[at++]!);
        continue;
      }
      const end = Math.min(chunk.length, at + this.left);
      if (this.isOpening && !this.look(chunk, at, end, end - at === this.left)) return;
      this.builder.add(chunk.subarray(at, end));
      this.left -= end - at;
      at = end;
      if (this.left > 0) return;
      this.builder.end();
      this.whole++;
      this.left = -1;
      this.begin();
    }
  }

  private readCount(byte: number): void {
    if (isDigit(byte)) {
      if (this.digits === 0 && byte === ZERO) throw fault("a count of bytes begins with 0");
      if (++this.digits > MAX_DIGITS) throw fault(`a count of bytes has more than ${MAX_DIGITS} digits`);
      this.count = this.count * 10 + byte - ZERO;
      return;
    }
    if (byte !== SPACE || this.digits === 0)
      throw fault("expected a count of bytes and a space before a message; for one message a line set syslog.framing to newline");
    if (this.count > this.maxMessageBytes) throw fault(`a message of more than ${this.maxMessageBytes} bytes; raise syslog.maxMessage to take it`);
    [this.left, this.count, this.digits] = [this.count, 0, 0];
  }
}

const isDigit = (byte: number): boolean => byte >= ZERO && byte <= NINE;

/** Of a message in a format that has no text. */
export const formatFault = (name: string, advice: string): LogveilError =>
  new LogveilError("LV_FRAMING", `${name} cannot be masked; ${advice}`, { facts: { format: name } });

const fault = (message: string): LogveilError => new LogveilError("LV_FRAMING", message);

/** From masked text to messages: the way back of {@link MessageReader}. */
export class MessageSplitter {
  private readonly marks: Mark[] = [];
  private lines = 0;
  private held: Buffer[] = [];
  private heldBytes = 0;

  /** Messages of more bytes are cut into several: a mask may have made one longer than what it was, or a line has no end. */
  constructor(private readonly maxMessageBytes: number) {}

  /** Tells the marks of the text whose masked bytes are yet to come. */
  expect(marks: readonly Mark[]): void {
    for (const mark of marks) this.marks.push(mark);
  }

  /** The messages that masked text completes. Empty ones, which no count can tell, are left out. */
  split(pieces: readonly Uint8Array[]): Buffer[] {
    const messages: Buffer[] = [];
    for (const piece of pieces) {
      for (let from = 0; from < piece.length;) {
        const at = piece.indexOf(LF, from);
        const end = at < 0 ? piece.length : at + 1;
        const mark = at >= 0 && this.marks[0]?.line === this.lines ? this.marks.shift()! : undefined;
        if (at >= 0) this.lines++;
        const ends = at >= 0 && mark?.is !== "inside";
        this.hold(piece.subarray(from, ends && mark === undefined ? at : end), messages);
        if (ends) this.finish(messages);
        from = end;
      }
    }
    return messages;
  }

  /** What is left when nothing more comes. */
  end(): Buffer[] {
    const messages: Buffer[] = [];
    this.finish(messages);
    return messages;
  }

  private hold(piece: Uint8Array, messages: Buffer[]): void {
    for (let from = 0; from < piece.length;) {
      if (this.heldBytes === this.maxMessageBytes) this.finish(messages);
      // A copy: the piece may be a view of memory that is used again.
      const part = Buffer.from(piece.subarray(from, from + this.maxMessageBytes - this.heldBytes));
      this.held.push(part);
      this.heldBytes += part.length;
      from += part.length;
    }
  }

  private finish(messages: Buffer[]): void {
    if (this.heldBytes > 0) messages.push(Buffer.concat(this.held));
    this.held = [];
    this.heldBytes = 0;
  }
}
