/** Checksums inside tokens. They raise a rule's confidence and never lower it: many valid tokens in the wild carry none. */
import { crc32 } from "node:zlib";

const B62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** `value` in `digits.length`-ary notation, padded to `width`. */
function inBase(value: number, digits: string, width: number): string {
  let text = "";
  for (let rest = value; rest > 0; rest = Math.floor(rest / digits.length)) text = digits[rest % digits.length]! + text;
  return text.padStart(width, "0");
}

const hex = (value: number): string => value.toString(16).padStart(8, "0");
const swapped = (value: number): number => Buffer.from(hex(value), "hex").readUInt32LE();

/** Of a token (Latin-1) without its checksum, the checksum. */
type Checksum = { readonly length: number; readonly of: (token: string) => string };

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");

/** By the names of `patterns/README.md`. */
export const CHECKSUMS: Readonly<Record<string, Checksum>> = Object.freeze({
  /** GitHub, npm: CRC-32 of what stands between the prefix, which ends with `_`, and the checksum (github.blog, 2021-04-05). */
  "crc32-b62": { length: 6, of: (token) => inBase(crc32(bytes(token.slice(token.indexOf("_") + 1))), B62, 6) },
  /** Atlassian: CRC-32 of everything before it, upper-case hex. */
  "crc32-hex": { length: 8, of: (token) => hex(crc32(bytes(token))).toUpperCase() },
  /** Grafana: CRC-32 of everything before the last `_`, little-endian hex. */
  "crc32-le-hex": { length: 8, of: (token) => hex(swapped(crc32(bytes(token.replace(/_$/, ""))))) },
  /** GitLab routable tokens: CRC-32 of everything before it in base 36. */
  "crc32-b36": { length: 7, of: (token) => inBase(crc32(bytes(token)), B62.slice(0, 10) + B62.slice(36), 7) },
});

/** Whether `token` ends with its checksum. */
export function checksumHolds(name: string, token: string): boolean {
  const { length, of } = CHECKSUMS[name]!;
  return token.length > length && of(token.slice(0, -length)) === token.slice(-length);
}
