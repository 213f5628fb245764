/**
 * Recipes of example text: `ghp_{b62:30}{crc32-b62:6}`. So no look-alike token is stored anywhere. What must be masked stands in `⟦ ⟧`, or is all of it.
 *
 * `{NAME:N}` N characters of an alphabet of bytes.ts (class texts in brackets work too: `{[a-f]:8}`); `{NAME:N-M}` a number of them; `{uuid}`; `{CHECKSUM:N}` the checksum of
 * what stands before it since the last `⟦`; `{base64:…}`, `{base64url:…}`, `{hex:…}` the inner recipe encoded; `{nl}`, `{cr}`, `{tab}`, `{esc}`; `{{` and `}}` braces.
 */
import { createHash } from "node:crypto";
import { ALPHABETS, alphabet } from "./bytes.js";
import { CHECKSUMS } from "./checksums.js";

export interface Example {
  /** Latin-1. */
  readonly text: string;
  /** What must be masked. */
  readonly spans: readonly { readonly start: number; readonly end: number }[];
}

const OPEN = "⟦";
const CLOSE = "⟧";

/** Carries a recipe out. The same recipe and seed give the same text. Throws an Error for a bad one. */
export function cook(recipe: string, seed: string): Example {
  const next = seeded(`${seed}:${recipe}`);
  const marked = expand(recipe, next);
  const spans: { start: number; end: number }[] = [];
  let text = "";
  let start = -1;
  for (const char of marked) {
    if (char === OPEN) start = text.length;
    else if (char === CLOSE) spans.push({ start, end: text.length });
    else text += Buffer.from(char).toString("latin1");
  }
  return { text, spans: spans.length > 0 ? spans : [{ start: 0, end: text.length }] };
}

function expand(recipe: string, next: (below: number) => number): string {
  let out = "";
  for (let at = 0; at < recipe.length;) {
    if (recipe.startsWith("{{", at) || recipe.startsWith("}}", at)) {
      out += recipe[at];
      at += 2;
    } else if (recipe[at] === "{") {
      const end = closing(recipe, at);
      out += fill(recipe.slice(at + 1, end), out, next);
      at = end + 1;
    } else out += recipe[at++];
  }
  return out;
}

function closing(recipe: string, from: number): number {
  let depth = 0;
  for (let at = from; at < recipe.length; at++) {
    if (recipe[at] === "{") depth++;
    else if (recipe[at] === "}" && --depth === 0) return at;
  }
  throw new Error(`missing } for the { at ${from + 1}`);
}

const FIXED: Readonly<Record<string, string>> = { nl: "\n", cr: "\r", tab: "\t", esc: "\x1b" };

function fill(field: string, before: string, next: (below: number) => number): string {
  if (Object.hasOwn(FIXED, field)) return FIXED[field]!;
  if (field === "uuid") return [8, 4, 4, 4, 12].map((length) => draw(ALPHABETS["hex"]!, length, next)).join("-");
  const colon = field.lastIndexOf(":");
  const first = field.slice(0, field.indexOf(":"));
  if (first === "base64" || first === "base64url" || first === "hexof") {
    const bytes = Buffer.from(expand(field.slice(first.length + 1), next));
    return bytes.toString(first === "hexof" ? "hex" : first);
  }
  const [name, count] = [field.slice(0, colon), field.slice(colon + 1)];
  const range = /^(\d+)(?:-(\d+))?$/.exec(count);
  if (colon < 0 || range === null) throw new Error(`{${field}}: expected {ALPHABET:LENGTH}`);
  if (Object.hasOwn(CHECKSUMS, name)) return CHECKSUMS[name]!.of(before.slice(before.lastIndexOf(OPEN) + 1));
  const set = name.startsWith("[") ? name.slice(1, -1) : Object.hasOwn(ALPHABETS, name) ? ALPHABETS[name] : undefined;
  if (set === undefined) throw new Error(`{${field}}: no alphabet ${name}`);
  const least = Number(range[1]);
  return draw(set, range[2] === undefined ? least : least + next(Number(range[2]) - least + 1), next);
}

function draw(set: string, length: number, next: (below: number) => number): string {
  const members: number[] = [];
  alphabet(`[${set}]`)!.forEach((member, byte) => member === 1 && byte !== 0x3d && members.push(byte));
  return Array.from({ length }, () => String.fromCharCode(members[next(members.length)]!)).join("");
}

/** Numbers below what is asked for, by SHA-256 in counter mode. */
function seeded(seed: string): (below: number) => number {
  let block: Buffer = Buffer.alloc(0);
  let count = 0;
  return (below) => {
    if (block.length < 4) block = createHash("sha256").update(`${seed}:${count++}`).digest();
    const value = block.readUInt32LE();
    block = block.subarray(4);
    return value % below;
  };
}
