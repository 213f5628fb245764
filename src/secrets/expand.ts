/**
 * From one secret to its needles: salience, parts, variants. Registry-independent; the matcher's classes are assigned here and nowhere else.
 *
 * What a value is spelled as may be a hundred times as long, so all of it together is bounded (`maxNeedleBytes`): spellings are asked for in the order of their
 * importance, of the whole secret and of its parts, and none is made for which there is no room. What is left out is reported by name.
 */
import { MAX_TOKEN_BYTES, MIN_NEEDLE_BYTES, NEEDLE } from "../core/matcher.js";
import { isBlank } from "../core/lanes.js";
import { partsOf } from "./decompose.js";
import { base64Alone } from "./encoders/bytes.js";
import { salience, type SalienceOptions } from "./salience.js";
import { collect, Value } from "./spelling.js";
import { VARIANTS, type VariantRow } from "./variants.js";

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
  /** Which limit left something out of the search, and what. */
  readonly limited?: { readonly reason: string; readonly variants: readonly string[] };
}

export interface ExpandOptions extends SalienceOptions {
  readonly maxLeaves: number;
  readonly maxNeedleBytes: number;
}

/** Needles of this length and more are searched with line wraps deleted, in bytes. */
const WRAP_BYTES = 12;
/** The same for base64, which tools wrap at 64 or 76 columns whatever stands in it. */
const WRAP_BASE64_BYTES = 8;

/** The secret, or a part of it. */
interface Target {
  readonly value: Value;
  /** What stands before the name of a variant: of the secret itself nothing. */
  readonly prefix: string;
  readonly token: boolean;
  /** The rows that run over it: a line of a longer secret is looked for as it is only. */
  readonly rows: number;
  /** What is known of the spellings made so far. */
  readonly seen: Set<string>;
}

/** Rows that a line gets: plain, trimmed. */
const LINE_ROWS = 2;

/** All needles of `value`, which the caller keeps. Yields how many bytes were worked on since the last time. */
export function* expandSecret(value: Buffer, options: ExpandOptions): Generator<number, Expansion> {
  const verdict = salience(value, options);
  yield value.length;
  if (verdict.verdict === "refused") return { needles: [], refused: verdict.reason };
  const token = verdict.verdict === "token";
  const targets: Target[] = [{ value: new Value(value), prefix: "", token, rows: VARIANTS.length, seen: new Set() }];
  const { parts, hasMore } = token ? { parts: [], hasMore: false } : yield* partsOf(value, options.maxLeaves);
  for (const { kind, value: part } of parts) {
    const judged = salience(part, options);
    yield part.length;
    if (judged.verdict === "refused") continue;
    const rows = kind === "line" ? LINE_ROWS : VARIANTS.length;
    targets.push({ value: new Value(part), prefix: `${kind}:`, token: judged.verdict === "token", rows, seen: new Set() });
  }
  const run = new Expanding(options);
  for (const [index, row] of VARIANTS.entries()) {
    for (const [order, target] of targets.entries()) if (index < target.rows) yield* run.spell(row, target, order * VARIANTS.length + index);
  }
  for (const part of parts) part.value.fill(0);
  const limited = run.limited(hasMore);
  return { needles: run.needles(), ...(token ? { token: verdict.reason } : {}), ...(limited && { limited }) };
}

/** A needle with its place among those of the secret: of equal ones the first names it. */
interface Filed extends Needle {
  readonly rank: number;
}

class Expanding {
  /** Needles by their length. No strings: those cannot be wiped, and take longer. */
  private readonly found = new Map<number, Filed[]>();
  private readonly leftOut = new Set<string>();
  private bytes = 0;

  constructor(private readonly options: ExpandOptions) {}

  needles(): Needle[] {
    return [...this.found.values()].flat().toSorted((a, b) => a.rank - b.rank);
  }

  limited(hasMoreParts: boolean): Expansion["limited"] {
    const { maxNeedleBytes, maxLeaves } = this.options;
    const variants = [...this.leftOut];
    const reasons = [
      ...(variants.length > 0
        ? [`its spellings take more than ${maxNeedleBytes} bytes (limits.maxNeedleBytes), so it is not looked for in all of these: ${variants.join(", ")}`]
        : []),
      ...(hasMoreParts ? [`it has more than ${maxLeaves} parts (limits.maxLeaves), so further ones are not looked for by themselves`] : []),
    ];
    return reasons.length === 0 ? undefined : { reason: reasons.join("; "), variants };
  }

