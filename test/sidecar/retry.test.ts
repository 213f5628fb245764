/** Trying again without a spool: where nothing was sent, and nowhere else. */
import { createServer, type IncomingMessage, request as send, type RequestListener } from "node:http";
import { expect, onTestFinished, test } from "vitest";
import { sendWithRetries } from "../../src/sidecar/retry.js";
import type { Sidecar } from "../../src/sidecar/serve.js";
import { call, freePort, listenOn, start, upstreamAt } from "../support/sidecar.js";

const SECRET = "global-secret-0123456789";
const TEXT = { "content-type": "text/plain" };

const sidecarTo = async (port: number, retries: number): Promise<Sidecar> => {
  return (await start({ upstream: upstreamAt(port, { connectTimeoutMs: 5000, maxConnections: 4, retries }) })).sidecar;
};

/** What an upstream took: bodies of whole requests. */
function takes(bodies: string[]): RequestListener {
  return (request: IncomingMessage, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request
      .on("error", () => undefined)
      .on("end", () => {
        bodies.push(body);
        response.writeHead(201).end();
      });
  };
}

async function upstream(listener: RequestListener, port = 0): Promise<number> {
  const server = createServer(listener);
  onTestFinished(() => server.close().closeAllConnections());
  return listenOn(server, port);
}

test("an upstream that starts late is waited for, and nothing is read of the client meanwhile", async () => {
  const port = await freePort();
  const sidecar = await sidecarTo(port, 10);
  const client = send({ ...sidecar.listen, method: "POST", path: "/x", headers: TEXT });
  const status = new Promise((resolve, reject) => client.on("error", reject).once("response", (response) => resolve(response.statusCode)));
  let written = 0;
  // Until the buffers on the way are full.
  while (client.write(`${SECRET}\n`.repeat(2000)) || written < 1 << 22) written += 50_000;
  const bodies: string[] = [];
  await upstream(takes(bodies), port);
  client.end("end\n");
  expect(await status).toBe(201);
  expect([bodies.length, bodies[0]!.includes(SECRET), bodies[0]!.endsWith("]\nend\n")]).toEqual([1, false, true]);
});

test("an upstream that stays down is told as such after so many attempts", async () => {
  const attempts: unknown[] = [];
  const refuse = async (): Promise<never> => {
    attempts.push(0);
    throw Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
  };
  await expect(sendWithRetries({ retries: 3, connectTimeoutMs: 4 }, undefined, refuse)).rejects.toThrow("refused");
  expect(attempts).toHaveLength(4);
  const sidecar = await sidecarTo(await freePort(), 1);
  for (const body of ["text", undefined])
    expect(await call(sidecar, "POST", "/x", body, body === undefined ? {} : TEXT)).toMatchObject({ status: 503, headers: { "retry-after": "5" } });
});

test("an upstream that resets its connections at first: taken once, or refused and not taken", async () => {
  const bodies: string[] = [];
  let resets = 0;
  const server = createServer(takes(bodies));
  server.on("connection", (socket) => {
    if (resets++ < 3) socket.resetAndDestroy();
  });
  onTestFinished(() => server.close().closeAllConnections());
  const sidecar = await sidecarTo(await listenOn(server), 2);
  const taken: string[] = [];
  for (let i = 0; i < 6; i++) {
    const { status } = await call(sidecar, "POST", "/x", `${i}`, TEXT);
    expect([201, 502, 503]).toContain(status);
    if (status === 201) taken.push(`${i}`);
  }
  expect(bodies).toEqual(taken);
  expect(taken.length).toBeGreaterThanOrEqual(3);
});

test("nothing is tried again once a byte of the body was sent", async () => {
  let requests = 0;
  const port = await upstream((request) => {
    requests++;
    request.once("data", () => request.socket.resetAndDestroy());
  });
  const sidecar = await sidecarTo(port, 5);
  expect((await call(sidecar, "POST", "/x", "text\n".repeat(1000), TEXT)).status).toBe(502);
  expect(requests).toBe(1);
});

test("a request without a body is not tried again once it may have been seen", async () => {
  let requests = 0;
  const port = await upstream((request) => {
    requests++;
    request.socket.resetAndDestroy();
  });
  const sidecar = await sidecarTo(port, 5);
  for (const method of ["DELETE", "POST"]) expect((await call(sidecar, method, "/x")).status).toBe(502);
  expect(requests).toBe(2);
});

test("a body that is none is asked for once", async () => {
  async function* none(fault: Error | undefined): AsyncGenerator<Uint8Array, void, void> {
    if (fault !== undefined) throw fault;
    yield Buffer.from("body");
  }
  let attempts = 0;
  const sent = sendWithRetries({ retries: 5, connectTimeoutMs: 5 }, none(new Error("no body")), async (body) => {
    attempts++;
    for await (const _ of body!);
  });
  await expect(sent).rejects.toThrow("no body");
  expect(attempts).toBe(1);
});

test("a body is handed to one attempt at a time, whole, and closed at the end", async () => {
  let closed = 0;
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  async function* pieces(): AsyncGenerator<Uint8Array, void, void> {
    try {
      await gate;
      for (const text of ["a", "b", "c"]) yield Buffer.from(text);
    } finally {
      closed++;
    }
  }
  const got: string[] = [];
  let attempts = 0;
  let first: Promise<void> | undefined;
  const read = async (attempt: number, body: AsyncIterable<Uint8Array>): Promise<void> => {
    for await (const piece of body) got.push(`${attempt}${Buffer.from(piece).toString()}`);
  };
  const sent = sendWithRetries({ retries: 2, connectTimeoutMs: 5 }, pieces(), async (body) => {
    const attempt = ++attempts;
    const reading = read(attempt, body!);
    first ??= reading;
    // The first one fails while it still waits for its first piece, and never hears of it.
    if (attempt === 1) throw Object.assign(new Error("reset"), { code: "ECONNRESET" });
    release();
    await reading;
    return "sent";
  });
  expect(await sent).toBe("sent");
  await first;
  expect([got, attempts, closed]).toEqual([["2a", "2b", "2c"], 2, 1]);
});
