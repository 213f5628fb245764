/**
 * Bodies that are parts of a larger one: a secret could begin in one and end in the next, and where a mask is shorter or longer than the secret, all offsets behind it are wrong. What
 * says so is known by its header fields or query; such a request is refused until a route serves it. A new protocol is a row.
 */
import type { IncomingMessage } from "node:http";
import { Refusal } from "./refusal.js";

interface Row {
  /** What says that the body is a part. */
  readonly sign: string;
  /** The route that will serve it, and for which clients. */
  readonly route: string;
  fits(headers: Headers, query: Query): boolean;
}

/** Header fields by their names in lower case, with `-` for `_`: some servers read them so. */
type Headers = ReadonlyMap<string, string>;

/** Parameters by their names in lower case, without `-`, `_` and `.`. */
type Query = ReadonlyMap<string, readonly string[]>;

/** Whether one of the parameters has a value of this form; the same name may come several times. */
const hasAny = (query: Query, names: readonly string[], form = /^\d+$/): boolean => names.some((name) => query.get(name)?.some((value) => form.test(value)));

/** Names of the place of a part, of its number, and of its length. */
const PLACES = ["offset", "byteoffset", "startoffset", "fileoffset", "uploadoffset", "chunkoffset", "position"];
const NUMBERS = [
  "partnumber",
  "partno",
  "partindex",
  "part",
  "chunk",
  "chunkno",
  "chunkid",
  "chunkindex",
  "chunknumber",
  "blockno",
  "blocknumber",
  "resumablechunknumber",
];
const BYTE_RANGE = /^(?:bytes[= ])?\d+-\d+(?:\/(?:\d+|\*))?$/;
/** What stands beside an offset that counts results of a search, not bytes. */
const PAGING = ["limit", "perpage", "pagesize", "page", "maxresults"];
/** `X-Upload-Offset`, `X-Goog-Upload-Offset`, `Chunk-Number` and their like. */
const PART_FIELD = /^(?:x-)?(?:[a-z]+-)?(?:upload|update|chunk|part|file|block)-(?:offset|index|number|(?:content-)?range|no)$/;

const ROWS: readonly Row[] = [
  {
    sign: "x-ms-blob-condition-appendpos, or comp=appendblock, block or page in the query",
    route: "azure-blob (append and block blobs, as GitHub Actions writes its logs)",
    fits: (headers, query) =>
      headers.has("x-ms-blob-condition-appendpos") ||
      hasAny(query, ["comp"], /^(?:appendblock|block|page|range)$/i) ||
      (hasAny(query, ["action"], /^append$/i) && query.has("position")),
  },
  {
    sign: "partNumber and uploadId in the query",
    route: "s3-multipart (uploads to S3 in parts)",
    fits: (_, query) => query.has("partnumber") && query.has("uploadid"),
  },
  {
    sign: "sequence, offset and size in the query",
    route: "buildkite-chunks (the agent of Buildkite)",
    fits: (_, query) => hasAny(query, ["sequence"]) && hasAny(query, ["offset", "size"]),
  },
  {
    sign: "Content-Range",
    route: "gitlab-trace (runners of GitLab), or resumable-upload (others),",
    fits: (headers) => ["content-range", "x-content-range", "x-ms-range"].some((name) => headers.has(name)),
  },
  {
    sign: "Upload-Offset, or another header field of an upload in parts",
    route: "resumable-upload (tus and its like)",
    fits: (headers) =>
      headers.has("upload-offset") ||
      headers.get("upload-complete")?.includes("?0") === true ||
      headers.get("upload-incomplete")?.includes("?1") === true ||
      [...headers.keys()].some((name) => PART_FIELD.test(name)),
  },
  {
    sign: "the number or offset of a part in the query",
    route: "resumable-upload",
    fits: (_, query) => hasAny(query, NUMBERS) || hasAny(query, ["range"], BYTE_RANGE) || (hasAny(query, PLACES) && !PAGING.some((name) => query.has(name))),
  },
];

/** Throws a {@link Refusal} if a request says that its body is a part of a larger one. */
export function checkIsWhole({ headers, url = "/" }: IncomingMessage): void {
  const query = queryOf(url);
  const named = new Map(Object.entries(headers).map(([name, value]) => [name.replaceAll("_", "-"), String(value)]));
  const row = ROWS.find((each) => each.fits(named, query));
  if (row === undefined) return;
  throw new Refusal(
    422,
    `${row.sign} says that this body is a part of a larger one: a secret may reach over its end, and masks would shift what follows. ` +
      `No route takes such parts yet; the route ${row.route} will. Until then send the whole log in one request, or to /v1/jobs/JOB/streams/STREAM of a sidecar without upstream.url`,
    {},
    "part",
  );
}

function queryOf(url: string): Query {
  const at = url.indexOf("?");
  if (at < 0) return NONE;
  const query = new Map<string, string[]>();
  for (const [name, value] of new URLSearchParams(url.slice(at + 1))) {
    const plain = name.toLowerCase().replace(/[-_.]/g, "");
    query.set(plain, [...(query.get(plain) ?? []), value]);
  }
  return query;
}

const NONE: Query = new Map();