  /** Runs one row of the table over one value. */
  *spell(row: VariantRow, target: Target, rank: number): Generator<number, void> {
    const { value, prefix, token, seen } = target;
    const { tokenBelowBytes, maxNeedleBytes } = this.options;
    if (row.blandAsIs === true && value.isBland) return;
    const name = prefix + row.name;
    let isFirst = true;
    let left = maxNeedleBytes / (row.share ?? 1);
    for (const made of row.encode(value)) {
      if (made.signature !== undefined) {
        if (seen.has(made.signature)) continue;
        seen.add(made.signature);
      }
      const isEssential = row.essential === "always" || (prefix === "" && (row.essential === "whole" || (row.essential === "first" && isFirst)));
      const most = isEssential ? Infinity : Math.max(0, Math.min(left, maxNeedleBytes - this.bytes));
      const spelling = yield* collect(made, most);
      if (spelling === undefined) {
        this.leftOut.add(name);
        // Those that follow are rarely shorter, and there may be many.
        if (row.share !== undefined) return;
        continue;
      }
      left -= spelling.length;
      // What a short value is spelled as may be long enough to stand by itself; a spelling shorter than the value would be weaker than it.
      const asToken = token && (spelling.length < tokenBelowBytes || row.name === "trimmed" || spelling.equals(value.bytes));
      if (
        (row.name === "trimmed" && salience(spelling, this.options).verdict === "refused") ||
        (asToken && row.base64 === true && !isAlone(value.bytes, spelling, row.name)) ||
        (!asToken && spelling.length < Math.min(value.bytes.length, tokenBelowBytes))
      ) {
        spelling.fill(0);
        continue;
      }
      isFirst = false;
      yield* this.classify(spelling, name, asToken, row.base64 === true ? WRAP_BASE64_BYTES : WRAP_BYTES, rank);
    }
  }

  /** Assigns the matcher's class to a spelling (src/core/README.md) and files it. */
  private *classify(spelling: Buffer, variant: string, token: boolean, wrapBytes: number, rank: number): Generator<number, void> {
    const broken = spelling.includes(0x0a) || spelling.includes(0x0d);
    // UTF-16: CR and LF are halves of characters there.
    if (!broken || spelling.includes(0)) {
      const flags = token && spelling.length <= MAX_TOKEN_BYTES ? NEEDLE.TOKEN : !broken && spelling.length >= wrapBytes ? NEEDLE.WRAPPED : 0;
      this.file(spelling, flags, variant, rank);
      return;
    }
    const dense = withoutBlanks(spelling);
    yield spelling.length;
    if (dense.length >= WRAP_BYTES) {
      this.file(dense, NEEDLE.SPACED, variant, rank);
    } else {
      for (const newline of ["\n", "\r\n", " "]) this.file(Buffer.from(spelling.toString("latin1").replace(/\r?\n|\r/g, newline), "latin1"), 0, variant, rank);
      dense.fill(0);
    }
    spelling.fill(0);
  }

  private file(bytes: Buffer, flags: number, variant: string, rank: number): void {
    if (bytes.length < MIN_NEEDLE_BYTES) return;
    const needle = { bytes, flags, variant, rank };
    const alike = this.found.get(bytes.length) ?? [];
    if (alike.length === 0) this.found.set(bytes.length, alike);
    const index = alike.findIndex((each) => (each.flags & NEEDLE.SPACED) === (flags & NEEDLE.SPACED) && each.bytes.equals(bytes));
    if (index < 0) {
      alike.push(needle);
      this.bytes += bytes.length;
      return;
    }
    const twin = alike[index]!;
    bytes.fill(0);
    // The same bytes as a token and as an ordinary needle: the ordinary one masks more.
    const order = (flags & NEEDLE.TOKEN) - (twin.flags & NEEDLE.TOKEN) || rank - twin.rank;
    if (order < 0) alike[index] = { ...needle, bytes: twin.bytes };
  }
}

/** Whether base64 of a short value is what tools make of it alone. */
function isAlone(value: Buffer, spelling: Buffer, name: string): boolean {
  return base64Alone(value, name === "base64url" ? "base64url" : "base64").equals(spelling);
}

function withoutBlanks(bytes: Buffer): Buffer {
  const dense = Buffer.allocUnsafe(bytes.length);
  let length = 0;
  for (let at = 0; at < bytes.length; at++) if (!isBlank(bytes[at]!)) dense[length++] = bytes[at]!;
  return dense.subarray(0, length);
}
