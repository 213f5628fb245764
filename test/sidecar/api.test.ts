/** The sidecar's own API with real connections: what comes in is masked and kept, offsets are exact, jobs are apart. */
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { request as send } from "node:http";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import type { Sidecar } from "../../src/sidecar/serve.js";
import { call, copyOfStore, start, temporary } from "../support/sidecar.js";

const LOG = "/v1/jobs/build-1/streams/stdout";

/** Waits until a stream holds `text`: its end may be undecided until there was silence. */
const read = (sidecar: Sidecar, text: string, path = LOG): Promise<void> =>
  vi.waitFor(async () => expect((await call(sidecar, "GET", path)).body).toEqual(text));

test("masks what it is sent, over any number of requests, and gives it back", async () => {
  const { sidecar, witness } = await start();
  const first = await call(sidecar, "POST", LOG, ["hello global-sec", "ret-0123", "456789 and global-se"]);
  expect(first.status).toBe(200);
  // The end is not decided yet: it is taken, and not kept.
  const { offset, received } = JSON.parse(first.body) as { offset: number; received: number };
  expect(received).toBe(44);
  expect(offset).toBeLessThanOrEqual(35);
  expect(first.headers["logveil-offset"]).toBe(String(offset));
  const second = await call(sidecar, "POST", LOG, "cret-0123456789!\n", { "logveil-offset": "44" });
  expect(JSON.parse(second.body)).toMatchObject({ received: 61 });
  await call(sidecar, "POST", `${LOG}/end`);
  const { status, body } = await call(sidecar, "GET", LOG);
  expect([status, body]).toEqual([200, "hello [REDACTED:GLOBAL] and [REDACTED:GLOBAL]!\n"]);
  expect((await call(sidecar, "GET", `${LOG}?from=6`)).body).toBe("[REDACTED:GLOBAL] and [REDACTED:GLOBAL]!\n");
  expect(witness.told).toMatchObject([
    { type: "job", job: "build-1" },
    { job: "build-1", secret: "GLOBAL", offset: 6, length: 24, line: 1, stream: "stdout" },
    { job: "build-1", secret: "GLOBAL", offset: 35, length: 24, line: 1 },
  ]);
});

test("an end keeps everything, and no more comes", async () => {
  const { sidecar } = await start();
  await call(sidecar, "POST", LOG, "almost global-sec");
  const end = await call(sidecar, "POST", `${LOG}/end`);
  expect(JSON.parse(end.body)).toEqual({ offset: 17, received: 17 });
  expect((await call(sidecar, "GET", LOG)).body).toBe("almost [REDACTED:GLOBAL]");
  expect(await call(sidecar, "POST", LOG, "more")).toMatchObject({ status: 409, headers: { "logveil-offset": "17" } });
});

test("after silence what is undecided is kept as well", async () => {
  const { sidecar } = await start();
  await call(sidecar, "POST", LOG, "a word");
  await vi.waitFor(async () => expect((await call(sidecar, "GET", LOG)).body).toBe("a word"));
  // To be sent again after a crash: only whole lines are acknowledged.
  expect((await call(sidecar, "HEAD", LOG)).headers).toMatchObject({ "logveil-offset": "0", "logveil-received": "6" });
  expect(JSON.parse((await call(sidecar, "POST", LOG, "!")).body)).toEqual({ offset: 0, received: 7 });
});

test("says where a stream goes on", async () => {
  const { sidecar } = await start();
  await call(sidecar, "POST", LOG, "a line\n");
  for (const offset of ["0", "6", "8"]) {
    const refused = await call(sidecar, "POST", LOG, "x", { "logveil-offset": offset });
    expect(refused).toMatchObject({ status: 409, headers: { "logveil-offset": "7" } });
    expect(JSON.parse(refused.body)).toEqual({
      error: "LV_REFUSED",
      message: `the stream goes on at offset 7, not at ${offset}: send what follows, or leave Logveil-Offset out`,
    });
  }
  expect((await call(sidecar, "POST", LOG, "x", { "logveil-offset": "-1" })).status).toBe(400);
  await read(sidecar, "a line\n");
  await call(sidecar, "POST", LOG, "! ! ! ! !");
  // It was received and is not kept: it may be sent once more, and counts once.
  const refused = await call(sidecar, "POST", LOG, "x", { "logveil-offset": "6" });
  expect(refused).toMatchObject({ status: 409, headers: { "logveil-offset": "7" } });
  expect(refused.body).toContain("goes on at an offset from 7 to 16, not at 6");
  expect(JSON.parse((await call(sidecar, "POST", LOG, "! ! ! ! !\n", { "logveil-offset": "7" })).body)).toEqual({ offset: 17, received: 17 });
  await read(sidecar, "a line\n! ! ! ! !\n");
});

