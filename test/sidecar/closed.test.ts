/** Fail closed: whatever breaks in the middle of a body, and whatever is too much of it, the upstream sees no whole request and nothing raw, and the client no success. */
import { createHash, randomBytes } from "node:crypto";
import { createServer, request as send, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { brotliCompressSync, constants, deflateSync, gzipSync } from "node:zlib";
import { compress, Compressor } from "zstd-napi";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { createEngine, type Engine } from "../../src/engine.js";
import type { RedactorStream } from "../../src/live.js";
import { serveRoutes } from "../../src/sidecar/http.js";
import { Upstream } from "../../src/sidecar/proxy.js";
import type { MaskContext } from "../../src/sidecar/requests.js";
import { proxied, SECRET, type Seen } from "../support/proxy.js";
import { type Answer, call } from "../support/sidecar.js";

const listening = async (server: ReturnType<typeof createServer>): Promise<number> => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => server.close().closeAllConnections());
  return (server.address() as AddressInfo).port;
};

/** Counts what comes to its end. */
async function counting(): Promise<{ port: number; whole: () => number; open: () => number; bytes: () => string }> {
  let [whole, open, bytes] = [0, 0, ""];
  const port = await listening(
    createServer((request, response) => {
      open++;
      request.on("close", () => open--);
      request.setEncoding("latin1").on("data", (piece: string) => (bytes += piece));
      request.on("error", () => undefined);
      request.on("end", () => {
        whole++;
        response.end("kept");
      });
    }),
  );
  return { port, whole: () => whole, open: () => open, bytes: () => bytes };
}

/** What is told of no one. */
const untold = {
  input: () => undefined,
  output: () => undefined,
  check: () => undefined,
  end: () => undefined,
  room: () => undefined,
  settled: async () => undefined,
};

interface Surroundings {
  readonly open?: () => RedactorStream;
  readonly settled?: () => Promise<undefined>;
}

/** The proxy alone, with surroundings that break. */
async function breaking(upstreamPort: number, change: (engine: Engine) => Surroundings): Promise<{ port: number; failures: unknown[] }> {
  const engine = createEngine({ secrets: [{ name: "GLOBAL", value: SECRET }], rules: false });
  const broken = change(engine);
  const settled = broken.settled ?? untold.settled;
  const context: MaskContext = {
    holdBackMs: 50,
    decode: {},
    maxHeldBytes: 1 << 20,
    open: () => ({ account: { ...untold, settled }, open: broken.open ?? (() => engine.stream()) }),
    settled,
  };
  const options = { url: `http://127.0.0.1:${upstreamPort}`, connectTimeoutMs: 5000, headersTimeoutMs: 5000, bodyTimeoutMs: 5000, maxConnections: 5 };
  const upstream = new Upstream(options, [], context);
  const failures: unknown[] = [];
  const door = serveRoutes([], {
    limits: { headersTimeoutMs: 5000, idleTimeoutMs: 20_000, maxConnections: 10 },
    observer: { failed: (error) => failures.push(error), refused: () => undefined },
    hosts: () => [],
    otherwise: (request, response) => upstream.forward(request, response),
  });
  const port = await listening(door.server);
  onTestFinished(async () => {
    await upstream.close();
    engine.close();
  });
  return { port, failures };
}

const PIECE = `a line, and ${SECRET} in it\n`.repeat(500);
const PIECES = 20;

/** A body in pieces, each of which has gone out before the next. */
function post(
  port: number,
  headers: Record<string, string> = {},
  pieces: readonly (string | Buffer)[] = Array.from({ length: PIECES }, () => PIECE),
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const client = send({ port, method: "POST", path: "/x", headers: { "content-type": "text/plain", ...headers }, agent: false }, (response) => {
      const got: Buffer[] = [];
      response.on("data", (piece: Buffer) => got.push(piece)).on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(got).toString() }));
    });
    client.on("error", reject);
    onTestFinished(() => void client.destroy());
    const next = (i: number): void => {
      if (i === pieces.length) client.end();
      else client.write(pieces[i]!, () => setImmediate(next, i + 1));
    };
    next(0);
  });
}

