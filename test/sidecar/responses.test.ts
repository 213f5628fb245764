/** Responses of routes that mask them: in every framing and coding as requests are, nothing raw where that cannot be. */
import type { RequestListener } from "node:http";
import { brotliCompressSync, brotliDecompressSync, deflateSync, gunzipSync, gzipSync, inflateSync } from "node:zlib";
import { request as send, type IncomingMessage } from "node:http";
import { compress, decompress } from "zstd-napi";
import { expect, onTestFinished, test, vi } from "vitest";
import type { Sidecar } from "../../src/sidecar/serve.js";
import { MASK, type Proxied, proxied, rude, SECRET } from "../support/proxy.js";
import { call } from "../support/sidecar.js";

const routes = [
  { path: "/other", contentTypes: [], framing: "text", maskResponses: false },
  { path: "/logs", contentTypes: ["text/html"], framing: "text", maskResponses: true },
  { path: "/logs", contentTypes: ["application/x-own"], framing: "ndjson", maskResponses: false },
  { path: "/logs/open", contentTypes: [], framing: "text", maskResponses: false },
] as const;

const serving = (handle: RequestListener): ReturnType<typeof proxied> => proxied({ routes }, handle);

/** The raw bytes of an answer. */
function fetchRaw(sidecar: Sidecar, path: string, headers: Record<string, string> = {}, method = "GET"): Promise<{ message: IncomingMessage; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const client = send({ host: sidecar.listen.host, port: sidecar.listen.port, path, headers, method, agent: false }, (message) => {
      const pieces: Buffer[] = [];
      message.on("data", (piece: Buffer) => pieces.push(piece)).on("error", reject);
      message.on("end", () => resolve({ message, body: Buffer.concat(pieces) }));
    });
    client.on("error", reject).end();
    onTestFinished(() => void client.destroy());
  });
}

test("only the longest path counts, however the target is written", async () => {
  const { sidecar, witness } = await serving((_, response) => response.setHeader("content-type", "text/plain").end(`it is ${SECRET}`));
  for (const [path, isMasked] of [
    ["/logs", true],
    ["/logs/1?x=/logs/open", true],
    ["/logsx", false],
    ["/logs/open", false],
    ["/logs/open/1", false],
    ["/other", false],
    ["//logs/1", true],
    ["/%6cogs/1", true],
    ["/logs%2f1", true],
    ["/other/..//logs/1", true],
    ["/other/%2e%2e/logs", true],
    ["/logs/open/../1", true],
  ] as const)
    expect([path, (await fetchRaw(sidecar, path)).body.toString()]).toEqual([path, `it is ${isMasked ? MASK : SECRET}`]);
  expect(witness.told).toHaveLength(8);
});

test("what was said of the unmasked body goes, the rest stays", async () => {
  const { sidecar, seen } = await serving((_, response) => {
    response.writeHead(200, {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(`{"a": "${SECRET}"}`),
      etag: '"1"',
      "content-md5": "x",
      "content-digest": "sha-256=:AA==:",
      "x-goog-hash": "crc32c=n",
      "x-amz-checksum-crc64nvme": "AA==",
      "accept-ranges": "bytes",
      "last-modified": "Sat, 21 Nov 2026 10:00:00 GMT",
      "set-cookie": ["a=1", "b=2"],
    });
    response.end(`{"a": "${SECRET}"}`);
  });
  const { message, body } = await fetchRaw(sidecar, "/logs", { range: "bytes=3-", "if-range": '"1"', "accept-encoding": "gzip;q=0.5, sdch, *;q=0.1, br" });
  expect([message.statusCode, body.toString()]).toEqual([200, `{"a": "${MASK}"}`]);
  for (const name of ["content-length", "etag", "content-md5", "content-digest", "x-goog-hash", "x-amz-checksum-crc64nvme", "accept-ranges"])
    expect(message.headers[name]).toBeUndefined();
  expect(message.headers).toMatchObject({ "set-cookie": ["a=1", "b=2"], "last-modified": "Sat, 21 Nov 2026 10:00:00 GMT" });
  expect(seen[0]!.headers).toMatchObject({ "accept-encoding": "gzip;q=0.5, br" });
  expect([seen[0]!.headers.range, seen[0]!.headers["if-range"]]).toEqual([undefined, undefined]);
  await fetchRaw(sidecar, "/logs", { "accept-encoding": "exi" });
  expect(seen[1]!.headers["accept-encoding"]).toBe("identity");
  await fetchRaw(sidecar, "/other", { range: "bytes=3-", "accept-encoding": "exi" });
  expect(seen[2]!.headers).toMatchObject({ range: "bytes=3-", "accept-encoding": "exi" });
});

