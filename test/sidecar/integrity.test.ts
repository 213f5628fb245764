/** What vouches for a body, through the proxy: compared with what came, computed anew for what leaves, in headers and in trailers; never a stale one. */
import { createHash } from "node:crypto";
import { request as send } from "node:http";
import { gunzipSync, gzipSync } from "node:zlib";
import { expect, onTestFinished, test, vi } from "vitest";
import type { Sidecar } from "../../src/sidecar/serve.js";
import { MASK, proxied, SECRET, speak } from "../support/proxy.js";
import { type Answer, call } from "../support/sidecar.js";

const sha256 = (body: string | Uint8Array): string => createHash("sha256").update(body).digest("base64");
const md5 = (body: string | Uint8Array): string => createHash("md5").update(body).digest("base64");
const TEXT = { "content-type": "text/plain" };

/** A request in chunks with trailers. */
function trailing(sidecar: Sidecar, body: string, headers: Record<string, string>, trailers: Record<string, string>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const client = send({ host: sidecar.listen.host, port: sidecar.listen.port, method: "POST", path: "/x", headers, agent: false }, (response) => {
      const pieces: Buffer[] = [];
      response.on("data", (piece: Buffer) => pieces.push(piece));
      response.on("end", () => resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(pieces).toString() }));
    });
    client.on("error", reject);
    onTestFinished(() => void client.destroy());
    client.write(body);
    client.addTrailers(trailers);
    client.end();
  });
}

test.each([
  ["content-digest", (body: Uint8Array) => `sha-256=:${sha256(body)}:`],
  ["repr-digest", (body: Uint8Array) => `sha-256=:${sha256(body)}:`],
  ["digest", (body: Uint8Array) => `SHA-256=${sha256(body)}`],
  ["content-md5", md5],
  ["x-amz-checksum-sha256", sha256],
] as const)("a %s is that of the masked body", async (field, digest) => {
  const { sidecar, seen } = await proxied();
  const body = `one ${SECRET} two`.repeat(10_000);
  const sent = gzipSync(body);
  expect((await call(sidecar, "PUT", "/x", sent, { ...TEXT, "content-encoding": "gzip", [field]: digest(sent) })).status).toBe(201);
  const [{ headers, body: got }] = seen as [(typeof seen)[0]];
  expect(gunzipSync(got).toString()).toBe(body.replaceAll(SECRET, MASK));
  expect(headers).toMatchObject({ [field]: digest(got), "content-length": String(got.length) });
  expect(headers["transfer-encoding"]).toBeUndefined();
});

test("a digest that is not that of what came is refused, and nothing goes out", async () => {
  const { sidecar, seen } = await proxied();
  const refused = await call(sidecar, "PUT", "/x", `one ${SECRET}`, { ...TEXT, "content-md5": md5("another") });
  expect([refused.status, JSON.parse(refused.body)]).toEqual([
    400,
    { error: "LV_REFUSED", message: "content-md5: this is not the digest of the body that came" },
  ]);
  expect(seen).toEqual([]);
});

test("a body that would have to be held and is too large is refused, before it is asked for if its length is known", async () => {
  const { sidecar, seen } = await proxied({ maxHeldBytes: 1000 });
  const large = "x".repeat(1001);
  const headers = { ...TEXT, "content-md5": md5(large) };
  const refused = await call(sidecar, "PUT", "/x", [large.slice(0, 600), large.slice(600)], headers);
  expect(refused).toMatchObject({ status: 413, body: expect.stringContaining("limits.maxHeld); send content-md5 as a trailer, or not") as string });
  const head = `PUT /x HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-MD5: ${md5(large)}\r\nContent-Length: 1001\r\n\r\n`;
  expect(await speak(sidecar, head, (answer) => answer.includes("\r\n\r\n"))).toMatch(/^HTTP\/1.1 413 /);
  expect((await call(sidecar, "PUT", "/x", "x".repeat(1000), { ...TEXT, "content-md5": md5("x".repeat(1000)) })).status).toBe(201);
  expect(seen).toHaveLength(1);
});

