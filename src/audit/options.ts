/** What an audit is opened with. */
import type { Blake3 } from "../blake3.js";
import { LogveilError } from "../errors.js";
import type { OpenFile } from "./journal.js";

export interface AuditOptions {
  /** Folder of the audit; made, mode 0700, where it is missing. */
  readonly folder: string;
  /** Signing key, PKCS#8 PEM; absent: `audit.key` in the folder. Made where it is missing. */
  readonly keyFile?: string;
  /** Digest of the policy in force, up to 64 hex digits: stands in every entry that has none of its own. */
  readonly policy?: string;
  /** A checkpoint is written after so many records. Default 1,000. */
  readonly checkpointRecords?: number;
  /** And so many milliseconds after a record that none covers yet. Default 10,000. */
  readonly checkpointMs?: number;
  /** Size from which on a new file is begun, in bytes. Default 64 MiB; at most a quarter of `maxBytes`. */
  readonly maxFileBytes?: number;
  /** Age from which on the next record begins a new file, in milliseconds. Default one day; at most a quarter of `maxAgeMs`. */
  readonly maxFileMs?: number;
  /** Bytes that may wait for the disk before those who append are to wait (see `Audit.room`). Default 8 MiB. */
  readonly maxQueueBytes?: number;
  /** Files whose last record is older than so many milliseconds are removed. Absent: none is. */
  readonly maxAgeMs?: number;
  /** The oldest files are removed while all have more bytes than this. Absent: they may have any number. */
  readonly maxBytes?: number;
  /** Pause before an audit that cannot be written is tried again, in milliseconds. Default 1,000. */
  readonly retryMs?: number;
  /** Called when the audit cannot be written, once until it can be again; or when another process has taken the folder over, for good. */
  readonly onFailure?: (error: LogveilError) => void;
  /** Called when an audit that could not be written goes on, with how long that was, in milliseconds. */
  readonly onRecovery?: (durationMs: number) => void;
  /** Called when old files were removed: how many, and the number of the last record in them. */
  readonly onPruned?: (files: number, seq: number) => void;
  readonly blake3?: Blake3;
  readonly openFile?: OpenFile;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

const DEFAULTS = Object.freeze({
  checkpointRecords: 1000,
  checkpointMs: 10_000,
  maxFileBytes: 64 << 20,
  maxFileMs: 24 * 3600 * 1000,
  maxQueueBytes: 8 << 20,
});

export type AuditTimes = typeof DEFAULTS;

/** What an audit runs with. */
export function limitsOf(options: AuditOptions): AuditTimes {
  const given = Object.fromEntries(Object.entries(options).filter(([key, value]) => key in DEFAULTS && value !== undefined));
  const limits: AuditTimes = { ...DEFAULTS, ...given };
  // Only whole files are removed: there must be several.
  const quarterOf = (whole: number | undefined): number => Math.max(1, Math.floor((whole ?? Infinity) / 4));
  return {
    ...limits,
    maxFileBytes: Math.min(limits.maxFileBytes, quarterOf(options.maxBytes)),
    maxFileMs: Math.min(limits.maxFileMs, quarterOf(options.maxAgeMs)),
  };
}

/** Throws `LV_USAGE`. */
export function checkOptions(options: AuditOptions): void {
  for (const name of ["checkpointRecords", "checkpointMs", "maxFileBytes", "maxFileMs", "maxQueueBytes", "maxAgeMs", "maxBytes", "retryMs"] as const) {
    const value = options[name];
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 1))
      throw new LogveilError("LV_USAGE", `audit: ${name} must be a whole number of 1 or more`);
  }
  if (options.policy !== undefined && !/^[0-9a-f]{1,64}$/.test(options.policy)) throw new LogveilError("LV_USAGE", "audit: policy must be up to 64 hex digits");
}