test("one request writes at a time; one that knows the offset takes over", async () => {
  const { sidecar } = await start();
  const slow = send({ host: sidecar.listen.host, port: sidecar.listen.port, method: "POST", path: LOG });
  slow.on("error", () => undefined);
  slow.write("first\n");
  await vi.waitFor(async () => expect((await call(sidecar, "POST", LOG, "x")).status).toBe(409));
  const taken = await call(sidecar, "POST", LOG, "second\n", { "logveil-offset": "6" });
  expect(taken.status).toBe(200);
  const refused = new Promise<number>((resolve) => slow.once("response", (response) => resolve(response.statusCode!)));
  slow.write("never\n");
  expect(await refused).toBe(409);
  slow.destroy();
  await read(sidecar, "first\nsecond\n");
});

test("a client that is cut off in a token leaks nothing and can go on", async () => {
  const { sidecar } = await start();
  const socket = connect(sidecar.listen.port, sidecar.listen.host);
  socket.write(`POST ${LOG} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n15\r\nbefore global-secret-\r\n`);
  await vi.waitFor(async () => expect((await call(sidecar, "HEAD", LOG)).status).toBe(200));
  await vi.waitFor(async () => expect((await call(sidecar, "GET", LOG)).body).toBe("before [REDACTED:GLOBAL]"));
  socket.destroy();
  const next = await call(sidecar, "POST", LOG, "0123456789 behind\n", { "logveil-offset": "21" });
  expect(next.status).toBe(200);
  await read(sidecar, expect.stringMatching(/^before (\[REDACTED:GLOBAL\])+ behind\n$/));
});

test("follows a stream until it ends", async () => {
  const { sidecar } = await start();
  await call(sidecar, "POST", LOG, "one\n");
  const seen: string[] = [];
  const done = new Promise<void>((resolve) => {
    send({ host: sidecar.listen.host, port: sidecar.listen.port, path: `${LOG}?follow=1` }, (response) => {
      response
        .setEncoding("utf8")
        .on("data", (text: string) => seen.push(text))
        .on("end", resolve);
    }).end();
  });
  await vi.waitFor(() => expect(seen.join("")).toBe("one\n"));
  await call(sidecar, "POST", LOG, "two\n");
  await vi.waitFor(() => expect(seen.join("")).toBe("one\ntwo\n"));
  await call(sidecar, "POST", `${LOG}/end`);
  await done;
});

test("after a crash a stream goes on where nothing unfinished reaches over", async () => {
  const pem = "-----BEGIN RSA PRIVATE KEY-----";
  for (const [first, rest, expected] of [
    ["one\ntwo global-secret-01", "23456789 three\n", "one\ntwo [REDACTED:GLOBAL] three\n"],
    // Masked as it came, line by line: still it is not settled.
    [
      `one\n${pem}\n${"MIIEpAIBAAKCAQEA7bq+x/9Z".repeat(2)}\n`,
      `${"Qk3vXw8tN0s+LmZr5yB1cD2e".repeat(2)}\n-----END RSA PRIVATE KEY-----\nend\n`,
      /^one\n\[REDACTED:pem-private-key\]\n*end\n$/,
    ],
  ] as const) {
    const { sidecar, folder } = await start();
    await call(sidecar, "POST", LOG, first);
    await vi.waitFor(async () => expect((await call(sidecar, "GET", LOG)).body).toContain("[REDACTED:"));
    // What is on disk when the power goes.
    const { sidecar: again } = await start({ store: { folder: copyOfStore(join(folder, "logs")), maxFileBytes: 1 << 20, maxAgeMs: 1e9, compress: "none" } });
    const offset = Number((await call(again, "HEAD", LOG)).headers["logveil-offset"]);
    expect(offset).toBe(4);
    await call(again, "POST", LOG, (first + rest).slice(offset), { "logveil-offset": String(offset) });
    await call(again, "POST", `${LOG}/end`);
    const { body } = await call(again, "GET", LOG);
    if (typeof expected === "string") expect(body).toBe(expected);
    else expect(body).toMatch(expected);
  }
});

