/** Who may write and read which jobs: tokens of a file and of the control API; what one token opens is not open to another. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Sidecar } from "../../src/sidecar/serve.js";
import { type ListedToken, readTokens } from "../../src/sidecar/tokens.js";
import { type Answer, call, start, temporary } from "../support/sidecar.js";
import { proxied } from "../support/upstream.js";

const ONE = "one-0123456789-0123456789";
const AGENT = "agent-0123456789-0123456789";
const SPACED = "spaced-0123456789+0123456789/==";

function fileOf(text: string): string {
  const file = join(temporary(), "tokens");
  writeFileSync(file, text, { mode: 0o600 });
  return file;
}

const listed = (): ListedToken[] =>
  readTokens(
    fileOf(
      `# tokens of jobs\n\nbuild-1 ${ONE}\r\n* \tsha256:${createHash("sha256").update(AGENT).digest("hex").toUpperCase()}\na job  ${SPACED}\nbuild-1 ${ONE}-2`,
    ),
    "auth.tokenFile",
  );

const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });
const logOf = (job: string): string => `/v1/jobs/${encodeURIComponent(job)}/streams/s`;
const issue = async ({ socket }: Sidecar, job: string): Promise<string> =>
  (JSON.parse((await call({ socket: socket! }, "POST", `/v1/jobs/${job}/token`)).body) as { token: string }).token;
const jobsIn = ({ body }: Answer): string[] => (JSON.parse(body) as { jobs: { job: string }[] }).jobs.map(({ job }) => job).toSorted();

test("tokens of a file open their job, or any; every request needs one", async () => {
  const { sidecar } = await start({ tokensRequired: true, tokens: listed() });
  const post = async (job: string, headers: Record<string, string>): Promise<number> => (await call(sidecar, "POST", logOf(job), "x\n", headers)).status;
  for (const token of [ONE, `${ONE}-2`, AGENT]) expect(await post("build-1", bearer(token))).toBe(200);
  expect(await post("build-1", { "logveil-token": ONE })).toBe(200);
  expect(await post("build-1", { authorization: `bearer ${ONE}` })).toBe(200);
  expect(await post("a job", bearer(SPACED))).toBe(200);
  expect(await post("build-2", bearer(AGENT))).toBe(200);
  for (const [job, token] of [
    ["build-2", ONE],
    ["build-1", SPACED],
    ["build-1", ""],
    ["build-1", ONE.slice(0, -1)],
    ["build-1", createHash("sha256").update(ONE).digest("hex")],
    ["*", ONE],
  ] as const)
    expect(await post(job, bearer(token))).toBe(token === "" ? 401 : 403);
  expect(await post("build-1", {})).toBe(401);
  expect(await post("build-1", { authorization: `Basic ${ONE}` })).toBe(401);
  expect((await call(sidecar, "POST", logOf("build-1"), "x\n")).headers["www-authenticate"]).toBe('Bearer realm="logveil"');
});

test("a token of a job reads and lists that job only; one for any job all of them", async () => {
  const { sidecar } = await start({ tokensRequired: true, tokens: listed() });
  for (const job of ["build-1", "build-2", "a job"]) await call(sidecar, "POST", logOf(job), `of ${job}\n`, bearer(AGENT));
  const get = (path: string, token?: string): Promise<Answer> => call(sidecar, "GET", path, undefined, token === undefined ? {} : bearer(token));
  expect(jobsIn(await get("/v1/jobs", AGENT))).toEqual(["a job", "build-1", "build-2"]);
  expect(jobsIn(await get("/v1/jobs", ONE))).toEqual(["build-1"]);
  expect(jobsIn(await get("/v1/jobs", await issue(sidecar, "build-2")))).toEqual(["build-2"]);
  expect(jobsIn(await get("/v1/jobs", "nonsense"))).toEqual([]);
  expect((await get("/v1/jobs")).status).toBe(401);
  expect((await get(logOf("build-1"), ONE)).body).toBe("of build-1\n");
  for (const path of ["/v1/jobs/build-2", logOf("build-2"), `${logOf("build-2")}?follow=1`, "/v1/jobs/nothing"]) {
    expect((await get(path, ONE)).status).toBe(403);
    expect((await get(path)).status).toBe(401);
  }
  expect((await call(sidecar, "HEAD", logOf("build-2"), undefined, bearer(ONE))).status).toBe(403);
});

test("without a file, a job that was issued a token is closed to others, also when it has ended; its token reads on and writes no more", async () => {
  const { sidecar } = await start();
  const token = await issue(sidecar, "build-1");
  expect((await call(sidecar, "POST", logOf("build-1"), "one\n", bearer(token))).status).toBe(200);
  expect((await call(sidecar, "POST", logOf("build-2"), "two\n")).status).toBe(200);
  expect(jobsIn(await call(sidecar, "GET", "/v1/jobs"))).toEqual(["build-2"]);
  expect((await call(sidecar, "GET", "/v1/jobs/build-1")).status).toBe(401);
  expect((await call({ socket: sidecar.socket! }, "DELETE", "/v1/jobs/build-1")).status).toBe(200);
  expect((await call(sidecar, "GET", logOf("build-1"))).status).toBe(401);
  expect((await call(sidecar, "GET", logOf("build-1"), undefined, bearer(token))).body).toBe("one\n");
  expect((await call(sidecar, "POST", "/v1/jobs/build-1/streams/late", "x", bearer(token))).status).toBe(403);
  expect((await call(sidecar, "POST", "/v1/jobs/build-1/streams/late", "x")).status).toBe(401);
});

test("a job that prints its token gives it away to no one", async () => {
  const { sidecar } = await start();
  const token = await issue(sidecar, "build-1");
  const printed = `+ curl -H 'Logveil-Token: ${token}'\n${Buffer.from(token).toString("base64")}\n`;
  expect((await call(sidecar, "POST", logOf("build-1"), printed, bearer(token))).status).toBe(200);
  const read = async (): Promise<string> => (await call(sidecar, "GET", logOf("build-1"), undefined, bearer(token))).body;
  await expect.poll(read).toBe("+ curl -H 'Logveil-Token: [REDACTED:LOGVEIL_TOKEN]'\n[REDACTED:LOGVEIL_TOKEN]\n");
});

test("a token that was issued outlives the process, its bytes are nowhere on disk", async () => {
  const first = await start();
  const store = { folder: join(first.folder, "logs"), maxFileBytes: 1 << 20, maxAgeMs: 1e9, compress: "none" } as const;
  const [token, other] = [await issue(first.sidecar, "build-1"), await issue(first.sidecar, "build-2")];
  expect((await call(first.sidecar, "POST", logOf("build-1"), `${token}\n`, bearer(token))).status).toBe(200);
  expect((await call({ socket: first.sidecar.socket! }, "DELETE", "/v1/jobs/build-2")).status).toBe(200);
  await first.sidecar.close(1000);
  const files = readdirSync(first.folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  for (const file of files) expect(readFileSync(join(file.parentPath, file.name), "latin1")).not.toContain(token);
  const { sidecar } = await start({ store });
  expect((await call(sidecar, "POST", logOf("build-1"), "two\n")).status).toBe(401);
  expect((await call(sidecar, "GET", logOf("build-1"))).status).toBe(401);
  expect((await call(sidecar, "POST", logOf("build-1"), "two\n", bearer(token))).status).toBe(200);
  // Ended: it reads on, and writes no more.
  expect((await call(sidecar, "POST", logOf("build-2"), "two\n", bearer(other))).status).toBe(403);
  expect((await call(sidecar, "GET", "/v1/jobs/build-2", undefined, bearer(other))).status).toBe(200);
  const next = await issue(sidecar, "build-1");
  expect((await call(sidecar, "POST", logOf("build-1"), "three\n", bearer(token))).status).toBe(403);
  expect((await call(sidecar, "POST", logOf("build-1"), "three\n", bearer(next))).status).toBe(200);
});

test("forwarding: the token comes in a field of its own and goes nowhere; Authorization is the upstream's", async () => {
  const { sidecar, seen } = await proxied({ tokensRequired: true, tokens: listed() });
  const send = (headers: Record<string, string>): Promise<Answer> => call(sidecar, "POST", "/x", "text\n", { "content-type": "text/plain", ...headers });
  const good = { "logveil-token": ONE, "logveil-job": "build-1", authorization: "Splunk 1234" };
  expect((await send(good)).status).toBe(201);
  const { headers } = seen.pop()!;
  expect([headers.authorization, headers["logveil-token"], headers["logveil-job"]]).toEqual(["Splunk 1234", undefined, undefined]);
  expect((await send({ ...good, "logveil-job": "build-2" })).status).toBe(403);
  expect((await send({ "logveil-token": ONE })).status).toBe(403);
  expect((await send({ "logveil-token": AGENT })).status).toBe(201);
  const refused = await send({ "logveil-job": "build-1", ...bearer(ONE) });
  expect([refused.status, refused.body]).toEqual([401, expect.stringContaining("as Logveil-Token: TOKEN")]);
  expect(seen.length).toBe(1);
});

test("what is wrong with a file of tokens is told by line, and nothing of it", () => {
  for (const [text, expected] of [
    ["", "FILE holds no token, so every request would be refused: expected lines of JOB TOKEN"],
    ["# only\n", "FILE holds no token, so every request would be refused: expected lines of JOB TOKEN"],
    [`\n${ONE}\n`, "FILE:2: expected JOB TOKEN, or JOB sha256: and 64 hexadecimal digits"],
    ["job sha256:abcdef", "FILE:1: expected JOB TOKEN, or JOB sha256: and 64 hexadecimal digits"],
    [`job ${ONE}"`, "FILE:1: expected JOB TOKEN, or JOB sha256: and 64 hexadecimal digits"],
    ["job hunter2", "FILE:1: a token of less than 22 characters can be guessed: make one with openssl rand -hex 32"],
    [`${"j".repeat(101)} ${ONE}`, "FILE:1: names of jobs have 1 to 100 bytes of UTF-8 without control characters"],
  ] as const) {
    const file = fileOf(text);
    expect(() => readTokens(file, "auth.tokenFile")).toThrow(
      expect.objectContaining({ code: "LV_CONFIG", message: `auth.tokenFile: ${expected.replace("FILE", file)}` }),
    );
  }
  expect(() => readTokens("/nowhere", "auth.tokenFile")).toThrow("auth.tokenFile: /nowhere cannot be read: no such file or folder (ENOENT)");
});
