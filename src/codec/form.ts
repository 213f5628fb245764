/**
 * Forms: `application/x-www-form-urlencoded` (WHATWG URL §5). Keys and values are strings of bytes: `%` and two digits are a byte, `+` is a space; a `%` without digits is
 * itself, as that standard has it, so every body is a form.
 *
 * Not every body that says so is one: it is the type that `curl -d` sends by default, and many clients leave `+` as it is. So a body is read several times, each reading behind the
 * one before, and a secret in any of them is masked:
 *
 *     JSON                    only if the body begins like JSON
 *     decoded, `+` a space    what a reader of forms makes of it
 *     decoded, `+` itself     what a careless sender meant
 *     as it is                plain text, over `&` and `=`
 *
 * What is masked is encoded with the standard's serializer, in the last reading as it is; the rest stays as it is spelled.
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
const EMPTY = Buffer.alloc(0);
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
/** Most bytes that are held until it is clear whether a body is JSON. One that has no string by then is read as JSON. */
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

/** Whether a body is JSON, by its beginning: an object or array in which there is a string behind nothing but structure. What has no string spells nothing in JSON's own way. */
class Look {
  private depth = 0;
  private hasBegun = false;
  private seen = 0;

  /** Undefined: it is not known yet. */
  isJson(chunk: Uint8Array): boolean | undefined {
    for (const byte of chunk) {
      if (!this.hasBegun && (BLANKS.has(byte) || (BOM.has(byte) && this.seen < BOM.size))) this.seen++;
      else if (OPENING.has(byte)) {
        this.hasBegun = true;
        this.depth++;
      } else if (CLOSING.has(byte) && this.depth > 0) this.depth--;
      else if (byte === QUOTE) return this.depth > 0;
      else if (!this.hasBegun || !JSON_STRUCTURE.has(byte)) return false;
    }
    return undefined;
  }
}

/** Masks a body as JSON if it begins so; else lets it pass. */
class JsonReading implements BodyMasker {
  private readonly look = new Look();
  private isJson: boolean | undefined;
  private head: Buffer = EMPTY;
  private json: StringsMasker | undefined;

  constructor(private readonly openText: OpenText) {}

  push(chunk: Uint8Array): Uint8Array[] {
    if (this.isJson === true) return this.read((json) => json.push(chunk));
    if (this.isJson === false) return [chunk];
    this.isJson = this.look.isJson(chunk);
    this.head = Buffer.concat([this.head, chunk]);
    // Of what has gone on for so long a damaged body is the worst that can come.
    if (this.isJson === undefined && this.head.length < MAX_SNIFFED_BYTES) return [];
    const { head } = this;
    this.head = EMPTY;
    this.isJson ??= true;
    if (this.isJson) this.json = new StringsMasker(JSON_SEQUENCE, this.openText({ joined: true }));
    return this.push(head);
  }

  idle(): Uint8Array[] {
    return this.json?.idle() ?? [];
  }

  end(): Uint8Array[] {
    return this.json === undefined ? [this.head] : this.read((json) => json.end());
  }

  close(): void {
    this.json?.close();
  }

  private read(work: (json: StringsMasker) => Uint8Array[]): Uint8Array[] {
    try {
      return work(this.json!);
    } catch (error) {
      if (!(error instanceof LogveilError) || error.code !== "LV_FRAMING") throw error;
      const { code, message, facts } = error;
      throw new LogveilError(code, `${message}; it came as a form, and begins like JSON: say by Content-Type what it is`, { facts });
    }
  }
}

/** Readings of one body, one behind the other. */
class Readings implements BodyMasker {
  constructor(private readonly readings: readonly BodyMasker[]) {}

  push(chunk: Uint8Array): Uint8Array[] {
    let pieces: Uint8Array[] = [chunk];
    // One call each: pieces hold until the next.
    for (const reading of this.readings) pieces = pieces.length === 0 ? [] : reading.push(joined(pieces));
    return pieces;
  }

  idle(): Uint8Array[] {
    return this.through((reading) => reading.idle());
  }

  end(): Uint8Array[] {
    return this.through((reading) => reading.end());
  }

  close(): void {
    for (const reading of this.readings) reading.close();
  }

  /** What a reading lets go goes through those behind it before they do. */
  private through(step: (reading: BodyMasker) => Uint8Array[]): Uint8Array[] {
    let pieces: Uint8Array[] = [];
    for (const reading of this.readings) {
      const pushed = pieces.length === 0 ? [] : reading.push(joined(pieces)).map((piece) => Buffer.from(piece));
      pieces = [...pushed, ...step(reading)];
    }
    return pieces;
  }
}

const joined = (pieces: readonly Uint8Array[]): Uint8Array => (pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces));

/** Opens the readings of one body; each has a channel of its own. */
export const openForm = (openText: OpenText): BodyMasker =>
  new Readings([new JsonReading(openText), ...[DECODED, PLUS_KEPT, AS_IT_IS].map((each) => new StringsMasker(each, openText({ joined: true })))]);
