/** How the upstream does: failures by kind, times, readiness, and a line when it answers again. */
import { createServer, type Server } from "node:http";
import { connect, createServer as createTcp, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { Figures } from "../../src/sidecar/accounts.js";
import { ResponseBody } from "../../src/sidecar/exchange.js";
import { UpstreamHealth } from "../../src/sidecar/health.js";
import type { Sidecar } from "../../src/sidecar/serve.js";
import { inFrontOf, proxied, rude } from "../support/proxy.js";
import { call, freePort, listenOn, start, temporary, until } from "../support/sidecar.js";

const TEXT = { "content-type": "text/plain" };
const post = (sidecar: Sidecar, body = "a line\n"): ReturnType<typeof call> => call(sidecar, "POST", "/x", body, TEXT);

async function metrics(sidecar: Sidecar): Promise<string> {
  return (await call(sidecar.admin!, "GET", "/metrics")).body;
}

async function failures(sidecar: Sidecar): Promise<Record<string, number>> {
  const rows = (await metrics(sidecar)).matchAll(/^logveil_upstream_failures_total\{kind="(\w+)"\} (\d+)$/gm);
  return Object.fromEntries([...rows].map(([, kind, count]) => [kind, Number(count)]).filter(([, count]) => count !== 0));
}

async function readiness(sidecar: Sidecar): Promise<{ status: number; upstream: string }> {
  const { status, body } = await call(sidecar.admin!, "GET", "/readyz");
  return { status, upstream: (JSON.parse(body) as { checks: { upstream: string } }).checks.upstream };
}

/** A storage on a port that takes everything, until the test is over. */
async function storage(port: number): Promise<Server> {
  const server = createServer((request, response) => request.resume().on("end", () => response.writeHead(201).end("ok")));
  await listenOn(server, port);
  onTestFinished(() => server.close().closeAllConnections());
  return server;
}

test("every kind of failure is counted as what it is, and only what the upstream has done", async () => {
  const closed = await inFrontOf(await freePort(), { retries: 0 });
  expect((await post(closed.sidecar)).status).toBe(503);
  expect(await failures(closed.sidecar)).toEqual({ connect: 1 });

  const talks: [string, (socket: Socket) => void, number][] = [
    ["reset", (socket) => socket.once("data", () => socket.resetAndDestroy()), 502],
    ["reset", (socket) => socket.once("data", () => socket.end()), 502],
    ["timeout", (socket) => socket.resume(), 504],
    ["protocol", (socket) => socket.once("data", () => socket.end("no HTTP at all\r\n\r\n")), 502],
    ["status_5xx", (socket) => socket.once("data", () => socket.end("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")), 503],
  ];
  for (const [kind, talk, status] of talks) {
    const { sidecar } = await rude(talk);
    expect([kind, (await post(sidecar)).status]).toEqual([kind, status]);
    expect(await failures(sidecar)).toEqual({ [kind]: 1 });
  }

  const cut = await rude((socket) =>
    socket.once("data", () => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome", () => socket.destroy())),
  );
  await post(cut.sidecar).catch(() => undefined);
  await until(async () => expect(await failures(cut.sidecar)).toEqual({ reset: 1 }));

  const { sidecar } = await proxied();
  expect((await post(sidecar)).status).toBe(201);
  // A client that breaks off, a body that is damaged, a request that is refused: none of them is the upstream's.
  const client = connect(sidecar.listen.port, "127.0.0.1");
  client.on("error", () => undefined).write("POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n");
  await sleep(300);
  client.resetAndDestroy();
  await call(sidecar, "POST", "/x", "no gzip", { ...TEXT, "content-encoding": "gzip" });
  await call(sidecar, "POST", "/x", "x", { "content-type": "image/png" });
  expect(await failures(sidecar)).toEqual({});
});

test("times go into a histogram: from the end of a request, however long it took to come", async () => {
  const { sidecar } = await proxied();
  async function* slowly(): AsyncGenerator<string, void, void> {
    for (let i = 0; i < 4; i++) {
      yield "x".repeat(100_000);
      await sleep(400);
    }
  }
  const url = `http://127.0.0.1:${sidecar.listen.port}/x`;
  const body = new ReadableStream<Uint8Array>({
    async start(controller) {
      for await (const piece of slowly()) controller.enqueue(Buffer.from(piece));
      controller.close();
    },
  });
  expect((await fetch(url, { method: "POST", headers: TEXT, body, duplex: "half" })).status).toBe(201);
  expect((await post(sidecar)).status).toBe(201);
  const text = await metrics(sidecar);
  expect(text).toMatch(/^# TYPE logveil_upstream_seconds histogram$/m);
  expect(text).toMatch(/^logveil_upstream_seconds_count 2$/m);
  expect(text).toMatch(/^logveil_upstream_seconds_bucket\{le="\+Inf"\} 2$/m);
  // The body alone took longer than this.
  expect(text).toMatch(/^logveil_upstream_seconds_bucket\{le="1"\} 2$/m);
});

test.each([
  ["report", 200],
  ["require", 503],
] as const)("readiness %s: the check says what is wrong, and decides if it is to", async (mode, status) => {
  const port = await freePort();
  const { sidecar, logs } = await inFrontOf(port, { readiness: mode });
  // Nothing was sent yet: it is asked for a connection.
  expect(await readiness(sidecar)).toEqual({ status, upstream: "the log storage cannot be reached: nothing listens there (ECONNREFUSED)" });
  expect((await post(sidecar)).status).toBe(503);
  expect((await post(sidecar)).status).toBe(503);
  expect(await readiness(sidecar)).toEqual({
    status,
    upstream: expect.stringMatching(/^the log storage has failed for \d+ m?s: 2 failed attempts, the last one by connect, ECONNREFUSED$/) as string,
  });
  await storage(port);
  expect((await post(sidecar)).status).toBe(201);
  expect(await readiness(sidecar)).toEqual({ status: 200, upstream: "ok" });
  const told = logs.filter((line) => line.includes("again"));
  expect(told).toEqual([expect.stringMatching(/^info: the log storage answers again, after \d+ m?s and 2 failed attempts \(connect, ECONNREFUSED\)$/)]);
  if (mode === "require") expect(logs[0]).toBe("error: not ready: upstream: the log storage cannot be reached: nothing listens there (ECONNREFUSED)");
});

test("with a spool too: a line says that it answers again", async () => {
  const port = await freePort();
  const { sidecar, logs } = await inFrontOf(port, {
    spool: { folder: temporary(), maxBytes: 1 << 20, headers: [], backoff: { leastMs: 20, mostMs: 100 } },
  });
  expect((await post(sidecar)).status).toBe(202);
  await storage(port);
  await until(() =>
    expect(logs).toContainEqual(
      expect.stringMatching(/^info: the log storage answers again, after \d+ m?s and \d+ failed attempts? \(connect, ECONNREFUSED\)$/),
    ),
  );
  await until(() => expect(logs).toContainEqual(expect.stringMatching(/^info: the spool is empty again/)));
});

test("a syslog server that takes messages again is told of", async () => {
  const port = await freePort();
  const local = { host: "127.0.0.1", port: 0 };
  const { sidecar, logs } = await start({
    syslog: {
      tcp: local,
      framing: "auto",
      job: "syslog",
      maxMessageBytes: 1 << 16,
      forward: { protocol: "tcp", host: "127.0.0.1", port, connectTimeoutMs: 1000 },
    },
  });
  await until(() => expect(logs).toContain("warn: syslog: syslog.forward: ECONNREFUSED"));
  expect((await call(sidecar.admin!, "GET", "/readyz")).status).toBe(503);
  const server = createTcp((socket) => void socket.resume().on("error", () => undefined));
  await listenOn(server, port);
  onTestFinished(() => void server.close());
  await until(() =>
    expect(logs).toContainEqual(
      expect.stringMatching(/^info: syslog: syslog\.forward: the server takes messages again, after \d+ m?s and \d+ failed attempts?$/),
    ),
  );
  expect((await call(sidecar.admin!, "GET", "/readyz")).status).toBe(200);
  await sidecar.close(0);
});

test("an upstream that fails now and then is told of once in ten seconds; a failure that nobody repeats is forgotten", async () => {
  const server = await storage(await freePort());
  const { port } = server.address() as { port: number };
  let now = 0;
  const lines: string[] = [];
  const health = new UpstreamHealth({ url: `http://127.0.0.1:${port}`, figures: new Figures(), log: (_, line) => lines.push(line), now: () => now });
  const answer = (status: number) => () =>
    Promise.resolve({ status, fields: [], body: new ResponseBody({ resume: () => undefined }, () => undefined), trailers: () => [] });
  for (let i = 0; i < 10; i++) {
    await health.watch(undefined, answer(503));
    await health.watch(undefined, answer(200));
    now += 1000;
  }
  await health.watch(undefined, answer(500));
  now += 2000;
  await health.watch(undefined, answer(200));
  expect(lines).toEqual([
    "the log storage answers again, after 0 ms and 1 failed attempt (status_5xx, status 503)",
    "the log storage answers again, after 2 s and 1 failed attempt (status_5xx, status 500)",
  ]);
  // What is not possible here says nothing of the upstream.
  await health.watch(undefined, answer(501));
  expect(await health.check()).toBeUndefined();
  await health.watch(undefined, answer(503));
  expect(await health.check()).toMatch(/^the log storage has failed for 0 ms: 1 failed attempt, the last one by status_5xx, status 503$/);
  now += 30_000;
  expect(await health.check()).toMatch(/^the log storage has failed for 30 s/);
  now += 60_000;
  expect(await health.check()).toBeUndefined();
});
