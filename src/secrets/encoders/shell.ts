/** Spellings by shells: what `set -x`, `printf %q` and script authors make of a value. Outer quotes are not part of a spelling. */
import { composed, type Context, type Substitution, substitution } from "./substitution.js";

/** `sign` before each of `chars`. */
const marked = (chars: string, sign: string): Substitution => substitution((char) => (chars.includes(char) ? sign + char : undefined));
const replaced = (wanted: string, by: string): Substitution => substitution((char) => (char === wanted ? by : undefined));

const QUOTE = 0x27;
/** A run of single quotes in double quotes. */
const RUNS: Context = { name: "runs", bytes: [QUOTE], of: (before, _, after) => `${before === QUOTE ? "" : `'"`}'${after === QUOTE ? "" : `"'`}` };

/** Inside single quotes: bash and zsh close, escape, reopen; ash and dash put quotes into double quotes, one by one or a run at a time. */
export function singleQuoted(): Substitution[] {
  return [replaced("'", `'\\''`), replaced("'", `'"'"'`), substitution(() => undefined, { context: RUNS })];
}

const ANSI_C: Readonly<Record<string, string>> = {
  "\x07": "\\a",
  "\b": "\\b",
  "\t": "\\t",
  "\n": "\\n",
  "\v": "\\v",
  "\f": "\\f",
  "\r": "\\r",
  "\x1b": "\\E",
  "\\": "\\\\",
  "'": "\\'",
};

/** Inside `$'…'`: characters above ASCII as they are, or byte by byte in octal (bash in the C locale). */
export function ansiC(): Substitution[] {
  const octal = (byte: number): string => `\\${byte.toString(8).padStart(3, "0")}`;
  const spelled = (escape: string, range: "ascii" | "every"): Substitution =>
    substitution((char, byte) => (char === "\x1b" ? escape : (ANSI_C[char] ?? (byte < 0x20 || byte >= 0x7f ? octal(byte) : undefined))), {}, range);
  return [spelled("\\E", "ascii"), spelled("\\E", "every"), spelled("\\e", "ascii"), spelled("\\033", "ascii")];
}

export function doubleQuoted(): Substitution[] {
  return ['"$`\\', '"$`\\!', '"\\'].map((chars) => marked(chars, "\\"));
}

/** Backslash before every special character: bash's `printf %q`, and the cautious sets of other tools. */
export function backslashed(): Substitution[] {
  return [
    marked(" !\"#$&'()*,;<>?[\\]^`{|}~\t", "\\"),
    marked(" !\"$&'()*,;<>?[\\]^`{|}\t", "\\"),
    substitution((char) => (/[A-Za-z0-9_@%+=:,./\n-]/.test(char) ? undefined : `\\${char}`)),
  ];
}

export function windowsCmd(): Substitution[] {
  const sets = ["&|<>^", "&|<>^()", '&|<>^()"!%', '&|<>^"'].map((chars) => marked(chars, "^"));
  const percents = replaced("%", "%%");
  return [...sets, ...sets.map((set) => composed(set, percents)), percents, replaced('"', '""')];
}

export function powershell(): Substitution[] {
  const tick = marked('`$"', "`");
  const control: Readonly<Record<string, string>> = { "\n": "`n", "\r": "`r", "\t": "`t" };
  return [tick, marked("`$\"'", "`"), replaced("'", "''"), replaced('"', '""'), substitution((char, byte) => control[char] ?? tick.table[byte])];
}
