/** Refusals: told to the client in the words of its protocol, to the operator once a minute, counted by reason; and what is refused because it cannot be masked. */
import { execFile, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { Figures } from "../../src/sidecar/accounts.js";
import { REASONS } from "../../src/sidecar/refusal.js";
import { Refused } from "../../src/sidecar/refused.js";
import type { Sidecar } from "../../src/sidecar/serve.js";
import { frame, HEADERS, head, END_HEADERS, END_STREAM, rawHttp2 } from "../support/http2.js";
import { inFrontOf, MASK, proxied, SECRET, speak } from "../support/proxy.js";
import { call, start, temporary, until } from "../support/sidecar.js";

const HAVE_JAVA = spawnSync("java", ["-version"]).error === undefined;
if (!HAVE_JAVA) console.warn("java is missing: the test of its HttpClient is passed over");
const TEXT = { "content-type": "text/plain" };
const PROTOBUF = { "content-type": "application/x-protobuf" };

async function refusals(sidecar: Sidecar, reason: string): Promise<number> {
  const { body } = await call(sidecar.admin!, "GET", "/metrics");
  return Number(new RegExp(`^logveil_refused_total\\{reason="${reason}"\\} (\\d+)$`, "m").exec(body)?.[1] ?? 0);
}

describe("parts of a larger body", () => {
  const LINE = `a line with ${SECRET.slice(0, 10)}`;

  test.each([
    ["PATCH", "/api/v4/jobs/1/trace?debug_trace=false", { "content-range": "0-21" }, "gitlab-trace"],
    ["PATCH", "/x", { content_range: "bytes 0-21/100" }, "gitlab-trace"],
    ["PATCH", "/x", { "x-update-range": "bytes=0-21" }, "resumable-upload"],
    ["PATCH", "/x", { "X-Content-Range": "bytes 0-21/100" }, "gitlab-trace"],
    ["POST", "/v3/jobs/1/chunks?sequence=2&offset=100&size=22", {}, "buildkite-chunks"],
    ["POST", "/v3/jobs/1/chunks?%73equence=2&OFFSET=100&offset=x&size=22", {}, "buildkite-chunks"],
    ["PUT", "/bucket/log?partNumber=2&uploadId=abc", {}, "s3-multipart"],
    ["PUT", "/container/log?comp=appendblock", {}, "azure-blob"],
    ["PUT", "/container/log?comp=block&blockid=AAA=", {}, "azure-blob"],
    ["PATCH", "/fs/log?action=append&position=0", {}, "azure-blob"],
    ["PATCH", "/files/1", { "upload-offset": "0", "tus-resumable": "1.0.0" }, "resumable-upload"],
    ["POST", "/files", { "upload-complete": "?0" }, "resumable-upload"],
    ["POST", "/files", { "x-goog-upload-offset": "0" }, "resumable-upload"],
    ["POST", "/files", { "x-chunk-index": "3" }, "resumable-upload"],
    ["POST", "/files?chunk_number=3", {}, "resumable-upload"],
    ["PUT", "/log?offset=100", {}, "resumable-upload"],
    ["PUT", "/log?range=0-99", {}, "resumable-upload"],
  ])("%s %s %j: refused with the route that will serve it", async (method, path, headers, route) => {
    const { sidecar, seen, logs } = await proxied();
    const { status, body } = await call(sidecar, method, path, LINE, { ...TEXT, ...headers });
    expect([status, (JSON.parse(body) as { message: string }).message]).toEqual([422, expect.stringContaining(`the route ${route}`)]);
    expect([seen, await refusals(sidecar, "part"), logs]).toEqual([
      [],
      1,
      ["warn: refused (part): the body is a part of a larger one, which cannot be masked by itself; type text/plain, route none"],
    ]);
  });

  test.each([
    ["POST", "/logs/_search?size=10&from=20", LINE, {}],
    ["POST", "/search?offset=20&limit=10", LINE, {}],
    ["POST", "/x?part=snippet&chunk=last&range=1h&comp=list&sequence=7", LINE, {}],
    ["PUT", "/bucket/log?uploadId=abc", LINE, {}],
    ["POST", "/files", LINE, { "upload-complete": "?1", "upload-length": "22" }],
    ["PUT", "/session", undefined, { "content-range": "bytes */100", "content-length": "0" }],
    ["GET", "/log?offset=100&size=10", undefined, {}],
  ])("%s %s: passed on", async (method, path, body, headers) => {
    const { sidecar, seen } = await proxied();
    expect((await call(sidecar, method, path, body, { ...(body !== undefined && TEXT), ...headers })).status).toBe(201);
    expect(seen).toHaveLength(1);
  });
});

describe("what a client is told", () => {
  const cases: [string, string, Record<string, string>, number, unknown][] = [
    [
      "Elasticsearch",
      "/logs/_bulk?refresh",
      PROTOBUF,
      415,
      { status: 415, error: { type: "lv_refused", reason: /protobuf is not taken/, root_cause: [{ type: "lv_refused", reason: /accepted/ }] } },
    ],
    ["Splunk's collector", "/services/collector/event", PROTOBUF, 415, { code: 6, text: /accepted: text\/plain/ }],
    ["OTLP in JSON", "/otlp/v1/logs", { "content-type": "application/json", "content-encoding": "snappy" }, 415, { code: 12, message: /accepted: gzip/ }],
    [
      "GitLab and others",
      "/api/v4/x",
      { "content-type": "application/x-msgpack" },
      415,
      { error: "LV_REFUSED", message: /msgpack is not taken: set the client to JSON/ },
    ],
  ];
  test.each(cases)("%s: where its protocol has it", async (_, path, headers, status, expected) => {
    const { sidecar } = await proxied();
    const answer = await call(sidecar, "POST", path, "x", headers);
    expect([answer.status, answer.headers["content-type"]]).toEqual([status, "application/json"]);
    expect(JSON.parse(answer.body)).toEqual(withPatterns(expected));
  });

  test("Loki: plain text", async () => {
    const { sidecar } = await proxied();
    const answer = await call(sidecar, "POST", "/loki/api/v1/push", "x", PROTOBUF);
    expect(answer).toMatchObject({
      status: 415,
      headers: { "content-type": "text/plain; charset=utf-8" },
      body: expect.stringMatching(/^bodies of this type cannot be masked; .*JSON.*\n$/) as string,
    });
  });

  test("OTLP in protobuf: a Status of google.rpc", async () => {
    const { sidecar } = await proxied();
    const answer = await fetch(`http://127.0.0.1:${sidecar.listen.port}/v1/logs`, { method: "POST", body: "x", headers: PROTOBUF });
    expect([answer.status, answer.headers.get("content-type")]).toEqual([415, "application/x-protobuf"]);
    const bytes = Buffer.from(await answer.arrayBuffer());
    // Field 1: 12; field 2: a text as long as the rest, its length in two bytes.
    expect([...bytes.subarray(0, 3)]).toEqual([0x08, 12, 0x12]);
    expect((bytes[3]! & 0x7f) + (bytes[4]! << 7)).toBe(bytes.length - 5);
    expect(bytes.toString("utf8", 5)).toContain("OTEL_EXPORTER_OTLP_PROTOCOL=http/json");
  });

  test("gRPC: HTTP 200 and a status in the only head there is", async () => {
    const { sidecar } = await proxied();
    const session = connectHttp2(`http://127.0.0.1:${sidecar.listen.port}`);
    onTestFinished(() => session.destroy());
    const stream = session.request({
      ":method": "POST",
      ":path": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
      "content-type": "application/grpc+proto",
      te: "trailers",
    });
    stream.write(Buffer.alloc(5));
    const [fields, flags] = await new Promise<[Record<string, string>, number]>((resolve) => stream.once("response", (...args) => resolve(args as never)));
    expect(fields).toMatchObject({
      ":status": 200,
      "content-type": "application/grpc",
      "grpc-status": "12",
      "grpc-message": expect.stringContaining("gRPC is not taken") as string,
    });
    expect(flags & END_STREAM).toBe(END_STREAM);
    expect(await refusals(sidecar, "media_type")).toBe(1);
    // Where nothing is forwarded there is no such method either.
    const { sidecar: store } = await start();
    const raw = rawHttp2(store.listen.port);
    raw.socket.write(
      frame(
        HEADERS,
        END_HEADERS,
        1,
        head("POST", "/some.Service/Do", [
          ["content-type", "application/grpc"],
          ["te", "trailers"],
        ]),
      ),
    );
    await until(() => expect(raw.frames.find(({ type }) => type === HEADERS)?.flags).toBe(END_HEADERS | END_STREAM));
  });

  test.each([
    ["", "there is no Content-Type"],
    ["application/json; charset=utf-16", "its charset must be UTF-8"],
    ["multipart/form-data; boundary=x", "send the file itself as the body"],
    ["application/gzip", "Content-Encoding: gzip"],
    ["image/png", "media cannot hold text that is masked"],
    ["application/octet-stream", "framing: octet-stream"],
    ["text/html", "framing: text"],
    ["application/vnd.google.protobuf", "set the client to JSON"],
  ])("type %j: advice", async (type, advice) => {
    const { sidecar } = await proxied();
    const { status, headers, body } = await call(sidecar, "POST", "/x", "x", type === "" ? {} : { "content-type": type });
    expect([status, headers["accept"]]).toEqual([415, expect.stringContaining("application/x-ndjson")]);
    expect(body).toContain(advice);
    // Masked as text, protobuf would break and pass what it encodes.
    if (type.endsWith("protobuf")) expect(body).not.toContain("octet-stream");
  });

  test("an unknown coding: which are accepted", async () => {
    const { sidecar } = await proxied();
    const answer = await call(sidecar, "POST", "/x", "x", { ...TEXT, "content-encoding": "lz4" });
    expect(answer).toMatchObject({ status: 415, headers: { "accept-encoding": expect.stringMatching(/^gzip, (zstd, )?deflate, br$/) as string } });
    expect(answer.body).toContain("limits.maxCodings");
    expect(await refusals(sidecar, "coding")).toBe(1);
  });
});

/** An expectation whose patterns are matchers. */
function withPatterns(expected: unknown): unknown {
  if (expected instanceof RegExp) return expect.stringMatching(expected);
  if (Array.isArray(expected)) return expected.map(withPatterns);
  if (typeof expected !== "object" || expected === null) return expected;
  return Object.fromEntries(Object.entries(expected).map(([key, value]) => [key, withPatterns(value)]));
}

describe("what the operator is told", () => {
  test("a line for each reason, with the type and the route; never bytes of input", async () => {
    const { sidecar, logs } = await proxied({ routes: [{ path: "/raw", contentTypes: ["text/x-log"], framing: "text", maskResponses: false }] });
    const types = ["application/x-protobuf", `x/${SECRET}`, `${"a".repeat(99)}/b`, "no type\x01 at all", "text/x-log\u00e9"];
    for (const type of types) await call(sidecar, "POST", `/raw/${SECRET}`, SECRET, { "content-type": type.replace("\x01", "") });
    await call(sidecar, "POST", "/other", "x", { ...TEXT, "content-md5": "AAAAAAAAAAAAAAAAAAAAAA==" });
    expect(logs).toEqual([
      "warn: refused (media_type): the body is of a type that cannot be masked; type application/x-protobuf, route /raw",
      "warn: refused (digest): the digest that came with the body is not the digest of the body; type text/plain, route none",
    ]);
    expect([await refusals(sidecar, "media_type"), await refusals(sidecar, "digest")]).toEqual([types.length, 1]);
  });

  test("a type is named only if it is one, and a secret in it is masked", async () => {
    for (const [type, told] of [
      [`x/${SECRET}`, `x/${MASK}`],
      [`${"a".repeat(99)}/b`, "(not a media type)"],
      ["<b>/x y", "(not a media type)"],
    ] as const) {
      const { sidecar, logs } = await proxied();
      await call(sidecar, "POST", "/x", "x", { "content-type": type });
      expect(logs).toEqual([`warn: refused (media_type): the body is of a type that cannot be masked; type ${told}, route none`]);
    }
  });

  test("one line a minute, and how many more there were", () => {
    const lines: string[] = [];
    let now = 0;
    const refused = new Refused(
      new Figures(),
      (line) => lines.push(line),
      () => now,
    );
    for (let i = 0; i < 5; i++) refused.take("part");
    refused.take("not_found");
    refused.take("host");
    now = 60_000;
    refused.take("part");
    refused.take("part");
    now = 120_000;
    refused.sweep();
    refused.sweep();
    const [part, host] = [`refused (part): ${REASONS.part}`, `refused (host): ${REASONS.host}`];
    expect(lines).toEqual([part, host, `${part}; 4 more since the line before`, `${part}; 1 more since the line before`]);
  });

  test("bytes that are no request are counted too", async () => {
    const { sidecar, logs } = await start();
    await speak(sidecar, "\x16\x03\x01 no request\r\n\r\n");
    expect(await refusals(sidecar, "request")).toBe(1);
    expect(logs).toEqual([`warn: refused (request): ${REASONS.request}`]);
  });
});

describe("a body that says it is a form", () => {
  test("JSON by curl's default type is masked as JSON, a + in a secret is found", async () => {
    const { sidecar, seen } = await proxied();
    const form = { "content-type": "application/x-www-form-urlencoded" };
    await call(sidecar, "POST", "/x", `{"a": "gl\\u006fbal-secret-0123456789", "b": "+"}`, form);
    await call(sidecar, "POST", "/x", "a=1&b={", form);
    expect(seen.map(({ body }) => body.toString())).toEqual([`{"a": "${MASK}", "b": "+"}`, "a=1&b={"]);
    const damaged = await call(sidecar, "POST", "/x", `{"a": "x" y}`, form);
    expect([damaged.status, damaged.body]).toEqual([400, expect.stringContaining("say by Content-Type what it is")]);
    expect(seen.filter(({ whole }) => whole)).toHaveLength(2);
  });
});

test("a sidecar before one: refusals pass as they are", async () => {
  const { sidecar } = await proxied();
  const first = await inFrontOf(sidecar.listen.port, { url: `http://127.0.0.1:${sidecar.listen.port}` });
  expect((await call(first.sidecar, "POST", "/x", "x", { ...TEXT, origin: "https://evil.example" })).status).toBe(403);
});

describe("hosts and web pages", () => {
  const ask = async (sidecar: Sidecar, request: string, at: { host: string; port: number } = sidecar.listen): Promise<string> =>
    (await speak({ listen: at } as Sidecar, `${request}\r\nConnection: close\r\n\r\n`)).split("\r\n")[0]!;

  test.each([
    ["GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:4180", 200],
    ["GET /v1/jobs HTTP/1.1\r\nHost: 127.1.2.3", 200],
    ["GET /v1/jobs HTTP/1.1\r\nHost: localhost:1", 200],
    ["GET /v1/jobs HTTP/1.1\r\nHost: LOCALHOST.", 200],
    ["GET /v1/jobs HTTP/1.1\r\nHost: logs.localhost", 200],
    ["GET /v1/jobs HTTP/1.1\r\nHost: [::1]:4180", 200],
    ["GET /v1/jobs HTTP/1.1\r\nHost: [::ffff:127.0.0.1]", 200],
    ["GET /v1/jobs HTTP/1.1\r\nHost: ci.Example.org:80", 200],
    ["GET /v1/jobs HTTP/1.1\r\nHost:", 200],
    ["GET /v1/jobs HTTP/1.0", 200],
    ["GET /v1/jobs HTTP/1.1\r\nHost: evil.example", 421],
    ["GET /v1/jobs HTTP/1.1\r\nHost: localhost.evil.example:4180", 421],
    ["GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1.evil.example", 421],
    ["GET /v1/jobs HTTP/1.1\r\nHost: 192.0.2.1:4180", 421],
    ["GET /v1/jobs HTTP/1.1\r\nHost: 0.0.0.0:4180", 421],
    ["GET /v1/jobs HTTP/1.1\r\nHost: host.docker.internal:4180", 421],
    ["GET /v1/jobs HTTP/1.0\r\nHost: evil.example", 421],
    ["GET http://evil.example/v1/jobs HTTP/1.1\r\nHost: localhost", 400],
    ["GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000", 200],
    ["GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[::1]:3000", 200],
    ["GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nOrigin: https://ci.example.org", 200],
    ["GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example", 403],
    ["GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nOrigin: null", 403],
    ["GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost@evil.example", 403],
    ["POST /v1/jobs/a/streams/s HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nContent-Length: 0", 403],
  ])("%j: %i", async (request, status) => {
    const { sidecar, logs } = await start({ hosts: ["ci.example.org"] });
    expect(await ask(sidecar, request)).toContain(` ${status} `);
    const isRefused = status === 421 || status === 403;
    if (status !== 400)
      expect(logs).toEqual(isRefused ? [expect.stringMatching(status === 421 ? /^warn: refused \(host\): .*auth\.hosts/ : /^warn: refused \(origin\): /)] : []);
  });

  test("on the port of health too, over HTTP/2 by :authority; over a Unix socket any name", async () => {
    const { sidecar } = await start();
    expect(await ask(sidecar, "GET /metrics HTTP/1.1\r\nHost: evil.example", sidecar.admin)).toContain(" 421 ");
    expect(await ask(sidecar, "GET /metrics HTTP/1.1\r\nHost: localhost", sidecar.admin)).toContain(" 200 ");
    const session = connectHttp2(`http://127.0.0.1:${sidecar.listen.port}`);
    onTestFinished(() => session.destroy());
    for (const [authority, status] of [
      ["localhost:4180", 200],
      ["evil.example", 421],
    ] as const) {
      const stream = session.request({ ":path": "/v1/jobs", ":authority": authority });
      const fields = await new Promise<Record<string, unknown>>((resolve) => stream.once("response", resolve));
      expect(fields[":status"]).toBe(status);
    }
    expect((await call({ socket: sidecar.socket! }, "GET", "/v1/status", undefined, { host: "evil.example" })).status).toBe(200);
  });

  test("before an upstream too: what a page of another host sends does not go on", async () => {
    const { sidecar, seen } = await proxied();
    expect((await call(sidecar, "POST", "/x", "x", { ...TEXT, host: "evil.example" })).status).toBe(421);
    expect((await call(sidecar, "POST", "/x", "x", { ...TEXT, origin: "https://evil.example" })).status).toBe(403);
    expect(seen).toEqual([]);
  });
});

describe("upgrades", () => {
  const ask = (protocols: string, body = ""): string =>
    `POST /x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: ${protocols}\r\nHTTP2-Settings: AAMAAABk\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

  test("h2c goes on in HTTP/1.1, with its body; what comes behind it on the connection is for another one; its fields stay here", async () => {
    const { sidecar, seen } = await proxied();
    for (const body of [`one ${SECRET}`, "", "three"]) {
      const answer = await speak(sidecar, ask("h2c", body) + ask("h2c", "lost").slice(0, -20));
      expect([answer.match(/HTTP\/1\.1 \d+/g), answer.toLowerCase()]).toEqual([["HTTP/1.1 201"], expect.stringContaining("\r\nconnection: close\r\n")]);
    }
    expect(seen.map(({ body }) => body.toString())).toEqual([`one ${MASK}`, "", "three"]);
    for (const { headers } of seen) expect([headers.upgrade, headers["http2-settings"]]).toEqual([undefined, undefined]);
  });

  test.runIf(HAVE_JAVA)("Java's HttpClient, which asks for it, gets its answers", { timeout: 120_000 }, async () => {
    const { sidecar, seen } = await proxied();
    const file = join(temporary(), "Post.java");
    writeFileSync(
      file,
      `import java.net.URI; import java.net.http.*;
      class Post { public static void main(String[] args) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int i = 0; i < 3; i++) {
          HttpRequest request = HttpRequest.newBuilder(URI.create(args[0])).header("Content-Type", "text/plain").POST(HttpRequest.BodyPublishers.ofString("line " + i + " ${SECRET}")).build();
          System.out.print(client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode() + " ");
        } } }`,
    );
    const { stdout } = await promisify(execFile)("java", [file, `http://127.0.0.1:${sidecar.listen.port}/x`]);
    expect(stdout).toBe("201 201 201 ");
    expect(seen.map(({ body }) => body.toString())).toEqual([0, 1, 2].map((i) => `line ${i} ${MASK}`));
  });

  test("other protocols are refused", async () => {
    const { sidecar, seen, logs } = await proxied();
    expect(await speak(sidecar, ask("websocket"))).toMatch(/^HTTP\/1\.1 501 .*WebSocket and other protocols/s);
    expect([seen, logs]).toEqual([[], [`warn: refused (upgrade): ${REASONS.upgrade}; type text/plain, route none`]]);
  });
});
