/**
 * Forms: `application/x-www-form-urlencoded` (WHATWG URL §5). Keys and values are strings of bytes: `%` and two digits are a byte, `+` is a space; a `%` without digits is
 * itself, as that standard has it, so every body is a form.
 *
 * Not every body that says so is one: it is the type that `curl -d` sends by default, and many clients leave `+` as it is. So a body is read several times, each reading behind the
 * one before, and a secret in any of them is masked. What it looks like by its beginning says which reading comes first, and so how far a mask reaches:
 *
 *     JSON  as JSON, decoded, decoded with `+` kept, as it is
 *     text  as it is, decoded, decoded with `+` kept            no serializer of forms writes spaces, line ends and the like
 *     form  decoded, decoded with `+` kept, as it is
 *
 * What is masked is encoded with the standard's serializer, in the reading as it is not at all; the rest stays as it is spelled.
 */
import { LogveilError } from "../errors.js";
import { COLON, type Draft, ROW, SEPARATOR } from "./draft.js";
import type { BodyMasker, OpenText } from "./framing.js";
import { hexDigit, JSON_SEQUENCE } from "./json.js";
import { type Scanner, StringsMasker, type Syntax } from "./strings.js";

const AMPERSAND = 0x26;
const EQUALS = 0x3d;
const PERCENT = 0x25;
const PLUS = 0x2b;
const SPACE = 0x20;
const QUOTE = 0x22;
const DEL = 0x7f;
/** Bytes that the serializer leaves as they are. */
const BARE = Uint8Array.from({ length: 256 }, (_, byte) => {
  const letter = byte | 0x20;
  const isLetter = letter >= 0x61 && letter <= 0x7a && byte < 0x80;
  return isLetter || (byte >= 0x30 && byte <= 0x39) || byte === 0x2a || byte === 0x2d || byte === 0x2e || byte === 0x5f ? 1 : 0;
});
/** Bytes of JSON outside of strings: structure, numbers, literals, white space. */
const JSON_STRUCTURE = new Set(Buffer.from("[]{},:+-.0123456789eEtrufalsn \t\r\n"));
const OPENING = new Set(Buffer.from("[{"));
const CLOSING = new Set(Buffer.from("]}"));
const BLANKS = new Set(Buffer.from(" \t\r\n"));
const BOM = new Set([0xef, 0xbb, 0xbf]);
/** Most bytes that are held until it is clear what a body looks like. */
const MAX_SNIFFED_BYTES = 16 * 1024;

class FormScanner implements Scanner {
  private inKey = true;

  /** `plus`: what `+` stands for. */
  constructor(private readonly plus: number) {}

  scan(draft: Draft): void {
    this.read(draft, false);
  }

  end(draft: Draft): void {
    this.read(draft, true);
    draft.gap(draft.scanned);
  }

  private read(draft: Draft, isEnd: boolean): void {
    const { raw, rawLength, text } = draft;
    for (let at = draft.scanned; at < rawLength; draft.scanned = at) {
      const byte = raw[at]!;
      if (byte === AMPERSAND || (byte === EQUALS && this.inKey)) {
        draft.gap(at, byte === EQUALS ? COLON : SEPARATOR);
        this.inKey = byte === AMPERSAND;
        at++;
        continue;
      }
      const escaped = byte === PERCENT ? (hexDigit(raw[at + 1] ?? 0) << 4) | hexDigit(raw[at + 2] ?? 0) : -1;
      // Without the digits that are yet to come it is not known what it means.
      if (byte === PERCENT && !isEnd && at + 2 >= rawLength && (at + 1 >= rawLength || hexDigit(raw[at + 1]!) >= 0)) return;
      const isEscape = escaped >= 0 && at + 2 < rawLength;
      const meant = isEscape ? escaped : byte === PLUS ? this.plus : byte;
      draft.row(isEscape || meant !== byte ? ROW.ATOM : ROW.PLAIN, draft.textLength, at);
      text[draft.textLength++] = meant;
      at += isEscape ? 3 : 1;
    }
  }
}

/** The whole body as one string. */
class PlainScanner implements Scanner {
  scan(draft: Draft): void {
    const { raw, rawLength, scanned, textLength, text } = draft;
    if (scanned === rawLength) return;
    draft.row(ROW.PLAIN, textLength, scanned);
    raw.copy(text, textLength, scanned, rawLength);
    draft.textLength += rawLength - scanned;
    draft.scanned = rawLength;
  }

  end(draft: Draft): void {
    this.scan(draft);
    draft.gap(draft.scanned);
  }
}

/** Bytes as they stand in a key or value; `isPlusKept`: where `+` stands for itself it stays, since what it stood for outside of the mask is not known. */
function encode(text: Buffer, isPlusKept: boolean): Buffer {
  const target = Buffer.allocUnsafe(3 * text.length);
  let length = 0;
  for (const byte of text) {
    if (BARE[byte] === 1 || (byte === PLUS && isPlusKept)) target[length++] = byte;
    else if (byte === SPACE) target[length++] = PLUS;
    else length += target.write(`%${byte.toString(16).toUpperCase().padStart(2, "0")}`, length, "latin1");
  }
  return target.subarray(0, length);
}

