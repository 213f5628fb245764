/** Where `logveil serve` listens, as a process: Unix sockets, sockets of systemd, TLS; and what the command line reads from there. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, lstatSync, statSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo, type Server } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test, vi } from "vitest";
import { Authority, HAVE_OPENSSL } from "../support/certificates.js";
import { call, temporary } from "../support/sidecar.js";

const COMMAND = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const LOG = "/v1/jobs/42/streams/make";
const FREE = "127.0.0.1:0";

const environment = (home: string): NodeJS.ProcessEnv => ({
  PATH: process.env["PATH"],
  HOME: home,
  XDG_STATE_HOME: join(home, "state"),
  XDG_RUNTIME_DIR: join(home, "run"),
  BUILD_TOKEN: "env-token-9876543210-abcdef",
  LOGVEIL_LOG_FORMAT: "text",
});

const logveil = (home: string, ...args: readonly string[]): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(process.execPath, [COMMAND, ...args], { env: environment(home), encoding: "utf8", timeout: 60_000 });

interface Process {
  readonly child: ChildProcess;
  /** What it says on stderr, once it listens. */
  readonly told: string;
}

/** With `sockets`, as systemd starts it: they are its descriptors from 3 on. */
async function serve(home: string, args: readonly string[], sockets: readonly Server[] = [], names = ""): Promise<Process> {
  const fds = sockets.map((socket) => (socket as unknown as { readonly _handle: { readonly fd: number } })._handle.fd);
  const shell = `export LISTEN_PID=$$ LISTEN_FDS=${fds.length} LISTEN_FDNAMES=${names}; exec "$@"`;
  const command = [process.execPath, COMMAND, "serve", ...args];
  const [file, ...rest] = fds.length === 0 ? command : ["/bin/sh", "-c", shell, "sh", ...command];
  const child = spawn(file!, rest, { env: environment(home), stdio: ["ignore", "ignore", "pipe", ...fds] });
  onTestFinished(() => void child.kill("SIGKILL"));
  let told = "";
  (child.stderr as NodeJS.ReadableStream).setEncoding("utf8").on("data", (text: string) => (told += text));
  await vi.waitFor(() => expect(told).toMatch(/logs are kept|logveil: /), { timeout: 30_000, interval: 50 });
  return { child, told };
}

test("listens on Unix sockets of its owner, and leaves none behind", async () => {
  const home = temporary();
  const [data, admin] = [join(home, "sockets", "data"), join(home, "sockets", "admin")];
  const { child, told } = await serve(home, ["--listen", `unix:${data}`, "--admin-listen", `unix:${admin}`]);
  expect(told).toContain(`listening on unix:${data} for http\n`);
  for (const path of [data, admin]) expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(statSync(join(home, "sockets")).mode & 0o777).toBe(0o700);
  expect((await call({ socket: data }, "POST", LOG, "hello env-token-9876543210-abcdef\n")).status).toBe(200);
  expect((await call({ socket: admin }, "GET", "/readyz")).status).toBe(200);
  expect(logveil(home, "logs", "42", "--server", `unix:${data}`)).toMatchObject({ status: 0, stdout: "hello [REDACTED:BUILD_TOKEN]\n" });
  child.kill("SIGTERM");
  expect(await once(child, "exit")).toEqual([0, null]);
  for (const path of [data, admin]) expect(existsSync(path)).toBe(false);
});

test("takes a socket over that no one answers at, and nothing else", async () => {
  const home = temporary();
  const data = join(home, "data");
  const { child } = await serve(home, ["--listen", `unix:${data}`, "--admin-listen", FREE]);
  child.kill("SIGKILL");
  await once(child, "exit");
  expect(lstatSync(data).isSocket()).toBe(true);
  await serve(home, ["--listen", `unix:${data}`, "--admin-listen", FREE]);
  expect((await call({ socket: data }, "POST", LOG, "x\n")).status).toBe(200);
  const other = temporary();
  expect(logveil(other, "serve", "--listen", `unix:${data}`, "--admin-listen", FREE)).toMatchObject({
    status: 2,
    stderr: expect.stringContaining(`${data}: another process listens there; end it, or set listen to another path`),
  });
  const file = join(home, "file");
  writeFileSync(file, "precious");
  expect(logveil(other, "serve", "--listen", `unix:${file}`, "--admin-listen", FREE)).toMatchObject({
    status: 2,
    stderr: expect.stringContaining(`${file}: something other than a socket is there; set listen to another path`),
  });
  expect(statSync(file).size).toBe(8);
});

async function listening(path?: string): Promise<Server> {
  const server = path === undefined ? createServer().listen(0, "127.0.0.1") : createServer().listen(path);
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return server;
}

