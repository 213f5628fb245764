/**
 * Masks: what stands in the output instead of a span, and the proof that it cannot complete a secret (law 6).
 *
 * A mask meets text on both sides. A secret could be completed across the left edge only if some needle ends with a beginning of the mask, or
 * holds the whole mask; across the right edge only if some needle begins with an end of it; inside, only if it holds a needle. Every set of needles
 * is checked once, when its bytes are at hand, against a short list of mask *families*; the first family without such a needle is used.
 * So `***` stays `***` unless a secret begins or ends with `*`, and then becomes `‹***›`. No lookahead, no second pass, and equal for every chunking.
 * Not covered: a backspace right after a mask that takes back its last character on a terminal.
 */
import { LogveilError } from "../errors.js";
import type { NeedleTable } from "./matcher.js";
import { NEEDLE } from "./matcher.js";
import { isBlank } from "./lanes.js";
import type { MaskOptions, MaskStyle } from "../types.js";

/** How one span is masked: a text at its start, or a byte for every byte. */
export type MaskPlan = { readonly kind: "text"; readonly bytes: Buffer } | { readonly kind: "fill"; readonly byte: number };

/** `open + name + close`; without a name the two are one text. */
export interface MaskFamily {
  readonly open: string;
  readonly close: string;
  readonly name: "none" | "name" | "keyed";
}

export interface MaskFamilies {
  readonly style: MaskStyle;
  readonly texts: readonly MaskFamily[];
  readonly fills: readonly number[];
}

/** Which families a set of needles rules out, by index. */
export interface MaskRisks {
  readonly texts: readonly boolean[];
  readonly fills: readonly boolean[];
}

/** Fewest equal bytes in a row that a `length` mask consists of. */
const FILL_RUN = 4;

const QUOTES: readonly (readonly [string, string])[] = [
  ["‹", "›"],
  ["«", "»"],
  ["⟦", "⟧"],
  ["【", "】"],
  ["„", "“"],
];

const DEFAULT_TEXT = "***";

const constant = (text: string): MaskFamily => ({ open: text, close: text, name: "none" });

/** Completes and checks what a caller says of masks. Throws `LV_USAGE`. */
export function checkMask(given: MaskStyle | MaskOptions | undefined): MaskOptions & { style: MaskStyle } {
  const options = typeof given === "string" ? { style: given } : { ...given };
  const style = options.style ?? "label";
  if (!["label", "fixed", "length", "keyed"].includes(style)) throw new LogveilError("LV_USAGE", "mask style must be label, fixed, length or keyed");
  const { text } = options;
  if (text !== undefined) {
    if (style !== "fixed" && style !== "length") throw new LogveilError("LV_USAGE", `a mask text goes with the styles fixed and length, not ${style}`);
    if (style === "length" && !/^[\x21-\x7e]$/.test(text))
      throw new LogveilError("LV_USAGE", "the text of a length mask must be one printable ASCII character");
    if (text === "" || Buffer.byteLength(text) > 64 || /[\p{Cc}\p{Zl}\p{Zp}]/u.test(text)) {
      throw new LogveilError("LV_USAGE", "a mask text must be 1 to 64 bytes without control characters or line ends");
    }
  }
  return { ...options, style };
}

/** The families of a style, the wanted one first. */
export function maskFamilies(options: Required<Pick<MaskOptions, "style">> & MaskOptions): MaskFamilies {
  const { style, text } = options;
  const fills = style !== "length" ? [] : [...(text === undefined ? [] : [text.charCodeAt(0)]), ...Buffer.from("*#x-._~=+|\x7f")];
  const named: MaskFamily[] =
    style === "label" || style === "keyed" ? [{ open: "[REDACTED:", close: "]", name: style === "keyed" ? "keyed" : "name" }, constant("[REDACTED]")] : [];
  const own = style === "fixed" && text !== undefined ? [constant(text)] : [];
  // Of what could be made of a text of one's own rules might take a part for a value.
  const texts = [...named, ...own, constant(DEFAULT_TEXT), ...QUOTES.map(([left, right]) => constant(left + DEFAULT_TEXT + right))];
  return { style, texts, fills };
}

/** Bytes looked at in a piece of work. */
const PIECE_BYTES = 256 << 10;

