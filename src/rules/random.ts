/**
 * Does a string look random? A p-value: how rarely a random string over the same alphabet looks as little random as this one does. Three measures, the worst
 * of them counts: distinct characters, changes of character class, and letter pairs that text likes. Length and alphabet enter through their expected values.
 * Shannon's entropy is here for imported rules only: at the lengths of credentials it tells little.
 */
import { BIGRAMS } from "./bigrams.js";

const LOWER = 0;
const UPPER = 1;
const DIGIT = 2;
const OTHER = 3;

function classOf(code: number): number {
  if (code >= 0x61 && code <= 0x7a) return LOWER;
  if (code >= 0x41 && code <= 0x5a) return UPPER;
  return code >= 0x30 && code <= 0x39 ? DIGIT : OTHER;
}

/** How many of lower case, upper case, digits and others there are. */
export function classes(text: string): number {
  let seen = 0;
  for (let i = 0; i < text.length; i++) seen |= 1 << classOf(text.charCodeAt(i));
  return (seen & 1) + ((seen >> 1) & 1) + ((seen >> 2) & 1) + (seen >> 3);
}

const MEAN = BIGRAMS.reduce((sum, score) => sum + score, 0) / BIGRAMS.length;
const DEVIATION = Math.sqrt(BIGRAMS.reduce((sum, score) => sum + (score - MEAN) ** 2, 0) / BIGRAMS.length);

/** Probability of a standard normal value below `z` (Abramowitz and Stegun 26.2.17). */
function below(z: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(z));
  const tail = (Math.exp((-z * z) / 2) / 2.5066282746) * t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return z < 0 ? tail : 1 - tail;
}

/** Sizes of the classes of a random string: others are mostly `_` and `-`, or `+` and `/`. */
const SIZES = [26, 26, 10, 2];

/** What stands between groups of hex digits, such as a UUID's hyphens, says nothing. */
const withoutSeparators = (text: string): string => (text.length >= 20 && HEX_GROUPS.test(text) ? text.replace(/[.-]/g, "") : text);
const HEX_GROUPS = /^(?:[0-9a-f]+[.-])+[0-9a-f]{8,}$|^(?:[0-9A-F]+[.-])+[0-9A-F]{8,}$|^[0-9a-f]{16,}(?:[.-][0-9a-f]+)+$/;

/** The p-value of `whole` (Latin-1), 0 to 1; below 0.001 it is no random string. */
export function randomness(whole: string): number {
  const text = withoutSeparators(whole);
  const length = text.length;
  if (length < 2) return 0;
  const seen = new Uint8Array(256);
  const has = [0, 0, 0, 0];
  let distinct = 0;
  let changes = 0;
  let pairs = 0;
  let score = 0;
  let before = -1;
  let letter = -1;
  let hex = true;
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i) & 0xff;
    if (seen[code] === 0) distinct++;
    seen[code] = 1;
    const kind = classOf(code);
    has[kind] = 1;
    if (before >= 0 && kind !== before) changes++;
    before = kind;
    hex &&= kind === DIGIT || (kind !== OTHER && (code | 0x20) <= 0x66);
    const now = kind === LOWER ? code - 0x61 : kind === UPPER ? code - 0x41 : -1;
    if (letter >= 0 && now >= 0) {
      pairs++;
      score += BIGRAMS[letter * 26 + now]!;
    }
    letter = now;
  }
  hex &&= has[LOWER]! + has[UPPER]! < 2;
  const sizes = hex ? [6 * has[LOWER]!, 6 * has[UPPER]!, 10, 0] : SIZES.map((size, kind) => size * has[kind]!);
  const all = sizes.reduce((sum, size) => sum + size, 0);
  const missing = (1 - 1 / all) ** length;
  const variance = all * missing * (1 - missing) + all * (all - 1) * ((1 - 2 / all) ** length - missing ** 2);
  const byDistinct = below((distinct + 0.5 - all * (1 - missing)) / Math.sqrt(Math.max(variance, 0.25)));
  const change = 1 - sizes.reduce((sum, size) => sum + (size / all) ** 2, 0);
  const expected = (length - 1) * change;
  const byChanges = change < 0.05 ? 1 : below((changes + 0.5 - expected) / Math.sqrt(expected * (1 - change) + 0.01));
  const byPairs = pairs === 0 || hex ? 1 : below(-(score - pairs * MEAN) / (DEVIATION * Math.sqrt(pairs)));
  return Math.min(byDistinct, byChanges, byPairs);
}

/** Shannon's entropy in bits per character. */
export function shannon(text: string): number {
  const counts = new Map<string, number>();
  for (const char of text) counts.set(char, (counts.get(char) ?? 0) + 1);
  let bits = 0;
  for (const count of counts.values()) bits -= (count / text.length) * Math.log2(count / text.length);
  return bits;
}
