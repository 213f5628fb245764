/** TLS on the data port and the control API over TCP: versions, ALPN, certificates of clients and the jobs they name; what is wrong with files, told without a byte of a key. */
import { execFile } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { Agent, request as send, type RequestOptions } from "node:https";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { promisify } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { readTls } from "../../src/sidecar/tls.js";
import { Authority, type Certificate, HAVE_OPENSSL } from "../support/certificates.js";
import { call, start, temporary } from "../support/sidecar.js";
import { proxied } from "../support/upstream.js";

const LOG = "/v1/jobs/build-1/streams/stdout";
const run = promisify(execFile);

async function secured(authority: Authority, mutual: "mutual" | "server only", change: object = {}): Promise<Awaited<ReturnType<typeof start>>> {
  const { certFile, keyFile } = authority.server();
  return start({ tls: readTls({ cert: certFile, key: keyFile, clientCa: mutual === "mutual" ? authority.caFile : undefined }, "tls"), ...change });
}

interface Asked {
  readonly status: number;
  readonly body: string;
}

/** Over TLS and HTTP/1.1; rejects where there is no connection. */
function ask(port: number, authority: Authority, client: Certificate | undefined, method: string, path: string, body = "", headers = {}): Promise<Asked> {
  const options: RequestOptions = { port, method, path, headers, ca: authority.ca, agent: false, ...(client && { cert: client.cert, key: client.key }) };
  return new Promise((resolve, reject) => {
    const request = send({ host: "127.0.0.1", ...options }, (response) => {
      let text = "";
      response
        .setEncoding("utf8")
        .on("data", (piece: string) => (text += piece))
        .on("end", () => resolve({ status: response.statusCode!, body: text }));
    });
    request.on("error", reject).end(body);
  });
}

/** What a handshake ends in: the protocol, or the code of the error. */
function handshake(port: number, options: ConnectionOptions): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1", ...options }, () => {
      resolve(`${socket.getProtocol()} ${socket.alpnProtocol === false ? "none" : socket.alpnProtocol}`);
      socket.destroy();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "failed"));
  });
}

