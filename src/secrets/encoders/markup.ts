/** Spellings in URLs, JSON, XML, HTML and syslog's structured data. */

const hex2 = (byte: number, upper: boolean): string => {
  const digits = byte.toString(16).padStart(2, "0");
  return upper ? digits.toUpperCase() : digits;
};

/** Characters besides letters and digits that percent-encoders leave as they are. */
const UNRESERVED: readonly string[] = [
  "-._~", // RFC 3986 §2.3
  "-_.!~*'()", // encodeURIComponent
  "-._~/", // paths, Python's quote
  "-_.!~*'();,/?:@&=+$#", // encodeURI
  "-._~!$&'()*+,%", // WHATWG userinfo percent-encode set, roughly
];
/** application/x-www-form-urlencoded: `+` for a space. */
const FORM = "*-._";

export function percent(value: Buffer): string[] {
  const encode = (keep: string, upper: boolean, plus: boolean): string => {
    let text = "";
    for (const byte of value) {
      const char = String.fromCharCode(byte);
      if (/[A-Za-z0-9]/.test(char) || keep.includes(char)) text += char;
      else text += plus && byte === 0x20 ? "+" : `%${hex2(byte, upper)}`;
    }
    return text;
  };
  const cases = [true, false];
  return cases.flatMap((upper) => [...UNRESERVED.map((keep) => encode(keep, upper, false)), encode(FORM, upper, true), encode("-._~", upper, true)]);
}

export function percentTwice(value: Buffer): string[] {
  return percent(value).map((text) => text.replaceAll("%", "%25"));
}

const unicodeEscape = (code: number, upper: boolean): string => {
  const digits = code.toString(16).padStart(4, "0");
  return `\\u${upper ? digits.toUpperCase() : digits}`;
};

function escapeUnits(source: string, pick: (code: number, char: string) => boolean, upper: boolean): string {
  let text = "";
  for (let i = 0; i < source.length; i++) {
    const code = source.charCodeAt(i);
    text += pick(code, source[i]!) ? unicodeEscape(code, upper) : source[i];
  }
  return text;
}

const escaped = (text: string): string => JSON.stringify(text).slice(1, -1);

/** How JSON writers spell the inside of a string: minimal, `\/`, HTML-safe, .NET, ASCII only; RFC 8259 §7. */
export function jsonOnce(text: string): string[] {
  const minimal = escaped(text);
  const quoteless = minimal.replaceAll('\\"', "\u0000");
  const html = "<>&'\u2028\u2029";
  const variants = [
    minimal,
    minimal.replaceAll("/", "\\/"),
    ...[false, true].flatMap((upper) => {
      const control = upper ? minimal.replace(/\\u[0-9a-f]{4}/g, (escape) => `\\u${escape.slice(2).toUpperCase()}`) : minimal;
      const ascii = escapeUnits(control, (code) => code > 0x7e, upper);
      return [
        control,
        escapeUnits(minimal, (_, char) => "<>&\u2028\u2029".includes(char), upper),
        escapeUnits(minimal, (_, char) => html.includes(char), upper),
        ascii,
        ascii.replaceAll("/", "\\/"),
        escapeUnits(quoteless, (code, char) => code > 0x7e || `${html}+\``.includes(char), upper).replaceAll("\u0000", upper ? "\\u0022" : '\\"'),
        escapeUnits(quoteless, (code, char) => code > 0x7e || "<>&'\"".includes(char), upper).replaceAll("\u0000", "\\u0022"),
      ];
    }),
  ];
  return [...new Set(variants)];
}

/** JSON in JSON, up to three deep. */
export function json(text: string): string[] {
  const once = jsonOnce(text);
  const twice = once.map(escaped);
  return [...once, ...twice, ...twice.map(escaped), ...twice.map((inner) => inner.replaceAll("/", "\\/"))];
}

const NAMED: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

export function entities(text: string): string[] {
  const replace = (chars: string, apostrophe: string): string =>
    [...text].map((char) => (char === "'" ? apostrophe : chars.includes(char) ? NAMED[char] : char)).join("");
  const numeric = (render: (code: number) => string, chars: string): string =>
    [...text].map((char) => (chars.includes(char) ? render(char.codePointAt(0)!) : char)).join("");
  const wide = (render: (code: number) => string): string =>
    [...text].map((char) => (`&<>"'`.includes(char) || char > "\u007e" ? render(char.codePointAt(0)!) : char)).join("");
  const renders = [
    (code: number) => `&#${code};`,
    (code: number) => `&#${String(code).padStart(3, "0")};`,
    (code: number) => `&#x${code.toString(16)};`,
    (code: number) => `&#x${code.toString(16).toUpperCase()};`,
    (code: number) => `&#X${code.toString(16).toUpperCase()};`,
  ];
  return [
    replace("&<", "'"),
    replace("&<>", "'"),
    replace('&<>"', "'"),
    ...["&apos;", "&#39;", "&#x27;", "&#039;"].map((apostrophe) => replace('&<>"', apostrophe)),
    ...renders.flatMap((render) => [numeric(render, "&<>"), numeric(render, `&<>"`), numeric(render, `&<>"'`), wide(render)]),
    replace('&<>"', "&#39;").replaceAll("&quot;", "&#34;"),
  ];
}

/** A value of structured data (RFC 5424 §6.3.3), and JSON in one. */
export const structuredData = (text: string): string[] => [text, ...jsonOnce(text)].map((spelling) => spelling.replaceAll(/["\\\]]/g, "\\$&"));
