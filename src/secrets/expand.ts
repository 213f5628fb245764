/** From one secret to its needles: salience, variants, lines, parts. Registry-independent; the matcher's classes are assigned here and nowhere else. */
import { MAX_TOKEN_BYTES, MIN_NEEDLE_BYTES, NEEDLE } from "../core/matcher.js";
import { isBlank } from "../core/lanes.js";
import { parts } from "./decompose.js";
import { salience, type SalienceOptions } from "./salience.js";
import { isBland, VARIANTS } from "./variants.js";

export interface Needle {
  readonly bytes: Buffer;
  /** `NEEDLE` flags. */
  readonly flags: number;
  readonly variant: string;
}

export interface Expansion {
  readonly needles: readonly Needle[];
  /** Why the secret is not masked at all. */
  readonly refused?: string;
  /** Why it is masked only as a whole token. */
  readonly token?: string;
}

/** Needles of this length and more are searched with line wraps deleted, in bytes. */
const WRAP_BYTES = 12;
/** The same for base64, which tools wrap at 64 or 76 columns whatever stands in it. */
const WRAP_BASE64_BYTES = 8;

/** Needles by their length: the first variant with a spelling names it. No strings: those cannot be wiped, and take longer. */
type Found = Map<number, Needle[]>;

/** All needles of `value`, which the caller keeps. */
export function expandSecret(value: Buffer, options: SalienceOptions & { readonly maxLeaves: number }): Expansion {
  const verdict = salience(value, options);
  if (verdict.verdict === "refused") return { needles: [], refused: verdict.reason };
  const found: Found = new Map();
  const token = verdict.verdict === "token";
  spell(found, value, "", token, options);
  if (!token) {
    for (const part of parts(value, options.maxLeaves)) {
      const judged = salience(part.value, options);
      if (judged.verdict !== "refused") spell(found, part.value, `${part.kind}:`, judged.verdict === "token", options, part.kind === "line");
    }
  }
  return { needles: [...found.values()].flat(), ...(token ? { token: verdict.reason } : {}) };
}

/** Runs the table over one value. A `line` of a longer secret is looked for as it is only. */
function spell(found: Found, value: Buffer, prefix: string, token: boolean, options: SalienceOptions, line = false): void {
  const bland = isBland(value);
  for (const row of line ? VARIANTS.slice(0, 2) : VARIANTS) {
    if (bland && row.blandAsIs === true) continue;
    const name = prefix + row.name;
    for (const spelling of row.encode(value)) {
      // What a short value is spelled as may be long enough to stand by itself; a spelling shorter than the value would be weaker than it.
      if (row.name === "trimmed" && salience(spelling, options).verdict === "refused") continue;
      const asToken = token && (spelling.length < options.tokenBelowBytes || row.name === "trimmed" || spelling.equals(value));
      if (
        asToken &&
        row.base64 === true &&
        !Buffer.from(value.toString(row.name === "base64url" ? "base64url" : "base64").replaceAll("=", "")).equals(spelling)
      )
        continue;
      if (!asToken && spelling.length < Math.min(value.length, options.tokenBelowBytes)) continue;
      classify(found, spelling, name, asToken, row.base64 === true ? WRAP_BASE64_BYTES : WRAP_BYTES);
    }
  }
}

/** Assigns the matcher's class to a spelling (src/core/README.md) and files it. */
function classify(found: Found, spelling: Buffer, variant: string, token: boolean, wrapBytes: number): void {
  const broken = spelling.includes(0x0a) || spelling.includes(0x0d);
  if (broken && !isWide(spelling)) {
    const dense = Buffer.from(spelling.filter((byte) => !isBlank(byte)));
    if (dense.length >= WRAP_BYTES) file(found, dense, NEEDLE.SPACED, variant);
    else for (const newline of ["\n", "\r\n", " "]) file(found, Buffer.from(spelling.toString("latin1").replace(/\r?\n|\r/g, newline), "latin1"), 0, variant);
    return;
  }
  if (token && spelling.length <= MAX_TOKEN_BYTES) file(found, spelling, NEEDLE.TOKEN, variant);
  else file(found, spelling, !broken && spelling.length >= wrapBytes ? NEEDLE.WRAPPED : 0, variant);
}

/** UTF-16: CR and LF are halves of characters there. */
function isWide(spelling: Buffer): boolean {
  return spelling.includes(0);
}

function file(found: Found, bytes: Buffer, flags: number, variant: string): void {
  if (bytes.length < MIN_NEEDLE_BYTES) return;
  const alike = found.get(bytes.length);
  if (alike === undefined) {
    found.set(bytes.length, [{ bytes, flags, variant }]);
    return;
  }
  const index = alike.findIndex((needle) => (needle.flags & NEEDLE.SPACED) === (flags & NEEDLE.SPACED) && needle.bytes.equals(bytes));
  if (index < 0) alike.push({ bytes, flags, variant });
  // The same bytes as a token and as an ordinary needle: the ordinary one masks more.
  else if ((alike[index]!.flags & NEEDLE.TOKEN) !== 0 && (flags & NEEDLE.TOKEN) === 0) alike[index] = { bytes, flags, variant };
}