test("secrets of a job mask its own streams only, until they are forgotten", async () => {
  const { sidecar, witness } = await start();
  const socket = { socket: sidecar.socket! };
  await call(sidecar, "POST", LOG, "early job-secret-42-abcdef\n");
  const added = await call(socket, "POST", "/v1/jobs/build-1/secrets", '{"name":"TOKEN","value":"job-secret-42-abcdef"}\n');
  expect(JSON.parse(added.body)).toEqual({ generation: 1, reports: [], exposed: [{ stream: "stdout", secret: "TOKEN", offset: 6, length: 20, line: 1 }] });
  const other = LOG.replace("build-1", "build-2");
  for (const path of [LOG, other]) await call(sidecar, "POST", path, "late job-secret-42-abcdef\n");
  await read(sidecar, "early job-secret-42-abcdef\nlate [REDACTED:TOKEN]\n");
  await read(sidecar, "late job-secret-42-abcdef\n", other);
  expect((await call(socket, "DELETE", "/v1/jobs/build-1")).status).toBe(200);
  await vi.waitFor(() => expect(witness.told).toContainEqual({ type: "forget", job: "build-1" }));
  expect(JSON.parse((await call(socket, "GET", "/v1/status")).body)).toMatchObject({ ready: true, jobs: 1, secrets: 1 });
  expect((await call(sidecar, "GET", LOG)).body).toContain("[REDACTED:TOKEN]");
  expect(JSON.parse((await call(sidecar, "GET", "/v1/jobs/build-1")).body)).toMatchObject({ job: "build-1", streams: ["stdout"], ended: expect.any(Number) });
});

test("a sidecar that was started anew takes nothing of a job until it has all of the job's secrets again", async () => {
  const { sidecar, folder } = await start();
  const secrets = (names: readonly string[]): string => names.map((name) => JSON.stringify({ name, value: `value-of-${name}-0123` })).join("\n");
  await call({ socket: sidecar.socket! }, "POST", "/v1/jobs/build-1/secrets", secrets(["A", "B"]));
  await call(sidecar, "POST", LOG, "one\n");
  const names = readFileSync(join(folder, "logs", "build-1", "secrets.json"), "utf8");
  expect(JSON.parse(names)).toEqual({ format: 1, names: ["A", "B"] });
  const copy = copyOfStore(join(folder, "logs"));
  const { sidecar: again } = await start({ store: { folder: copy, maxFileBytes: 1 << 20, maxAgeMs: 1e9, compress: "none" } });
  const told = /^2 secrets of this job were lost/;
  const refused = await call(again, "POST", LOG, "value-of-A-0123\n");
  expect([refused.status, refused.headers["retry-after"], (JSON.parse(refused.body) as { message: string }).message]).toEqual([
    503,
    "1",
    expect.stringMatching(told),
  ]);
  // Where it goes on is told all the same, and other jobs are not concerned.
  expect((await call(again, "HEAD", LOG)).headers["logveil-offset"]).toBe("4");
  expect((await call(again, "POST", LOG.replace("build-1", "build-2"), "x\n")).status).toBe(200);
  const socket = { socket: again.socket! };
  await call(socket, "POST", "/v1/jobs/build-1/secrets", secrets(["A", "C"]));
  expect((await call(again, "POST", LOG, "x")).status).toBe(503);
  await call(socket, "POST", "/v1/jobs/build-1/secrets", secrets(["B"]));
  await call(again, "POST", LOG, "value-of-B-0123\n", { "logveil-offset": "4" });
  await read(again, "one\n[REDACTED:B]\n");
  await call(socket, "DELETE", "/v1/jobs/build-1");
  expect(readdirSync(join(copy, "build-1")).toSorted()).toEqual(["job.json", "stdout"]);
});

