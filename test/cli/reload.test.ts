/** Reload of a running sidecar: all of it or nothing, by signal, command or API; secrets that become too old and heal. */
import { readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { request as requestTls } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { expect, onTestFinished, test, vi } from "vitest";
import { Authority, type Certificate, HAVE_OPENSSL } from "../support/certificates.js";
import { call, listenOn, temporary } from "../support/sidecar.js";
import { logveil, type Process, SECRET, serve } from "../support/process.js";

const LOG = "/v1/jobs/j/streams/s";
const [FIRST, SECOND] = ["first-secret-0123456789", "second-secret-0123456789"];

function write(file: string, text: string): string {
  writeFileSync(file, text, { mode: 0o600 });
  return file;
}

/** What a stream of its own makes of a text. */
async function masked({ port }: Process, stream: string, text: string): Promise<string> {
  const path = `/v1/jobs/j/streams/${stream}`;
  await call({ port }, "POST", path, text);
  await call({ port }, "POST", `${path}/end`);
  return (await call({ port }, "GET", path)).body;
}

test("errors of a reload: paths that hold a secret come out masked in the answer, the status and the log", { timeout: 120_000 }, async () => {
  const home = temporary();
  const config = write(join(home, "logveil.yaml"), "log: { level: info }\n");
  const { env, lines } = await serve(home, ["--config", config]);
  const socket = join(home, "run/logveil/control.sock");
  write(config, `secrets: { files: [/nonexistent/${SECRET}] }\n`);
  const refused = await call({ socket }, "POST", "/v1/reload");
  const status = await call({ socket }, "GET", "/v1/status");
  const texts = [refused.body, status.body, logveil(env, ["reload"]).stderr, lines().join("\n")];
  for (const text of texts) expect(text).toContain("/nonexistent/[REDACTED:BUILD_TOKEN]");
  expect(texts.join("")).not.toContain(SECRET);
});

test("secrets, rules and actions that were changed are in force; what is wrong changes nothing", { timeout: 120_000 }, async () => {
  const home = temporary();
  const list = write(join(home, "secrets.env"), `A=${FIRST}\n`);
  const yaml = (more: string): string => `secrets: { files: [${list}] }\n${more}`;
  const config = write(join(home, "logveil.yaml"), yaml(""));
  const sidecar = await serve(home, ["--config", config]);
  const { env, port, child, lines } = sidecar;
  await call({ port }, "POST", LOG, `open ${FIRST} ${SECOND}\n`);
  write(list, `B=${SECOND}\n`);
  const reloaded = logveil(env, ["reload"]);
  expect([reloaded.status, reloaded.stderr, reloaded.stdout]).toEqual([0, "", expect.stringMatching(/^reloaded: secrets.files; 2 secrets, \d+ rules\n$/)]);
  // What was open is masked by both, what is new by what is in force.
  await call({ port }, "POST", LOG, `later ${FIRST} ${SECOND}\n`);
  await call({ port }, "POST", `${LOG}/end`);
  expect((await call({ port }, "GET", LOG)).body).toBe(`open [REDACTED:A] ${SECOND}\nlater [REDACTED:A] [REDACTED:B]\n`);
  expect(await masked(sidecar, "new", `${FIRST} ${SECOND} ${SECRET}\n`)).toBe(`${FIRST} [REDACTED:B] [REDACTED:BUILD_TOKEN]\n`);

  write(config, yaml("rules: { disable: [no-such-rule] }\nbogus: 1\n"));
  const refused = await call({ socket: join(home, "run/logveil/control.sock") }, "POST", "/v1/reload");
  expect(refused.status).toBe(422);
  expect(JSON.parse(refused.body)).toMatchObject({ error: "LV_CONFIG", problems: [expect.stringMatching(/^.*logveil.yaml:3: unknown field "bogus"/)] });
  write(config, yaml("rules: { disable: [no-such-rule] }\n"));
  expect(logveil(env, ["reload"])).toMatchObject({ status: 2, stderr: expect.stringContaining("there is no rule no-such-rule") });
  write(config, yaml("onFinding: { actions: { github-tokn: fail-job } }\n"));
  const misspelled = expect.stringContaining("onFinding.actions: there is no rule github-tokn; did you mean github-token?") as string;
  expect(logveil(env, ["reload"])).toMatchObject({ status: 2, stderr: misspelled });
  expect(logveil(env, ["config", "check", config])).toMatchObject({ status: 2, stderr: misspelled });
  expect(logveil({ ...env, XDG_RUNTIME_DIR: join(home, "other"), XDG_STATE_HOME: join(home, "other") }, ["serve", "--config", config])).toMatchObject({
    status: 2,
    stderr: misspelled,
  });
  write(config, yaml("rules: { disable: [no-such-rule] }\n"));
  write(list, "no list of secrets: hunter2-hunter2");
  child.kill("SIGHUP");
  await vi.waitFor(() => expect(lines().filter((line) => line.startsWith("error nothing was reloaded, what was in force stays: ")).length).toBe(4));
  expect(sidecar.told()).not.toContain("hunter2");
  const status = (): { ready: boolean; reload: object } => JSON.parse(logveil(env, ["status"]).stdout) as { ready: boolean; reload: object };
  expect(status()).toMatchObject({ ready: true, reload: { ok: false, error: expect.stringContaining("no-such-rule") } });
  expect(await masked(sidecar, "still", `${SECOND}\n`)).toBe("[REDACTED:B]\n");

  write(list, `C=${FIRST}\n`);
  write(config, yaml("log: { level: warn }\naudit: { checkpointEvery: 10 }\nstore: { compress: zstd }\nonFinding: { actions: { certain: warn } }\n"));
  child.kill("SIGHUP");
  await vi.waitFor(() => expect(status()).toMatchObject({ reload: { ok: true, needsRestart: ["store.compress", "audit.checkpointEvery"] } }));
  await vi.waitFor(() => expect(lines()).toContain("warn needs a restart: store.compress, audit.checkpointEvery"));
  expect(await masked(sidecar, "last", `${FIRST}\n`)).toBe("[REDACTED:C]\n");
  await vi.waitFor(() => expect(lines().at(-1)).toBe("warn found: secret C in job j, stream last, line 1, offset 0: masked"));
  const metrics = (await call({ port: sidecar.admin }, "GET", "/metrics")).body;
  expect(metrics).toContain("\nlogveil_config_last_reload_successful 1\n");
});

test("secrets that cannot be read again become too old; once they can be, all is well by itself", { timeout: 120_000 }, async () => {
  const home = temporary();
  const list = write(join(home, "secrets.env"), `A=${FIRST}\n`);
  const config = write(join(home, "logveil.yaml"), `secrets: { files: [${list}], ttl: 1s }\n`);
  const sidecar = await serve(home, ["--config", config]);
  renameSync(list, `${list}.away`);
  await vi.waitFor(async () => expect((await call(sidecar, "POST", LOG, "text\n")).status).toBe(503), { timeout: 30_000, interval: 100 });
  const ready = await call({ port: sidecar.admin }, "GET", "/readyz");
  expect([ready.status, JSON.parse(ready.body)]).toMatchObject([
    503,
    { checks: { secrets: expect.stringMatching(/^the secrets are older than secrets.ttl/) } },
  ]);
  const told = (): string[] => sidecar.lines().filter((line) => / secrets (can|were)/.test(line));
  await vi.waitFor(() => expect(told()).toHaveLength(1), { timeout: 30_000, interval: 100 });
  write(list, `A=${SECOND}\n`);
  await vi.waitFor(async () => expect((await call(sidecar, "POST", LOG, "text\n")).status).toBe(200), { timeout: 30_000, interval: 100 });
  expect(await masked(sidecar, "new", `${SECOND}\n`)).toBe("[REDACTED:A]\n");
  await vi.waitFor(() =>
    expect(told()).toEqual([
      `error secrets cannot be read again: secrets.files: cannot read ${list}: no such file or folder (ENOENT); check the path; after secrets.ttl requests are refused`,
      "info secrets were read again: 2",
      "info secrets can be read again",
    ]),
  );
});

test("address and key of the webhook are secrets themselves", { timeout: 120_000 }, async () => {
  const got: string[] = [];
  const service = createServer((request, response) => {
    request.setEncoding("utf8").on("data", (text: string) => got.push(text));
    request.on("end", () => response.writeHead(500).end());
  });
  await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => service.close().closeAllConnections());
  const home = temporary();
  const url = `http://127.0.0.1:${(service.address() as AddressInfo).port}/hook?key=0123456789abcdef`;
  const key = "a-signing-key-of-32-bytes-or-more";
  const config = write(
    join(home, "logveil.yaml"),
    `onFinding: { actions: { certain: webhook }, webhook: { url: "${url}", secretFile: ${write(join(home, "key"), `${key}\n`)} } }\n`,
  );
  const sidecar = await serve(home, ["--config", config]);
  expect(await masked(sidecar, "s", `curl ${url} -k ${key} ${SECRET}\n`)).toBe(
    "curl [REDACTED:onFinding.webhook.url] -k [REDACTED:onFinding.webhook.secretFile] [REDACTED:BUILD_TOKEN]\n",
  );
  await vi.waitFor(() => expect(got.join("")).toContain('"secret":"BUILD_TOKEN"'));
  sidecar.child.kill("SIGTERM");
  await new Promise((resolve) => sidecar.child.once("close", resolve));
  expect(sidecar.lines().at(-1)).toMatch(/^warn onFinding.webhook: 3 findings were not delivered: .*; the audit has them$/);
  for (const name of readdirSync(home, { recursive: true, encoding: "utf8" })) {
    const file = join(home, name);
    if (["logveil.yaml", "key"].includes(name) || !statSync(file).isFile()) continue;
    const text = readFileSync(file, "latin1");
    for (const raw of [url, key, SECRET]) expect(text.includes(raw), file).toBe(false);
  }
  for (const raw of [url, key, SECRET]) expect(sidecar.told() + got.join("")).not.toContain(raw);
  write(join(home, "key"), "short");
  expect(logveil(sidecar.env, ["serve", "--config", config])).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("expected a key of 16 bytes or more"),
  });
});

