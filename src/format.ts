/** Versions of what is kept on disk. State of a version that this code does not know is refused: reading it as far as it goes could lose or unmask something. */
import { LogveilError } from "./errors.js";

/** What is checked: where it is, what it is called, and the newest version that can be read. */
export interface Versioned {
  readonly path: string;
  /** As in "the spool", "the digests of issued tokens". */
  readonly what: string;
  readonly supported: number;
}

/**
 * Checks the version that stands in state on disk; absent: it was written before versions were, which is version 1. Throws `LV_FORMAT` for one that is newer than
 * `supported` (facts `path`, `found`, `supported`), or not a version.
 */
export function checkFormat(found: unknown, { path, what, supported }: Versioned): void {
  const version = found === undefined ? 1 : found;
  const isVersion = typeof version === "number" && Number.isSafeInteger(version) && version >= 1;
  if (isVersion && version <= supported) return;
  const facts = { path, supported, ...(isVersion && { found: version }) };
  if (!isVersion)
    throw new LogveilError("LV_FORMAT", `${path}: the format of ${what} is not a whole number of 1 or more: restore the file from a copy`, { facts });
  throw new LogveilError(
    "LV_FORMAT",
    `${path}: ${what} has format ${version}, this logveil reads formats up to ${supported}: start the logveil that wrote it or a newer one, or use another folder`,
    { facts },
  );
}
