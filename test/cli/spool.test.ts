/** The spool of `logveil serve` as a process that is killed: what was acknowledged arrives, in order and masked, and nothing raw is on disk meanwhile. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { environment, logveil, SECRET, serve } from "../support/process.js";
import { filesIn } from "../support/serving.js";
import { call, freePort, listenOn, temporary } from "../support/sidecar.js";

const HAVE_CURL = spawnSync("curl", ["--version"]).status === 0;
if (!HAVE_CURL) console.warn("curl is missing: it is passed over");

/** A log storage; answers after so many milliseconds. */
async function storage(port: number, seen: string[], delayMs = 0): Promise<Server> {
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece)).on("error", () => undefined);
    request.on("end", () => {
      seen.push(Buffer.concat(pieces).toString());
      setTimeout(() => response.writeHead(204).end(), delayMs);
    });
  });
  await listenOn(server, port);
  onTestFinished(() => server.close().closeAllConnections());
  return server;
}

async function stop(server: Server): Promise<void> {
  const closed = once(server, "close");
  server.close().closeAllConnections();
  await closed;
}

function nothingRaw(home: string): void {
  for (const file of filesIn(home)) expect(readFileSync(file, "latin1").includes(SECRET), file).toBe(false);
}

test("killed again and again, it delivers what it acknowledged", { timeout: 600_000 }, async () => {
  const home = temporary();
  const upstream = await freePort();
  const args = ["--upstream", `http://127.0.0.1:${upstream}`];
  const spooled = { LOGVEIL_SPOOL_ENABLED: "true" };
  const acknowledged: string[] = [];
  const sent = new Set<string>();
  const seen: string[] = [];
  let server: Server | undefined;
  for (let round = 0; round < 3; round++) {
    const { child, port } = await serve(home, args, spooled);
    // In one of the rounds it is killed while it delivers.
    if (round % 2 === 1) server = await storage(upstream, seen, 5);
    const before = acknowledged.length;
    const exited = once(child, "exit");
    try {
      for (let i = 0; ; i++) {
        const name = `${round}-${i}`;
        const filler = i % 7 === 0 ? "a long line of text\n".repeat(5000) : "";
        sent.add(name);
        const { status } = await call({ port }, "POST", "/logs", `${name} ${SECRET}\n${filler}`, { "content-type": "text/plain" });
        expect([202, 204]).toContain(status);
        acknowledged.push(name);
        if (acknowledged.length - before === 20 + 5 * round) child.kill("SIGKILL");
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code?.startsWith("E") !== true) throw error;
    }
    await exited;
    if (server !== undefined) await stop(server);
    server = undefined;
    nothingRaw(home);
  }
  const { port, admin, child, told } = await serve(home, args, spooled);
  if (HAVE_CURL) {
    const url = `http://127.0.0.1:${port}/logs`;
    const curl = spawnSync("curl", ["-sS", "-w", "%{http_code}", "-H", "Content-Type: text/plain", "--data-binary", `curl ${SECRET}\n`, url], {
      encoding: "utf8",
    });
    expect(curl.stdout).toMatch(/"kept":true[^]*202$/);
    acknowledged.push("curl");
    sent.add("curl");
  }
  await storage(upstream, seen);
  await vi.waitFor(async () => expect((await call({ port: admin }, "GET", "/metrics")).body).toMatch(/^logveil_spool_requests 0$/m), {
    timeout: 60_000,
    interval: 100,
  });
  const names = seen.map((body) => body.split(" ")[0]!);
  expect(names.filter((name) => !sent.has(name))).toEqual([]);
  // What came twice counts where it came first.
  const firsts = [...new Set(names)];
  expect(firsts.filter((name) => acknowledged.includes(name))).toEqual(acknowledged);
  for (const body of seen) expect(body).toMatch(/^\S+ \[REDACTED:BUILD_TOKEN\]\n(a long line of text\n)*$/);
  nothingRaw(home);
  child.kill("SIGTERM");
  expect(await once(child, "exit")).toEqual([0, null]);
  expect(told()).toMatch(/"the spool is empty again: \d+ requests that waited are settled"/);
  expect(filesIn(join(home, "state", "logveil", "spool")).map((file) => file.slice(home.length))).toEqual([
    "/state/logveil/spool/.format.json",
    "/state/logveil/spool/cursor",
  ]);
});

test("fields of every request come from a file, and are secrets themselves", { timeout: 300_000 }, async () => {
  const home = temporary();
  const upstream = await freePort();
  const file = join(home, "headers");
  const fields = (text: string, mode = 0o600): void => writeFileSync(file, text, { mode });
  const args = ["--upstream", `http://127.0.0.1:${upstream}`];
  const more = { LOGVEIL_UPSTREAM_HEADERS_FILE: file };
  for (const [text, told] of [
    ["Authorization Bearer of-the-file\n", `upstream.headersFile: ${file}:1: expected a header field such as Authorization: Bearer …, in ASCII`],
    ["# none\n\n", `upstream.headersFile: ${file}: there is no header field in it`],
    ["X-A: of-the-file\nx-a: of-the-file\n", `upstream.headersFile: ${file}:2: there is such a field already`],
    ["Host: of-the-file\n", `upstream.headersFile: ${file}:1: this field is not to be added: it says how a message is sent`],
  ] as const) {
    fields(text);
    const { status, stderr } = logveil({ ...environment(home), ...more }, ["serve", ...args]);
    expect([status, stderr.includes(told), stderr.includes("of-the-file")], stderr).toEqual([2, true, false]);
  }
  fields("# of the storage\r\nAuthorization: Bearer credential-of-the-storage\r\n");
  const { port } = await serve(home, args, more);
  const seen: unknown[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => {
      seen.push([request.headers.authorization, body]);
      response.end();
    });
  });
  await listenOn(server, upstream);
  onTestFinished(() => server.close().closeAllConnections());
  const headers = { "content-type": "text/plain", authorization: "Bearer of-a-client" };
  expect((await call({ port }, "POST", "/x", "curl -H credential-of-the-storage\n", headers)).status).toBe(200);
  expect(seen).toEqual([["Bearer credential-of-the-storage", "curl -H [REDACTED:UPSTREAM_AUTHORIZATION]\n"]]);
});