test.runIf(HAVE_OPENSSL)(
  "certificates, tokens and header fields are read again; what is wrong with one of them leaves all as they are",
  { timeout: 120_000 },
  async () => {
    const seen: (string | undefined)[] = [];
    const upstream = createServer((request, response) => {
      seen.push(request.headers.authorization);
      let body = "";
      request.setEncoding("utf8").on("data", (text: string) => (body += text));
      request.on("end", () => {
        seen.push(body);
        response.end();
      });
    });
    const home = temporary();
    const authority = new Authority();
    const [cert, key, tokens, headers] = ["cert", "key", "tokens", "headers"].map((name) => join(home, name)) as [string, string, string, string];
    const renew = ({ cert: pem, key: secret }: Certificate): void => {
      writeFileSync(cert, pem);
      writeFileSync(key, secret, { mode: 0o600 });
    };
    renew(authority.server());
    write(tokens, "* first-token-0123456789-abcdef\n");
    write(headers, "Authorization: Bearer credential-of-yesterday\n");
    const config = write(
      join(home, "logveil.yaml"),
      JSON.stringify({
        tls: { cert, key },
        auth: { tokenFile: tokens },
        upstream: { url: `http://127.0.0.1:${await listenOn(upstream)}`, headersFile: headers },
      }),
    );
    onTestFinished(() => upstream.close().closeAllConnections());
    const { port, env, told } = await serve(home, ["--config", config]);
    const serial = async (): Promise<string> => {
      const socket = connectTls({ port, host: "127.0.0.1", ca: authority.ca });
      await once(socket, "secureConnect");
      const { serialNumber } = socket.getPeerCertificate();
      socket.destroy();
      return serialNumber;
    };
    const post = async (token: string): Promise<number | undefined> => {
      const request = requestTls({
        port,
        host: "127.0.0.1",
        ca: authority.ca,
        agent: false,
        method: "POST",
        path: "/x",
        headers: { "content-type": "text/plain", "logveil-token": token },
      });
      request.end("credential-of-yesterday credential-of-today\n");
      const [response] = (await once(request, "response")) as [IncomingMessage];
      response.resume();
      return response.statusCode;
    };
    const before = await serial();
    expect([await post("first-token-0123456789-abcdef"), await post("other-token-0123456789-abcdef")]).toEqual([200, 403]);
    expect(seen.splice(0)).toEqual(["Bearer credential-of-yesterday", "[REDACTED:UPSTREAM_AUTHORIZATION] credential-of-today\n"]);

    write(tokens, "* other-token-0123456789-abcdef\n");
    write(headers, "Authorization: Bearer credential-of-today\n");
    write(cert, "no certificate");
    expect(logveil(env, ["reload"])).toMatchObject({ status: 2, stderr: expect.stringContaining(`tls.cert: ${cert} holds no certificate`) });
    expect([await serial(), await post("first-token-0123456789-abcdef")]).toEqual([before, 200]);
    expect(seen.splice(0)[0]).toBe("Bearer credential-of-yesterday");

    renew(authority.server());
    const { status, stdout, stderr } = logveil(env, ["reload"]);
    expect([status, stderr, stdout]).toEqual([0, "", expect.stringMatching(/^reloaded: secrets.files, tls, auth.tokenFile, upstream.headersFile; /)]);
    expect(await serial()).not.toBe(before);
    expect([await post("first-token-0123456789-abcdef"), await post("other-token-0123456789-abcdef")]).toEqual([403, 200]);
    expect(seen.splice(0)).toEqual(["Bearer credential-of-today", "credential-of-yesterday [REDACTED:UPSTREAM_AUTHORIZATION]\n"]);
    expect(told()).not.toContain("credential-of");
  },
);

