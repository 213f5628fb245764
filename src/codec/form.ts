/**
 * Forms: `application/x-www-form-urlencoded` (WHATWG URL §5). Keys and values are strings of bytes: `+` is a space, `%` and two digits a byte; a `%` without them is
 * itself, as that standard has it, so every body is a form. What is masked is encoded with the standard's serializer; the rest stays as it is spelled.
 */
import { COLON, type Draft, ROW, SEPARATOR } from "./draft.js";
import { hexDigit } from "./json.js";
import type { Scanner, Syntax } from "./strings.js";

const AMPERSAND = 0x26;
const EQUALS = 0x3d;
const PERCENT = 0x25;
const PLUS = 0x2b;
const SPACE = 0x20;
/** Bytes that the serializer leaves as they are. */
const BARE = Uint8Array.from({ length: 256 }, (_, byte) => {
  const letter = byte | 0x20;
  const isLetter = letter >= 0x61 && letter <= 0x7a && byte < 0x80;
  return isLetter || (byte >= 0x30 && byte <= 0x39) || byte === 0x2a || byte === 0x2d || byte === 0x2e || byte === 0x5f ? 1 : 0;
});

class FormScanner implements Scanner {
  private inKey = true;

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
      draft.row(isEscape || byte === PLUS ? ROW.ATOM : ROW.PLAIN, draft.textLength, at);
      text[draft.textLength++] = isEscape ? escaped : byte === PLUS ? SPACE : byte;
      at += isEscape ? 3 : 1;
    }
  }
}

/** Bytes as they stand in a key or value. */
function encode(text: Buffer): Buffer {
  const target = Buffer.allocUnsafe(3 * text.length);
  let length = 0;
  for (const byte of text) {
    if (BARE[byte] === 1) target[length++] = byte;
    else if (byte === SPACE) target[length++] = PLUS;
    else length += target.write(`%${byte.toString(16).toUpperCase().padStart(2, "0")}`, length, "latin1");
  }
  return target.subarray(0, length);
}

export const FORM: Syntax = {
  open: () => new FormScanner(),
  encode,
  encodeNumber: encode,
  isInside: () => false,
  unfinished: () => 0,
};
