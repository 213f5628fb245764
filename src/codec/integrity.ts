/**
 * Headers that vouch for the bytes of a request body: after masking they are computed anew, or the request is refused. Never does a stale one go on.
 *
 * Pure: works on header fields and on bytes it is shown. All digests here are over the body as it is sent, content codings applied (RFC 9530 §2 and §3, RFC 3230 §4.1, RFC
 * 1864), which for a request without `Content-Range` is the whole representation. Whoever computes them anew vouches for the sender: compare what was
 * received with {@link IntegrityPlan.given} first.
 */
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { crc32c } from "@node-rs/crc32";
import { LogveilError } from "../errors.js";

/** Names in lower case, as Node's HTTP server gives them. */
export type HeaderFields = Readonly<Record<string, string | readonly string[] | undefined>>;

interface Digest {
  update(chunk: Uint8Array): void;
  base64(): string;
}

function hash(name: string): Digest {
  const state = createHash(name);
  let done: string | undefined;
  return { update: (chunk) => void state.update(chunk), base64: () => (done ??= state.digest("base64")) };
}

/** A checksum of 32 bits, sent with its first byte first. */
function checksum(next: (chunk: Buffer, value: number) => number): Digest {
  let value = 0;
  return {
    update: (chunk) => (value = next(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length), value)),
    base64() {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(value >>> 0);
      return bytes.toString("base64");
    },
  };
}

const DIGESTS: Readonly<Record<string, () => Digest>> = {
  md5: () => hash("md5"),
  sha: () => hash("sha1"),
  "sha-256": () => hash("sha256"),
  "sha-512": () => hash("sha512"),
  crc32: () => checksum(crc32),
  crc32c: () => checksum(crc32c),
};

/** How a field writes its digests. */
interface Form {
  /** `list`: algorithms with their digests; else one digest, of this algorithm. */
  readonly algorithms: string;
  /** What encloses a digest in a list. */
  readonly around: "" | ":";
}

const LISTED = ["md5", "sha", "sha-256", "sha-512"];

const FIELDS: Readonly<Record<string, Form>> = {
  // RFC 1864
  "content-md5": { algorithms: "md5", around: "" },
  // RFC 3230, RFC 5843
  digest: { algorithms: "list", around: "" },
  // RFC 9530
  "content-digest": { algorithms: "list", around: ":" },
  "repr-digest": { algorithms: "list", around: ":" },
  // Amazon S3 API reference, "Checking object integrity"
  "x-amz-checksum-crc32": { algorithms: "crc32", around: "" },
  "x-amz-checksum-crc32c": { algorithms: "crc32c", around: "" },
  "x-amz-checksum-sha1": { algorithms: "sha", around: "" },
  "x-amz-checksum-sha256": { algorithms: "sha-256", around: "" },
};

/**
 * Fields that vouch for the body in ways that only the sender can repeat (RFC 9421 signatures), or that are not computed here. Of `x-amz-checksum-` all that are not
 * above: crc64nvme.
 */
const REFUSED = ["signature", "signature-input", "x-amz-trailer", "x-amz-sha256-tree-hash", "x-goog-hash", "x-ms-content-crc64", "x-ms-blob-content-md5"];
/** Settings whose names look like checksums. */
const SETTINGS = ["x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode"];

interface Planned {
  readonly field: string;
  readonly form: Form;
  readonly digests: readonly { readonly name: string; readonly algorithm: string; readonly base64: string }[];
}

export interface IntegrityPlan {
  /** What the sender says, spelled as {@link BodyDigests.fields} spells it. Empty: no header vouches for the body. */
  readonly given: Readonly<Record<string, string>>;
  /** Names of announced trailers that will vouch for it. */
  readonly trailers: readonly string[];
  /** Computes the digests of one body: those of `given`, and all that `trailers` may turn out to need. */
  open(): BodyDigests;
}

/** The digests of a body that is shown piece by piece. */
export interface BodyDigests {
  /** Keeps nothing of the chunk. */
  update(chunk: Uint8Array): void;
  /** The integrity fields of `like` anew, after the last piece. Throws `LV_INTEGRITY` for one that was neither given nor announced. */
  fields(like: HeaderFields): Record<string, string>;
}

/** What must become of a request's integrity headers. Throws `LV_INTEGRITY` if one can neither be kept nor be computed; its `facts.header` names it. */
export function planIntegrity(headers: HeaderFields): IntegrityPlan {
  const planned = plansOf(headers);
  if (planned.some(({ field }) => field === "digest" || field === "repr-digest") && headers["content-range"] !== undefined)
    throw refused("content-range", "makes the digest one of more than this body");
  checkSigned(headers, planned);
  const trailers = announced(headers);
  const later = trailers.flatMap((field) => (FIELDS[field]!.algorithms === "list" ? LISTED : [FIELDS[field]!.algorithms]));
  const algorithms = new Set([...planned.flatMap(({ digests }) => digests.map(({ algorithm }) => algorithm)), ...later]);
  return { given: spelled(planned, ({ base64 }) => base64), trailers, open: () => digestsOf(algorithms) };
}