test.each([
  ["gzip", gzipSync, gunzipSync],
  ["deflate", deflateSync, inflateSync],
  ["br", brotliCompressSync, brotliDecompressSync],
  ["zstd", compress, decompress],
] as const)("decodes and encodes %s", async (coding, encode, decode) => {
  const text = `line with ${SECRET}\n`.repeat(20_000);
  const { sidecar } = await serving((_, response) =>
    response.writeHead(200, { "content-type": "text/plain", "content-encoding": coding }).end(encode(Buffer.from(text))),
  );
  const { message, body } = await fetchRaw(sidecar, "/logs");
  expect(message.headers["content-encoding"]).toBe(coding);
  expect(decode(body).toString()).toBe(text.replaceAll(SECRET, MASK));
});

test("framings are those of requests", async () => {
  const bodies: Record<string, [string, string]> = {
    "text/html": [`<p>${SECRET}`, `<p>${MASK}`],
    "application/x-own": [`{"a":"\\u0067lobal-secret-0123456789"}\n`, `{"a":"${MASK}"}\n`],
    "application/json; charset=utf-8": [`["${SECRET}"]`, `["${MASK}"]`],
  };
  const { sidecar } = await serving((request, response) => {
    const type = String(request.headers["x-type"]);
    response.writeHead(200, { "content-type": type }).end(bodies[type]![0]);
  });
  for (const [type, [, expected]] of Object.entries(bodies)) expect((await fetchRaw(sidecar, "/logs", { "x-type": type })).body.toString()).toBe(expected);
});

test("secrets of the job that the request names count", async () => {
  const { sidecar } = await serving((_, response) => response.setHeader("content-type", "text/plain").end("late-secret-of-one-job"));
  const added = await call({ socket: sidecar.socket! }, "POST", "/v1/jobs/one/secrets", "LATE=late-secret-of-one-job\n");
  expect(added.status).toBe(200);
  expect((await fetchRaw(sidecar, "/logs", { "logveil-job": "one" })).body.toString()).toBe("[REDACTED:LATE]");
  expect((await fetchRaw(sidecar, "/logs", { "logveil-job": "two" })).body.toString()).toBe("late-secret-of-one-job");
});

test.each([
  ["of a type that is not known", { "content-type": "image/png" }, 200],
  ["without a type", {}, 200],
  ["in a coding that is not known", { "content-type": "text/plain", "content-encoding": "exi" }, 200],
  ["in too many codings", { "content-type": "text/plain", "content-encoding": "gzip, gzip, gzip, gzip" }, 200],
  ["that is a part", { "content-type": "text/plain", "content-range": "bytes 0-3/9" }, 206],
  ["of several parts", { "content-type": "multipart/byteranges; boundary=x" }, 206],
  ["that says it is a part", { "content-type": "text/plain", "content-range": "bytes */9" }, 416],
] as const)("an answer %s is a 502, and nothing of it comes through", async (_, headers, status) => {
  const { sidecar } = await serving((__, response) => response.writeHead(status, headers).end(`raw ${SECRET}`));
  const { message, body } = await fetchRaw(sidecar, "/logs");
  expect([message.statusCode, body.toString().includes("raw")]).toEqual([502, false]);
  expect(body.toString()).toContain("the answer of the log storage cannot be masked: ");
});

