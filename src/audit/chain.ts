/**
 * One record as one line: how it is hashed, signed and read back. Pure. README.md defines the bytes; nothing else in the project knows them.
 *
 *   {"seq":7,"time":"…","type":"…", … ,"prev":"<hash of the record before>","hash":"<BLAKE3 of all bytes of the line before this field>"}
 */
import { type Blake3, BLAKE3_BYTES } from "../blake3.js";

/** Version of what README.md defines, as this code writes it; it reads that one and those before. */
export const FORMAT = 2;

/** `prev` of the very first record. */
export const GENESIS = "0".repeat(BLAKE3_BYTES * 2);

/** Longest line that is written and read, in bytes. The longest records are summaries of jobs with many secrets. */
export const MAX_LINE_BYTES = 1 << 20;

const HASH_FIELD = ',"hash":"';
const SIGNATURE_FIELD = ',"sig":"';
/** `,"hash":"`, 64 digits, `"}`. */
const HASH_TAIL = HASH_FIELD.length + BLAKE3_BYTES * 2 + 2;
/** Base64 of the 64 bytes of an Ed25519 signature (RFC 8032 §5.1.6). */
const SIGNATURE_CHARACTERS = 88;
/** `,"sig":"`, 88 characters, `"`. */
const SIGNATURE_TAIL = SIGNATURE_FIELD.length + SIGNATURE_CHARACTERS + 1;

/** The place of a record in the chain. */
export interface Link {
  /** Number of the record, from 0, over all files. */
  readonly seq: number;
  /** Its hash, 64 hex digits. */
  readonly hash: string;
}

/** A line as written, with its LF, and its hash. */
export interface Sealed extends Link {
  readonly line: Buffer;
}

/** A line as read whose hash is right. */
export interface Unsealed extends Link {
  readonly prev: string;
  readonly type: string;
  readonly time: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Answers the base64 of the signature over `body`. */
export type Sign = (body: Buffer) => string;

/** A record before it has its place in the chain: written once, however often it is sealed. */
export interface Draft {
  readonly type: string;
  /** RFC 3339, UTC. */
  readonly time: string;
  /** Its fields as JSON, without the braces; empty: none. */
  readonly body: string;
}

/** Writes the fields of a record, in this order. */
export function drafted(type: string, time: string, fields: Readonly<Record<string, unknown>>): Draft {
  return { type, time, body: JSON.stringify(fields).slice(1, -1) };
}

/** Makes a line of a draft, the hash before it, and, for a checkpoint, a signature. */
export function seal(blake3: Blake3, { seq, prev }: { readonly seq: number; readonly prev: string }, { type, time, body }: Draft, sign?: Sign): Sealed {
  const fields = body === "" ? "" : `${body},`;
  let text = `{"seq":${seq},"time":"${time}","type":"${type}",${fields}"prev":"${prev}"`;
  if (sign !== undefined) text += `${SIGNATURE_FIELD}${sign(Buffer.from(text))}"`;
  const hash = blake3.hashHex(Buffer.from(text));
  return { seq, hash, line: Buffer.from(`${text}${HASH_FIELD}${hash}"}\n`) };
}

/** Reads a line without its LF. A string says why it is no record; it holds nothing of the line. */
export function unseal(blake3: Blake3, line: Buffer): Unsealed | string {
  const body = line.length - HASH_TAIL;
  if (
    body < 2 ||
    line[0] !== 0x7b ||
    line.toString("latin1", body, body + HASH_FIELD.length) !== HASH_FIELD ||
    line.toString("latin1", line.length - 2) !== '"}'
  )
    return "it is not a record";
  const hash = line.toString("latin1", body + HASH_FIELD.length, line.length - 2);
  if (blake3.hashHex(line.subarray(0, body)) !== hash) return "its hash is not that of its bytes";
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(line.toString()) as Record<string, unknown>;
  } catch {
    return "it is not JSON";
  }
  const { seq, prev, type, time } = fields;
  if (!Number.isSafeInteger(seq) || typeof prev !== "string" || typeof type !== "string" || typeof time !== "string") return "it lacks seq, time, type or prev";
  return { seq: seq as number, hash, prev, type, time, fields };
}

/** What the signature of a checkpoint covers, and the signature. The line is one that `unseal` took. Undefined: there is none where it must be. */
export function signedPart(line: Buffer): { body: Buffer; signature: Buffer } | undefined {
  const at = line.length - HASH_TAIL - SIGNATURE_TAIL;
  if (at < 2 || line.toString("latin1", at, at + SIGNATURE_FIELD.length) !== SIGNATURE_FIELD || line[line.length - HASH_TAIL - 1] !== 0x22) return undefined;
  const text = line.toString("latin1", at + SIGNATURE_FIELD.length, line.length - HASH_TAIL - 1);
  return { body: line.subarray(0, at), signature: Buffer.from(text, "base64") };
}
