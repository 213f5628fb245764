/** Real peers: curl in front of the sidecar, nginx behind it. */
import { execFile, spawn, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { expect, onTestFinished, test, vi } from "vitest";
import type { Sidecar } from "../../src/sidecar/serve.js";
import { inFrontOf, MASK, proxied, SECRET } from "../support/proxy.js";
import { call, freePort, start, temporary } from "../support/sidecar.js";

const has = (command: string, flag: string): boolean => spawnSync(command, [flag]).error === undefined;
const HAVE_CURL = has("curl", "--version");
const HAVE_NGINX = has("nginx", "-v");
if (!HAVE_CURL || !HAVE_NGINX) console.warn("curl or nginx is missing: tests with them are passed over; they are Debian packages");

const LINES = `one line, and ${SECRET}\n`.repeat(100_000);
const MASKED = LINES.replaceAll(SECRET, MASK);

interface Curled {
  readonly status: string;
  /** Bytes of the body that curl sent. */
  readonly uploaded: number;
  readonly body: string;
  /** What it told of the exchange. */
  readonly told: string;
}

function curl(sidecar: Sidecar, path: string, args: readonly string[]): Promise<Curled> {
  const url = `http://${sidecar.listen.host}:${sidecar.listen.port}${path}`;
  return new Promise((resolve) => {
    execFile("curl", ["-sv", "--max-time", "60", "-w", "\n%{http_code} %{size_upload}", ...args, url], { maxBuffer: 1 << 26 }, (_, stdout, told) => {
      const at = stdout.lastIndexOf("\n");
      const [status = "", uploaded] = stdout.slice(at + 1).split(" ");
      resolve({ status, uploaded: Number(uploaded), body: stdout.slice(0, at), told });
    });
  });
}

function fileOf(text: string | Buffer): string {
  const path = join(temporary(), "body");
  writeFileSync(path, text);
  return path;
}

/** An nginx that keeps what is put, in `folder`. */
async function nginx(): Promise<{ port: number; kept: (name: string) => Buffer }> {
  const folder = temporary();
  for (const name of ["data", "logs", "temp"]) mkdirSync(join(folder, name));
  const port = await freePort();
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder}/temp/${name};`).join(" ");
  writeFileSync(
    join(folder, "nginx.conf"),
    `daemon off; master_process off; pid ${folder}/pid; error_log stderr; events {}
     http { access_log off; ${temp} server {
       listen 127.0.0.1:${port}; root ${folder}/data; client_max_body_size 64m; client_body_buffer_size 16k;
       location / { dav_methods PUT; }
       location /small { dav_methods PUT; client_max_body_size 1k; }
       location /ignores { return 204; }
     } }`,
  );
  const child = spawn("nginx", ["-p", folder, "-c", join(folder, "nginx.conf"), "-e", "stderr"], { stdio: "ignore" });
  onTestFinished(async () => {
    child.kill("SIGKILL");
    if (child.exitCode === null) await new Promise((resolve) => child.once("exit", resolve));
  });
  await vi.waitFor(async () => expect((await call({ port }, "GET", "/ignores")).status).toBe(204), { timeout: 20_000 });
  return { port, kept: (name) => readFileSync(join(folder, "data", name)) };
}

test.runIf(HAVE_CURL && HAVE_NGINX)("what curl sends is in nginx's files, masked, and byte for byte what it was besides", async () => {
  const { port, kept } = await nginx();
  const { sidecar } = await inFrontOf(port, { url: `http://127.0.0.1:${port}` });
  const text = ["-H", "content-type: text/plain"];
  expect((await curl(sidecar, "/large", [...text, "-T", fileOf(LINES)])).status).toBe("201");
  expect(kept("large").equals(Buffer.from(MASKED))).toBe(true);
  expect((await curl(sidecar, "/chunked", [...text, "-H", "transfer-encoding: chunked", "-T", fileOf(LINES)])).status).toBe("201");
  expect(kept("chunked").equals(Buffer.from(MASKED))).toBe(true);
  expect((await curl(sidecar, "/small.txt", [...text, "-T", fileOf(`only ${SECRET}`)])).status).toBe("201");
  expect(kept("small.txt").toString()).toBe(`only ${MASK}`);
  expect((await curl(sidecar, "/coded", [...text, "-H", "content-encoding: gzip", "-T", fileOf(gzipSync(LINES))])).status).toBe("201");
  expect(gunzipSync(kept("coded")).equals(Buffer.from(MASKED))).toBe(true);
});

