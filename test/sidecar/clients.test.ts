/** Clients that are slow, dead, rude or too many: each is cut off or told so, none hangs, none has others wait, and nothing of an unfinished request is whole to anyone. */
import { connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import * as h2 from "../support/http2.js";
import { call, jobFolders, start, until } from "../support/sidecar.js";
import { proxied } from "../support/upstream.js";

const LOG = "/v1/jobs/build-1/streams/stdout";
const SECRET = "global-secret-0123456789";
/** Nothing in these tests waits for longer. */
const PATIENT = 600_000;
const LIMITS = { headersTimeoutMs: PATIENT, idleTimeoutMs: PATIENT, maxConnections: 1000 };
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
const post = (path = LOG): string => `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n`;

interface Client {
  readonly socket: Socket;
  /** What has come. */
  readonly got: () => string;
  readonly closed: Promise<void>;
}

/** A connection that says `text` and then nothing. */
function client(port: number, text = ""): Client {
  let got = "";
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.setEncoding("latin1").on("data", (piece: string) => (got += piece));
  socket.on("error", () => undefined);
  socket.write(text);
  onTestFinished(() => void socket.destroy());
  return { socket, got: () => got, closed: new Promise((resolve) => socket.once("end", resolve).once("close", () => resolve())) };
}

test.each([
  ["says nothing", ""],
  ["says the beginning of a method", "P"],
  ["says the beginning of the preface of HTTP/2", "PRI * HTTP/2.0\r\n"],
  ["does not end its head", "POST / HTTP/1.1\r\nHost: x\r\nX"],
])("a client that %s is told and cut off", async (_, text) => {
  const { sidecar } = await start({ server: { ...LIMITS, headersTimeoutMs: 200 } });
  const { got, closed } = client(sidecar.listen.port, text);
  await closed;
  expect(got()).toMatch(/^HTTP\/1\.1 408 /);
});

test.each([
  ["opens no stream", Buffer.alloc(0)],
  ["does not end a head", h2.frame(h2.HEADERS, 0, 1, h2.head("GET", "/"))],
])("a client of HTTP/2 that %s is cut off", async (_, bytes) => {
  const { sidecar } = await start({ server: { ...LIMITS, headersTimeoutMs: 200 } });
  const raw = h2.rawHttp2(sidecar.listen.port);
  raw.socket.write(bytes);
  await raw.closed;
});

test("a body that trickles is taken; one that stops is told and cut off, and the stream goes on elsewhere", async () => {
  const { sidecar, logs } = await start({ server: { ...LIMITS, idleTimeoutMs: 3000 } });
  const { socket, got, closed } = client(sidecar.listen.port, post());
  const trickle = setInterval(() => socket.write(chunk("a line\n")), 100);
  // Longer than a silent one may take.
  await new Promise((resolve) => setTimeout(resolve, 4500));
  expect(got()).toBe("");
  clearInterval(trickle);
  await closed;
  expect(got()).toMatch(/^HTTP\/1\.1 408 .*"nothing came for too long/s);
  const { received } = JSON.parse((await call(sidecar, "POST", LOG, "b\n")).body) as { received: number };
  expect(received).toBeGreaterThan(10 * 7);
  expect(logs).toEqual([]);
});

test("forwarding: a body that stops is told and cut off, over HTTP/1.1 and HTTP/2; the upstream gets no whole request", async () => {
  const { sidecar, seen, logs } = await proxied({ server: { ...LIMITS, idleTimeoutMs: 300 } });
  const one = client(sidecar.listen.port, post("/x") + chunk(`a line\nand ${SECRET.slice(0, 12)}`));
  await one.closed;
  expect(one.got()).toMatch(/^HTTP\/1\.1 408 /);
  await until(() => expect(seen).toMatchObject([{ whole: false }]));
  const raw = h2.rawHttp2(sidecar.listen.port);
  raw.socket.write(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.head("POST", "/x", [["content-type", "text/plain"]])));
  raw.socket.write(h2.frame(h2.DATA, 0, 1, Buffer.from(`a line\nand ${SECRET.slice(0, 12)}`)));
  await until(() => expect(h2.outcome(raw, 1)).toBe("408"));
  await until(() => expect(seen).toMatchObject([{ whole: false }, { whole: false }]));
  // Silence has what is undecided leave; four bytes of a secret are masked then.
  for (const { body } of seen) expect(body.toString()).not.toContain(SECRET.slice(0, 4));
  expect(logs).toEqual([]);
});

test("a follower may be silent for as long as it likes; one that does not read is cut off", async () => {
  const { sidecar } = await start({ server: { ...LIMITS, idleTimeoutMs: 2000 } });
  await call(sidecar, "POST", LOG, "one\n");
  const follow = `GET ${LOG}?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n`;
  const reader = client(sidecar.listen.port, follow);
  const over = connectHttp2(`http://127.0.0.1:${sidecar.listen.port}`);
  onTestFinished(() => over.destroy());
  let seen = "";
  const ended = new Promise((resolve) =>
    over
      .request({ ":path": `${LOG}?follow=1` })
      .setEncoding("utf8")
      .on("data", (text: string) => (seen += text))
      .on("end", resolve),
  );
  const deaf = connect(sidecar.listen.port, "127.0.0.1").pause();
  const gone = new Promise((resolve) => deaf.on("error", () => undefined).once("close", resolve));
  deaf.write(follow);
  await until(() => expect([reader.got(), seen]).toEqual([expect.stringContaining("one\n"), "one\n"]));
  // Silent senders are cut off in this time.
  await new Promise((resolve) => setTimeout(resolve, 4500));
  const much = "a line of a log that is longer than what the system keeps for a client\n".repeat(20_000);
  for (let index = 0; index < 12; index++) await call(sidecar, "POST", LOG, much);
  await call(sidecar, "POST", `${LOG}/end`);
  await reader.closed;
  await ended;
  expect(reader.got().endsWith("\r\n0\r\n\r\n")).toBe(true);
  expect(seen.length).toBe(4 + 12 * much.length);
  // Its connection is reset: it gets no end.
  deaf.resume();
  await gone;
});

test("a connection whose other side has closed its half is closed, and nothing acknowledged", async () => {
  const { sidecar, logs } = await start();
  for (const text of ["", "P", post(), post() + chunk("one\n")]) {
    const { socket, got, closed } = client(sidecar.listen.port, text);
    socket.end();
    await closed;
    expect(got()).not.toMatch(/ 200 /);
  }
  expect(logs).toEqual([]);
});

test("a client that disconnects in the middle of a secret: nothing raw, nothing unfinished acknowledged", async () => {
  const { sidecar, witness, logs } = await start();
  const { socket } = client(sidecar.listen.port, post() + chunk(`whole line\nand ${SECRET.slice(0, 14)}`));
  await until(async () => expect((await call(sidecar, "GET", LOG)).body).toContain("whole line\n"));
  socket.resetAndDestroy();
  // The stream is free when the request is given up.
  await until(async () => expect((await call(sidecar, "POST", LOG, "")).status).toBe(200));
  const { offset, received } = JSON.parse((await call(sidecar, "POST", LOG, "")).body) as { offset: number; received: number };
  expect([offset, received]).toEqual([11, 29]);
  expect((await call(sidecar, "GET", LOG)).body).not.toContain(SECRET.slice(0, 4));
  expect(JSON.stringify(witness.told)).not.toContain(SECRET.slice(0, 8));
  expect(logs).toEqual([]);
});

test("requests one behind the other on one connection are taken and answered in order", async () => {
  const { sidecar } = await start();
  const pieces = Array.from({ length: 20 }, (_, index) => `line ${index}\n`);
  const { got, socket } = client(sidecar.listen.port, pieces.map((piece) => post() + chunk(piece) + chunk("")).join(""));
  await until(() => expect(got().match(/"received":\d+/g)?.length).toBe(20));
  socket.destroy();
  expect(got().match(/HTTP\/1\.1 \d+/g)).toEqual(pieces.map(() => "HTTP/1.1 200"));
  const received = [...got().matchAll(/"received":(\d+)/g)].map(([, count]) => Number(count));
  expect(received).toEqual(pieces.map((_, index) => pieces.slice(0, index + 1).join("").length));
  expect((await call(sidecar, "GET", LOG)).body).toBe(pieces.join(""));
});

test("what comes behind the last request of a connection is not taken", async () => {
  const { sidecar, folder } = await start();
  const held = client(sidecar.listen.port, post() + chunk("one\n"));
  await until(async () => expect((await call(sidecar, "HEAD", LOG)).headers["logveil-offset"]).toBe("4"));
  const closing = sidecar.close(PATIENT);
  // The first was under way when the end began; the next one is told that it is the last.
  const more = ["build-2", "build-3"].map((job) => post(LOG.replace("build-1", job)) + chunk("more\n") + chunk(""));
  held.socket.write(chunk("two\n") + chunk("") + more.join(""));
  await held.closed;
  expect(await closing).toBe(true);
  expect(held.got().match(/HTTP\/1\.1 \d+|connection: [a-z-]+/gi)).toEqual(["HTTP/1.1 200", "Connection: keep-alive", "HTTP/1.1 200", "Connection: close"]);
  expect(jobFolders(join(folder, "logs"))).toEqual(["build-1", "build-2"]);
});

test("a client that sends hundreds of requests without reading an answer is cut off", async () => {
  const { sidecar } = await proxied({}, () => undefined);
  const { closed } = client(sidecar.listen.port, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n".repeat(500));
  await closed;
});

test("a request that takes too long is told so: the client that does not come to an end, and the upstream that does not answer", async () => {
  const { sidecar, begun, logs } = await proxied({ server: { ...LIMITS, requestTimeoutMs: 1000 } }, (request) => void request.resume());
  const { socket, got, closed } = client(sidecar.listen.port, post("/x"));
  const trickle = setInterval(() => socket.write(chunk("a line\n")), 20);
  onTestFinished(() => clearInterval(trickle));
  await closed;
  expect(got()).toMatch(/^HTTP\/1\.1 408 .*"the request took too long"/s);
  expect(await call(sidecar, "POST", "/x", "a line\n", { "content-type": "text/plain" })).toMatchObject({ status: 503, headers: { "retry-after": "5" } });
  await until(() => expect(begun[0]).toMatchObject({ destroyed: true, complete: false }));
  expect(logs).toEqual([]);
});

test("a follower is no request that takes too long", async () => {
  const { sidecar } = await start({ server: { ...LIMITS, requestTimeoutMs: 3000 } });
  await call(sidecar, "POST", LOG, "one\n");
  const { got, closed } = client(sidecar.listen.port, `GET ${LOG}?follow=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  await until(() => expect(got()).toContain("one\n"));
  await new Promise((resolve) => setTimeout(resolve, 4500));
  await call(sidecar, "POST", `${LOG}/end`);
  await closed;
  expect(got().endsWith("\r\n0\r\n\r\n")).toBe(true);
});

test("a refusal is read even by a client that goes on sending", async () => {
  const { sidecar } = await proxied();
  const big = "x".repeat(16 << 20);
  const { status, body } = await call(sidecar, "POST", "/x", big, { "content-type": "application/unknown" });
  expect([status, body]).toEqual([415, expect.stringContaining("bodies of this type cannot be masked; accepted: text/plain, ")]);
});

test("connections beyond the limit get 503 with Retry-After, HTTP/1.1 and HTTP/2, also those that say nothing; those before them go on", async () => {
  const { sidecar } = await start({ server: { ...LIMITS, maxConnections: 3, headersTimeoutMs: 3000 } });
  const { port } = sidecar.listen;
  await call(sidecar, "POST", LOG, "one\n");
  await until(async () => expect((await call(sidecar, "HEAD", LOG)).status).toBe(200));
  const followers = [1, 2, 3].map(() => client(port, `GET ${LOG}?follow=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`));
  for (const { got } of followers) await until(() => expect(got()).toContain("one\n"));
  const burst = Array.from({ length: 100 }, (_, index) => client(port, index % 4 === 0 ? "" : post() + chunk("x".repeat(1000)) + chunk("")));
  const over = connectHttp2(`http://127.0.0.1:${port}`);
  onTestFinished(() => over.destroy());
  const overIsClosed = new Promise((resolve) => over.once("close", resolve));
  const status = new Promise((resolve) => over.request({ ":path": "/v1/jobs" }).on("response", resolve).resume());
  for (const { closed } of burst) await closed;
  for (const { got } of burst) expect(got()).toMatch(/^HTTP\/1\.1 503 .*retry-after: 5\r\n/is);
  expect(await status).toMatchObject({ ":status": 503, "retry-after": "5" });
  await overIsClosed;
  followers[0]!.socket.destroy();
  await until(async () => expect((await call(sidecar, "POST", `${LOG}/end`)).status).toBe(200));
  for (const { got, closed } of followers.slice(1)) {
    await closed;
    expect(got().endsWith("one\n\r\n0\r\n\r\n")).toBe(true);
  }
});

test("requests beyond the limit on connections of HTTP/2 get 503 with Retry-After", async () => {
  const { sidecar } = await proxied({ server: { ...LIMITS, maxConnections: 3 } }, () => undefined);
  const over = connectHttp2(`http://127.0.0.1:${sidecar.listen.port}`);
  onTestFinished(() => over.destroy());
  const statuses: unknown[] = [];
  for (let index = 0; index < 5; index++)
    over
      .request({ ":path": "/x" })
      .on("response", ({ ":status": status, "retry-after": after }) => statuses.push([status, after]))
      .on("error", () => undefined);
  await until(() =>
    expect(statuses).toEqual([
      [503, "5"],
      [503, "5"],
    ]),
  );
});

test("at the end requests under way are finished, idle connections closed, and those who take too long cut off", async () => {
  const { sidecar } = await start();
  const { port } = sidecar.listen;
  const idle = [client(port), client(port, `GET /nope HTTP/1.1\r\nHost: x\r\n\r\n`)];
  await until(() => expect(idle[1]!.got()).toMatch(/^HTTP\/1\.1 404/));
  const over = connectHttp2(`http://127.0.0.1:${port}`);
  onTestFinished(() => over.destroy());
  const busy = client(port, post() + chunk("one\n"));
  await until(async () => expect((await call(sidecar, "HEAD", LOG)).headers["logveil-offset"]).toBe("4"));
  const closing = sidecar.close(PATIENT);
  await idle[1]!.closed;
  await new Promise((resolve) => over.once("close", resolve));
  busy.socket.write(chunk("two\n") + chunk(""));
  await busy.closed;
  expect(busy.got()).toMatch(/^HTTP\/1\.1 200 .*"received":8/s);
  expect(await closing).toBe(true);
  const { sidecar: other } = await start();
  const slow = client(other.listen.port, post() + chunk("one\n"));
  await until(async () => expect((await call(other, "HEAD", LOG)).headers["logveil-offset"]).toBe("4"));
  expect(await other.close(50)).toBe(false);
  await slow.closed;
});
