/** The reverse proxy between a real client and a real upstream: bodies are masked whatever their type and coding, everything else arrives as it was. */
import { request as send } from "node:http";
import { brotliCompressSync, brotliDecompressSync, deflateSync, gunzipSync, gzipSync, inflateSync } from "node:zlib";
import { expect, test, vi } from "vitest";
import { proxied, SECRET, type Seen, speak } from "../support/proxy.js";
import { call } from "../support/sidecar.js";

test("passes a request on with its body masked, and the answer as it is", async () => {
  const { sidecar, seen, witness } = await proxied();
  const { status, headers, body } = await call(sidecar, "PUT", "/logs/a?x=1", `one ${SECRET} two`, {
    "content-type": "text/plain",
    "x-custom": "kept",
    connection: "x-hop",
    "x-hop": "gone",
    "logveil-job": "build-7",
  });
  expect([status, body]).toEqual([201, `took it, and ${SECRET}`]);
  expect(headers).toMatchObject({ "x-upstream": "yes" });
  expect(headers["x-private"]).toBeUndefined();
  const [{ method, url, headers: got, body: masked }] = seen as [Seen];
  expect([method, url, masked.toString()]).toEqual(["PUT", "/base/logs/a?x=1", "one [REDACTED:GLOBAL] two"]);
  expect(got).toMatchObject({ "x-custom": "kept", "content-type": "text/plain" });
  for (const name of ["x-hop", "logveil-job", "content-length"]) expect(got[name]).toBeUndefined();
  expect(witness.told).toMatchObject([{ job: "build-7", secret: "GLOBAL", offset: 4 }]);
});

test("header fields and targets pass as they are, in order and spelling; only those of the connection stay", async () => {
  const { sidecar, seen } = await proxied();
  const lines = [
    "Authorization: Bearer the-upstream-knows-this",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate: a=1,b=2",
    "X-Forwarded-For: 10.0.0.1",
    "Forwarded: for=10.0.0.1",
    "X-Twice: 1",
    "x-twice: 2",
    "Cookie: a=1",
    "X-Latin: \xe4",
  ];
  const hop = ["Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: 5", "TE: trailers", "Proxy-Authorization: Basic x", "Via: 1.0 before"];
  await speak(sidecar, Buffer.from(`GET /a%20b//c/../d?q=${SECRET}&x HTTP/1.1\r\nHost: a\r\n${[...lines, ...hop].join("\r\n")}\r\n\r\n`, "latin1"), (answer) =>
    answer.includes("took it"),
  );
  const [{ url, rawHeaders }] = seen as [Seen];
  expect(url).toBe(`/base/a%20b//c/../d?q=${SECRET}&x`);
  const got = rawHeaders.flatMap((name, index) => (index % 2 === 0 ? [`${name}: ${rawHeaders[index + 1]}`] : []));
  expect(got.filter((line) => !/^(host|connection|TE|Via): /.test(line))).toEqual(lines);
  expect(got).toContain("TE: trailers");
  expect(got.find((line) => line.startsWith("Via: "))).toMatch(/^Via: 1\.0 before, 1\.1 logveil-[0-9a-f]{12}$/);
});

test("the token of a job stays here, other credentials pass", async () => {
  const { sidecar, seen } = await proxied();
  const { token } = JSON.parse((await call({ socket: sidecar.socket! }, "POST", "/v1/jobs/one/token")).body) as { token: string };
  const job = { "logveil-job": "one" };
  for (const [headers, expected] of [
    [{ ...job, "logveil-token": token }, undefined],
    [{ authorization: "Bearer of-the-upstream" }, "Bearer of-the-upstream"],
    [{ authorization: "Basic x" }, "Basic x"],
  ] as const) {
    expect((await call(sidecar, "GET", "/x", undefined, headers)).status).toBe(201);
    expect(seen.pop()!.headers.authorization).toBe(expected);
  }
  expect((await call(sidecar, "GET", "/x", undefined, { ...job, authorization: "Bearer of-the-upstream" })).status).toBe(401);
});

test("passes requests without a body on", async () => {
  const { sidecar, seen } = await proxied();
  expect((await call(sidecar, "GET", "/health")).status).toBe(201);
  for (const path of ["//", "//x:y/z", "/?", "/a;b=c"]) expect((await call(sidecar, "DELETE", path)).status, path).toBe(201);
  expect(seen.map(({ method, url }) => `${method} ${url}`)).toEqual([
    "GET /base/health",
    "DELETE /base//",
    "DELETE /base//x:y/z",
    "DELETE /base/?",
    "DELETE /base/a;b=c",
  ]);
});

