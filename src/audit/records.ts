/**
 * What may be recorded: the entries a caller can append, and the fields that are taken of each. Fields are named one by one, so that nothing a caller's object
 * happens to carry besides gets into a record; none of them can hold bytes of a log.
 */
import { LogveilError } from "../errors.js";
import type { Finding, Warning } from "../types.js";
import type { CauseFields } from "./causes.js";

/** Longest name of a job, stream, secret or rule, in characters: a path may be one. */
const MAX_NAME = 4096;

/** A masked or exposed span, from the engine's finding. */
export interface FindingEntry extends Finding {
  readonly type: "finding";
  readonly job?: string;
  /** Digest of the policy that decided; absent: that of the audit. */
  readonly policy?: string;
  readonly account?: number;
  readonly total?: number;
}

/** Findings of one stream, by their causes; made by a `Ledger`. */
export interface FindingsEntry {
  readonly type: "findings";
  readonly job?: string;
  readonly stream: string;
  readonly policy?: string;
  /** Number of the account, unique from one `start` to the next. */
  readonly account: number;
  /** Findings of the account so far, these included. */
  readonly total: number;
  readonly causes: readonly CauseFields[];
}

/** Something that happened to a job: `begin`, `end`, `failed`, … */
export interface JobEntry {
  readonly type: "job";
  readonly job: string;
  /** `[a-z][a-z0-9-]{0,31}` */
  readonly event: string;
  readonly stream?: string;
  readonly policy?: string;
}

/** What went through one stream of a job; made by a `Ledger`. */
export interface SummaryEntry {
  readonly type: "summary";
  readonly job?: string;
  readonly stream: string;
  /** As in {@link FindingsEntry}. */
  readonly account?: number;
  readonly total?: number;
  /** Length of the log as it came, in bytes. */
  readonly inputBytes: number;
  /** Length of the masked log, in bytes. */
  readonly outputBytes: number;
  /** BLAKE3 of the masked log, 64 hex digits. */
  readonly outputBlake3: string;
  /** Findings by kind: `{"masked":3}`. */
  readonly kinds: Readonly<Record<string, number>>;
  /** Findings by name of a secret. */
  readonly secrets: Readonly<Record<string, number>>;
  /** Findings by id of a rule. */
  readonly rules: Readonly<Record<string, number>>;
  /** Findings of names beyond the thousand most frequent. */
  readonly others?: number;
  /** After a crash: offset of the input from which on findings are counted. Lengths and digest are of all of it. */
  readonly resumedAt?: number;
  readonly policy?: string;
  /** Findings that no record has yet. */
  readonly causes?: readonly CauseFields[];
}

/** Something an operator should know. Of an engine's warning the code is taken, not the message. */
export interface WarningEntry extends Pick<Warning, "code" | "secret" | "stream"> {
  readonly type: "warning";
  readonly job?: string;
}

/** What masks from now on; later records refer to it by its digest. */
export interface PolicyEntry {
  readonly type: "policy";
  readonly policy: string;
}

export type AuditEntry = FindingEntry | FindingsEntry | JobEntry | SummaryEntry | WarningEntry | PolicyEntry;

type Field = "name" | "word" | "code" | "count" | "hex" | "counts" | "base64" | "causes";
type Row = readonly [field: string, kind: Field, need: "must" | "may"];

const JOB: Row = ["job", "name", "may"];
const POLICY: Row = ["policy", "hex", "may"];

const ACCOUNT: readonly Row[] = [
  ["account", "count", "may"],
  ["total", "count", "may"],
];
const CAUSE: readonly Row[] = [
  ["kind", "word", "must"],
  ["secret", "name", "must"],
  ["rule", "name", "may"],
  ["confidence", "word", "may"],
  ["variant", "name", "must"],
];
const SPOT: readonly Row[] = [
  ["line", "count", "must"],
  ["offset", "count", "must"],
];

/** Fields of each cause of findings that are recorded together. */
const CAUSE_FIELDS: readonly Row[] = [
  ...CAUSE,
  ["fingerprint", "name", "may"],
  ["count", "count", "must"],
  ...SPOT,
  ["length", "count", "may"],
  ["places", "base64", "may"],
  ["placesBlake3", "hex", "may"],
  ["lengths", "base64", "may"],
  ["lengthsBlake3", "hex", "may"],
  ["fingerprints", "name", "may"],
  ["fingerprintsBlake3", "hex", "may"],
];

/** Fields of each type, in the order in which they are written. */
const FIELDS: Readonly<Record<AuditEntry["type"], readonly Row[]>> = {
  finding: [JOB, ["stream", "name", "must"], ...CAUSE, ["fingerprint", "name", "must"], ...SPOT, ["length", "count", "must"], POLICY, ...ACCOUNT],
  findings: [JOB, ["stream", "name", "must"], POLICY, ...ACCOUNT, ["causes", "causes", "must"]],
  job: [["job", "name", "must"], ["event", "word", "must"], ["stream", "name", "may"], POLICY],
  summary: [
    JOB,
    ["stream", "name", "must"],
    ["inputBytes", "count", "must"],
    ["outputBytes", "count", "must"],
    ["outputBlake3", "hex", "must"],
    ["kinds", "counts", "must"],
    ["secrets", "counts", "must"],
    ["rules", "counts", "must"],
    ["others", "count", "may"],
    ["resumedAt", "count", "may"],
    POLICY,
    ...ACCOUNT,
    ["causes", "causes", "may"],
  ],
  warning: [JOB, ["code", "code", "must"], ["secret", "name", "may"], ["stream", "name", "may"]],
  policy: [["policy", "hex", "must"]],
};

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

const VALID: Readonly<Record<Field, (value: unknown) => boolean>> = {
  name: (value) => typeof value === "string" && value.length <= MAX_NAME,
  word: (value) => typeof value === "string" && /^[a-z][a-z0-9-]{0,31}$/.test(value),
  code: (value) => typeof value === "string" && /^[A-Z][A-Z0-9_]{0,63}$/.test(value),
  hex: (value) => typeof value === "string" && /^[0-9a-f]{0,64}$/.test(value),
  count: isCount,
  counts: (value) => typeof value === "object" && value !== null && Object.values(value).every(isCount),
  base64: (value) => typeof value === "string" && /^[A-Za-z0-9+/]*={0,2}$/.test(value),
  causes: (value) => Array.isArray(value) && value.length > 0,
};

/** Of an entry the fields that are recorded, checked. `policy` is what stands where the entry has none. Throws `LV_USAGE`, which names field and type only. */
export function recorded(entry: AuditEntry, policy: string | undefined): Record<string, unknown> {
  const rows = Object.hasOwn(FIELDS, entry.type) ? FIELDS[entry.type] : undefined;
  if (rows === undefined) throw new LogveilError("LV_USAGE", `audit: an entry must be one of ${Object.keys(FIELDS).join(", ")}`);
  const { causes, ...fields } = taken(entry.type, rows, { ...entry, policy: (entry as { policy?: string }).policy ?? policy });
  if (causes === undefined) return fields;
  return { ...fields, causes: (causes as readonly CauseFields[]).map((cause) => taken("cause", CAUSE_FIELDS, cause)) };
}

function taken(type: string, rows: readonly Row[], given: object): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const [name, kind, need] of rows) {
    const value = (given as Record<string, unknown>)[name];
    if (value === undefined && need === "may") continue;
    if (!VALID[kind](value)) throw new LogveilError("LV_USAGE", `audit: ${type}.${name} is missing or not a ${kind}`, { facts: { type, field: name } });
    fields[name] = value;
  }
  return fields;
}
