/** State that earlier code wrote opens, is gone on with and is read; state of newer code is refused by its path, its version and what to do. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { end, serveProcess } from "../support/serving.js";
import { call, start, temporary, until } from "../support/sidecar.js";
import { proxied } from "../support/upstream.js";

const here = fileURLToPath(new URL(".", import.meta.url));
const archives = readdirSync(here).filter((name) => name.endsWith(".tar.gz"));
const SECRETS = [{ name: "BUILD_TOKEN", value: "upgrade-secret-0123456789" }];
const KEPT = { maxFileBytes: 1 << 16, maxAgeMs: 1e12, compress: "zstd" } as const;

/** What make.mjs found out when it made an archive. */
interface Facts {
  readonly token: string;
  readonly offset: number;
  readonly whole: number;
}

/** A folder with the state of an archive. */
function unpack(archive: string): { home: string; facts: Facts } {
  const home = temporary();
  expect(spawnSync("tar", ["-xzf", join(here, archive), "-C", home, "--no-same-owner"]).status).toBe(0);
  return { home, facts: JSON.parse(readFileSync(join(home, "facts.json"), "utf8")) as Facts };
}

const linesOf = (count: number, of: string): string => Array.from({ length: count }, (_, index) => `${of} ${index} token=[REDACTED:BUILD_TOKEN] ok\n`).join("");
const versionOf = (file: string): unknown => (JSON.parse(readFileSync(file, "utf8")) as { format?: unknown }).format;

test("upgrade: there is state to open", () => expect(archives).toContain("state-a9c604f.tar.gz"));

describe.each(archives)("upgrade: %s", (archive) => {
  test("its store opens, its streams are read and go on, its tokens open their job and no other", async () => {
    const { home, facts } = unpack(archive);
    const logs = join(home, "logs");
    const { sidecar } = await start({ store: { folder: logs, ...KEPT }, engine: { secrets: SECRETS } });
    const socket = { socket: sidecar.socket! };
    const ended = await call(sidecar, "GET", "/v1/jobs/ended/streams/build");
    expect(ended.body).toBe([0, 1, 2, 3].map((piece) => linesOf(1000, `piece ${piece}, line`)).join(""));
    expect(JSON.parse((await call(sidecar, "GET", "/v1/jobs/ended")).body)).toMatchObject({ job: "ended", ended: expect.any(Number), streams: ["build"] });
    const odd = `/v1/jobs/${encodeURIComponent("a/b *")}/streams/${encodeURIComponent(".hidden é")}`;
    await call(sidecar, "POST", odd, "more\n");
    expect((await call(sidecar, "GET", odd)).body).toBe("odd names\nmore\n");

    const path = "/v1/jobs/open/streams/make";
    const bearer = { authorization: `Bearer ${facts.token}` };
    expect((await call(sidecar, "GET", path)).status).toBe(401);
    expect((await call(sidecar, "GET", path, undefined, { authorization: `Bearer ${"x".repeat(43)}` })).status).toBe(403);
    const head = await call(sidecar, "HEAD", path, undefined, bearer);
    expect([head.headers["logveil-offset"], facts.offset]).toEqual([String(facts.whole), facts.whole]);
    const rest = { "logveil-offset": String(facts.offset), ...bearer };
    // The secret that was handed over is known by its name only.
    expect((await call(sidecar, "POST", path, "deploy-key-0123456789\n", rest)).status).toBe(503);
    await call(socket, "POST", "/v1/jobs/open/secrets", '{"name":"DEPLOY_KEY","value":"deploy-key-0123456789"}');
    expect((await call(sidecar, "POST", path, "step three deploy-key-0123456789\n", rest)).status).toBe(200);
    expect((await call(sidecar, "POST", `${path}/end`, "", bearer)).status).toBe(200);
    const whole = "step one [REDACTED:DEPLOY_KEY]\nstep two\nstep three [REDACTED:DEPLOY_KEY]\n";
    expect((await call(sidecar, "GET", path, undefined, bearer)).body).toBe(whole);
    await call(socket, "POST", "/v1/jobs/open/token");
    expect((await call(sidecar, "GET", path, undefined, bearer)).status).toBe(403);
    await sidecar.close(1000);
    expect([".format.json", ".tokens.json", "open/secrets.json"].map((file) => versionOf(join(logs, file)))).toEqual([2, 1, 1]);

    // What was gone on with is read by the next process.
    const { sidecar: again } = await start({ store: { folder: logs, ...KEPT }, engine: { secrets: SECRETS } });
    expect((await call(again, "GET", odd)).body).toBe("odd names\nmore\n");
    expect((await call(again, "GET", "/v1/jobs/ended/streams/build")).body).toBe(ended.body);
  });

  test("its spool is delivered", async () => {
    const { home } = unpack(archive);
    const folder = join(home, "spool");
    const { seen, upstream } = await proxied({ engine: { secrets: SECRETS } });
    await start({ upstream: { ...upstream, spool: { folder, maxBytes: 1 << 30, headers: [] } }, engine: { secrets: SECRETS } });
    await until(() => expect(seen.map(({ url }) => url)).toEqual(["/logs/small", "/logs/large"]));
    expect(seen.map(({ body }) => body.toString())).toEqual(["small [REDACTED:BUILD_TOKEN]\n", linesOf(3000, "large")]);
    expect(versionOf(join(folder, ".format.json"))).toBe(1);
  });
});