/** Checks every needle of `table` against every family. Yields how many bytes were looked at since the last time. */
export function* maskRisks(table: NeedleTable, families: MaskFamilies): Generator<number, MaskRisks> {
  const texts = families.texts.map(() => false);
  const fills = families.fills.map(() => false);
  const opens = families.texts.map((family) => Buffer.from(family.open));
  const closes = families.texts.map((family) => Buffer.from(family.close));
  const runs = families.fills.map((fill) => Buffer.alloc(FILL_RUN, fill));
  const { bytes, offsets, flags } = table;
  // A needle that meets a mask holds its first or last byte, or is a fill's: most hold none of those.
  const edges = new Uint8Array(256);
  for (const mask of [...opens, ...closes].flatMap((whole) => [whole, withoutBlanks(whole)])) if (mask.length > 0) edges[mask[0]!] = edges[mask.at(-1)!] = 1;
  for (let i = 0; i < flags.length; i++) {
    const [start, end] = [offsets[i]!, offsets[i + 1]!];
    if (fills.length === 0 && !(yield* holdsAny(bytes, start, end, edges))) continue;
    const needle = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start);
    const spaced = (flags[i]! & NEEDLE.SPACED) !== 0;
    for (const [f, family] of families.texts.entries()) {
      if (texts[f]) continue;
      const open = spaced ? withoutBlanks(opens[f]!) : opens[f]!;
      const close = spaced ? withoutBlanks(closes[f]!) : closes[f]!;
      texts[f] = meetsLeft(needle, open) || meetsRight(needle, close, family.name !== "none");
      yield needle.length >> 2;
    }
    for (const [f, fill] of families.fills.entries()) {
      fills[f] ||= needle[0] === fill || needle.at(-1) === fill || needle.includes(runs[f]!);
      yield needle.length >> 2;
    }
  }
  return { texts, fills };
}

function* holdsAny(bytes: Uint8Array, from: number, to: number, wanted: Uint8Array): Generator<number, boolean> {
  for (let at = from; at < to; at += PIECE_BYTES) {
    const end = Math.min(to, at + PIECE_BYTES);
    yield end - at;
    for (let i = at; i < end; i++) if (wanted[bytes[i]!] === 1) return true;
  }
  return false;
}

/** Some end of `needle` is a beginning of `mask`, or `needle` holds all of it. */
function meetsLeft(needle: Buffer, mask: Buffer): boolean {
  for (let length = Math.min(needle.length, mask.length); length > 0; length--) {
    if (needle.compare(mask, 0, length, needle.length - length) === 0) return true;
  }
  return needle.includes(mask);
}

/** Some beginning of `needle` is an end of `mask`. With `named`, any name may stand before it. */
function meetsRight(needle: Buffer, mask: Buffer, named: boolean): boolean {
  const last = mask.at(-1)!;
  for (let at = needle.indexOf(last); at >= 0 && at < 256; at = needle.indexOf(last, at + 1)) {
    const length = Math.min(at + 1, mask.length);
    if (needle.compare(mask, mask.length - length, mask.length, at + 1 - length, at + 1) !== 0) continue;
    if (at + 1 <= mask.length || (named && needle.subarray(0, at + 1 - length).every(isLabelByte))) return true;
  }
  return false;
}

/** Bytes that occur in a named mask before its close. */
function isLabelByte(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || ((byte & 0xdf) >= 0x41 && (byte & 0xdf) <= 0x5a) || "_.:/@-#[".includes(String.fromCharCode(byte));
}

function withoutBlanks(mask: Buffer): Buffer {
  return Buffer.from(mask.filter((byte) => !isBlank(byte)));
}

/** A secret's name as it may stand in a mask. */
export function labelName(name: string): string {
  return name.replace(/[^A-Za-z0-9_.:/@-]/g, "_").slice(0, 128);
}

const NOTHING = Buffer.alloc(0);

/** Chooses masks for secrets. `holdsNeedle` tells whether a text is masked itself by the needles in force. */
export class Masks {
  private readonly plans = new Map<string, MaskPlan>();
  private readonly fill: MaskPlan | undefined;
  private readonly usable: readonly MaskFamily[];

  constructor(
    private readonly families: MaskFamilies,
    risks: readonly MaskRisks[],
    private readonly holdsNeedle: (text: Buffer) => boolean,
    /** Called when every family is ruled out: the mask may then complete a secret. */
    private readonly exhausted: () => void,
  ) {
    this.usable = families.texts.filter((_, f) => !risks.some((risk) => risk.texts[f]));
    if (families.style === "length") {
      const fill = families.fills.find((_, f) => !risks.some((risk) => risk.fills[f]));
      if (fill === undefined) exhausted();
      this.fill = { kind: "fill", byte: fill ?? families.fills[0]! };
    }
  }

  for(name: string, fingerprint: string): MaskPlan {
    if (this.fill !== undefined) return this.fill;
    const key = `${name}#${fingerprint}`;
    let plan = this.plans.get(key);
    if (plan === undefined) {
      const texts = this.usable.map((family) => render(family, name, fingerprint));
      let bytes = texts.find((text) => !this.holdsNeedle(text));
      if (bytes === undefined) {
        this.exhausted();
        // It may complete a secret with what stands beside it, but holds none itself.
        bytes = this.families.texts.map((family) => render(family, name, fingerprint)).find((text) => !this.holdsNeedle(text)) ?? NOTHING;
      }
      plan = { kind: "text", bytes };
      this.plans.set(key, plan);
    }
    return plan;
  }
}

function render(family: MaskFamily, name: string, fingerprint: string): Buffer {
  if (family.name === "none") return Buffer.from(family.open);
  return Buffer.from(family.open + labelName(name) + (family.name === "keyed" ? `#${fingerprint}` : "") + family.close);
}
