/** Spellings by shells: what `set -x`, `printf %q` and script authors make of a value. Outer quotes are not part of a spelling. */

/** Inside single quotes: bash and zsh close, escape, reopen; ash and dash put quotes into double quotes, one by one or a run at a time. */
export function singleQuoted(text: string): string[] {
  return [text.replaceAll("'", `'\\''`), text.replaceAll("'", `'"'"'`), text.replace(/'+/g, (run) => `'"${run}"'`)];
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
export function ansiC(text: string): string[] {
  const octal = (char: string): string => [...Buffer.from(char)].map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
  const spell = (wide: (char: string) => string): string =>
    [...text].map((char) => ANSI_C[char] ?? (char < " " || char === "\x7f" ? octal(char) : char > "\x7e" ? wide(char) : char)).join("");
  return [spell((char) => char), spell(octal), spell((char) => char).replaceAll("\\E", "\\e"), spell((char) => char).replaceAll("\\E", "\\033")];
}

export function doubleQuoted(text: string): string[] {
  return [text.replace(/["$`\\]/g, "\\$&"), text.replace(/["$`\\!]/g, "\\$&"), text.replace(/["\\]/g, "\\$&")];
}

/** Backslash before every special character: bash's `printf %q`, and the cautious sets of other tools. */
export function backslashed(text: string): string[] {
  return [
    text.replace(/[ !"#$&'()*,;<>?[\\\]^`{|}~\t]/g, "\\$&"),
    text.replace(/[ !"$&'()*,;<>?[\\\]^`{|}\t]/g, "\\$&"),
    text.replace(/[^A-Za-z0-9_@%+=:,./\u0080-\u{10ffff}\n-]/gu, "\\$&"),
  ];
}

export function windowsCmd(text: string): string[] {
  const caret = (chars: RegExp): string => text.replace(chars, "^$&");
  const sets = [caret(/[&|<>^]/g), caret(/[&|<>^()]/g), caret(/[&|<>^()"!%]/g), caret(/[&|<>^"]/g)];
  return [...sets, ...sets.map((set) => set.replaceAll("%", "%%")), text.replaceAll("%", "%%"), text.replaceAll('"', '""')];
}

export function powershell(text: string): string[] {
  const tick = text.replace(/[`$"]/g, "`$&");
  return [
    tick,
    text.replace(/[`$"']/g, "`$&"),
    text.replaceAll("'", "''"),
    text.replaceAll('"', '""'),
    tick.replaceAll("\n", "`n").replaceAll("\r", "`r").replaceAll("\t", "`t"),
  ];
}