test.each([
  ["the store", "logs/.format.json", { format: 99 }, 2],
  ["the file of issued tokens", "logs/.tokens.json", { format: 99, tokens: [] }, 1],
  ["the spool", "spool/.format.json", { format: 99 }, 1],
])("upgrade: %s of a newer version keeps the sidecar from starting, which says why", { timeout: 60_000 }, async (what, file, content, supported) => {
  const home = temporary();
  const path = join(home, "state", "logveil", file);
  mkdirSync(join(path, ".."), { recursive: true, mode: 0o700 });
  mkdirSync(join(home, "run"), { mode: 0o700 });
  writeFileSync(path, JSON.stringify(content));
  const env = { BUILD_TOKEN: SECRETS[0]!.value, LOGVEIL_UPSTREAM_URL: "http://127.0.0.1:9", LOGVEIL_SPOOL_ENABLED: "true" };
  const failed = serveProcess(home, { env }).then(
    (serving) => end(serving.child, "SIGKILL").then(() => "it started"),
    (error: Error) => error.message,
  );
  expect(await failed).toContain(
    `${path}: ${what} has format 99, this logveil reads formats up to ${supported}: start the logveil that wrote it or a newer one, or use another folder`,
  );
  // Nothing of it was touched.
  expect(JSON.parse(readFileSync(path, "utf8"))).toEqual(content);
});

test("upgrade: a job of a newer version is refused, and others are not", async () => {
  const { home } = unpack("state-a9c604f.tar.gz");
  const logs = join(home, "logs");
  writeFileSync(join(logs, "ended", "job.json"), JSON.stringify({ format: 99, started: 1 }));
  const { sidecar, logs: told } = await start({ store: { folder: logs, ...KEPT }, engine: { secrets: SECRETS } });
  onTestFinished(() => sidecar.close(0).then(() => undefined));
  expect((await call(sidecar, "GET", "/v1/jobs/ended/streams/build")).status).toBe(503);
  expect((await call(sidecar, "POST", "/v1/jobs/ended/streams/build", "x\n")).status).toBe(503);
  expect((await call(sidecar, "POST", "/v1/jobs/other/streams/s", "x\n")).status).toBe(200);
  expect(told).toContainEqual(expect.stringMatching(/LV_FORMAT: \S+ended\/job\.json: a job of the store has format 99, this logveil reads formats up to 1/));
});