test.each([
  ["one of any name is the data port", ["whatever.socket"], [0]],
  ["those of the names of our units", ["logveil-admin.socket", "logveil.socket"], [1, 0]],
  ["no names: the data port", [], [0]],
] as [string, string[], number[]][])("sockets of systemd: %s", async (_, names, [data, admin]) => {
  const home = temporary();
  const sockets = await Promise.all(Array.from({ length: Math.max(1, names.length) }, () => listening()));
  const ports = sockets.map((socket) => (socket.address() as AddressInfo).port);
  const { told } = await serve(home, ["--admin-listen", FREE], sockets, names.join(":"));
  expect(told).toContain(`listening on http://127.0.0.1:${ports[data!]}\n`);
  // This process has them, too: connections are for the other one when this one lets go of them.
  for (const socket of sockets) socket.close();
  expect((await call({ port: ports[data!]! }, "POST", LOG, "x\n")).status).toBe(200);
  if (admin !== undefined) expect((await call({ port: ports[admin]! }, "GET", "/readyz")).status).toBe(200);
});

test("sockets of systemd: a Unix socket; too many; what is no socket; those of another process", async () => {
  const home = temporary();
  const path = join(home, "of-systemd");
  const { told, child } = await serve(home, ["--admin-listen", FREE], [await listening(path)], "logveil");
  expect(told).toContain("listening on fd:3 for http\n");
  child.kill("SIGTERM");
  await once(child, "exit");
  const three = await Promise.all([1, 2, 3].map(() => listening()));
  const many = await serve(home, ["--admin-listen", FREE], three, "logveil:logveil-admin:other");
  expect(many.told).toContain("systemd hands over 3 sockets: expected one for logs (logveil) and one for health (logveil-admin)");
  const run = (...args: readonly string[]): { status: number | null; stderr: string } =>
    spawnSync("/bin/sh", ["-c", 'export LISTEN_FDS=1 LISTEN_FDNAMES=logveil LISTEN_PID=${1:-$$}; shift; exec "$@" 3</dev/null', "sh", ...args], {
      env: environment(home),
      encoding: "utf8",
      timeout: 60_000,
    });
  const command = [process.execPath, COMMAND, "serve", "--admin-listen", FREE];
  expect(run("", ...command)).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/descriptor 3: expected a listening stream socket: .*\(\w+\); the socket unit needs/),
  });
  // For another process: what is configured counts.
  expect(run("1", ...command, "--listen", `unix:${join(home, "no", "x".repeat(120))}`).stderr).toContain("--listen: expected an address");
});

test.runIf(HAVE_OPENSSL)("TLS from the configuration: the command line reads with certificates; what is wrong is told before anything listens", async () => {
  const home = temporary();
  const authority = new Authority();
  const { certFile, keyFile } = authority.server();
  const client = authority.client("logveil:job:42");
  const tls = ["--listen", FREE, "--admin-listen", FREE];
  const config = join(home, "logveil.yaml");
  writeFileSync(config, JSON.stringify({ tls: { cert: certFile, key: keyFile, clientCa: authority.caFile }, limits: { requestTimeout: "1h" } }));
  const { told } = await serve(home, [...tls, "--config", config]);
  const [, server] = /listening on (https:\/\/\S+)\n/.exec(told)!;
  const read = (...args: readonly string[]): ReturnType<typeof logveil> => logveil(home, "logs", "--server", server!, ...args);
  const own = ["--ca", authority.caFile, "--cert", client.certFile, "--key", client.keyFile];
  expect(read(...own)).toMatchObject({ status: 0, stdout: "", stderr: "" });
  expect(read("43", ...own)).toMatchObject({ status: 2, stderr: expect.stringContaining("the client's certificate names another job") });
  expect(read().stderr).toMatch(/the certificate of https:\S+ is not accepted \(\w+\); name its authority by --ca/);
  expect(read("--ca", authority.caFile).stderr).toMatch(
    /ends the handshake \(ERR_SSL\w+\); a sidecar that demands certificates of clients needs --cert and --key/,
  );
  const damaged = join(home, "damaged.key");
  writeFileSync(damaged, "hunter2", { mode: 0o600 });
  writeFileSync(config, JSON.stringify({ tls: { cert: certFile, key: damaged } }));
  const refused = logveil(temporary(), "serve", ...tls, "--config", config);
  expect([refused.status, refused.stderr]).toEqual([
    2,
    expect.stringContaining(`tls.key: ${damaged} holds no private key that can be read: expected PEM without a passphrase`),
  ]);
  expect(refused.stderr).not.toContain("hunter2");
});
