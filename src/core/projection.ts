/**
 * The byte classifier: tells text from newlines, backspaces and terminal control sequences, one byte at a time.
 * It does not match and keeps nothing but one small state. The forms are defined in README.md (after ECMA-48 §5.4, §8.3.89 and xterm's ctlseqs).
 */

export const KIND = Object.freeze({ TEXT: 0, NEWLINE: 1, BACKSPACE: 2, SEQUENCE: 3, STRING: 4 });

/** Parser states; part of the engine boundary ({@link HEAD.PARSER}). */
export const PARSER = Object.freeze({ GROUND: 0, ESC: 1, ESC_INTERMEDIATE: 2, CSI: 3, STRING: 4, STRING_ESC: 5 });

const ESC = 0x1b;

/** One run of bytes of one kind: `[start, end)` of the chunk. */
export interface Token {
  kind: number;
  start: number;
  end: number;
}

/** Kind of `byte` in `state`, and the state after it: `kind << 4 | next`. */
export function classify(state: number, byte: number): number {
  switch (state) {
    case PARSER.ESC:
      if (byte === 0x5b) return (KIND.SEQUENCE << 4) | PARSER.CSI;
      if (byte === 0x5d || byte === 0x50 || byte === 0x58 || byte === 0x5e || byte === 0x5f) return (KIND.STRING << 4) | PARSER.STRING;
      if (byte >= 0x20 && byte <= 0x2f) return (KIND.SEQUENCE << 4) | PARSER.ESC_INTERMEDIATE;
      if (byte >= 0x30 && byte <= 0x7e) return KIND.SEQUENCE << 4;
      return ground(byte);
    case PARSER.ESC_INTERMEDIATE:
      if (byte >= 0x20 && byte <= 0x2f) return (KIND.SEQUENCE << 4) | PARSER.ESC_INTERMEDIATE;
      if (byte >= 0x30 && byte <= 0x7e) return KIND.SEQUENCE << 4;
      return ground(byte);
    case PARSER.CSI:
      if (byte >= 0x20 && byte <= 0x3f) return (KIND.SEQUENCE << 4) | PARSER.CSI;
      if (byte >= 0x40 && byte <= 0x7e) return KIND.SEQUENCE << 4;
      return ground(byte);
    case PARSER.STRING:
      if (byte === 0x07 || byte === 0x18 || byte === 0x1a) return KIND.STRING << 4;
      if (byte === ESC) return (KIND.STRING << 4) | PARSER.STRING_ESC;
      if (byte === 0x0a || byte === 0x0d) return KIND.NEWLINE << 4;
      return (KIND.STRING << 4) | PARSER.STRING;
    case PARSER.STRING_ESC:
      return byte === 0x5c ? KIND.STRING << 4 : classify(PARSER.ESC, byte);
    default:
      return ground(byte);
  }
}

function ground(byte: number): number {
  if (byte === ESC) return (KIND.SEQUENCE << 4) | PARSER.ESC;
  if (byte === 0x0a || byte === 0x0d) return KIND.NEWLINE << 4;
  if (byte === 0x08) return KIND.BACKSPACE << 4;
  return KIND.TEXT << 4;
}

/** Whether a byte in ground state ends a run of text. */
const SPECIAL = new Uint8Array(256);
for (const byte of [0x08, 0x0a, 0x0d, ESC]) SPECIAL[byte] = 1;

/**
 * Cuts `chunk` into runs of one kind, calls `each` for every run in order, and returns the state after the chunk.
 * The token object is reused between calls.
 */
export function tokenize(chunk: Uint8Array, state: number, each: (token: Token) => void): number {
  const token: Token = { kind: KIND.TEXT, start: 0, end: 0 };
  const length = chunk.length;
  let at = 0;
  while (at < length) {
    token.start = at;
    if (state === PARSER.GROUND && SPECIAL[chunk[at]!] === 0) {
      do at++;
      while (at < length && SPECIAL[chunk[at]!] === 0);
      token.kind = KIND.TEXT;
    } else {
      const first = classify(state, chunk[at]!);
      token.kind = first >> 4;
      state = first & 15;
      at++;
      // A backspace stands alone: each one may take a byte back.
      while (token.kind !== KIND.BACKSPACE && at < length) {
        const next = classify(state, chunk[at]!);
        if (next >> 4 !== token.kind || next >> 4 === KIND.TEXT) break;
        state = next & 15;
        at++;
      }
    }
    token.end = at;
    each(token);
  }
  return state;
}

/** The state after `chunk`: line ends reset it, so only what follows the last one counts. */
export function parserAfter(chunk: Uint8Array, state: number): number {
  const line = Math.max(chunk.lastIndexOf(0x0a), chunk.lastIndexOf(0x0d));
  return line < 0 ? tokenize(chunk, state, () => undefined) : tokenize(chunk.subarray(line), PARSER.GROUND, () => undefined);
}