const failing = (stream: RedactorStream, fails: (step: "push" | "idle" | "end", count: number) => boolean): RedactorStream => {
  let count = 0;
  const step = (name: "push" | "idle" | "end", work: () => Uint8Array[]): Uint8Array[] => {
    if (fails(name, ++count)) throw new Error(`an engine that quotes ${SECRET}`);
    return work();
  };
  return Object.assign(Object.create(stream) as RedactorStream, {
    push: (chunk: Uint8Array) => step("push", () => stream.push(chunk)),
    idle: () => step("idle", () => stream.idle()),
    end: () => step("end", () => stream.end()),
    close: () => stream.close(),
  });
};

describe.each([
  ["in chunks", {}],
  ["with trailers", { trailer: "X-Last" }],
  ["held for its digest", { "content-md5": createHash("md5").update(PIECE.repeat(PIECES)).digest("base64") }],
  ["gzipped", { "content-encoding": "gzip" }],
] as readonly (readonly [string, Record<string, string>])[])("a body %s", (kind, headers) => {
  const pieces = kind === "gzipped" ? [gzipSync(randomBytes(40_000).toString("hex")), gzipSync(PIECE.repeat(PIECES))] : undefined;

  async function breaksWith(status: number, change: (engine: Engine) => Surroundings, body = pieces): Promise<void> {
    const upstream = await counting();
    const { port, failures } = await breaking(upstream.port, change);
    const answer = await post(port, headers, body);
    expect(answer.status).toBe(status);
    expect(answer.body).not.toContain(SECRET);
    if (status === 503) expect([answer.headers["retry-after"], failures.length]).toEqual(["10", 1]);
    await vi.waitFor(() => expect(upstream.open()).toBe(0));
    expect(upstream.whole()).toBe(0);
    expect(upstream.bytes()).not.toContain(SECRET);
  }

  test.each([
    ["opening", "open", 0],
    ["the first chunk", "push", 1],
    ["a later chunk", "push", 3],
    ["the end", "end", 0],
  ] as const)("an engine that fails at %s", async (_, name, from) => {
    await breaksWith(503, (engine) => ({
      open() {
        if (name === "open") throw new Error("no memory");
        return failing(engine.stream(), (step, count) => step === name && count >= from);
      },
    }));
  });

  test("an audit that cannot be written from some time on", async () => {
    await breaksWith(503, (engine) => {
      let found = 0;
      return {
        open: () => engine.stream({ onFinding: () => found++ }),
        settled: async () => {
          if (found > 10) throw Object.assign(new Error("no space left"), { code: "ENOSPC" });
        },
      };
    });
  });
});

test("an engine that fails in silence, while the client sends nothing", async () => {
  const upstream = await counting();
  const { port } = await breaking(upstream.port, (engine) => ({ open: () => failing(engine.stream(), (step) => step === "idle") }));
  const answered = new Promise<number>((resolve, reject) => {
    const client = send({ port, method: "POST", path: "/x", headers: { "content-type": "text/plain" } }, (response) => resolve(response.statusCode!));
    client.on("error", reject).write("a line\nand half of");
    onTestFinished(() => void client.destroy());
  });
  expect(await answered).toBe(503);
  await vi.waitFor(() => expect(upstream.open()).toBe(0));
  expect(upstream.whole()).toBe(0);
});

test("nothing broken goes through, as a check of these tests", async () => {
  const upstream = await counting();
  const { port } = await breaking(upstream.port, () => ({}));
  expect(await post(port)).toMatchObject({ status: 200, body: "kept" });
  expect([upstream.whole(), upstream.bytes().split("[REDACTED:GLOBAL]").length - 1]).toEqual([1, 500 * PIECES]);
});

