/**
 * The one table of variants: every spelling in which a secret is looked for, a row each. `expand.ts` runs it and turns spellings into needles.
 * Adding a spelling is adding a row (and, for a new family, a file under encoders/).
 */
import { base64Cores, base64Twice, hex, utf16 } from "./encoders/bytes.js";
import { doubledDollar, flattened, goQuote, loggingCommand, pythonRepr, rubyInspect, singleEscaped } from "./encoders/code.js";
import { entities, json, percent, percentTwice, structuredData } from "./encoders/markup.js";
import { ansiC, backslashed, doubleQuoted, powershell, singleQuoted, windowsCmd } from "./encoders/shell.js";

export interface VariantRow {
  readonly name: string;
  /** Spellings of the value; duplicates and the value itself are welcome. */
  encode(value: Buffer): readonly Buffer[];
  /** A value of nothing but `[A-Za-z0-9._-]` has no other spelling here. */
  readonly blandAsIs?: true;
  /** Characters are determined by the secret alone and random-looking: wraps are looked through from 8 bytes on. */
  readonly base64?: true;
  /** A value and spellings it must have; `latin1` text. */
  readonly vector: { readonly value: string; readonly expect: readonly string[] };
}

/** A row for values that are UTF-8 text; others have no such spelling. */
function text(name: string, encode: (value: string) => readonly string[], vector: VariantRow["vector"]): VariantRow {
  return {
    name,
    blandAsIs: true,
    encode(value) {
      const decoded = value.toString();
      return Buffer.from(decoded).equals(value) ? encode(decoded).map((spelling) => Buffer.from(spelling)) : [];
    },
    vector,
  };
}

/** Whether a value has only characters that no tool escapes. */
export function isBland(value: Buffer): boolean {
  return /^[A-Za-z0-9._-]+$/.test(value.toString("latin1"));
}