test("answers without a body need no type", async () => {
  const { sidecar } = await serving((request, response) => {
    const status = Number(request.headers["x-status"]);
    if (request.headers["x-chunked"] !== undefined) response.setHeader("transfer-encoding", "chunked");
    response.writeHead(status, request.method === "HEAD" ? { "content-length": "123", etag: '"1"', "content-type": "image/png" } : {}).end();
  });
  for (const status of ["204", "304", "200", "401"]) expect((await fetchRaw(sidecar, "/logs", { "x-status": status })).message.statusCode).toBe(Number(status));
  expect((await fetchRaw(sidecar, "/logs", { "x-status": "200", "x-chunked": "1" })).message.statusCode).toBe(200);
  const { message } = await fetchRaw(sidecar, "/logs", { "x-status": "200" }, "HEAD");
  expect([message.statusCode, message.headers["content-length"], message.headers.etag]).toEqual([200, undefined, undefined]);
});

test("what turns out not to be what it says is cut off", async () => {
  for (const [headers, body] of [
    [{ "content-type": "application/json" }, `{"a": "${"x".repeat(100_000)}", raw ${SECRET}`],
    [{ "content-type": "text/plain", "content-encoding": "gzip" }, gzipSync(`x ${SECRET}`.repeat(100_000)).subarray(0, 300)],
    [{ "content-type": "text/plain", "content-encoding": "gzip" }, gzipSync(Buffer.alloc(1 << 23))],
  ] as const) {
    const { sidecar } = await serving((_, response) => response.writeHead(200, headers).end(body));
    await expect(fetchRaw(sidecar, "/logs")).rejects.toMatchObject({ code: "ECONNRESET" });
  }
});

test("a response that is followed comes as it is written, the undecided after silence", async () => {
  let write: (text: string) => void = () => undefined;
  const { sidecar } = await serving((_, response) => {
    response.writeHead(200, { "content-type": "text/plain" });
    write = (text) => void response.write(text);
    write(`first ${SECRET}\nglobal-sec`);
  });
  let got = "";
  const client = send({ host: sidecar.listen.host, port: sidecar.listen.port, path: "/logs", agent: false }, (message) => {
    message.setEncoding("utf8").on("data", (piece: string) => (got += piece));
  });
  onTestFinished(() => void client.destroy());
  client.on("error", () => undefined).end();
  await vi.waitFor(() => expect(got).toBe(`first ${MASK}\n${MASK}`));
  write("ret-0123456789 and on\n");
  await vi.waitFor(() => expect(got).toMatch(/ and on\n$/));
  expect(got).not.toContain("0123456789");
});

test("without evidence a masked answer does not end, an unmasked request is not sent", async () => {
  const { sidecar, witness, seen } = await serving((_, response) => {
    witness.failure = Object.assign(new Error("no space"), { code: "ENOSPC" });
    response.setHeader("content-type", "text/plain").end(`it is ${SECRET}`);
  });
  await expect(fetchRaw(sidecar, "/logs")).rejects.toMatchObject({ code: "ECONNRESET" });
  expect((await fetchRaw(sidecar, "/other")).message.statusCode).toBe(503);
  expect(seen).toHaveLength(1);
});

test("trailers of responses are passed on, masked where the body is", async () => {
  const handle: RequestListener = (_, response) => {
    response.writeHead(200, { "content-type": "text/plain", trailer: "X-End, Content-MD5" });
    response.write("text");
    response.addTrailers({ "X-End": `with ${SECRET}`, "Content-MD5": "x" });
    response.end();
  };
  const { sidecar } = await serving(handle);
  expect((await fetchRaw(sidecar, "/other", { te: "trailers" })).message.trailers).toEqual({ "x-end": `with ${SECRET}`, "content-md5": "x" });
  expect((await fetchRaw(sidecar, "/logs")).message.trailers).toEqual({ "x-end": `with ${MASK}` });
});

test("an upstream that resets in the middle of a masked answer cuts it off", async () => {
  const { sidecar }: Proxied = await rude(
    (socket) =>
      socket.once("data", () => {
        socket.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n");
        setTimeout(() => socket.resetAndDestroy(), 100);
      }),
    { routes },
  );
  await expect(fetchRaw(sidecar, "/logs")).rejects.toMatchObject({ code: "ECONNRESET" });
});