test("what is held by all requests together is bounded", async () => {
  let arrived = 0;
  const waiting: (() => void)[] = [];
  const { sidecar } = await proxied({ maxHeldBytes: 1000, maxConnections: 40, headersTimeoutMs: 60_000 }, (request, response) => {
    request.on("end", () => void (waiting.push(() => response.end("ok")), arrived++));
  });
  const put = (): Promise<Answer> => call(sidecar, "PUT", "/x", "x".repeat(1000), { ...TEXT, "content-md5": md5("x".repeat(1000)) });
  const first = Promise.all(Array.from({ length: 16 }, put));
  await vi.waitFor(() => expect(arrived).toBe(16), { timeout: 20_000 });
  expect(await put()).toMatchObject({ status: 503, headers: { "retry-after": "1" } });
  for (const answer of waiting.splice(0)) answer();
  expect((await first).every(({ status }) => status === 200)).toBe(true);
  const next = put();
  await vi.waitFor(() => waiting.pop()!(), { timeout: 20_000 });
  expect((await next).status).toBe(200);
});

test("trailers go on, masked; those that vouch for the body are computed anew", async () => {
  const { sidecar, seen, witness } = await proxied();
  const body = `one ${SECRET} two\n`.repeat(5000);
  const answer = await trailing(
    sidecar,
    body,
    { ...TEXT, trailer: "X-Last-Line, Content-Digest, Content-MD5" },
    { "X-Last-Line": `it ended with ${SECRET}`, "Content-Digest": `sha-256=:${sha256(body)}:`, "Content-MD5": md5(body), "X-Unannounced": "gone" },
  );
  expect([answer.status, answer.body]).toEqual([201, `took it, and ${SECRET}`]);
  const [{ headers, trailers, body: got }] = seen as [(typeof seen)[0]];
  expect(got.toString()).toBe(body.replaceAll(SECRET, MASK));
  expect(headers).toMatchObject({ trailer: "x-last-line, content-digest, content-md5", "transfer-encoding": "chunked" });
  expect(trailers).toEqual({ "x-last-line": `it ended with ${MASK}`, "content-digest": `sha-256=:${sha256(got)}:`, "content-md5": md5(got) });
  expect(witness.told).toHaveLength(5001);
});

test("a trailer that is not the digest of what came commits nothing", async () => {
  const { sidecar, seen } = await proxied();
  const body = "many lines\n".repeat(50_000);
  const refused = await trailing(sidecar, body, { ...TEXT, trailer: "Content-MD5" }, { "Content-MD5": md5("another") });
  expect(refused).toMatchObject({ status: 400, body: expect.stringContaining("content-md5") as string });
  await vi.waitFor(() => expect(seen.every(({ whole }) => !whole)).toBe(true));
});

test("trailers that say what only a header may are refused", async () => {
  const { sidecar, seen } = await proxied();
  for (const name of ["Content-Length", "Authorization", "Host", "Logveil-Job", "Transfer-Encoding"]) {
    const answer = await speak(
      sidecar,
      `POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nTrailer: ${name}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n${name}: 1\r\n\r\n`,
      (text) => text.includes("\r\n\r\n"),
    );
    expect(answer, name).toMatch(/^HTTP\/1.1 400 /);
  }
  await vi.waitFor(() => expect(seen.every(({ whole }) => !whole)).toBe(true));
});

test("what is small and says its length goes on with its length, in one piece", async () => {
  const { sidecar, seen } = await proxied();
  const length = async (body: string, headers: Record<string, string>): Promise<unknown[]> => {
    expect((await call(sidecar, "POST", "/x", body, { ...TEXT, ...headers })).status).toBe(201);
    const { headers: got } = seen.pop()!;
    return [got["content-length"], got["transfer-encoding"]];
  };
  expect(await length(`a ${SECRET}`, { "content-length": "26" })).toEqual(["19", undefined]);
  expect(await length("a", { "transfer-encoding": "chunked" })).toEqual([undefined, "chunked"]);
  const large = "large\n".repeat(40_000);
  expect(await length(large, { "content-length": String(large.length) })).toEqual([undefined, "chunked"]);
});

test("signed requests are refused, by the name of what signs them", async () => {
  const { sidecar, seen } = await proxied();
  for (const [headers, named] of [
    [{ "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }, "x-amz-content-sha256"],
    [{ authorization: "AWS4-HMAC-SHA256 Credential=K/20261121/eu/s3/aws4_request, SignedHeaders=host, Signature=00" }, "authorization"],
    [{ "signature-input": 'sig1=("content-digest")' }, "signature-input"],
    [{ trailer: "Signature", "transfer-encoding": "chunked" }, "trailer"],
  ] as const) {
    const refused = await call(sidecar, "PUT", "/x", "text", { ...TEXT, ...headers });
    expect([refused.status, (JSON.parse(refused.body) as { message: string }).message]).toEqual([
      400,
      expect.stringContaining(`its header ${named} `) as string,
    ]);
  }
  expect(seen).toEqual([]);
});