describe.runIf(HAVE_OPENSSL)("with certificates", () => {
  test("TLS 1.2 and 1.3 with HTTP/1.1 and HTTP/2, nothing older and nothing in cleartext", async () => {
    const authority = new Authority();
    const { sidecar, logs } = await secured(authority, "server only");
    const { port } = sidecar.listen;
    const { ca } = authority;
    expect(await handshake(port, { ca, ALPNProtocols: ["h2", "http/1.1"] })).toBe("TLSv1.3 h2");
    expect(await handshake(port, { ca, ALPNProtocols: ["http/1.1"], maxVersion: "TLSv1.2" })).toBe("TLSv1.2 http/1.1");
    expect(await handshake(port, { ca })).toBe("TLSv1.3 none");
    expect(await handshake(port, { ca, minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" })).toMatch(/^(ERR_SSL|ECONNRESET)/);
    expect(await handshake(port, { ca, ALPNProtocols: ["spdy/3"] })).toMatch(/^ERR_SSL/);
    // No forward secrecy.
    expect(await handshake(port, { ca, maxVersion: "TLSv1.2", ciphers: "AES256-GCM-SHA384" })).toMatch(/^ERR_SSL/);
    await expect(call({ port }, "GET", LOG)).rejects.toThrow();
    expect((await ask(port, authority, undefined, "POST", LOG, "hello global-secret-0123456789\n")).status).toBe(200);
    const client = connectHttp2(`https://127.0.0.1:${port}`, { ca });
    onTestFinished(() => client.destroy());
    let text = "";
    const got = client.request({ ":path": LOG });
    await new Promise((resolve) =>
      got
        .setEncoding("utf8")
        .on("data", (piece: string) => (text += piece))
        .on("end", resolve),
    );
    expect(text).toBe("hello [REDACTED:GLOBAL]\n");
    expect(logs).toEqual([]);
  });

  test.runIf(existsSync("/usr/bin/curl"))("64 MB by curl --http2 and back again are the same bytes", { timeout: 600_000 }, async () => {
    const authority = new Authority();
    const { certFile, keyFile } = authority.server();
    const { sidecar } = await proxied({ tls: readTls({ cert: certFile, key: keyFile }, "tls") }, (request, response) => {
      const pieces: Buffer[] = [];
      request.on("data", (piece: Buffer) => pieces.push(piece));
      request.on("end", () => response.writeHead(200, { "content-type": "text/plain" }).end(Buffer.concat(pieces)));
    });
    const folder = temporary();
    writeFileSync(join(folder, "log"), Buffer.alloc(64_000_000, "a line of an ordinary log, with nothing in it\n"));
    const args = ["-sS", "--http2", "--cacert", authority.caFile, "-H", "content-type: text/plain", "-T", join(folder, "log")];
    const { stdout } = await run("curl", [
      ...args,
      "-w",
      "%{http_version} %{http_code}",
      "-o",
      join(folder, "back"),
      `https://127.0.0.1:${sidecar.listen.port}/x`,
    ]);
    expect(stdout).toBe("2 200");
    expect(readFileSync(join(folder, "back")).equals(readFileSync(join(folder, "log")))).toBe(true);
  });

  test("with authorities of clients, one without a certificate gets nowhere; one writes to the job that its certificate names", async () => {
    const [authority, stranger] = [new Authority(), new Authority("stranger")];
    const { sidecar } = await secured(authority, "mutual");
    const { port } = sidecar.listen;
    for (const none of [undefined, stranger.client("logveil:job:build-1")]) await expect(ask(port, authority, none, "POST", LOG, "x")).rejects.toThrow();
    const one = authority.client("logveil:job:build-1");
    const two = authority.client("logveil:job:build-2", "logveil:job:a%2Fb%20c", "https://example.org/");
    const all = authority.client("logveil:job:*");
    expect((await ask(port, authority, one, "POST", LOG, "one\n")).status).toBe(200);
    for (const method of ["GET", "POST", "HEAD"]) expect((await ask(port, authority, two, method, LOG, "")).status).toBe(403);
    expect((await ask(port, authority, two, "POST", "/v1/jobs/a%2Fb%20c/streams/s", "two\n")).status).toBe(200);
    expect((await ask(port, authority, two, "POST", "/v1/jobs/*/streams/s", "two\n")).status).toBe(403);
    expect((await ask(port, authority, all, "GET", LOG)).body).toBe("one\n");
    const list = async (client: Certificate): Promise<string[]> =>
      (JSON.parse((await ask(port, authority, client, "GET", "/v1/jobs")).body) as { jobs: { job: string }[] }).jobs.map(({ job }) => job).toSorted();
    expect([await list(one), await list(two), await list(all)]).toEqual([["build-1"], ["a/b c"], ["a/b c", "build-1"]]);
    expect((await ask(port, authority, two, "GET", "/v1/jobs/build-1")).status).toBe(403);
  });

  test("a session that is resumed is of the same client", async () => {
    const authority = new Authority();
    const { sidecar } = await secured(authority, "mutual");
    const { ca } = authority;
    const { cert, key } = authority.client("logveil:job:build-1");
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
      const agent = new Agent({ keepAlive: false, ca, cert, key, maxVersion });
      const statusOf = (path: string): Promise<[number, boolean]> =>
        new Promise((resolve, reject) => {
          send({ host: "127.0.0.1", port: sidecar.listen.port, path, method: "POST", agent }, (response) => {
            const isReused = (response.socket as TLSSocket).isSessionReused();
            response.resume().on("end", () => resolve([response.statusCode!, isReused]));
          })
            .on("error", reject)
            .end();
        });
      expect(await statusOf(LOG)).toEqual([200, false]);
      expect(await statusOf(LOG)).toEqual([200, true]);
      expect(await statusOf(LOG.replace("build-1", "build-2"))).toEqual([403, true]);
    }
  });

  test("a certificate that names no job needs a token; a name within a name is none", async () => {
    const authority = new Authority();
    const { sidecar } = await secured(authority, "mutual");
    const { port } = sidecar.listen;
    const { token } = JSON.parse((await call({ socket: sidecar.socket! }, "POST", "/v1/jobs/build-1/token")).body) as { token: string };
    for (const client of [authority.client(), authority.client("logveil:job:%zz")]) {
      const refused = await ask(port, authority, client, "POST", LOG, "x\n");
      expect([refused.status, refused.body]).toEqual([
        401,
        expect.stringContaining("the client's certificate names no job (logveil:job:NAME as a URI in its subjectAltName)"),
      ]);
      expect((await ask(port, authority, client, "GET", "/v1/jobs")).status).toBe(401);
      expect((await ask(port, authority, client, "POST", LOG, "x\n", { authorization: `Bearer ${token}` })).status).toBe(200);
    }
    // One URI in which there is a comma.
    const config = join(temporary(), "config");
    writeFileSync(config, "[req]\ndistinguished_name=dn\n[dn]\n[ext]\nsubjectAltName=@names\n[names]\nURI.1=https://x/, URI:logveil:job:build-1, \n");
    const forged = ["-config", config, "-extensions", "ext"];
    const client = authority.make("forged", forged);
    expect(new X509Certificate(client.cert).subjectAltName).toMatch(/^URI:".*URI:logveil:job:build-1.*"$/);
    expect((await ask(port, authority, client, "POST", LOG, "x\n")).status).toBe(401);
  });

  test("forwarding: the job of a request is that of the certificate", async () => {
    const authority = new Authority();
    const { certFile, keyFile } = authority.server();
    const { sidecar, seen, witness } = await proxied({ tls: readTls({ cert: certFile, key: keyFile, clientCa: authority.caFile }, "tls") });
    const { port } = sidecar.listen;
    const one = authority.client("logveil:job:build-1");
    const text = { "content-type": "text/plain" };
    expect((await ask(port, authority, one, "POST", "/x", "global-secret-0123456789", text)).status).toBe(201);
    expect(witness.told).toMatchObject([{ job: "build-1", secret: "GLOBAL" }]);
    expect((await ask(port, authority, one, "POST", "/x", "text", { ...text, "logveil-job": "build-2" })).status).toBe(403);
    expect((await ask(port, authority, one, "POST", "/x", "text", { ...text, "logveil-job": "build-1" })).status).toBe(201);
    expect(seen.length).toBe(2);
  });

  test("the control API over TCP, for clients with certificates that are not those of jobs", async () => {
    const authority = new Authority();
    const { certFile, keyFile } = authority.server();
    const tls = readTls({ cert: certFile, key: keyFile, clientCa: authority.caFile }, "control.tls");
    const { sidecar } = await start({ control: { host: "127.0.0.1", port: 0 }, controlTls: tls });
    const { port } = sidecar.control!;
    await expect(ask(port, authority, undefined, "GET", "/v1/status")).rejects.toThrow();
    expect(await ask(port, authority, authority.client(), "GET", "/v1/status")).toMatchObject({ status: 200, body: expect.stringContaining('"ready":true') });
    expect((await ask(port, authority, authority.client(), "POST", "/v1/jobs/j/secrets", "A=secret-of-the-job-1")).status).toBe(200);
    await expectRefused(port, authority, authority.client("logveil:job:j"));
    // A browser that has the certificate would show it to any page.
    const page = { origin: "https://evil.example" };
    expect((await ask(port, authority, authority.client(), "GET", "/v1/status", "", page)).status).toBe(403);
    expect((await ask(port, authority, authority.client(), "GET", "/v1/status", "", { origin: `https://localhost:${port}` })).status).toBe(200);
    await call(sidecar, "POST", "/v1/jobs/j/streams/s", "secret-of-the-job-1\n");
    expect((await call(sidecar, "GET", "/v1/jobs/j/streams/s")).body).toBe("[REDACTED:A]\n");
  });

  async function expectRefused(port: number, authority: Authority, client: Certificate): Promise<void> {
    for (const [method, path] of [
      ["GET", "/v1/status"],
      ["POST", "/v1/jobs/j/token"],
      ["POST", "/v1/jobs/j/secrets"],
      ["DELETE", "/v1/jobs/j"],
    ] as const)
      expect((await ask(port, authority, client, method, path)).status).toBe(403);
  }

  test("a client that does not finish its handshake is cut off", async () => {
    const authority = new Authority();
    const { sidecar } = await secured(authority, "server only", { server: { headersTimeoutMs: 200, idleTimeoutMs: 10_000, maxConnections: 10 } });
    const silent = connectTcp(sidecar.listen.port, "127.0.0.1");
    await new Promise((resolve) => silent.resume().once("close", resolve));
  });

  test("what is wrong with files is told by field and file, and no byte of a key", () => {
    const authority = new Authority();
    const folder = temporary();
    const { certFile: cert, keyFile: key } = authority.server();
    const made = (name: string, text: string): string => {
      const file = join(folder, name);
      writeFileSync(file, text, { mode: 0o600 });
      return file;
    };
    const pem = readFileSync(cert, "utf8");
    const half = made("half.crt", `${pem.slice(0, 200)}\n-----END CERTIFICATE-----\n`);
    const second = made("second.crt", pem + pem.slice(0, 200));
    const nonsense = made("nonsense", "hunter2-hunter2");
    const cut = made("cut.key", readFileSync(key, "utf8").slice(0, 100));
    const other = authority.server().keyFile;
    for (const [files, expected] of [
      [{ cert: "/nowhere", key }, "tls.cert: /nowhere cannot be read: no such file or folder (ENOENT); check the path"],
      [{ cert, key: folder }, `tls.key: ${folder} cannot be read: it is a folder (EISDIR); name a file`],
      [{ cert: nonsense, key }, `tls.cert: ${nonsense} holds no certificate: expected PEM, with BEGIN CERTIFICATE`],
      [{ cert: half, key }, `tls.cert: ${half} is damaged: certificate 1 of 1 cannot be read`],
      [{ cert: second, key }, `tls.cert: ${second} is damaged: certificate 2 of 2 cannot be read`],
      [{ cert, key: nonsense }, `tls.key: ${nonsense} holds no private key that can be read: expected PEM without a passphrase`],
      [{ cert, key: cut }, `tls.key: ${cut} holds no private key that can be read: expected PEM without a passphrase`],
      [{ cert, key: other }, `tls.key: ${other} is not the key of the certificate in ${cert}`],
      [{ cert, key, clientCa: nonsense }, `tls.clientCa: ${nonsense} holds no certificate: expected PEM, with BEGIN CERTIFICATE`],
    ] as const)
      expect(() => readTls(files, "tls")).toThrow(expect.objectContaining({ code: "LV_CONFIG", message: expected }));
  });
});
