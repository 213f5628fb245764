/**
 * The one table of variants: every spelling in which a secret is looked for, a row each. `expand.ts` runs it and turns spellings into needles.
 * Adding a spelling is adding a row (and, for a new family, a file under encoders/).
 */
import { base64Cores, base64OfUtf16, base64Twice, hex, utf16Both } from "./encoders/bytes.js";
import { doubledDollar, flattened, goQuote, loggingCommand, pythonRepr, rubyInspect, singleEscaped } from "./encoders/code.js";
import { entities, json, jsonNested, percent, structuredData, url } from "./encoders/markup.js";
import { ansiC, backslashed, doubleQuoted, powershell, singleQuoted, windowsCmd } from "./encoders/shell.js";
import { type Substitution, substituted } from "./encoders/substitution.js";
import { collect, inOne, type Spelling, Value } from "./spelling.js";
import { atOnce } from "../turns.js";

export interface VariantRow {
  readonly name: string;
  /** Spellings of the value, the most important one first; duplicates and the value itself are welcome. They are asked for only as far as there is room for them. */
  encode(value: Value): Iterable<Spelling>;
  /** A value of nothing but `[A-Za-z0-9._-]` has no other spelling here. */
  readonly blandAsIs?: true;
  /** Characters are determined by the secret alone and random-looking: wraps are looked through from 8 bytes on. */
  readonly base64?: true;
  /**
   * What `limits.maxNeedleBytes` may not leave out. `always`: of the secret and of all its parts. `whole`: of the secret. `first`: of the secret, its first spelling.
   * Together they must be a small multiple of the value, whatever it is.
   */
  readonly essential?: "always" | "whole" | "first";
  /** Most of `limits.maxNeedleBytes` that all but its essential spellings may take: the part that it is divided by. Absent: all of it. */
  readonly share?: number;
  /** A value and spellings it must have; `latin1` text. */
  readonly vector: { readonly value: string; readonly expect: readonly string[] };
}

/** A row of substitutions, which are made when they are first needed. */
function row(name: string, make: () => readonly Substitution[], vector: VariantRow["vector"], applies: (value: Value) => boolean): VariantRow {
  let made: readonly Substitution[] | undefined;
  return {
    name,
    blandAsIs: true,
    *encode(value) {
      if (!applies(value)) return;
      for (const each of (made ??= make())) {
        const spelling = substituted(value, each);
        if (spelling !== undefined) yield spelling;
      }
    },
    vector,
  };
}

/** For values that are UTF-8 text; others have no such spelling. */
const text = (name: string, make: () => readonly Substitution[], vector: VariantRow["vector"]): VariantRow => row(name, make, vector, (value) => value.isText);
const bytes = (name: string, make: () => readonly Substitution[], vector: VariantRow["vector"]): VariantRow => row(name, make, vector, () => true);

