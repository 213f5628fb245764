/** Certificates made for a test: an authority, and what it signs. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { temporary } from "./sidecar.js";

export const HAVE_OPENSSL = existsSync("/usr/bin/openssl");
if (!HAVE_OPENSSL) console.warn("passed over: tests with certificates, for openssl is not installed");

/** Files, and what is in them. */
export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: Buffer;
  readonly key: Buffer;
}

export class Authority {
  private readonly folder = temporary();
  private readonly own: Certificate;
  private count = 0;

  constructor(name = "test authority") {
    this.own = this.openssl(name, []);
  }

  get caFile(): string {
    return this.own.certFile;
  }

  get ca(): Buffer {
    return this.own.cert;
  }

  /** For a server on the loopback interface. */
  server(): Certificate {
    return this.make("sidecar", ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]);
  }

  /** For a client, with these URIs. */
  client(...uris: readonly string[]): Certificate {
    return this.make("client", uris.length === 0 ? [] : ["-addext", `subjectAltName=${uris.map((uri) => `URI:${uri}`).join(",")}`]);
  }

  /** Signs what `openssl req` makes with these arguments. */
  make(name: string, args: readonly string[]): Certificate {
    return this.openssl(name, ["-CA", this.own.certFile, "-CAkey", this.own.keyFile, "-addext", "basicConstraints=CA:FALSE", ...args]);
  }

  private openssl(name: string, args: readonly string[]): Certificate {
    const base = join(this.folder, String(this.count++));
    const [certFile, keyFile] = [`${base}.crt`, `${base}.key`];
    execFileSync(
      "openssl",
      [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        `/CN=${name}`,
        "-out",
        certFile,
        "-keyout",
        keyFile,
        ...args,
      ],
      { stdio: "pipe" },
    );
    return { certFile, keyFile, cert: readFileSync(certFile), key: readFileSync(keyFile) };
  }
}
