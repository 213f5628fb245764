/** The public types. Words are those of the documentation: secret, variant, needle, span, finding, mask, hold-back. */

/** A known value to hide. */
export interface SecretInput {
  /** What findings and labels show. 1–128 characters of `[A-Za-z0-9_.:/@-]`; other characters are shown as `_`. */
  readonly name: string;
  /** The value. A `Uint8Array` is copied; zero yours after the call. A string is taken as UTF-8 and cannot be wiped from memory. */
  readonly value: string | Uint8Array;
  /** Job that the secret belongs to; absent: every stream. */
  readonly scope?: string;
  /** A `Date` or milliseconds since the epoch. A secret that has expired when it is added is refused; one that expires later stays masked. */
  readonly expiresAt?: Date | number;
}

export type MaskStyle = "label" | "fixed" | "length" | "keyed";

/** How a span looks in the output. */
export interface MaskOptions {
  /** `label` `[REDACTED:NAME]` (default), `fixed` `***`, `length` `*` per byte, `keyed` `[REDACTED:NAME#K3F9…]`. */
  readonly style?: MaskStyle;
  /** The text of a `fixed` mask, or the character of a `length` mask. */
  readonly text?: string;
}

/** Why a secret or a part of it is not masked, or is masked with restrictions. Never holds bytes of it. */
export interface SecretReport {
  /** `refused`: not masked at all. `token`: masked only as a whole token. `duplicate`: same value as another secret. `limited`: a limit left variants or parts of it out. */
  readonly kind: "refused" | "token" | "duplicate" | "limited";
  readonly name: string;
  readonly reason: string;
  /** `limited`: variants in which it is not looked for in full; those of its parts begin with the kind of part, as `leaf:hex`. */
  readonly variants?: readonly string[];
}

/** A masked or exposed span with its cause. Never holds bytes. */
export interface Finding {
  /**
   * `masked`: a whole match. `fragment`: the start of one, cut by silence or the end. `exposed`: already released when it was recognised. `counted`: found by a rule
   * whose policy is not to mask.
   */
  readonly kind: "masked" | "fragment" | "exposed" | "counted";
  /** Name of the secret; of a rule's finding the rule's id. */
  readonly secret: string;
  /** Id of the rule that found it; absent: a known secret. */
  readonly rule?: string;
  /** Of a rule's finding: how sure it is. */
  readonly confidence?: string;
  /** Spelling in which it was found, e.g. `plain`, `base64`. */
  readonly variant: string;
  /** Keyed BLAKE3 of the secret, 8 base32 characters. */
  readonly fingerprint: string;
  /** Name of the stream. */
  readonly stream: string;
  /** 1-based line of `offset`, counted by LF. */
  readonly line: number;
  /** Offset of the span in the stream's input, in bytes. */
  readonly offset: number;
  /** Length of the span in the stream's input, in bytes. */
  readonly length: number;
}

/** Something an operator should know. Never holds bytes. */
export interface Warning {
  readonly code: string;
  readonly message: string;
  readonly secret?: string;
  readonly stream?: string;
}

export interface EngineStats {
  /** Rules that are in force. */
  readonly rules: number;
  readonly secrets: number;
  readonly needles: number;
  readonly needleBytes: number;
  readonly memoryBytes: number;
}
