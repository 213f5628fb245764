/** Certificates: of the ports, and what those of clients say. No byte of a key is ever told. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { TLSSocket, TlsOptions } from "node:tls";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";

/** Files, PEM. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  /** Given, clients need a certificate of one of these authorities. */
  readonly clientCa?: string | undefined;
}

/** Forward secrecy and authenticated encryption only, as HTTP/2 demands of TLS 1.2 (RFC 9113 §9.2.2). TLS 1.3 has nothing else. */
const CIPHERS = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:ECDHE+AESGCM:ECDHE+CHACHA20";

/** Reads what a TLS server needs; `field` is the path of the fields in the configuration. Throws `LV_CONFIG` naming field and file. */
export function readTls(files: TlsFiles, field: string): TlsOptions {
  const cert = read(files.cert, `${field}.cert`);
  const leaf = certificates(cert, files.cert, `${field}.cert`)[0]!;
  const key = read(files.key, `${field}.key`);
  if (!matches(leaf, key, files.key, `${field}.key`)) throw wrong(`${field}.key`, files.key, `is not the key of the certificate in ${files.cert}`);
  const base: TlsOptions = { cert, key, minVersion: "TLSv1.2", ciphers: CIPHERS, honorCipherOrder: true };
  if (files.clientCa === undefined) return base;
  return { ...base, ca: readAuthorities(files.clientCa, `${field}.clientCa`), requestCert: true, rejectUnauthorized: true };
}

/** Certificates of authorities. Throws `LV_CONFIG` naming field and file. */
export function readAuthorities(file: string, field: string): Buffer {
  const pem = read(file, field);
  certificates(pem, file, field);
  return pem;
}

const wrong = (field: string, file: string, message: string): LogveilError => new LogveilError("LV_CONFIG", `${field}: ${file} ${message}`);

function read(file: string, field: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw wrong(field, file, `cannot be read: ${reasonAndCure(error)}`);
  }
}

const BEGIN = "-----BEGIN CERTIFICATE-----";

function certificates(pem: Buffer, file: string, field: string): X509Certificate[] {
  const pieces = pem.toString("latin1").split(BEGIN).slice(1);
  if (pieces.length === 0) throw wrong(field, file, "holds no certificate: expected PEM, with BEGIN CERTIFICATE");
  return pieces.map((piece, index) => {
    try {
      return new X509Certificate(BEGIN + piece);
    } catch {
      throw wrong(field, file, `is damaged: certificate ${index + 1} of ${pieces.length} cannot be read`);
    }
  });
}

function matches(certificate: X509Certificate, pem: Buffer, file: string, field: string): boolean {
  try {
    return certificate.checkPrivateKey(createPrivateKey(pem));
  } catch {
    throw wrong(field, file, "holds no private key that can be read: expected PEM without a passphrase");
  }
}

/** Stands for any job where jobs are named. */
export const ANY_JOB = Symbol("any job");
export type JobName = string | typeof ANY_JOB;

/** How a URI in the subjectAltName of a client's certificate names a job: the name follows, percent-encoded; `*` is any job. */
const JOB_URI = "URI:logveil:job:";

/** The jobs that a client's certificate names. */
export function jobsOf(socket: TLSSocket): readonly JobName[] {
  const names = socket.getPeerX509Certificate()?.subjectAltName ?? "";
  // Node quotes a name in which there is a comma: what looks like several may be one.
  if (names.includes('"')) return [];
  return names
    .split(", ")
    .filter((name) => name.startsWith(JOB_URI))
    .map((name) => decodeName(name.slice(JOB_URI.length)))
    .filter((name) => name !== undefined);
}

function decodeName(encoded: string): JobName | undefined {
  try {
    if (encoded === "*") return ANY_JOB;
    return decodeURIComponent(encoded);
  } catch {
    return undefined;
  }
}
