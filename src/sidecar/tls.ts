/** Certificates of a listener, from files. */
import { readFileSync } from "node:fs";
import type { TlsOptions } from "node:tls";
import { LogveilError } from "../errors.js";

/** Paths of PEM files. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  /** Given, a client needs a certificate of one of these authorities. */
  readonly clientCa?: string;
}

/** What a TLS server needs of its files, which the group `field` of the configuration names. Throws `LV_CONFIG` for one that cannot be read. */
export function readTls({ cert, key, clientCa }: TlsFiles, field = "tls"): TlsOptions {
  return {
    cert: readPem(cert, `${field}.cert`),
    key: readPem(key, `${field}.key`),
    minVersion: "TLSv1.2",
    ...(clientCa !== undefined && { ca: readPem(clientCa, `${field}.clientCa`), requestCert: true, rejectUnauthorized: true }),
  };
}

/** The bytes of a PEM file. Throws `LV_CONFIG`. */
export function readPem(path: string, field: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new LogveilError("LV_CONFIG", `${field}: ${path}: cannot be read (${(error as NodeJS.ErrnoException).code}); name a PEM file that can`, {
      cause: error,
    });
  }
}