const syntax = (open: () => Scanner, spell: (text: Buffer) => Buffer): Syntax => ({
  open,
  encode: spell,
  encodeNumber: spell,
  isInside: () => false,
  unfinished: () => 0,
});

const DECODED = syntax(
  () => new FormScanner(SPACE),
  (text) => encode(text, false),
);
const PLUS_KEPT = syntax(
  () => new FormScanner(PLUS),
  (text) => encode(text, true),
);
const AS_IT_IS = syntax(
  () => new PlainScanner(),
  (text) => text,
);

const READINGS = { json: [DECODED, PLUS_KEPT, AS_IT_IS], text: [AS_IT_IS, DECODED, PLUS_KEPT], form: [DECODED, PLUS_KEPT, AS_IT_IS] } as const;
type Kind = keyof typeof READINGS;

/** What a body looks like. */
class Look {
  private depth = 0;
  private isStructure = true;
  private hasBegun = false;
  private seen = 0;

  /**
   * Undefined: it is not known yet. JSON is an object or array in which there is a string behind nothing but structure: what has no string spells nothing in JSON's own way.
   */
  take(chunk: Uint8Array): Kind | undefined {
    for (const byte of chunk) {
      if (this.isStructure && byte === QUOTE && this.depth > 0) return "json";
      if (this.isStructure) this.isStructure = this.isJsonSoFar(byte);
      if (!this.isStructure && (byte <= SPACE || byte >= DEL)) return "text";
      if (++this.seen === MAX_SNIFFED_BYTES) return this.atEnd;
    }
    return undefined;
  }

  /** Of a body that has gone on for so long as JSON without a string, damage is the worst that can come. */
  private get atEnd(): Kind {
    return this.isStructure && this.hasBegun ? "json" : "form";
  }

  /** Whether silence tells that it is a form. */
  get isForm(): boolean {
    return !this.isStructure;
  }

  private isJsonSoFar(byte: number): boolean {
    if (!this.hasBegun && (BLANKS.has(byte) || (BOM.has(byte) && this.seen < BOM.size))) return true;
    if (OPENING.has(byte)) this.depth++;
    else if (CLOSING.has(byte) && this.depth > 0) this.depth--;
    else if (!this.hasBegun || !JSON_STRUCTURE.has(byte)) return false;
    this.hasBegun = true;
    return true;
  }
}

class FormMasker implements BodyMasker {
  private readonly look = new Look();
  private head: Buffer[] = [];
  /** Once it is known what the body looks like. */
  private readings: BodyMasker[] | undefined;

  constructor(private readonly openText: OpenText) {}

  push(chunk: Uint8Array): Uint8Array[] {
    if (this.readings !== undefined) return this.read(chunk);
    const kind = this.look.take(chunk);
    this.head.push(Buffer.from(chunk));
    return kind === undefined ? [] : this.begin(kind);
  }

  idle(): Uint8Array[] {
    const pieces = this.readings === undefined && this.look.isForm ? this.begin("form").map((piece) => Buffer.from(piece)) : [];
    return [...pieces, ...this.through((reading) => reading.idle())];
  }

  end(): Uint8Array[] {
    const pieces = this.readings === undefined ? this.begin("form").map((piece) => Buffer.from(piece)) : [];
    return [...pieces, ...this.through((reading) => reading.end())];
  }

  close(): void {
    for (const reading of this.readings ?? []) reading.close();
  }

  private begin(kind: Kind): Uint8Array[] {
    const { openText } = this;
    const head = Buffer.concat(this.head);
    const open = (reading: Syntax): BodyMasker => new StringsMasker(reading, openText({ joined: true }));
    this.readings = [...(kind === "json" ? [explained(open(JSON_SEQUENCE))] : []), ...READINGS[kind].map(open)];
    this.head = [];
    return this.read(head);
  }

  /** One call of each: its pieces hold until the next. */
  private read(chunk: Uint8Array): Uint8Array[] {
    let pieces: Uint8Array[] = [chunk];
    for (const reading of this.readings!) pieces = pieces.length === 0 ? [] : reading.push(joined(pieces));
    return pieces;
  }

  /** What a reading lets go goes through those behind it before they take the step. */
  private through(step: (reading: BodyMasker) => Uint8Array[]): Uint8Array[] {
    let pieces: Uint8Array[] = [];
    for (const reading of this.readings ?? []) {
      const pushed = pieces.length === 0 ? [] : reading.push(joined(pieces)).map((piece) => Buffer.from(piece));
      pieces = [...pushed, ...step(reading)];
    }
    return pieces;
  }
}

/** A masker of JSON whose errors say why the body was taken for that. */
function explained(json: BodyMasker): BodyMasker {
  const explain = <T>(work: () => T): T => {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof LogveilError) || error.code !== "LV_FRAMING") throw error;
      const { code, message, facts } = error;
      throw new LogveilError(code, `${message}; it came as a form, and begins like JSON: say by Content-Type what it is`, { facts });
    }
  };
  return { push: (chunk) => explain(() => json.push(chunk)), idle: () => json.idle(), end: () => explain(() => json.end()), close: () => json.close() };
}

const joined = (pieces: readonly Uint8Array[]): Uint8Array => (pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces));

export const openForm = (openText: OpenText): BodyMasker => new FormMasker(openText);
