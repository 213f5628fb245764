/** The Ed25519 key that signs checkpoints (RFC 8032, by node:crypto): made on first start, refused where others can read it; its public half for verification. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from "node:crypto";
import { closeSync, fstatSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { fastBlake3 } from "../blake3.js";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import { createOnce } from "../once.js";

/** Where the public key lies: beside the private one. */
export const publicKeyFile = (keyFile: string): string => `${keyFile}.pub`;

export interface Signer {
  /** See `PublicKey.id`. */
  readonly keyId: string;
  /** Base64 of the signature. */
  sign(body: Buffer): string;
}

export interface PublicKey {
  /** First 16 hex digits of the BLAKE3 of the raw public key (32 bytes): names the key in records. */
  readonly id: string;
  verify(body: Buffer, signature: Buffer): boolean;
}

/**
 * The signing key in `file` (PKCS#8 PEM); makes it, mode 0600, where there is none, and writes its public half (SPKI PEM) beside it.
 * Throws `LV_AUDIT_KEY` for one that is not Ed25519 or that group or others can read, `LV_IO` where it can be neither read nor made.
 */
export function openSigner(file: string): Signer {
  return guarded(file, () => {
    const key = createPrivateKey(readPrivate(file) ?? makePrivate(file));
    if (key.asymmetricKeyType !== "ed25519") throw new LogveilError("LV_AUDIT_KEY", `${file}: expected an Ed25519 key, found ${key.asymmetricKeyType}`);
    const half = createPublicKey(key);
    const pem = half.export({ type: "spki", format: "pem" });
    if (readIfThere(publicKeyFile(file)) !== pem) writeFileSync(publicKeyFile(file), pem, { mode: 0o644 });
    return { keyId: keyId(half), sign: (body) => sign(null, body, key).toString("base64") };
  });
}

/** Reads a public key (SPKI PEM). Throws `LV_AUDIT_KEY`, `LV_IO`. */
export function readPublicKey(file: string): PublicKey {
  return guarded(file, () => {
    const key = createPublicKey(readFileSync(file));
    if (key.asymmetricKeyType !== "ed25519") throw new LogveilError("LV_AUDIT_KEY", `${file}: expected an Ed25519 key, found ${key.asymmetricKeyType}`);
    return { id: keyId(key), verify: (body, signature) => signature.length === 64 && verify(null, body, key, signature) };
  });
}

function keyId(key: KeyObject): string {
  // The last 32 bytes of an Ed25519 SPKI are the raw key (RFC 8410 §4).
  return fastBlake3()
    .hashHex(key.export({ type: "spki", format: "der" }).subarray(-32))
    .slice(0, 16);
}

/** Errors of the system and of the PEM parser as ours; theirs may quote the file. */
function guarded<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof LogveilError) throw error;
    const { code = "unknown" } = error as NodeJS.ErrnoException;
    if (/^E[A-Z]+$/.test(code)) throw new LogveilError("LV_IO", `${file}: the audit key cannot be read or made: ${reasonAndCure(code)}`, { facts: { code } });
    throw new LogveilError("LV_AUDIT_KEY", `${file}: expected an Ed25519 key in PEM`);
  }
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function readPrivate(file: string): string | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(file, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    // Of what was opened, not of the name: the two may differ by the time it is read. Windows has no such bits.
    const mode = fstatSync(descriptor).mode & 0o777;
    if (process.platform !== "win32" && (mode & 0o077) !== 0)
      throw new LogveilError("LV_AUDIT_KEY", `${file}: others can read the audit key (mode ${mode.toString(8)}); chmod 600`, { facts: { mode } });
    return readFileSync(descriptor, "utf8");
  } finally {
    closeSync(descriptor);
  }
}

function makePrivate(file: string): string {
  createOnce(file, generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }));
  return readPrivate(file)!;
}
