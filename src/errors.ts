/** The one error class. Codes are API (docs/errors.md lists them); messages and facts never hold input bytes or secret values. */

export type ErrorCode =
  /** An argument or option that the caller got wrong. */
  | "LV_USAGE"
  /** A configuration or secrets file that cannot be understood. */
  | "LV_CONFIG"
  /** Reading, writing or decoding failed. */
  | "LV_IO"
  /** State on disk was written by a newer version, or says no version. */
  | "LV_FORMAT"
  /** A file that cannot be masked as it lies there: a container, a compressed format, text in UTF-16; it is left alone. */
  | "LV_NOT_CLEAN"
  /** A file that was written to while it was masked; it is left alone. */
  | "LV_CHANGED"
  /** A body that is not what its content type says. */
  | "LV_FRAMING"
  /** Compressed content that is damaged, cut off, in a coding not known, or beyond a limit. */
  | "LV_DECODE"
  /** A request whose integrity header cannot be made right after masking. */
  | "LV_INTEGRITY"
  /** A fingerprint key that is not 32 bytes long. */
  | "LV_KEY_LENGTH"
  /** A secret longer than `limits.maxSecretBytes`. */
  | "LV_SECRET_TOO_LONG"
  /** The name of a secret holds the value of one. */
  | "LV_SECRET_NAME"
  /** The text of the mask holds a secret, or is what a rule would mask. */
  | "LV_MASK_TEXT"
  /** The native engine was demanded and no addon could be loaded. */
  | "LV_NATIVE_MISSING"
  /** A rule or a file of rules that cannot be understood, or does not do what it says. */
  | "LV_RULES"
  /** The package re2, which rules need, cannot be loaded. */
  | "LV_RE2_MISSING"
  /** The native addon refused an argument: a defect of ours. */
  | "LV_NATIVE_ARGUMENT"
  /** The audit cannot be written now: the caller must not go on as if it were. It is tried again. */
  | "LV_AUDIT_WRITE"
  /** Another process writes the audit of this folder. */
  | "LV_AUDIT_LOCKED"
  /** A signing or public key that cannot be used, or that others can read. */
  | "LV_AUDIT_KEY"
  /** The audit in the folder is damaged beyond what a crash does, so its chain cannot go on. */
  | "LV_AUDIT_BROKEN"
  /** The engine, scope or stream has been closed. */
  | "LV_CLOSED"
  /** The caller's AbortSignal fired. */
  | "LV_ABORTED";

export class LogveilError extends Error {
  readonly code: ErrorCode;
  /** What the message says, as fields. */
  readonly facts: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; facts?: Record<string, unknown> } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "LogveilError";
    this.code = code;
    this.facts = Object.freeze({ ...options.facts });
  }
}
