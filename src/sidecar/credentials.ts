/** Header fields on their way to the upstream: which a client's request may leave on disk, and those that the sidecar adds by itself. */
import { readFileSync } from "node:fs";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import { isIntegrityField } from "../codec/integrity.js";
import type { SecretInput } from "../types.js";
import { type Fields, pairs } from "./fields.js";

/** Fields that are known to hold no credential. Any other may: tokens come under many names. */
const HARMLESS = new Set([
  "accept",
  "accept-charset",
  "accept-encoding",
  "accept-language",
  "b3",
  "baggage",
  "cache-control",
  "content-disposition",
  "content-encoding",
  "content-language",
  "content-location",
  "content-range",
  "content-type",
  "date",
  "forwarded",
  "from",
  "idempotency-key",
  "if-match",
  "if-none-match",
  "origin",
  "pragma",
  "priority",
  "sec-fetch-dest",
  "sec-fetch-mode",
  "sec-fetch-site",
  "traceparent",
  "tracestate",
  "user-agent",
  "via",
  "x-b3-flags",
  "x-b3-parentspanid",
  "x-b3-sampled",
  "x-b3-spanid",
  "x-b3-traceid",
  "x-correlation-id",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-proto",
  "x-prometheus-remote-write-version",
  "x-request-id",
  "x-scope-orgid",
]);

/** Fields that say what a message is or whom it is for: no one's to add. */
const NOT_TO_ADD = new Set([
  "connection",
  "content-encoding",
  "content-length",
  "content-type",
  "expect",
  "host",
  "keep-alive",
  "logveil-job",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Name of the first field that may hold a credential, unless it is one of `others`, in lower case. */
export const mayHoldCredential = (fields: Fields, others: ReadonlySet<string>): string | undefined =>
  namesOf(fields).find((name) => !HARMLESS.has(name) && !isIntegrityField(name) && !others.has(name));

/** In lower case. */
export const namesOf = (fields: Fields): string[] => [...pairs(fields)].map(([name]) => name.toLowerCase());

/** Fields but those of some names, in lower case. */
export function without(fields: Fields, names: readonly string[]): string[] {
  return fields.filter((_, index) => !names.includes(fields[index - (index % 2)]!.toLowerCase()));
}

/** Fields with others in the place of those of the same names. */
export const withFields = (fields: Fields, added: Fields): string[] => [...without(fields, namesOf(added)), ...added];

/** Reads a file of fields, `Name: value` in each line. Throws `LV_CONFIG`, which quotes nothing of it. */
export function readFields(file: string): string[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new LogveilError("LV_CONFIG", `upstream.headersFile: ${file}: cannot be read: ${reasonAndCure(error)}`);
  }
  const fields: string[] = [];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const colon = line.indexOf(":");
    const [name, value] = [line.slice(0, colon), line.slice(colon + 1).trim()];
    const where = `upstream.headersFile: ${file}:${index + 1}`;
    if (colon < 0 || !/^[\w!#$%&'*+.^`|~-]+$/.test(name) || !/^[\x20-\x7e]+$/.test(value))
      throw new LogveilError("LV_CONFIG", `${where}: expected a header field such as Authorization: Bearer …, in ASCII`);
    const lower = name.toLowerCase();
    if (NOT_TO_ADD.has(lower)) throw new LogveilError("LV_CONFIG", `${where}: this field is not to be added: it says how a message is sent`);
    if (namesOf(fields).includes(lower)) throw new LogveilError("LV_CONFIG", `${where}: there is such a field already`);
    fields.push(name, value);
  }
  if (fields.length === 0) throw new LogveilError("LV_CONFIG", `upstream.headersFile: ${file}: there is no header field in it`);
  return fields;
}

/** Values of fields as secrets, each without the word before it that says what kind it is, as in `Bearer …`. */
export const credentialsOf = (fields: Fields): SecretInput[] =>
  namesOf(fields).map((name, index) => ({ name: `UPSTREAM_${name.toUpperCase().replaceAll("-", "_")}`, value: fields[2 * index + 1]!.split(" ").at(-1)! }));
