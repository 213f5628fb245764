/** Spellings by programming languages and CI systems. */

const SHORT: Readonly<Record<string, string>> = { "\x07": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\" };

const hex = (code: number, width: number): string => code.toString(16).padStart(width, "0");

function spell(text: string, special: Readonly<Record<string, string>>, control: (code: number) => string, wide: (char: string) => string): string {
  return [...text].map((char) => special[char] ?? (char < " " || char === "\x7f" ? control(char.charCodeAt(0)) : char > "\x7e" ? wide(char) : char)).join("");
}

const asIs = (char: string): string => char;
const bytesOf = (char: string): string => [...Buffer.from(char)].map((byte) => `\\x${hex(byte, 2)}`).join("");
const pointOf = (char: string): string => {
  const code = char.codePointAt(0)!;
  return code > 0xffff ? `\\U${hex(code, 8)}` : `\\u${hex(code, 4)}`;
};

/** Go's strconv.Quote (`%q`) and QuoteToASCII (`%+q`). */
export function goQuote(text: string): string[] {
  const special = { ...SHORT, '"': '\\"' };
  const control = (code: number): string => `\\x${hex(code, 2)}`;
  return [spell(text, special, control, asIs), spell(text, special, control, pointOf)];
}

/** Python's repr of str (either quote), of bytes, and ascii(). */
export function pythonRepr(text: string): string[] {
  const base = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };
  const control = (code: number): string => `\\x${hex(code, 2)}`;
  const latin = (char: string): string => (char.codePointAt(0)! <= 0xff ? `\\x${hex(char.codePointAt(0)!, 2)}` : pointOf(char));
  return [base, { ...base, "'": "\\'" }].flatMap((special) => [asIs, bytesOf, latin].map((wide) => spell(text, special, control, wide)));
}

/** Single quotes of Perl (Data::Dumper), PHP (var_export) and Ruby: only the quote and the backslash are escaped. */
export function singleEscaped(text: string): string[] {
  return [text.replace(/['\\]/g, "\\$&"), text.replaceAll("'", "\\'")];
}

/** Ruby's String#inspect. */
export function rubyInspect(text: string): string[] {
  const special = { ...SHORT, '"': '\\"', "\x1b": "\\e" };
  const quoted = spell(text, special, (code) => `\\x${hex(code, 2).toUpperCase()}`, asIs);
  const unicode = spell(text, special, (code) => `\\u${hex(code, 4).toUpperCase()}`, asIs);
  return [quoted, unicode].map((inner) => inner.replace(/#(?=[{$@])/g, "\\#"));
}

/** `$$`: a literal dollar in Ant and Maven, and in make and compose files. */
export function doubledDollar(text: string): string[] {
  return [text.replaceAll("$", "$$$$")];
}

/** Escapes in logging commands of GitHub (data and properties) and Azure Pipelines. */
export function loggingCommand(text: string): string[] {
  const github = text.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
  const azure = text.replaceAll("%", "%AZP25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
  return [
    github,
    github.replaceAll(":", "%3A").replaceAll(",", "%2C"),
    azure,
    azure.replaceAll(";", "%3B").replaceAll("]", "%5D"),
    text.replaceAll("\r", "%0D").replaceAll("\n", "%0A").replaceAll(";", "%3B").replaceAll("]", "%5D"),
  ];
}

/** The line breaks of a multi-line value as other tools flatten them. */
export function flattened(text: string): string[] {
  if (!/[\r\n]/.test(text)) return [];
  return ["\\n", "\\r\\n", "\\\\n", "%0A", "%0D%0A", "%0a", "&#10;", "&#xA;"].map((newline) => text.replace(/\r?\n|\r/g, newline));
}
