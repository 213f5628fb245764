/** BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs): the native addon where it loads, plain JavaScript elsewhere. Fingerprints and the audit hash with it. */
import { createRequire } from "node:module";
import { blake3 } from "@noble/hashes/blake3.js";

/** Length of a digest and of a key in bytes. */
export const BLAKE3_BYTES = 32;

/** A hash that takes its input in pieces. */
export interface Blake3Stream {
  update(bytes: Uint8Array): void;
  /** The digest of all bytes so far, in lower case hex. Called once. */
  digestHex(): string;
}

export interface Blake3 {
  /** The digest in lower case hex. */
  hashHex(bytes: Uint8Array): string;
  /** Keyed mode: from a value to its digest in lower case hex. `key` must be 32 bytes long, which the caller checks: the addon aborts the process on any other. */
  keyed(key: Uint8Array): (value: Uint8Array) => string;
  stream(): Blake3Stream;
}

/** What a bundle without addons uses. */
export const portableBlake3: Blake3 = {
  hashHex: (bytes) => hex(blake3(bytes)),
  keyed: (key) => (value) => hex(blake3(value, { key })),
  stream() {
    const state = blake3.create();
    return { update: (bytes) => void state.update(bytes), digestHex: () => hex(state.digest()) };
  },
};

/** The addon, or undefined where it cannot be loaded. Loaded at run time so that bundlers do not meet it. */
export function nativeBlake3(): Blake3 | undefined {
  const base: string | undefined = import.meta.url;
  if (base === undefined || base === "") return undefined;
  try {
    const addon = createRequire(base)("@napi-rs/blake-hash") as typeof import("@napi-rs/blake-hash");
    // One state for all, and hex from the addon: a buffer that the addon makes takes longer than hashing a line.
    const whole = new addon.Blake3Hasher();
    return {
      hashHex(bytes) {
        whole.reset();
        return whole.update(buffer(bytes)).digest("hex");
      },
      keyed(key) {
        // One state for all values: making one takes longer than hashing a short value.
        const state = addon.Blake3Hasher.newKeyed(buffer(key));
        return (value) => {
          state.reset();
          return state.update(buffer(value)).digest("hex");
        };
      },
      stream() {
        const state = new addon.Blake3Hasher();
        return { update: (bytes) => void state.update(buffer(bytes)), digestHex: () => state.digest("hex") };
      },
    };
  } catch {
    return undefined;
  }
}

let chosen: Blake3 | undefined;

/** The fastest there is. Loaded when first asked for: loading takes a while. */
export const fastBlake3 = (): Blake3 => (chosen ??= nativeBlake3() ?? portableBlake3);

/** The same bytes as a `Buffer`, not copied. */
const buffer = (bytes: Uint8Array): Buffer => (Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));

const hex = (bytes: Uint8Array): string => buffer(bytes).toString("hex");