/** In order of importance: where `limits.maxNeedleBytes` is reached, it is the last ones that are left out. */
export const VARIANTS: readonly VariantRow[] = [
  {
    name: "plain",
    essential: "always",
    encode: ({ bytes: value }) => [inOne(value.length, () => Buffer.from(value))],
    vector: { value: "hunter2-x", expect: ["hunter2-x"] },
  },
  { name: "trimmed", essential: "first", share: 16, encode: trimmed, vector: { value: ' "hunter2-x"\n', expect: ["hunter2-x"] } },
  {
    name: "base64",
    base64: true,
    essential: "whole",
    encode: ({ bytes: value }) => base64Cores(value, "base64"),
    vector: { value: "Password123!", expect: ["UGFzc3dvcmQxMjMh", "Bhc3N3b3JkMTIzI", "QYXNzd29yZDEyMy"] },
  },
  {
    name: "base64url",
    base64: true,
    encode: ({ bytes: value }) => base64Cores(value, "base64url"),
    vector: { value: "a>?>?>?>?b", expect: ["YT4_Pj8-Pz4_Y"] },
  },
  text("json", json, { value: 'a"b/<', expect: ['a\\"b/<', 'a\\"b\\/<', "a\\u0022b/\\u003c", "a\\u0022b/\\u003C"] }),
  {
    name: "hex",
    encode: ({ bytes: value }) => [hex(value, false, ""), hex(value, true, "")],
    vector: { value: "az/:", expect: ["617a2f3a", "617A2F3A"] },
  },
  bytes("url", url, {
    value: "a b/c!é",
    expect: ["a+b/c!\xc3\xa9", "a%20b%2Fc%21%C3%A9", "a+b%2fc%21%c3%a9", "a%20b/c%21%C3%A9", "a%20b%2Fc!%C3%A9"],
  }),
  text("shell-single", singleQuoted, { value: "it's-a", expect: ["it'\\''s-a", `it'"'"'s-a`] }),
  text("flattened", flattened, { value: "ab\ncd", expect: ["ab\\ncd", "ab%0Acd", "ab\\\\ncd"] }),
  text("shell-double", doubleQuoted, { value: 'a$b"c`d\\', expect: ['a\\$b\\"c\\`d\\\\'] }),
  text("shell-ansi-c", ansiC, { value: "a\nb'c\\", expect: ["a\\nb\\'c\\\\"] }),
  text("shell-backslash", backslashed, { value: "a b&c", expect: ["a\\ b\\&c"] }),
  text("json-nested", jsonNested, { value: 'a"b/<', expect: ['a\\\\\\"b/<', 'a\\\\\\\\\\\\\\"b/<'] }),
  text("entities", entities, {
    value: `a<b>'c"&d`,
    expect: ["a&lt;b&gt;&#39;c&quot;&amp;d", "a&#60;b&#62;&#39;c&#34;&#38;d", "a&#x3c;b&#x3e;&#x27;c&#x22;&#x26;d"],
  }),
  text("python", pythonRepr, { value: "a'b\x01é", expect: ["a\\'b\\x01\\xc3\\xa9", "a'b\\x01\\xe9"] }),
  text("go", goQuote, { value: 'a"b\x01é', expect: ['a\\"b\\x01\xc3\xa9', 'a\\"b\\x01\\u00e9'] }),
  text("syslog", structuredData, { value: 'a b"c]d\\', expect: ['a b\\"c\\]d\\\\', 'a b\\\\\\"c\\]d\\\\\\\\'] }),
  text("logging-command", loggingCommand, { value: "a%b\nc", expect: ["a%25b%0Ac", "a%AZP25b%0Ac"] }),
  text("cmd", windowsCmd, { value: "a<b>c^d&e|f", expect: ["a^<b^>c^^d^&e^|f"] }),
  text("powershell", powershell, { value: "a$b'c`", expect: ["a`$b'c``", "a$b''c`"] }),
  text("dollar", doubledDollar, { value: "a$b", expect: ["a$$b"] }),
  text("perl", singleEscaped, { value: "a'b\\\tc", expect: ["a\\'b\\\\\tc"] }),
  text("ruby", rubyInspect, { value: 'a#{b"\x1b', expect: ['a\\#{b\\"\\e'] }),
  { name: "utf16", encode: utf16Both, vector: { value: "ab", expect: ["a\0b\0", "\0a\0b"] } },
  { name: "base64-utf16le", base64: true, encode: base64OfUtf16, vector: { value: "hunter2-x", expect: ["aAB1AG4AdABlAHIAMgAtAHgA"] } },
  {
    name: "base64-base64",
    base64: true,
    encode: ({ bytes: value }) => base64Twice(value),
    vector: { value: "Password123!", expect: ["VUdGemMzZHZjbVF4TWpNa"] },
  },
  {
    name: "hex-pairs",
    encode: ({ bytes: value }) => [":", " "].flatMap((separator) => [hex(value, false, separator), hex(value, true, separator)]),
    vector: { value: "az/:", expect: ["61:7a:2f:3a", "61 7A 2F 3A"] },
  },
  bytes("url-twice", () => percent("%25"), { value: "a b/c", expect: ["a%2520b%252Fc"] }),
];

/** All that a row makes of a value: for tests, that of the sidecar itself among them. */
export function spellingsOf(encoder: VariantRow, value: Buffer): Buffer[] {
  return [...encoder.encode(new Value(value))].map((spelling) => atOnce(collect(spelling, Infinity))!);
}

/** Without surrounding whitespace and matching quotes, as often as there are any; every stage is a spelling: the innermost first, which all others hold. */
function* trimmed({ bytes: value }: Value): Generator<Spelling> {
  for (const [start, end] of trimStages(value).toReversed()) yield inOne(end - start, () => Buffer.from(value.subarray(start, end)));
}

/** As `trim` has it, in Latin-1. */
const isSpace = (byte: number): boolean => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d) || byte === 0xa0;
const isQuote = (byte: number): boolean => byte === 0x22 || byte === 0x27 || byte === 0x60;

function trimStages(value: Buffer): [number, number][] {
  const stages: [number, number][] = [];
  let [start, end] = [0, value.length];
  for (;;) {
    const before = end - start;
    while (start < end && isSpace(value[start]!)) start++;
    while (end > start && isSpace(value[end - 1]!)) end--;
    if (end - start > 2 && value[start] === value[end - 1] && isQuote(value[start]!)) [start, end] = [start + 1, end - 1];
    if (end - start === before) return stages;
    stages.push([start, end]);
  }
}
