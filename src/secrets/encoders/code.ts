/** Spellings by programming languages and CI systems. */
import { type Context, type Substitution, substitution, type Wide } from "./substitution.js";

const SHORT: Readonly<Record<string, string>> = { "\x07": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\" };

const hex = (code: number, width: number): string => code.toString(16).padStart(width, "0");

const isControl = (byte: number): boolean => byte < 0x20 || byte === 0x7f;

/** `special`, and all other control characters. */
const escaping = (special: Readonly<Record<string, string>>, control: (byte: number) => string) => (char: string, byte: number) =>
  special[char] ?? (isControl(byte) ? control(byte) : undefined);

/** The same, and every byte beyond ASCII by itself. */
const escapingBytes = (special: Readonly<Record<string, string>>, control: (byte: number) => string) => (char: string, byte: number) =>
  special[char] ?? (isControl(byte) || byte >= 0x80 ? control(byte) : undefined);

const hexOf = (byte: number): string => `\\x${hex(byte, 2)}`;
const pointOf = (code: number): string => (code > 0xffff ? `\\U${hex(code, 8)}` : `\\u${hex(code, 4)}`);
const POINTS: Wide = { name: "points", of: pointOf };
const LATIN: Wide = { name: "latin", of: (code) => (code <= 0xff ? hexOf(code) : pointOf(code)) };

/** Go's strconv.Quote (`%q`) and QuoteToASCII (`%+q`). */
export function goQuote(): Substitution[] {
  const quoted = escaping({ ...SHORT, '"': '\\"' }, hexOf);
  return [substitution(quoted), substitution(quoted, { wide: POINTS })];
}

/** Python's repr of str (either quote), of bytes, and ascii(). */
export function pythonRepr(): Substitution[] {
  const base = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };
  return [base, { ...base, "'": "\\'" }].flatMap((special) => [
    substitution(escaping(special, hexOf)),
    substitution(escapingBytes(special, hexOf), {}, "every"),
    substitution(escaping(special, hexOf), { wide: LATIN }),
  ]);
}

/** Single quotes of Perl (Data::Dumper), PHP (var_export) and Ruby: only the quote and the backslash are escaped. */
export function singleEscaped(): Substitution[] {
  return ["'\\", "'"].map((chars) => substitution((char) => (chars.includes(char) ? `\\${char}` : undefined)));
}

/** `#` is escaped where it would begin an interpolation. */
const HASH: Context = {
  name: "hash",
  bytes: [0x23],
  of: (_, byte, after) => (after === 0x7b || after === 0x24 || after === 0x40 ? "\\#" : String.fromCharCode(byte)),
};

/** Ruby's String#inspect. */
export function rubyInspect(): Substitution[] {
  const special = { ...SHORT, '"': '\\"', "\x1b": "\\e" };
  const controls = [(code: number) => `\\x${hex(code, 2).toUpperCase()}`, (code: number) => `\\u${hex(code, 4).toUpperCase()}`];
  return controls.map((control) => substitution(escaping(special, control), { context: HASH }));
}

/** `$$`: a literal dollar in Ant and Maven, and in make and compose files. */
export function doubledDollar(): Substitution[] {
  return [substitution((char) => (char === "$" ? "$$" : undefined))];
}

/** Escapes in logging commands of GitHub (data and properties) and Azure Pipelines. */
export function loggingCommand(): Substitution[] {
  const lines = { "\r": "%0D", "\n": "%0A" };
  const tables: readonly Readonly<Record<string, string>>[] = [
    { ...lines, "%": "%25" },
    { ...lines, "%": "%25", ":": "%3A", ",": "%2C" },
    { ...lines, "%": "%AZP25" },
    { ...lines, "%": "%AZP25", ";": "%3B", "]": "%5D" },
    { ...lines, ";": "%3B", "]": "%5D" },
  ];
  return tables.map((table) => substitution((char) => table[char]));
}

/** The line breaks of a multi-line value as other tools flatten them. */
export function flattened(): Substitution[] {
  return ["\\n", "\\r\\n", "\\\\n", "%0A", "%0D%0A", "%0a", "&#10;", "&#xA;"].map((newline) =>
    substitution(() => undefined, {
      context: { name: `newline ${newline}`, bytes: [0x0a, 0x0d], of: (_, byte, after) => (byte === 0x0d && after === 0x0a ? "" : newline) },
    }),
  );
}
