/** Spellings in URLs, JSON, XML, HTML and syslog's structured data. */
import { composed, type Substitution, substitution, type Wide } from "./substitution.js";

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

/** `percent` stands before the digits. */
export function percent(sign: "%" | "%25"): Substitution[] {
  const encode = (keep: string, upper: boolean, plus: boolean): Substitution =>
    substitution((char, byte) => (keep.includes(char) ? (char === "%" ? sign : char) : plus && char === " " ? "+" : sign + hex2(byte, upper)), {}, "every");
  return [true, false].flatMap((upper) => [...UNRESERVED.map((keep) => encode(keep, upper, false)), encode(FORM, upper, true), encode("-._~", upper, true)]);
}

/** As careless senders of forms write it: whoever leaves `+` as it is and puts it for spaces too. */
const SPACES_AS_PLUS = substitution((char) => (char === " " ? "+" : undefined));

/** In a URL, a form, or what was meant as one. */
export const url = (): Substitution[] => [...percent("%"), SPACES_AS_PLUS];

const unicodeEscape = (unit: number, upper: boolean): string => {
  const digits = unit.toString(16).padStart(4, "0");
  return `\\u${upper ? digits.toUpperCase() : digits}`;
};

/** Escapes each unit of UTF-16: all of them, or the separators of lines and paragraphs only. */
function units(upper: boolean, which: "all" | "separators"): Wide {
  return {
    name: `${which} ${upper}`,
    of(code) {
      if (which === "separators" && code !== 0x2028 && code !== 0x2029) return undefined;
      const char = String.fromCodePoint(code);
      return Array.from({ length: char.length }, (_, i) => unicodeEscape(char.charCodeAt(i), upper)).join("");
    },
  };
}

/** How JSON.stringify writes a character of ASCII. */
const minimal = (char: string): string => JSON.stringify(char).slice(1, -1);
const MINIMAL = substitution(minimal);

interface JsonStyle {
  /** Characters written as `\u00…`; the quote as it is escaped anyway unless it is one of them. */
  readonly escape?: string;
  /** Case of hex digits in escapes of control characters, and in other ones. */
  readonly upperControls?: boolean;
  readonly upper?: boolean;
  readonly slash?: true;
  readonly wide?: "all" | "separators";
}

function jsonStyle({ escape = "", upperControls = false, upper = false, slash, wide }: JsonStyle): Substitution {
  return substitution(
    (char, byte) => {
      if (escape.includes(char) || (wide === "all" && byte > 0x7e)) return unicodeEscape(byte, upper);
      if (char === "/" && slash) return "\\/";
      const written = minimal(char);
      return upperControls && written.startsWith("\\u") ? unicodeEscape(byte, true) : written;
    },
    wide === undefined ? {} : { wide: units(upper, wide) },
  );
}

/** How JSON writers spell the inside of a string: minimal, `\/`, HTML-safe, .NET, ASCII only; RFC 8259 §7. */
const JSON_ONCE: readonly Substitution[] = [
  jsonStyle({}),
  jsonStyle({ slash: true }),
  ...[false, true].flatMap((upper) => [
    jsonStyle({ upperControls: upper }),
    jsonStyle({ escape: "<>&", upper, wide: "separators" }),
    jsonStyle({ escape: "<>&'", upper, wide: "separators" }),
    jsonStyle({ upperControls: upper, upper, wide: "all" }),
    jsonStyle({ upperControls: upper, upper, wide: "all", slash: true }),
    jsonStyle({ escape: upper ? "<>&'+`\"" : "<>&'+`", upper, wide: "all" }),
    jsonStyle({ escape: "<>&'\"", upper, wide: "all" }),
  ]),
];

export const json = (): readonly Substitution[] => JSON_ONCE;

/** JSON in JSON, up to three deep. */
export function jsonNested(): Substitution[] {
  const twice = JSON_ONCE.map((once) => composed(once, MINIMAL));
  const thrice = twice.map((inner) => composed(inner, MINIMAL));
  const slash = substitution((char) => (char === "/" ? "\\/" : undefined));
  return [...twice, ...thrice, ...twice.map((inner) => composed(inner, slash))];
}

const NAMED: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

export function entities(): Substitution[] {
  const replace = (chars: string, apostrophe: string, names = NAMED): Substitution =>
    substitution((char) => (char === "'" ? apostrophe : chars.includes(char) ? names[char] : undefined));
  const numeric = (render: (code: number) => string, chars: string): Substitution =>
    substitution((char, byte) => (chars.includes(char) ? render(byte) : undefined));
  const wide = (render: (code: number) => string): Substitution =>
    substitution((char, byte) => (`&<>"'`.includes(char) || byte > 0x7e ? render(byte) : undefined), { wide: { name: render(0xa), of: render } });
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
    replace('&<>"', "&#39;", { ...NAMED, '"': "&#34;" }),
  ];
}

/** A value of structured data (RFC 5424 §6.3.3), and JSON in one. */
export function structuredData(): Substitution[] {
  const escaped = substitution((char) => ('"\\]'.includes(char) ? `\\${char}` : undefined));
  return [escaped, ...JSON_ONCE.map((once) => composed(once, escaped))];
}
