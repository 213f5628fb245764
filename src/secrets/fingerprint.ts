/** Keyed fingerprints: tell two secrets apart in findings without giving either away. BLAKE3 in keyed mode, 40 bits, base32. */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { BLAKE3_BYTES, type Blake3, fastBlake3 } from "../blake3.js";
import { LogveilError } from "../errors.js";
import { reasonOf } from "../io-error.js";
import { createOnce } from "../once.js";

/** Length of a fingerprint key in bytes. */
export const KEY_BYTES = BLAKE3_BYTES;
const FINGERPRINT_BYTES = 5;
const BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** A function from a secret to its fingerprint of 8 base32 characters (RFC 4648 §6). Throws `LV_KEY_LENGTH` unless `key` has 32 bytes. */
export function fingerprinter(key: Uint8Array, hash?: Blake3): (value: Uint8Array) => string {
  // Checked here and not by the binding: that one aborts the whole process.
  if (!(key instanceof Uint8Array) || key.length !== KEY_BYTES) {
    throw new LogveilError("LV_KEY_LENGTH", `a fingerprint key must be ${KEY_BYTES} bytes long`, { facts: { bytes: key?.length } });
  }
  const own = Uint8Array.from(key);
  let keyed: ((value: Uint8Array) => string) | undefined;
  return (value) => base32((keyed ??= (hash ?? fastBlake3()).keyed(own))(value));
}

/** The first 5 bytes of a digest in hex, in base32. */
function base32(digest: string): string {
  const half = FINGERPRINT_BYTES * 4;
  let text = "";
  // Two numbers of 20 bits, four characters each.
  for (let bit = 0; bit < 2 * half; bit += half) {
    const number = Number.parseInt(digest.slice(bit / 4, (bit + half) / 4), 16);
    for (let shift = half - 5; shift >= 0; shift -= 5) text += BASE32[(number >> shift) & 31]!;
  }
  return text;
}

/**
 * The key of this installation, made on first use: `fingerprint.key` in `directory`, by default `$XDG_STATE_HOME/logveil` or `~/.local/state/logveil`.
 * Readable by its owner only. Throws `LV_KEY_LENGTH` for a damaged file, `LV_IO` where it can be neither read nor made.
 */
export function installationKey(directory = join(process.env["XDG_STATE_HOME"] || join(homedir(), ".local", "state"), "logveil")): Buffer {
  const file = join(directory, "fingerprint.key");
  try {
    return readKey(file) ?? makeKey(directory, file);
  } catch (error) {
    if (error instanceof LogveilError) throw error;
    throw new LogveilError("LV_IO", `${file}: cannot keep the fingerprint key there: ${reasonOf(error)}; set XDG_STATE_HOME to a writable folder`, {
      cause: error,
    });
  }
}

function readKey(file: string): Buffer | undefined {
  let key: Buffer;
  try {
    key = readFileSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  if (key.length !== KEY_BYTES)
    throw new LogveilError("LV_KEY_LENGTH", `${file}: expected ${KEY_BYTES} bytes, found ${key.length}; delete the file to have a new key made`);
  return key;
}

function makeKey(directory: string, file: string): Buffer {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  createOnce(file, randomBytes(KEY_BYTES));
  return readKey(file)!;
}