test("an end says where it believes the stream to be", async () => {
  const { sidecar } = await start();
  await call(sidecar, "POST", LOG, "a line\n");
  expect(await call(sidecar, "POST", `${LOG}/end`, "", { "logveil-offset": "9" })).toMatchObject({ status: 409, headers: { "logveil-offset": "7" } });
  // Twice, since an answer may be lost.
  for (let time = 0; time < 2; time++) expect((await call(sidecar, "POST", `${LOG}/end`, "", { "logveil-offset": "7" })).status).toBe(200);
});

test("after the store could not be written a stream goes on where the disk has it", async () => {
  const folder = temporary();
  const { sidecar, logs } = await start({ store: { folder, maxFileBytes: 20, maxAgeMs: 1e9, compress: "none" } });
  const first = "a line that fills a file\n";
  // More than goes into the journal.
  const second = "another with global-secret-0123456789\n".repeat(3000);
  await call(sidecar, "POST", LOG, first);
  const stream = join(folder, "build-1", "stdout");
  // No file can be begun any more.
  renameSync(stream, `${stream}-away`);
  writeFileSync(stream, "");
  const refused = await call(sidecar, "POST", LOG, second);
  expect(refused).toMatchObject({ status: 503, headers: { "retry-after": "10" } });
  const told = /build-1\/stdout\S* cannot be written: a part of the path is not a folder \(ENOTDIR\), job build-1, stream stdout/;
  expect((JSON.parse(refused.body) as { message: string }).message).toMatch(told);
  expect(logs.filter((line) => told.test(line))).toHaveLength(1);
  expect((await call(sidecar, "HEAD", LOG)).status).toBe(503);
  rmSync(stream);
  renameSync(`${stream}-away`, stream);
  expect((await call(sidecar, "HEAD", LOG)).headers["logveil-offset"]).toBe(String(first.length));
  const again = await call(sidecar, "POST", LOG, second, { "logveil-offset": String(first.length) });
  expect(JSON.parse(again.body)).toEqual({ offset: first.length + second.length, received: first.length + second.length });
  expect((await call(sidecar, "GET", LOG)).body).toBe(`${first}${"another with [REDACTED:GLOBAL]\n".repeat(3000)}`);
  expect(logs).toContainEqual("info: store: it can be written again");
});

test("a batch of secrets that is none is refused, by its line", async () => {
  const { sidecar } = await start();
  for (const batch of [
    '{"name":"A","value":"ok-ok-ok-ok"}\nnonsense-hunter2',
    '\n{"name":"A"}',
    '{"name":"A","value":"x","extra":1}',
    "[]",
    '{"name":"A","value":"a","base64":"YQ=="}',
  ]) {
    const refused = await call({ socket: sidecar.socket! }, "POST", "/v1/jobs/j/secrets", batch);
    expect(refused.status).toBe(400);
    expect(refused.body).toMatch(/batch:\d/);
    expect(refused.body).not.toContain("hunter2");
  }
});

test("a secret whose name holds a value is refused, and nothing of its batch is taken", async () => {
  const { sidecar } = await start();
  const control = { socket: sidecar.socket! };
  const refused = await call(
    control,
    "POST",
    "/v1/jobs/j/secrets",
    '{"name":"x-job-value-1234","value":"other-value-1"}\n{"name":"A","value":"job-value-1234"}\n',
  );
  expect(refused.status).toBe(400);
  expect(JSON.parse(refused.body)).toMatchObject({
    message: expect.stringMatching(/^LV_SECRET_NAME: secret x-\*\*\*: the name contains the value of secret A/),
  });
  expect((await call(control, "POST", "/v1/jobs/j/secrets", '{"name":"A","value":"job-value-1234"}\n')).status).toBe(200);
});

