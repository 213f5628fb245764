/**
 * Header fields on their way through the proxy: what concerns one connection stays here, what a masked body makes untrue is dropped or written anew, the rest passes as it is.
 * Fields are lists of names and values in turn, spelled and ordered as they came.
 */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { isIntegrityField } from "../codec/integrity.js";
import { isHttp2 } from "./answers.js";
import { Refusal } from "./refusal.js";

export type Fields = readonly string[];

/** Fields that concern one connection only (RFC 9110 §7.6.1), besides those that `Connection` names. */
const HOP_BY_HOP = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
/** Names the job whose secrets mask the body. */
export const JOB = "logveil-job";
/** What fields begin with that are for us, and not passed on. */
const OURS = "logveil-";
/** Of a request, written anew by who sends it. */
const OWN = new Set([JOB, "host", "expect", "content-length"]);
/** What a trailer must not say (RFC 9110 §6.5.1): it would change how the message is read, or for whom it is. */
const NOT_IN_TRAILERS = new Set([
  ...HOP_BY_HOP,
  ...OWN,
  "authorization",
  "content-encoding",
  "content-range",
  "content-type",
  "cache-control",
  "cookie",
  "logveil-offset",
  "max-forwards",
  "set-cookie",
  "via",
]);

/** Whether a trailer may have this name. */
export const isTrailer = (name: string): boolean => !NOT_IN_TRAILERS.has(name);

/** Throws a {@link Refusal} if a trailer, which has come with the end of the body, says what only a header may. */
export function checkTrailers({ rawTrailers }: IncomingMessage): void {
  if (rawTrailers.some((name, index) => index % 2 === 0 && !isTrailer(name.toLowerCase())))
    throw new Refusal(400, "a trailer says what only a header may", {}, "trailer");
}

/** Names and values, one after another. */
export function* pairs(fields: Fields): Generator<readonly [name: string, value: string], void, void> {
  for (let i = 0; i < fields.length; i += 2) yield [fields[i]!, fields[i + 1]!];
}

/** The members of a list, in lower case. */
export const members = (value: string | undefined): string[] =>
  (value ?? "")
    .toLowerCase()
    .split(",")
    .map((member) => member.trim())
    .filter((member) => member !== "");

/** All values of a field, as one. */
export const valueOf = (fields: Fields, name: string): string | undefined => {
  const values = [...pairs(fields)].filter(([each]) => each.toLowerCase() === name).map(([, value]) => value);
  return values.length === 0 ? undefined : values.join(", ");
};

/** The same fields by their names in lower case. */
export const byName = (fields: Fields): Record<string, string> => {
  const names = new Set([...pairs(fields)].map(([name]) => name.toLowerCase()));
  return Object.fromEntries([...names].map((name) => [name, valueOf(fields, name)!]));
};

/** Fields without those whose name (in lower case) `isDropped`. */
function without(fields: Fields, isDropped: (name: string) => boolean): string[] {
  const passed: string[] = [];
  for (const [name, value] of pairs(fields)) if (!isDropped(name.toLowerCase())) passed.push(name, value);
  return passed;
}

/** A field of a connection, or one that its `Connection` names. */
function concernsConnection(connection: string | undefined): (name: string) => boolean {
  const named = members(connection);
  return (name) => HOP_BY_HOP.has(name) || named.includes(name);
}

/** What is changed in a request besides. Names in lower case. */
export interface RequestChange {
  /** By what `Via` calls this proxy (RFC 9110 §7.6.3). */
  readonly via: string;
  /** Instead of those that came: integrity fields of the masked body. */
  readonly instead?: Readonly<Record<string, string>>;
  /** Names of trailers that follow the body. */
  readonly trailers?: readonly string[];
  /** Given if the response will be masked: codings that it may have. Parts of it are not asked for then: a secret could begin in one and end in another. */
  readonly acceptCodings?: readonly string[];
}

/** What is for us, written anew by who sends the request, or HTTP/2's own. */
const isOwn = (request: IncomingMessage, name: string): boolean =>
  OWN.has(name) || name.startsWith(OURS) || name.startsWith(":") || (isHttp2(request) && name === "cookie");

/** The fields of a request as the upstream gets them, without those that tell its length. */
export function requestFields(request: IncomingMessage, change: RequestChange): string[] {
  const { rawHeaders, headers, httpVersion } = request;
  const { via, instead = {}, trailers = [], acceptCodings } = change;
  const isHop = concernsConnection(headers.connection);
  const isMasked = (name: string): boolean => acceptCodings !== undefined && ["accept-encoding", "range", "if-range"].includes(name);
  const passed = without(rawHeaders, (name) => isHop(name) || isOwn(request, name) || isMasked(name) || Object.hasOwn(instead, name) || name === "via");
  // HTTP/2 may send it in pieces, HTTP/1.1 may not (RFC 9113 §8.2.3).
  if (isHttp2(request) && headers.cookie !== undefined) passed.push("cookie", headers.cookie);
  for (const [name, value] of Object.entries(instead)) passed.push(name, value);
  if (members(valueOf(rawHeaders, "te")).includes("trailers")) passed.push("TE", "trailers");
  if (trailers.length > 0) passed.push("Trailer", trailers.join(", "));
  if (acceptCodings !== undefined) passed.push("Accept-Encoding", accepted(headers["accept-encoding"], acceptCodings));
  passed.push("Via", [...(headers.via === undefined ? [] : [headers.via]), `${httpVersion.replace(/\.0$/, "")} ${via}`].join(", "));
  return passed;
}

/** What of an `Accept-Encoding` can be decoded here; `*` would be anything. */
function accepted(value: string | undefined, codings: readonly string[]): string {
  const kept = members(value).filter((member) => codings.includes(member.split(";")[0]!.trim()));
  return kept.length === 0 ? "identity" : kept.join(", ");
}

/** Whether a request has been here before. */
export const isLoop = ({ via }: IncomingHttpHeaders, own: string): boolean => members(via).some((member) => member.split(" ")[1] === own.toLowerCase());

/** The fields of a response as the client gets them. A masked one has another length, other digests and no parts; a validator (`ETag`) would be that of the unmasked one. */
export function responseFields(fields: Fields, kind: "as it is" | "masked"): string[] {
  const isHop = concernsConnection(valueOf(fields, "connection"));
  const isUntrue = (name: string): boolean => kind === "masked" && (["content-length", "etag", "accept-ranges"].includes(name) || isIntegrityField(name));
  return without(fields, (name) => isHop(name) || isUntrue(name));
}
