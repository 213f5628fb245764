/** Every limit, with unit and reason. Callers override single ones through `createEngine({ limits })`. */
import { LogveilError } from "./errors.js";

export interface Limits {
  /** Longest secret accepted, in bytes. Its longest spelling is about twelve times that, and so is the hold-back it can cause. */
  readonly maxSecretBytes: number;
  /**
   * Bytes that one secret is looked for as, over all its spellings and parts; what goes beyond is left out, the least important first, and reported. A secret of 100 KiB fits
   * with all it has; the largest with itself, its parts, base64, and what is usual besides. An automaton takes three times as much memory, the portable one twenty times. A value that a rule finds gets `inlineBuildBytes`.
   */
  readonly maxNeedleBytes: number;
  /** Deleted bytes (escape sequences, newlines) one unfinished match may span before it is given up as after silence. Bounds hold-back. */
  readonly maxGapBytes: number;
  /** Silence after which the shells call `idle()`, in milliseconds. */
  readonly holdBackMs: number;
  /** Released input kept to tell what a late secret exposed, in bytes per stream. */
  readonly exposureWindowBytes: number;
  /** Most parts taken from one structured secret. */
  readonly maxLeaves: number;
  /** Masks of one secret in one stream from which on its rate is judged. */
  readonly overMaskHits: number;
  /** Masks of one secret per KiB of stream that are reported as over-masking. */
  readonly overMaskPerKiB: number;
  /** Most values of one scope that rules may find and that are then looked for in other spellings. */
  readonly maxLearned: number;
  /** Needles added late above which they are built off the event loop. */
  readonly inlineBuildNeedles: number;
  /** The same by their bytes together: building half a MiB takes some milliseconds. */
  readonly inlineBuildBytes: number;
}

export const DEFAULT_LIMITS: Limits = Object.freeze({
  maxSecretBytes: 1 << 20,
  maxNeedleBytes: 16 << 20,
  maxGapBytes: 1 << 16,
  holdBackMs: 500,
  exposureWindowBytes: 1 << 16,
  maxLeaves: 256,
  overMaskHits: 1000,
  overMaskPerKiB: 2,
  maxLearned: 256,
  inlineBuildNeedles: 2000,
  inlineBuildBytes: 512 << 10,
});

/** Largest piece handed to a matcher at once; longer chunks are cut. Keeps result arrays and pauses small. */
export const SCAN_BYTES = 1 << 20;

/** Completes and checks a caller's limits. Throws `LV_USAGE`. */
export function resolveLimits(given: Partial<Limits> = {}): Limits {
  for (const [key, value] of Object.entries(given)) {
    if (!(key in DEFAULT_LIMITS)) throw new LogveilError("LV_USAGE", `limits.${key} is not a limit; known: ${Object.keys(DEFAULT_LIMITS).join(", ")}`);
    if (value !== undefined && !(Number.isFinite(value) && value >= 0)) throw new LogveilError("LV_USAGE", `limits.${key} must be a number of 0 or more`);
  }
  const limits = { ...DEFAULT_LIMITS, ...given };
  if (limits.maxGapBytes < 64) throw new LogveilError("LV_USAGE", "limits.maxGapBytes must be at least 64: one colour sequence takes up to 20 bytes");
  return Object.freeze(limits);
}