test("tokens open their own job and no other", async () => {
  const { sidecar } = await start({ tokensRequired: true });
  const socket = { socket: sidecar.socket! };
  expect((await call(sidecar, "POST", LOG, "x")).status).toBe(401);
  const { token } = JSON.parse((await call(socket, "POST", "/v1/jobs/build-1/token")).body) as { token: string };
  const bearer = { authorization: `Bearer ${token}` };
  expect((await call(sidecar, "POST", LOG, "x\n", bearer)).status).toBe(200);
  // What may be the beginning of the token waits for a moment.
  await expect.poll(async () => (await call(sidecar, "GET", LOG, undefined, bearer)).body).toBe("x\n");
  expect((await call(sidecar, "POST", LOG.replace("build-1", "build-2"), "x\n", bearer)).status).toBe(403);
  await call(socket, "POST", "/v1/jobs/build-1/token");
  expect((await call(sidecar, "POST", LOG, "x\n", bearer)).status).toBe(403);
});

test("without evidence nothing is acknowledged", async () => {
  const { sidecar, witness } = await start();
  witness.failure = Object.assign(new Error("no space"), { code: "ENOSPC" });
  const refused = await call(sidecar, "POST", LOG, "global-secret-0123456789\n");
  expect(refused).toMatchObject({ status: 503, headers: { "retry-after": "10" } });
  expect(refused.body).not.toContain("global-secret");
  const ready = await call({ port: sidecar.admin!.port }, "GET", "/readyz");
  expect([ready.status, JSON.parse(ready.body)]).toEqual([
    503,
    { checks: { accepting: "ok", canary: "ok", secrets: "ok", store: "ok", evidence: "no space" } },
  ]);
});

test("tells health and figures", async () => {
  const { sidecar } = await start();
  const admin = { port: sidecar.admin!.port };
  await call(sidecar, "POST", LOG, "global-secret-0123456789\n");
  for (const path of ["/livez", "/startupz", "/readyz"]) expect((await call(admin, "GET", path)).status).toBe(200);
  expect((await call(admin, "GET", "/metrics")).body).toContain('\nlogveil_findings_total{kind="masked",confidence="registered"} 1\n');
  expect(JSON.parse((await call(admin, "GET", "/version")).body)).toMatchObject({ version: "0.0.0" });
});

test.each([
  ["a path that is none", "GET /nope HTTP/1.1\r\nHost: x\r\n\r\n", 404],
  ["another method", `PUT ${LOG} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n`, 405],
  ["two lengths", `POST ${LOG} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx`, 400],
  ["length and chunks", `POST ${LOG} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
  ["two hosts", `POST ${LOG} HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: 1\r\n\r\nx`, 400],
  ["a folded header", `POST ${LOG} HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\nContent-Length: 1\r\n\r\nx`, 400],
  ["a bad chunk size", `POST ${LOG} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n`, 400],
  ["an upgrade", `GET ${LOG} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n`, 501],
  ["CONNECT", "CONNECT example:443 HTTP/1.1\r\nHost: example:443\r\n\r\n", 501],
  ["a coding that is not taken", `POST ${LOG} HTTP/1.1\r\nHost: x\r\nContent-Encoding: rot13\r\nContent-Length: 1\r\n\r\nx`, 415],
  ["a way out of the store", "POST /v1/jobs/..%2f..%2fetc/streams/.. HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", 404],
  ["a name with a control character", "POST /v1/jobs/a%00b/streams/s HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", 400],
])("refuses %s", async (_, raw, status) => {
  const { sidecar, folder } = await start();
  const answer = await new Promise<string>((resolve, reject) => {
    const socket = connect(sidecar.listen.port, sidecar.listen.host, () => socket.write(raw));
    let text = "";
    socket.setEncoding("latin1").on("data", (more: string) => {
      text += more;
      socket.end();
    });
    socket.on("close", () => resolve(text)).on("error", reject);
  });
  expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  const kept = readdirSync(join(folder, "logs"), { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".log"));
  for (const name of kept) expect(statSync(join(folder, "logs", name)).size).toBe(0);
});

test("keeps masked bytes only, for its owner only", async () => {
  const { sidecar, folder } = await start();
  await call(sidecar, "POST", LOG, "global-secret-0123456789\n".repeat(1000));
  const files = readdirSync(join(folder, "logs"), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  expect(files.length).toBe(4);
  for (const { parentPath, name } of files) {
    expect(readFileSync(join(parentPath, name), "latin1")).not.toContain("global-secret");
    expect(statSync(join(parentPath, name)).mode & 0o077).toBe(0);
  }
  expect(statSync(sidecar.socket!).mode & 0o777).toBe(0o600);
});