test("masks strings of JSON, lines of NDJSON, forms; leaves the rest as it was", async () => {
  const { sidecar, seen } = await proxied();
  const json = `{"a": [1.50, "x ${SECRET}\\u0021"], "${SECRET}": null}`;
  for (const [type, body, expected] of [
    ["application/json", json, '{"a": [1.50, "x [REDACTED:GLOBAL]\\u0021"], "[REDACTED:GLOBAL]": null}'],
    ["application/x-ndjson", `${json}\n{"b":2}\n`, '{"a": [1.50, "x [REDACTED:GLOBAL]\\u0021"], "[REDACTED:GLOBAL]": null}\n{"b":2}\n'],
    ["application/vnd.x+json; charset=utf-8", '{"log":"\\u0067lobal-secret-0123456789"}', '{"log":"[REDACTED:GLOBAL]"}'],
  ] as const) {
    expect((await call(sidecar, "POST", "/x", body, { "content-type": type })).status).toBe(201);
    expect(seen.pop()!.body.toString()).toBe(expected);
  }
  await call(sidecar, "POST", "/x", `a=1&b=x%20${SECRET}&c=%2F`, { "content-type": "application/x-www-form-urlencoded" });
  expect([...new URLSearchParams(seen.pop()!.body.toString())]).toEqual([
    ["a", "1"],
    ["b", "x [REDACTED:GLOBAL]"],
    ["c", "/"],
  ]);
  await call(sidecar, "POST", "/raw/x", `bytes ${SECRET}\0\xff`, { "content-type": "application/whatever" });
  expect(seen.pop()!.body.toString()).toContain("bytes [REDACTED:GLOBAL]");
});

test.each([
  ["gzip", gzipSync, gunzipSync],
  ["deflate", deflateSync, inflateSync],
  ["br", brotliCompressSync, brotliDecompressSync],
] as const)("decodes and encodes %s", async (coding, encode, decode) => {
  const { sidecar, seen } = await proxied();
  const text = `line with ${SECRET}\n`.repeat(2000);
  expect((await call(sidecar, "POST", "/x", encode(text), { "content-type": "text/plain", "content-encoding": coding })).status).toBe(201);
  const { headers, body } = seen.pop()!;
  expect(headers["content-encoding"]).toBe(coding);
  expect(decode(body).toString()).toBe(text.replaceAll(SECRET, "[REDACTED:GLOBAL]"));
});

test("refuses what it cannot mask, before a byte goes out", async () => {
  const { sidecar, seen } = await proxied();
  const text = { "content-type": "text/plain" };
  for (const [headers, status] of [
    [{ "content-type": "application/octet-stream" }, 415],
    [{}, 415],
    [{ ...text, "content-encoding": "rot13" }, 415],
    [{ ...text, "content-encoding": "gzip, gzip, gzip, gzip" }, 415],
    [{ ...text, signature: "sig1=:AA==:" }, 400],
    [{ ...text, "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }, 400],
  ] as const) {
    const { status: got, body } = await call(sidecar, "POST", "/x", SECRET, headers);
    expect([got, body.includes(SECRET)], JSON.stringify(headers)).toEqual([status, false]);
  }
  expect(seen).toEqual([]);
});

test("a body that is not what it says is not committed by the upstream", async () => {
  const { sidecar, seen } = await proxied();
  const bomb = gzipSync(Buffer.alloc(1 << 23));
  for (const [headers, body] of [
    [{ "content-type": "application/json" }, `{"a": "${SECRET}", nonsense`],
    [{ "content-type": "text/plain", "content-encoding": "gzip" }, gzipSync(`x ${SECRET}`.repeat(100)).subarray(0, 30)],
    [{ "content-type": "text/plain", "content-encoding": "gzip" }, bomb],
  ] as const) {
    const refused = await call(sidecar, "POST", "/x", body, headers);
    expect([refused.status, refused.body.includes(SECRET)]).toEqual([400, false]);
  }
  await vi.waitFor(() => expect(seen.every(({ whole }) => !whole)).toBe(true));
});

test("a client that is gone in the middle commits nothing", async () => {
  const { sidecar, seen } = await proxied();
  const client = send({ host: sidecar.listen.host, port: sidecar.listen.port, method: "POST", path: "/x", headers: { "content-type": "text/plain" } });
  client.on("error", () => undefined);
  client.write(`one line\nand ${SECRET.slice(0, 12)}`);
  setTimeout(() => client.destroy(), 150);
  await vi.waitFor(() => expect(seen).toMatchObject([{ whole: false }]));
  expect(seen[0]!.body.toString()).not.toContain(SECRET.slice(0, 8));
});

test("what is undecided goes on after silence", async () => {
  const { sidecar, seen } = await proxied();
  const client = send({ host: sidecar.listen.host, port: sidecar.listen.port, method: "POST", path: "/x", headers: { "content-type": "text/plain" } });
  const answered = new Promise((resolve) => client.once("response", resolve));
  client.write("a word");
  await new Promise((resolve) => setTimeout(resolve, 200));
  client.end(" more\n");
  await answered;
  expect(seen[0]!.body.toString()).toBe("a word more\n");
});

test("an upstream that is down is told as such", async () => {
  const { sidecar } = await proxied({ url: "http://127.0.0.1:9" });
  expect(await call(sidecar, "POST", "/x", "text\n", { "content-type": "text/plain" })).toMatchObject({ status: 503, headers: { "retry-after": "5" } });
});

test("without evidence nothing is acknowledged", async () => {
  const { sidecar, witness } = await proxied();
  witness.failure = Object.assign(new Error("no space"), { code: "ENOSPC" });
  expect((await call(sidecar, "POST", "/x", SECRET, { "content-type": "text/plain" })).status).toBe(503);
});
