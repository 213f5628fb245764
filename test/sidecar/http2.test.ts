/** HTTP/2 on the port of HTTP/1.1: requests are masked and passed on alike, what HTTP/2 does not allow goes nowhere, a body that was cut off is never whole to the upstream. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { type ClientHttp2Session, connect, type IncomingHttpHeaders, type OutgoingHttpHeaders } from "node:http2";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import * as h2 from "../support/http2.js";
import { call, start, temporary, until } from "../support/sidecar.js";
import { proxied } from "../support/upstream.js";

const SECRET = "global-secret-0123456789";
const LOG = "/v1/jobs/build-1/streams/stdout";
const HAVE_CURL = existsSync("/usr/bin/curl");
if (!HAVE_CURL) console.warn("passed over: tests with curl, which is not installed");

function session(port: number): ClientHttp2Session {
  const client = connect(`http://127.0.0.1:${port}`, { maxSessionMemory: 1000 });
  client.on("error", () => undefined);
  onTestFinished(() => client.destroy());
  return client;
}

interface Answer {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

function ask(client: ClientHttp2Session, headers: OutgoingHttpHeaders, pieces: readonly (string | Uint8Array)[] = []): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = client.request({ ":method": pieces.length > 0 ? "POST" : "GET", ...headers }, { endStream: pieces.length === 0 });
    const got: Buffer[] = [];
    let head: IncomingHttpHeaders = {};
    stream.on("response", (fields) => (head = fields)).on("data", (piece: Buffer) => got.push(piece));
    stream.on("end", () => resolve({ headers: head, body: Buffer.concat(got).toString() })).on("error", reject);
    for (const piece of pieces) stream.write(piece);
    if (pieces.length > 0) stream.end();
  });
}

test("the own API over HTTP/2, beside HTTP/1.1 on the same port", async () => {
  const { sidecar } = await start();
  const client = session(sidecar.listen.port);
  const first = await ask(client, { ":path": LOG }, ["hello global-sec", "ret-0123456789\n"]);
  expect([first.headers[":status"], JSON.parse(first.body)]).toEqual([200, expect.objectContaining({ received: 31 })]);
  expect((await call(sidecar, "POST", LOG, "more\n")).status).toBe(200);
  expect((await ask(client, { ":path": `${LOG}/end` }, [""])).headers[":status"]).toBe(200);
  expect((await ask(client, { ":path": LOG })).body).toBe("hello [REDACTED:GLOBAL]\nmore\n");
  expect((await ask(client, { ":path": LOG, ":method": "HEAD" })).headers["logveil-offset"]).toBe("36");
  expect((await ask(client, { ":path": LOG, "logveil-offset": "3" }, ["x"])).headers[":status"]).toBe(409);
  expect((await ask(client, { ":path": "/nope" })).headers[":status"]).toBe(404);
  expect((await ask(client, { ":path": LOG, ":method": "PUT" })).headers[":status"]).toBe(405);
});

test("a follower over HTTP/2 gets what comes, until the stream ends", async () => {
  const { sidecar } = await start();
  const client = session(sidecar.listen.port);
  await ask(client, { ":path": LOG }, ["one\n"]);
  let seen = "";
  const follower = client.request({ ":path": `${LOG}?follow=1` });
  const done = new Promise((resolve) =>
    follower
      .setEncoding("utf8")
      .on("data", (text: string) => (seen += text))
      .on("end", resolve),
  );
  await until(() => expect(seen).toBe("one\n"));
  await ask(client, { ":path": LOG }, ["two\n"]);
  await until(() => expect(seen).toBe("one\ntwo\n"));
  await ask(client, { ":path": `${LOG}/end` }, [""]);
  await done;
});

test("what goes on is HTTP/1.1: pseudo fields are gone, cookies are one field, the body is masked with or without a length", async () => {
  const { sidecar, seen } = await proxied();
  const client = session(sidecar.listen.port);
  const body = `one ${SECRET} two`;
  for (const length of [{}, { "content-length": String(body.length) }]) {
    const { headers, body: answer } = await ask(
      client,
      {
        ":path": "/a?b=1",
        ":method": "PUT",
        "content-type": "text/plain",
        cookie: ["a=1", "b=2"],
        te: "trailers",
        "x-own": "kept",
        "logveil-job": "j",
        ...length,
      },
      [body],
    );
    expect([headers[":status"], headers["x-upstream"], headers["set-cookie"], answer]).toEqual([201, "yes", ["a=1", "b=2"], "took it"]);
    const { method, url, headers: got, body: masked, whole } = seen.pop()!;
    expect([method, url, masked.toString(), whole]).toEqual(["PUT", "/a?b=1", "one [REDACTED:GLOBAL] two", true]);
    const framed = "content-length" in length ? { "content-length": String(masked.length) } : { "transfer-encoding": "chunked" };
    expect(got).toMatchObject({ cookie: "a=1; b=2", "x-own": "kept", te: "trailers", via: expect.stringMatching(/^2 logveil-/), ...framed });
    for (const name of ["logveil-job", ":path", ":authority"]) expect(got[name]).toBeUndefined();
  }
  expect((await ask(client, { ":path": "/x" })).headers[":status"]).toBe(201);
  expect(seen.pop()).toMatchObject({ method: "GET", url: "/x" });
  expect((await ask(client, { ":path": "/x" }, ["of no type"])).headers[":status"]).toBe(415);
});

test.each([
  ["connection", [["connection", "x"]]],
  ["transfer-encoding", [["transfer-encoding", "chunked"]]],
  ["keep-alive", [["keep-alive", "1"]]],
  ["proxy-connection", [["proxy-connection", "keep-alive"]]],
  ["upgrade", [["upgrade", "websocket"]]],
  ["te other than trailers", [["te", "gzip"]]],
  ["a name in capitals", [["X-Y", "1"]]],
  ["another host", [["host", "other"]]],
  [
    "two lengths",
    [
      ["content-length", "4"],
      ["content-length", "5"],
    ],
  ],
  ["a length that is not that of the body", [["content-length", "3"]]],
  ["a pseudo field of answers", [[":status", "200"]]],
  ["a field that looks like another", [["content_length", "4"]]],
  ["more than 100 fields", Array.from({ length: 101 }, (_, index) => [`x-${index}`, "1"] as [string, string])],
  ["a field of more than 8 KiB", [["x", "y".repeat(8200)]]],
] as [string, [string, string][]][])("refuses %s", async (_, more) => {
  const { sidecar, seen, begun } = await proxied();
  const raw = h2.rawHttp2(sidecar.listen.port);
  raw.socket.write(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.head("POST", "/x", [["content-type", "text/plain"], ...more])));
  raw.socket.write(h2.frame(h2.DATA, h2.END_STREAM, 1, Buffer.from("text")));
  await until(() => expect(h2.outcome(raw, 1)).toMatch(/^(400|reset|goaway)/));
  expect([seen.filter(({ whole }) => whole), begun.filter(({ complete }) => complete)]).toEqual([[], []]);
});

test.each([
  [
    "CONNECT",
    [
      [":method", "CONNECT"],
      [":authority", "x:443"],
    ],
    "501",
  ],
  [
    "extended CONNECT",
    [
      [":method", "CONNECT"],
      [":protocol", "websocket"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", "x"],
    ],
    "reset 1",
  ],
  [
    "no path",
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":authority", "x"],
    ],
    "reset 1",
  ],
  [
    "a path that is a URL",
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "http://other/"],
      [":authority", "x"],
    ],
    /^(400|reset 1)$/,
  ],
  [
    "an authority with a user",
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", "user@x"],
    ],
    "400",
  ],
  [
    "a request line in the method",
    [
      [":method", "GET / HTTP/1.1\r\nx: y\r\n\r\n"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", "x"],
    ],
    "reset 1",
  ],
  [
    "a line end in the path",
    [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/ HTTP/1.1\r\nx: y"],
      [":authority", "x"],
    ],
    "reset 1",
  ],
] as [string, [string, string][], string | RegExp][])("refuses %s", async (_, list, expected) => {
  const { sidecar, begun } = await proxied();
  const raw = h2.rawHttp2(sidecar.listen.port);
  raw.socket.write(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, h2.fields(list)));
  await until(() => expect(h2.outcome(raw, 1)).toMatch(expected instanceof RegExp ? expected : new RegExp(`^${expected}$`)));
  expect(begun).toEqual([]);
});

test.each([
  ["resets the stream", (raw: h2.Raw) => raw.socket.write(h2.frame(h2.RST_STREAM, 0, 1, h2.code(8)))],
  ["resets it without an error", (raw: h2.Raw) => raw.socket.write(h2.frame(h2.RST_STREAM, 0, 1, h2.code(0)))],
  ["closes the connection", (raw: h2.Raw) => raw.socket.end()],
  ["resets the connection", (raw: h2.Raw) => raw.socket.resetAndDestroy()],
  ["says goodbye first", (raw: h2.Raw) => raw.socket.end(h2.frame(h2.GOAWAY, 0, 0, Buffer.concat([h2.code(0), h2.code(0)])))],
])("a client that %s in the middle of a secret commits nothing", async (_, end) => {
  const { sidecar, seen, begun } = await proxied();
  const raw = h2.rawHttp2(sidecar.listen.port);
  raw.socket.write(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.head("POST", "/x", [["content-type", "text/plain"]])));
  raw.socket.write(h2.frame(h2.DATA, 0, 1, Buffer.from(`one line\nand ${SECRET.slice(0, 12)}`)));
  await until(() => expect(begun.length).toBe(1));
  end(raw);
  await until(() => expect(seen).toMatchObject([{ whole: false }]));
  expect(seen[0]!.body.toString()).not.toContain(SECRET.slice(0, 8));
});

test("an upstream that refuses early: the client is told, and the body does not become whole when it is cut off later", async () => {
  let isWhole: boolean | undefined;
  const { sidecar } = await proxied({}, (request, response) => {
    request.socket.once("close", () => (isWhole = request.complete));
    request.resume();
    response.writeHead(401).end("early");
  });
  const raw = h2.rawHttp2(sidecar.listen.port);
  raw.socket.write(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.head("POST", "/x", [["content-type", "text/plain"]])));
  raw.socket.write(h2.frame(h2.DATA, 0, 1, Buffer.from("one line\n")));
  await until(() => expect(h2.outcome(raw, 1)).toBe("401"));
  raw.socket.write(h2.frame(h2.RST_STREAM, 0, 1, h2.code(8)));
  await until(() => expect(isWhole).toBe(false));
});

test("streams that are opened and reset in rapid succession end the connection, and no other (CVE-2023-44487)", async () => {
  const { sidecar, begun } = await proxied();
  const raw = h2.rawHttp2(sidecar.listen.port);
  const streams = Array.from({ length: 5000 }, (_, index) => {
    const id = 2 * index + 1;
    return [h2.frame(h2.HEADERS, h2.END_HEADERS, id, h2.head("POST", "/x", [["content-type", "text/plain"]])), h2.frame(h2.RST_STREAM, 0, id, h2.code(8))];
  });
  raw.socket.write(Buffer.concat(streams.flat()));
  await raw.closed;
  expect(raw.frames.some(({ type }) => type === h2.GOAWAY)).toBe(true);
  const { headers } = await ask(session(sidecar.listen.port), { ":path": "/x" });
  expect(headers[":status"]).toBe(201);
  expect(begun.length).toBeLessThan(1500);
});

test.each([
  ["settings", (raw: h2.Raw) => raw.socket.write(Buffer.concat(Array.from({ length: 50_000 }, () => h2.frame(h2.SETTINGS, 0, 0))))],
  [
    "settings of too many entries",
    (raw: h2.Raw) => raw.socket.write(h2.frame(h2.SETTINGS, 0, 0, Buffer.concat(Array.from({ length: 40 }, () => Buffer.from([0, 4, 0, 0, 255, 255]))))),
  ],
  [
    "continuations of a head without an end",
    (raw: h2.Raw) => {
      raw.socket.write(h2.frame(h2.HEADERS, 0, 1, h2.head("GET", "/")));
      raw.socket.write(
        Buffer.concat(Array.from({ length: 200 }, (_, index) => h2.frame(h2.CONTINUATION, 0, 1, h2.fields([[`x-${index}`, "y".repeat(4000)]])))),
      );
    },
  ],
  ["frames that are invalid", (raw: h2.Raw) => raw.socket.write(h2.frame(h2.DATA, 0, 0, Buffer.from("x")))],
])("a flood of %s ends the connection", async (_, flood) => {
  const { sidecar } = await start();
  const raw = h2.rawHttp2(sidecar.listen.port);
  flood(raw);
  await raw.closed;
  expect((await call(sidecar, "GET", "/v1/jobs")).status).toBe(200);
});

test("more than 100 streams of a connection at a time are refused", async () => {
  const { sidecar } = await proxied({}, () => undefined);
  const raw = h2.rawHttp2(sidecar.listen.port);
  for (let index = 0; index < 101; index++)
    raw.socket.write(h2.frame(h2.HEADERS, h2.END_HEADERS, 2 * index + 1, h2.head("POST", "/x", [["content-type", "text/plain"]])));
  // REFUSED_STREAM: the client may send it again. A connection that has not confirmed our settings is told by a protocol error.
  await until(() => expect(h2.outcome(raw, 201)).toMatch(/^(reset 7|goaway 1)$/));
});

test("an upstream that reads nothing stops the client, and no other stream of its connection", async () => {
  const { sidecar } = await proxied({}, (request, response) => {
    if (request.url === "/stalled") return;
    request.resume().on("end", () => response.writeHead(201).end());
  });
  const client = session(sidecar.listen.port);
  const stalled = client.request({ ":method": "POST", ":path": "/stalled", "content-type": "text/plain" });
  stalled.on("error", () => undefined);
  const piece = Buffer.from("a line of a log\n".repeat(4096));
  const written = new Promise<void>((resolve) => stalled.end(Buffer.concat(Array.from({ length: 512 }, () => piece)), resolve));
  let isWritten = false;
  void written.then(() => (isWritten = true));
  const { headers } = await ask(client, { ":path": "/quick", "content-type": "text/plain" }, [piece, piece, piece, piece, piece, piece, piece, piece]);
  expect([headers[":status"], isWritten]).toEqual([201, false]);
  stalled.close(8);
});

const run = promisify(execFile);
const sha = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");

test.runIf(HAVE_CURL)("64 MB by curl and back again are the same bytes", { timeout: 600_000 }, async () => {
  const { sidecar } = await proxied({}, (request, response) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => response.writeHead(200, { "content-type": "text/plain" }).end(Buffer.concat(pieces)));
  });
  const folder = temporary();
  const lines = Buffer.from(Array.from({ length: 1000 }, (_, index) => `line ${index} of an ordinary log, with nothing in it\n`).join(""));
  const whole = Buffer.alloc(64_000_000, lines);
  writeFileSync(join(folder, "log"), whole);
  const url = `http://127.0.0.1:${sidecar.listen.port}/x`;
  for (const version of ["--http1.1", "--http2-prior-knowledge"]) {
    const args = [
      "-sS",
      version,
      "-H",
      "content-type: text/plain",
      "-T",
      join(folder, "log"),
      "-w",
      "%{http_version} %{http_code}",
      "-o",
      join(folder, "back"),
      url,
    ];
    const { stdout } = await run("curl", args);
    expect(stdout).toBe(version === "--http1.1" ? "1.1 200" : "2 200");
    const { stdout: sum } = await run("sha256sum", [join(folder, "back")]);
    expect(sum.split(" ")[0]).toBe(sha(whole));
  }
});

test.runIf(HAVE_CURL)("a client that asks for an upgrade to HTTP/2 goes on in HTTP/1.1", async () => {
  const { sidecar } = await start();
  const url = `http://127.0.0.1:${sidecar.listen.port}/v1/jobs`;
  expect((await run("curl", ["-sS", "--http2", "-w", "%{http_version} %{http_code}", url])).stdout).toBe('{"jobs":[]}\n1.1 200');
});

test("the preface of HTTP/2 is known however it is cut, and HTTP/1.1 that begins like it", async () => {
  const { sidecar } = await start();
  const raw = connectTcp(sidecar.listen.port, "127.0.0.1").setNoDelay(true);
  onTestFinished(() => void raw.destroy());
  let got = Buffer.alloc(0);
  raw.on("data", (chunk: Buffer) => (got = Buffer.concat([got, chunk])));
  for (const byte of Buffer.concat([h2.PREFACE, h2.frame(h2.SETTINGS, 0, 0)])) {
    raw.write(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  // The settings of the server are the first that an HTTP/2 client gets.
  await until(() => expect(got[3]).toBe(h2.SETTINGS));
  expect((await call(sidecar, "PROPFIND", LOG)).status).toBe(405);
});
