/** JSON documents made of tokens whose spelling and text are known, and what masking each string on its own makes of them: the oracle of src/codec. */
import fc from "fast-check";
import type { Engine } from "../../src/index.js";
import { SEPARATOR } from "../../src/codec/draft.js";

/** A piece of a document: what stands there, and for strings (without quotes) and numbers the text it spells. */
export interface Token {
  readonly raw: string;
  readonly kind: "structure" | "string" | "number";
  /** UTF-8, lone surrogates as three bytes each. */
  readonly text?: Buffer;
}

/** UTF-16 to UTF-8 where lone surrogates stay what they are. */
export function toBytes(text: string): Buffer {
  const out: Buffer[] = [];
  for (const char of text) {
    const point = char.codePointAt(0)!;
    const isLone = point >= 0xd800 && point < 0xe000;
    out.push(isLone ? Buffer.from([0xed, 0x80 | ((point >> 6) & 0x3f), 0x80 | (point & 0x3f)]) : Buffer.from(char));
  }
  return Buffer.concat(out);
}

/** The way back; what is no UTF-8 becomes U+FFFD. */
export function toText(bytes: Buffer): string {
  let text = "";
  let from = 0;
  for (let at = 0; at + 2 < bytes.length; at++) {
    if (bytes[at] !== 0xed || bytes[at + 1]! < 0xa0 || bytes[at + 1]! > 0xbf) continue;
    text += bytes.toString("utf8", from, at) + String.fromCharCode(0xd000 | ((bytes[at + 1]! & 0x3f) << 6) | (bytes[at + 2]! & 0x3f));
    from = at + 3;
  }
  return text + bytes.toString("utf8", from);
}

/** What the engine makes of one string as a line of its own in a stream of its own. */
export function maskAlone(engine: Engine, text: Buffer): Buffer {
  const stream = engine.stream();
  const out: Buffer[] = [];
  for (const chunk of [text, Buffer.from(SEPARATOR)]) out.push(...stream.push(chunk).map((piece) => Buffer.from(piece)));
  out.push(...stream.end().map((piece) => Buffer.from(piece)));
  const line = Buffer.concat(out);
  if (!line.subarray(-SEPARATOR.length).equals(Buffer.from(SEPARATOR))) throw new Error("the oracle's secrets must not reach into the separator");
  return line.subarray(0, -SEPARATOR.length);
}

const SHORT = new Map([
  ['"', '\\"'],
  ["\\", "\\\\"],
  ["/", "\\/"],
  ["\b", "\\b"],
  ["\f", "\\f"],
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
]);

/** Spells a character as `choice` wants it, if it may be spelled so. */
function spell(char: string, choice: number): string {
  const units = [...Array(char.length).keys()].map((i) => char.charCodeAt(i).toString(16).padStart(4, "0"));
  const hex = units.map((unit) => `\\u${choice % 2 === 0 ? unit : unit.toUpperCase()}`).join("");
  const short = SHORT.get(char);
  const point = char.codePointAt(0)!;
  if (point < 0x20 || char === '"' || char === "\\" || (point >= 0xd800 && point < 0xe000)) return short !== undefined && choice < 6 ? short : hex;
  return choice < 6 ? char : short !== undefined && choice === 6 ? short : hex;
}

/** Strings of the given pieces and of anything, spelled in any way. */
export function strings(pieces: readonly string[]): fc.Arbitrary<Token> {
  const piece = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...pieces) },
    { weight: 1, arbitrary: fc.constantFrom(...pieces).chain((whole) => fc.nat(whole.length).map((length) => whole.slice(0, length))) },
    { weight: 3, arbitrary: fc.string({ unit: "grapheme", maxLength: 6 }) },
    {
      weight: 2,
      arbitrary: fc.constantFrom("\n", "\r\n", "\0", "\b", "\x1b[31m", "\x1b]0;", "\ud83d", "\ude00", "\ud83d\ude00", "é", '"', "\\", "/", "\u2028", " "),
    },
  );
  return fc.tuple(fc.array(piece, { maxLength: 5 }), fc.array(fc.nat(9), { minLength: 1, maxLength: 16 })).map(([parts, choices]) => {
    const text = parts.join("");
    let at = 0;
    // Two halves that were spelled apart would be one character when read: then the text is that character.
    const raw = [...text].map((char) => spell(char, choices[at++ % choices.length]!)).join("");
    return { raw, kind: "string", text: toBytes(text) };
  });
}

const structure = (raw: string): Token => ({ raw, kind: "structure" });
const blank = fc.constantFrom("", "", "", " ", "\t", "  ");

/** Documents over `string` and `number`, on one line. */
export function documents(string: fc.Arbitrary<Token>, number: fc.Arbitrary<string>): fc.Arbitrary<Token[]> {
  const quoted = string.map((token): Token[] => [structure('"'), token, structure('"')]);
  const scalar = fc.oneof(
    { weight: 5, arbitrary: quoted },
    { weight: 2, arbitrary: number.map((raw): Token[] => [{ raw, kind: "number", text: Buffer.from(raw) }]) },
    { weight: 1, arbitrary: fc.constantFrom("true", "false", "null").map((raw) => [structure(raw)]) },
  );
  const list = (open: string, item: fc.Arbitrary<Token[]>, close: string): fc.Arbitrary<Token[]> =>
    fc
      .tuple(blank, fc.array(fc.tuple(item, blank), { maxLength: 4 }))
      .map(([space, items]) => [
        structure(open + space),
        ...items.flatMap(([tokens, after], i) => [...(i > 0 ? [structure(`,${after}`)] : []), ...tokens, structure(after)]),
        structure(close),
      ]);
  const { value } = fc.letrec<{ value: Token[] }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4, depthSize: "small" },
      scalar,
      list("[", tie("value"), "]"),
      list(
        "{",
        fc.tuple(quoted, blank, tie("value")).map(([key, space, item]) => [...key, structure(`${space}:${space}`), ...item]),
        "}",
      ),
    ),
  }));
  return fc.tuple(blank, value, blank).map(([before, tokens, after]) => [structure(before), ...tokens, structure(after)]);
}

export const rawOf = (tokens: readonly Token[]): Buffer => Buffer.from(tokens.map(({ raw }) => raw).join(""));

/**
 * Compares `output` with what masking every string and number on its own gives: what is not masked byte by byte, what is masked by what it spells.
 * Answers undefined, or where and how it differs.
 */
export function differs(engine: Engine, tokens: readonly Token[], output: Buffer): string | undefined {
  let at = 0;
  for (const { raw, kind, text } of tokens) {
    const masked = text === undefined ? undefined : maskAlone(engine, text);
    if (masked === undefined || masked.equals(text!)) {
      const bytes = Buffer.from(raw);
      if (!output.subarray(at, at + bytes.length).equals(bytes)) return `at ${at}: ${raw} expected, ${output.toString("utf8", at, at + bytes.length)} found`;
      at += bytes.length;
      continue;
    }
    if (kind === "number" && output[at++] !== 0x22) return `at ${at}: a string instead of ${raw} expected`;
    let end = at;
    while (end < output.length && output[end] !== 0x22) end += output[end] === 0x5c ? 2 : 1;
    const found = JSON.parse(`"${output.toString("utf8", at, end)}"`) as string;
    if (found !== toText(masked)) return `at ${at}: ${JSON.stringify(toText(masked))} expected, ${JSON.stringify(found)} found`;
    at = end + (kind === "number" ? 1 : 0);
  }
  return at === output.length ? undefined : `${output.length - at} bytes too many`;
}