const honest = randomBytes(200_000).toString("hex");
const zeros = Buffer.alloc(8 << 20);

function wide(windowLog: number): Buffer {
  const compressor = new Compressor();
  compressor.setParameters({ windowLog, enableLongDistanceMatching: true });
  return compressor.compress(Buffer.from(randomBytes(2 << 20).toString("hex")));
}

describe("a body that decodes to too much", () => {
  /** A beginning that goes out before the rest turns out to be what it is. */
  async function isRefused(change: object, coding: string, pieces: readonly Buffer[], reason: string, status = 400): Promise<Seen[]> {
    const { sidecar, seen } = await proxied(change);
    const answer = await post(sidecar.listen.port, { "content-encoding": coding }, pieces);
    expect([answer.status, answer.body]).toEqual([status, expect.stringContaining(reason) as string]);
    await vi.waitFor(() => expect(seen.every(({ whole }) => !whole)).toBe(true));
    // A connection that was not reset would be used again.
    expect((await call(sidecar, "GET", "/alive")).status).toBe(201);
    await vi.waitFor(() => expect(seen.filter(({ whole }) => whole).map(({ url }) => url)).toEqual(["/base/alive"]));
    return seen;
  }
  const limits = { maxDecodedBytes: 4 << 20 };

  test.each([
    ["gzip", [gzipSync(honest), gzipSync(zeros)]],
    ["deflate", [deflateSync(Buffer.concat([Buffer.from(honest), zeros]))]],
    ["br", [brotliCompressSync(Buffer.concat([Buffer.from(honest), zeros]), { params: { [constants.BROTLI_PARAM_QUALITY]: 3 } })]],
    ["zstd", [compress(Buffer.from(honest)), compress(zeros)]],
  ] as const)("%s beyond the size, or the ratio", async (coding, pieces) => {
    await isRefused({ decode: limits }, coding, pieces, "more bytes than allowed");
    await isRefused({ decode: { maxRatio: 5 } }, coding, pieces, "more times its size than allowed");
  });

  test("the first part of it had gone out, and is not committed", async () => {
    const seen = await isRefused({ decode: limits }, "gzip", [gzipSync(honest), gzipSync(zeros)], "more bytes");
    expect(seen.some(({ whole, body }) => !whole && body.length > 0)).toBe(true);
  });

  test("codings in one another, each of which is small", async () => {
    const nested = gzipSync(brotliCompressSync(gzipSync(zeros)));
    await isRefused({ decode: { ...limits, maxRatio: 1e6 } }, "gzip, br, gzip", [nested], "more bytes than allowed");
    await isRefused({ decode: { maxRatio: 100 } }, "gzip, br, gzip", [nested], "more times its size");
    await isRefused({ decode: { maxLayers: 2 } }, "gzip, br, gzip", [nested], "coded more times than allowed", 415);
  });

  test("a zstd window beyond the limit", async () => {
    await isRefused({ decode: { zstdWindowBytes: 1 << 20 } }, "zstd", [compress(Buffer.from(honest)), wide(21)], "larger window than allowed");
    const { sidecar } = await proxied({ decode: { zstdWindowBytes: 2 << 20 } });
    expect((await post(sidecar.listen.port, { "content-encoding": "zstd" }, [compress(Buffer.from(honest)), wide(21)])).status).toBe(201);
  });

  test("of a response: the client is cut off", async () => {
    const routes = [{ path: "/", contentTypes: [], framing: "text", maskResponses: true }];
    const bomb: RequestListener = (_, response) => response.writeHead(200, { "content-type": "text/plain", "content-encoding": "gzip" }).end(gzipSync(zeros));
    const { sidecar } = await proxied({ decode: limits, routes }, bomb);
    await expect(call(sidecar, "GET", "/x")).rejects.toMatchObject({ code: "ECONNRESET" });
  });
});