test.runIf(HAVE_CURL && HAVE_NGINX)("what nginx refuses early, curl is told; what it does not take counts for nothing", async () => {
  const { port, kept } = await nginx();
  const { sidecar } = await inFrontOf(port, { url: `http://127.0.0.1:${port}` });
  const large = ["-H", "content-type: text/plain", "-H", "transfer-encoding: chunked", "-T", fileOf(LINES.repeat(5))];
  expect(await curl(sidecar, "/small/x", large)).toMatchObject({ status: "413", body: expect.stringContaining("nginx") as string });
  expect(() => kept("small/x")).toThrow("ENOENT");
  expect((await curl(sidecar, "/ignores", large)).status).toBe("502");
  expect((await curl(sidecar, "/ignores", ["-H", "content-type: text/plain", "-d", "small"])).status).toBe("204");
});

test.runIf(HAVE_CURL)("a client that asks before it sends is refused before it sends", async () => {
  const { sidecar, seen } = await proxied();
  const asking = ["-H", "expect: 100-continue", "--expect100-timeout", "50", "-T", fileOf(LINES)];
  for (const [path, header, status] of [
    ["/x", "content-type: application/unknown", "415"],
    ["/x", "content-encoding: exi", "415"],
    ["/x", "x-amz-content-sha256: signed", "400"],
    ["/x", `content-md5: ${"A".repeat(22)}==`, "413"],
  ] as const) {
    const type = header.startsWith("content-type") ? [] : ["-H", "content-type: text/plain"];
    const { status: got, uploaded, told } = await curl(sidecar, path, [...type, "-H", header, ...asking]);
    expect([header, got, uploaded, told.includes("100 Continue")]).toEqual([header, status, 0, false]);
  }
  expect(seen).toEqual([]);
  const taken = await curl(sidecar, "/x", ["-H", "content-type: text/plain", ...asking]);
  expect([taken.status, taken.uploaded, taken.told.includes("HTTP/1.1 100 Continue")]).toEqual(["201", LINES.length, true]);
  expect(seen.map(({ body, headers }) => [body.equals(Buffer.from(MASKED)), headers.expect])).toEqual([[true, undefined]]);
});

test.runIf(HAVE_CURL)("who may not send is told before it sends, to the API and through the proxy", async () => {
  const asking = ["-H", "expect: 100-continue", "--expect100-timeout", "50", "-H", "content-type: text/plain", "-T", fileOf(LINES)];
  const { sidecar, seen } = await proxied();
  expect((await call({ socket: sidecar.socket! }, "POST", "/v1/jobs/one/token")).status).toBe(200);
  const refused = await curl(sidecar, "/x", ["-H", "logveil-job: one", ...asking]);
  expect([refused.status, refused.uploaded, seen]).toEqual(["401", 0, []]);
  const api = await start({ tokensRequired: true });
  const path = "/v1/jobs/one/streams/out";
  const denied = await curl(api.sidecar, path, ["-X", "POST", ...asking]);
  expect([denied.status, denied.uploaded]).toEqual(["401", 0]);
  const { token } = JSON.parse((await call({ socket: api.sidecar.socket! }, "POST", "/v1/jobs/one/token")).body) as { token: string };
  const taken = await curl(api.sidecar, path, ["-X", "POST", "-H", `authorization: Bearer ${token}`, ...asking]);
  const { offset, received } = JSON.parse(taken.body) as { offset: number; received: number };
  expect([taken.status, taken.uploaded, received]).toEqual(["200", LINES.length, LINES.length]);
  // The job's token is a secret of its: the last line may end as one of its spellings begins.
  expect(offset).toBeGreaterThan(LINES.length - 200);
});

test.runIf(HAVE_CURL)("a client that does not ask reads the refusal all the same", async () => {
  const { sidecar } = await proxied();
  const blind = ["-H", "expect:", "-H", "content-type: application/unknown", "-T", fileOf(LINES.repeat(10))];
  for (const connection of ["keep-alive", "close"])
    expect(await curl(sidecar, "/x", [...blind, "-H", `connection: ${connection}`])).toMatchObject({
      status: "415",
      body: expect.stringContaining("set a route that says so for its path") as string,
    });
});