test("the credentials of header fields stay secrets when secrets are read again by themselves", { timeout: 60_000 }, async () => {
  const home = temporary();
  const bodies: string[] = [];
  const upstream = createServer((request, response) => {
    request.setEncoding("utf8").on("data", (text: string) => bodies.push(text));
    request.on("end", () => response.end());
  });
  const port = await listenOn(upstream);
  onTestFinished(() => upstream.close().closeAllConnections());
  const list = write(join(home, "secrets.env"), `A=${FIRST}\n`);
  const headers = write(join(home, "headers"), "Authorization: Bearer credential-of-the-storage\n");
  const sidecar = await serve(home, [], {
    LOGVEIL_SECRETS_FILES: list,
    LOGVEIL_SECRETS_TTL: "4s",
    LOGVEIL_UPSTREAM_URL: `http://127.0.0.1:${port}`,
    LOGVEIL_UPSTREAM_HEADERS_FILE: headers,
  });
  write(list, `B=${SECOND}\n`);
  await vi.waitFor(() => expect(sidecar.told()).toContain("secrets were read again"), { timeout: 20_000 });
  expect((await call({ port: sidecar.port }, "POST", "/x", `${SECOND} credential-of-the-storage\n`, { "content-type": "text/plain" })).status).toBe(200);
  expect(bodies.join("")).toBe("[REDACTED:B] [REDACTED:UPSTREAM_AUTHORIZATION]\n");
});