/** The integrity fields among `fields`, spelled as {@link BodyDigests.fields} spells them. Throws `LV_INTEGRITY` for those that cannot be computed anew. */
export const integrityFields = (fields: HeaderFields): Record<string, string> => spelled(plansOf(fields), ({ base64 }) => base64);

function digestsOf(algorithms: ReadonlySet<string>): BodyDigests {
  const states = new Map([...algorithms].map((algorithm) => [algorithm, DIGESTS[algorithm]!()]));
  return {
    update(chunk) {
      for (const state of states.values()) state.update(chunk);
    },
    fields: (like) =>
      spelled(plansOf(like), ({ algorithm }, field) => {
        const state = states.get(algorithm);
        if (state === undefined) throw refused(field, "was not announced");
        return state.base64();
      }),
  };
}

function plansOf(fields: HeaderFields): Planned[] {
  const planned: Planned[] = [];
  for (const [field, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const text = typeof value === "string" ? value : value.join(", ");
    const form = Object.hasOwn(FIELDS, field) ? FIELDS[field] : undefined;
    if (form !== undefined) planned.push(plan(field, form, text));
    else if (isBeyond(field)) throw refused(field, "cannot be computed anew");
  }
  return planned;
}

/** Fields that vouch for bytes in a way that is not computed here. */
const isBeyond = (field: string): boolean =>
  REFUSED.includes(field) || (field.startsWith("x-amz-checksum-") && !SETTINGS.includes(field) && !Object.hasOwn(FIELDS, field));

/** Whether a field says something about the exact bytes of a body. */
export const isIntegrityField = (field: string): boolean => Object.hasOwn(FIELDS, field) || isBeyond(field);

function plan(field: string, form: Form, text: string): Planned {
  const { algorithms, around } = form;
  if (algorithms !== "list") return { field, form, digests: [{ name: "", algorithm: algorithms, base64: text.trim() }] };
  const digests = text.split(",").map((item) => {
    const at = item.indexOf("=");
    const name = item.slice(0, Math.max(0, at)).trim();
    const algorithm = name.toLowerCase();
    const value = item.slice(at + 1).trim();
    const isEnclosed = value.length >= 2 * around.length && value.startsWith(around) && value.endsWith(around);
    if (!LISTED.includes(algorithm) || !isEnclosed) throw refused(field, "has an algorithm or form that is not known");
    return { name, algorithm, base64: around === "" ? value : value.slice(1, -1) };
  });
  return { field, form, digests };
}

function spelled(planned: readonly Planned[], valueOf: (digest: Planned["digests"][number], field: string) => string): Record<string, string> {
  return Object.fromEntries(
    planned.map(({ field, form: { algorithms, around }, digests }) => [
      field,
      digests.map((digest) => (algorithms === "list" ? `${digest.name}=` : "") + around + valueOf(digest, field) + around).join(", "),
    ]),
  );
}

/** Announced trailers that vouch for the body; those that cannot be computed are refused while that is possible. */
function announced(headers: HeaderFields): string[] {
  const names = words(headers["trailer"]);
  if (names.some(isBeyond)) throw refused("trailer", "announces what cannot be computed anew");
  return names.filter((name) => Object.hasOwn(FIELDS, name));
}

/** AWS Signature Version 4, and signatures in `Authorization` (draft-cavage-http-signatures): over the body, or over what changes with it. */
function checkSigned(headers: HeaderFields, planned: readonly Planned[]): void {
  const payload = words(headers["x-amz-content-sha256"]);
  if (payload.some((value) => value !== "unsigned-payload")) throw refused("x-amz-content-sha256", "signs the body; UNSIGNED-PAYLOAD would not");
  const authorization = String(headers["authorization"] ?? "")
    .toLowerCase()
    .trim();
  if (authorization.startsWith("signature ")) throw refused("authorization", "signs the request");
  if (!authorization.startsWith("aws4-")) return;
  if (payload.length === 0) throw refused("authorization", "signs the body");
  const list = authorization.split("signedheaders=")[1]?.split(",")[0]?.split(";") ?? [];
  const changed = ["content-length", ...planned.map(({ field }) => field)];
  if (list.some((name) => changed.includes(name.trim()))) throw refused("authorization", "signs a header that changes with the body");
}

const words = (value: string | readonly string[] | undefined): string[] =>
  (value === undefined ? [] : typeof value === "string" ? [value] : value).flatMap((line) =>
    line
      .toLowerCase()
      .split(",")
      .map((word) => word.trim()),
  );

function refused(header: string, why: string): LogveilError {
  return new LogveilError("LV_INTEGRITY", `the request cannot be masked: its header ${header} ${why}`, { facts: { header } });
}