export const VARIANTS: readonly VariantRow[] = [
  { name: "plain", encode: (value) => [Buffer.from(value)], vector: { value: "hunter2-x", expect: ["hunter2-x"] } },
  { name: "trimmed", encode: trimmed, vector: { value: ' "hunter2-x"\n', expect: ["hunter2-x"] } },
  {
    name: "base64",
    base64: true,
    encode: (value) => base64Cores(value, "base64"),
    vector: { value: "Password123!", expect: ["UGFzc3dvcmQxMjMh", "Bhc3N3b3JkMTIzI", "QYXNzd29yZDEyMy"] },
  },
  { name: "base64url", base64: true, encode: (value) => base64Cores(value, "base64url"), vector: { value: "a>?>?>?>?b", expect: ["YT4_Pj8-Pz4_Y"] } },
  { name: "base64-base64", base64: true, encode: base64Twice, vector: { value: "Password123!", expect: ["VUdGemMzZHZjbVF4TWpNa"] } },
  {
    name: "base64-utf16le",
    base64: true,
    encode: (value) => (isText(value) ? base64Cores(utf16(value.toString(), false), "base64") : []),
    vector: { value: "hunter2-x", expect: ["aAB1AG4AdABlAHIAMgAtAHgA"] },
  },
  { name: "hex", encode: (value) => [hex(value, false, ""), hex(value, true, "")], vector: { value: "az/:", expect: ["617a2f3a", "617A2F3A"] } },
  {
    name: "hex-pairs",
    encode: (value) => [":", " "].flatMap((separator) => [hex(value, false, separator), hex(value, true, separator)]),
    vector: { value: "az/:", expect: ["61:7a:2f:3a", "61 7A 2F 3A"] },
  },
  {
    name: "url",
    blandAsIs: true,
    encode: (value) => [...percent(value).map((spelling) => Buffer.from(spelling)), spacesAsPlus(value)],
    vector: { value: "a b/c!é", expect: ["a+b/c!\xc3\xa9", "a%20b%2Fc%21%C3%A9", "a+b%2fc%21%c3%a9", "a%20b/c%21%C3%A9", "a%20b%2Fc!%C3%A9"] },
  },
  {
    name: "url-twice",
    blandAsIs: true,
    encode: (value) => percentTwice(value).map((spelling) => Buffer.from(spelling)),
    vector: { value: "a b/c", expect: ["a%2520b%252Fc"] },
  },
  text("json", json, { value: 'a"b/<', expect: ['a\\"b/<', 'a\\"b\\/<', "a\\u0022b/\\u003c", "a\\u0022b/\\u003C", 'a\\\\\\"b/<', 'a\\\\\\\\\\\\\\"b/<'] }),
  text("entities", entities, {
    value: `a<b>'c"&d`,
    expect: ["a&lt;b&gt;&#39;c&quot;&amp;d", "a&#60;b&#62;&#39;c&#34;&#38;d", "a&#x3c;b&#x3e;&#x27;c&#x22;&#x26;d"],
  }),
  text("syslog", structuredData, { value: 'a b"c]d\\', expect: ['a b\\"c\\]d\\\\', 'a b\\\\\\"c\\]d\\\\\\\\'] }),
  text("shell-single", singleQuoted, { value: "it's-a", expect: ["it'\\''s-a", `it'"'"'s-a`] }),
  text("shell-ansi-c", ansiC, { value: "a\nb'c\\", expect: ["a\\nb\\'c\\\\"] }),
  text("shell-double", doubleQuoted, { value: 'a$b"c`d\\', expect: ['a\\$b\\"c\\`d\\\\'] }),
  text("shell-backslash", backslashed, { value: "a b&c", expect: ["a\\ b\\&c"] }),
  text("cmd", windowsCmd, { value: "a<b>c^d&e|f", expect: ["a^<b^>c^^d^&e^|f"] }),
  text("powershell", powershell, { value: "a$b'c`", expect: ["a`$b'c``", "a$b''c`"] }),
  text("dollar", doubledDollar, { value: "a$b", expect: ["a$$b"] }),
  text("go", goQuote, { value: 'a"b\x01é', expect: ['a\\"b\\x01\xc3\xa9', 'a\\"b\\x01\\u00e9'] }),
  text("perl", singleEscaped, { value: "a'b\\\tc", expect: ["a\\'b\\\\\tc"] }),
  text("python", pythonRepr, { value: "a'b\x01é", expect: ["a\\'b\\x01\\xc3\\xa9", "a'b\\x01\\xe9"] }),
  text("ruby", rubyInspect, { value: 'a#{b"\x1b', expect: ['a\\#{b\\"\\e'] }),
  text("logging-command", loggingCommand, { value: "a%b\nc", expect: ["a%25b%0Ac", "a%AZP25b%0Ac"] }),
  text("flattened", flattened, { value: "ab\ncd", expect: ["ab\\ncd", "ab%0Acd", "ab\\\\ncd"] }),
  {
    name: "utf16",
    encode: (value) => (isText(value) ? [utf16(value.toString(), false), utf16(value.toString(), true)] : []),
    vector: { value: "ab", expect: ["a\0b\0", "\0a\0b"] },
  },
];

/** As careless senders of forms write it: whoever leaves `+` as it is and puts it for spaces too. */
const spacesAsPlus = (value: Buffer): Buffer => Buffer.from(value.toString("latin1").replaceAll(" ", "+"), "latin1");

function isText(value: Buffer): boolean {
  return Buffer.from(value.toString()).equals(value);
}

/** Without surrounding whitespace and matching quotes, as often as there are any; every stage is a spelling. */
export function trimmed(value: Buffer): Buffer[] {
  const stages: Buffer[] = [];
  let rest = value.toString("latin1");
  for (;;) {
    const bare = rest.trim();
    const first = bare[0];
    const next = bare.length > 2 && bare.at(-1) === first && `"'\``.includes(first!) ? bare.slice(1, -1) : bare;
    if (next === rest) return stages;
    rest = next;
    stages.push(Buffer.from(rest, "latin1"));
  }
}
