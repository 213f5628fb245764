/** The proxy with a spool, between real clients and an upstream that comes and goes. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, request as send, type Server } from "node:http";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { expect, onTestFinished, test, vi } from "vitest";
import type { Sidecar } from "../../src/sidecar/serve.js";
import { ResponseBody } from "../../src/sidecar/exchange.js";
import { Delivery } from "../../src/sidecar/spool/delivery.js";
import { Spool } from "../../src/sidecar/spool/spool.js";
import { type Answer, call, listenOn, start, temporary, type Witness, upstreamAt } from "../support/sidecar.js";

const SECRET = "global-secret-0123456789";
const TEXT = { "content-type": "text/plain" };

/** Until a condition holds, however busy the machine is. */
const soon = <T>(check: () => T | Promise<T>): Promise<T> => vi.waitFor(check, { timeout: 60_000, interval: 20 });

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Answers as it is told; off, nothing listens on its port. */
class Storage {
  readonly seen: Seen[] = [];
  answer: (seen: Seen) => { status: number; headers?: Record<string, string> } = () => ({ status: 201 });
  port = 0;
  private server: Server | undefined;

  async on(): Promise<void> {
    this.server = createServer((request, response) => {
      const pieces: Buffer[] = [];
      request.on("data", (piece: Buffer) => pieces.push(piece)).on("error", () => undefined);
      request.on("end", () => {
        const seen = { method: request.method!, url: request.url!, headers: request.headers, body: Buffer.concat(pieces) };
        const { status, headers = {} } = this.answer(seen);
        if (status < 300) this.seen.push(seen);
        response.writeHead(status, headers).end(`status ${status}`);
      });
    });
    this.port = await listenOn(this.server, this.port);
  }

  async off(): Promise<void> {
    const { server } = this;
    this.server = undefined;
    if (server === undefined) return;
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }

  get bodies(): string[] {
    return this.seen.map(({ body }) => body.toString());
  }
}

interface Setting {
  readonly headers?: readonly string[];
  readonly given?: readonly string[];
  readonly maxBytes?: number;
  readonly folder?: string;
}

async function spooled({ headers = [], given = [], maxBytes = 1 << 20, folder = join(temporary(), "spool") }: Setting = {}): Promise<{
  sidecar: Sidecar;
  storage: Storage;
  folder: string;
  logs: string[];
  witness: Witness;
  again: () => Promise<Sidecar>;
}> {
  const storage = new Storage();
  await storage.on();
  onTestFinished(() => storage.off());
  const upstream = upstreamAt(storage.port, {
    url: `http://127.0.0.1:${storage.port}/base`,
    connectTimeoutMs: 30_000,
    maxConnections: 10,
    spool: { folder, maxBytes, headers, backoff: { leastMs: 5, mostMs: 50 } },
  });
  const options = { upstream, upstreamHeaders: given };
  const { sidecar, logs, witness } = await start(options);
  return { sidecar, storage, folder, logs, witness, again: async () => (await start(options)).sidecar };
}

const post = (sidecar: Sidecar, path: string, body: string | Uint8Array, headers: Record<string, string> = TEXT): Promise<Answer> =>
  call(sidecar, "POST", path, body, headers);

const readiness = async ({ admin }: Sidecar): Promise<unknown> =>
  (JSON.parse((await call(admin!, "GET", "/readyz")).body) as { checks: Record<string, string> }).checks["spool"];

const metric = async ({ admin }: Sidecar, name: string): Promise<number> =>
  Number(new RegExp(`^logveil_${name} (\\d+)$`, "m").exec((await call(admin!, "GET", "/metrics")).body)?.[1]);

test("while the upstream answers, so does the sidecar", async () => {
  const { sidecar, storage } = await spooled();
  storage.answer = () => ({ status: 200, headers: { "x-own": "1" } });
  const answer = await post(sidecar, "/a?b=1", `one ${SECRET}\n`, { ...TEXT, "x-request-id": "7" });
  expect(answer).toMatchObject({ status: 200, body: "status 200", headers: { "x-own": "1" } });
  expect(storage.seen).toMatchObject([
    { method: "POST", url: "/base/a?b=1", headers: { "x-request-id": "7", "content-length": "22", "content-type": "text/plain" } },
  ]);
  expect(storage.bodies).toEqual(["one [REDACTED:GLOBAL]\n"]);
  storage.answer = () => ({ status: 413 });
  expect(await post(sidecar, "/a", "two")).toMatchObject({ status: 413, body: "status 413" });
  await soon(async () => expect(await metric(sidecar, "spool_requests")).toBe(0));
});

test("while it is down, requests wait; then they arrive in order, and masked", async () => {
  const { sidecar, storage, folder, logs } = await spooled();
  await storage.off();
  for (let i = 0; i < 5; i++) {
    expect(await post(sidecar, `/${i}`, `line ${i} ${SECRET}\n`)).toMatchObject({ status: 202, body: expect.stringContaining('"kept":true') });
  }
  const long = `${"x".repeat(1000)} ${SECRET}\n`.repeat(300);
  expect((await post(sidecar, "/long", gzipSync(long), { ...TEXT, "content-encoding": "gzip" })).status).toBe(202);
  expect((await call(sidecar, "DELETE", "/job")).status).toBe(202);
  expect([await readiness(sidecar), await metric(sidecar, "spool_requests")]).toEqual(["ok", 7]);
  expect(await metric(sidecar, "spool_bytes")).toBeGreaterThan(500);
  for (const name of readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()))
    expect(readFileSync(join(name.parentPath, name.name), "latin1")).not.toContain(SECRET);
  await storage.on();
  await soon(() => expect(storage.seen).toHaveLength(7));
  expect(storage.seen.map(({ method, url }) => `${method} ${url}`)).toEqual(
    ["0", "1", "2", "3", "4", "long"].map((path) => `POST /base/${path}`).concat("DELETE /base/job"),
  );
  expect(storage.bodies.slice(0, 5)).toEqual([0, 1, 2, 3, 4].map((i) => `line ${i} [REDACTED:GLOBAL]\n`));
  expect(gunzipSync(storage.seen[5]!.body).toString()).toBe(long.replaceAll(SECRET, "[REDACTED:GLOBAL]"));
  await soon(() =>
    expect(logs.filter((line) => line.includes("spool"))).toEqual([
      "warn: the log storage does not answer: nothing listens there (ECONNREFUSED): requests wait in the spool",
      "info: the spool is empty again: 7 requests that waited are settled",
    ]),
  );
  expect((await post(sidecar, "/after", "now")).status).toBe(201);
});

test("what comes while others wait, waits behind them", async () => {
  const { sidecar, storage } = await spooled();
  let busy = true;
  storage.answer = () => ({ status: busy ? 503 : 200 });
  for (let i = 0; i < 3; i++) expect((await post(sidecar, "/x", `${i}`)).status).toBe(202);
  busy = false;
  const later = Array.from({ length: 20 }, (_, i) => i + 3);
  for (const i of later) expect([200, 202]).toContain((await post(sidecar, "/x", `${i}`)).status);
  await soon(() => expect(storage.seen).toHaveLength(23));
  expect(storage.bodies).toEqual([0, 1, 2, ...later].map(String));
});

test("what waits is there after a restart, and has one key however often it is sent", async () => {
  const { sidecar, storage, again } = await spooled();
  const keys: unknown[] = [];
  storage.answer = ({ headers }) => {
    keys.push(headers["idempotency-key"]);
    return { status: 502 };
  };
  expect((await post(sidecar, "/1", "one")).status).toBe(202);
  await soon(() => expect(keys.length).toBeGreaterThan(2));
  await sidecar.close(0);
  storage.answer = () => ({ status: 200 });
  await again();
  await soon(() => expect(storage.bodies).toEqual(["one"]));
  keys.push(storage.seen[0]!.headers["idempotency-key"]);
  expect([new Set(keys).size, keys[0]]).toEqual([1, expect.stringMatching(/^"[\da-f-]{36}"$/)]);
});

test("what the upstream refuses for good is set aside, what it may take later waits", async () => {
  const { sidecar, storage, folder, logs } = await spooled();
  const answers: Record<string, number[]> = { "/base/bad": [503, 400], "/base/busy": [429, 408, 500, 401, 200], "/base/moved": [301], "/base/never": [501] };
  storage.answer = ({ url }) => ({ status: answers[url]?.shift() ?? 200 });
  for (const path of ["/bad", "/busy", "/moved", "/never", "/good"]) await post(sidecar, path, `text of ${path}`);
  await soon(() => expect(storage.seen.map(({ url }) => url)).toEqual(["/base/busy", "/base/good"]));
  const aside = readdirSync(join(folder, "rejected")).toSorted();
  expect(aside).toEqual([expect.stringMatching(/^1-0-400\.http$/), expect.stringMatching(/^1-\d+-301\.http$/), expect.stringMatching(/^1-\d+-501\.http$/)]);
  expect(readFileSync(join(folder, "rejected", "1-0-400.http"), "utf8")).toMatch(/^POST \/bad HTTP\/1\.1\r\n[^]*\r\ncontent-length: 12\r\n\r\ntext of \/bad$/);
  expect(logs).toContain(`error: the log storage refused a request that waited (status 400): it is set aside in ${join(folder, "rejected", "1-0-400.http")}`);
  expect(await metric(sidecar, 'spool_rejected_total\\{reason="refused"\\}')).toBe(3);
});

test("no request is sent before the time that the upstream asks for", async () => {
  const { sidecar, storage } = await spooled();
  const times: number[] = [];
  storage.answer = () => {
    times.push(Date.now());
    return times.length === 1 ? { status: 429, headers: { "retry-after": "1" } } : { status: 200 };
  };
  await post(sidecar, "/x", "text");
  await soon(() => expect(times).toHaveLength(2));
  expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(990);
});

test("a body that could not be masked is kept by no one", async () => {
  const { sidecar, storage, folder } = await spooled();
  for (const [headers, body, status] of [
    [{ "content-type": "application/json" }, `{"a": "${SECRET}", nonsense`, 400],
    [{ "content-type": "application/octet-stream" }, "x", 415],
    [{ ...TEXT, "content-encoding": "gzip" }, gzipSync("x".repeat(1000)).subarray(0, 20), 400],
  ] as const)
    expect((await post(sidecar, "/x", body, headers)).status).toBe(status);
  expect(storage.seen).toEqual([]);
  expect([await metric(sidecar, "spool_requests"), readdirSync(folder).toSorted()]).toEqual([0, [".format.json", "cursor", "rejected", "spool.lock"]]);
});

test("no credential of a client waits on disk", async () => {
  const { sidecar, storage, logs } = await spooled({ headers: ["x-tenant"], given: ["Authorization", "Token sidecars-own", "X-Added", "1"] });
  // What the sidecar gives by itself takes the place of the client's.
  expect((await post(sidecar, "/x", "one", { ...TEXT, authorization: "Bearer of-a-client", "x-tenant": "a" })).status).toBe(201);
  expect(storage.seen[0]!.headers).toMatchObject({ authorization: "Token sidecars-own", "x-added": "1", "x-tenant": "a" });
  for (const name of ["x-api-key", "job-token", "cookie", "x-anything"]) {
    const { status, headers, body } = await post(sidecar, "/x", "two", { ...TEXT, [name]: "of-a-client" });
    expect([status, headers["retry-after"]]).toEqual([503, "60"]);
    expect(body).toContain(
      `the header field ${name} may hold a credential, which must not wait on disk: put it into upstream.headersFile, or, if it holds none, name it in spool.headers`,
    );
    expect(body).not.toContain("of-a-client");
  }
  for (const [path, headers] of [
    [`/x?token=${SECRET}`, TEXT],
    ["/x", { ...TEXT, "user-agent": `agent ${SECRET}` }],
  ] as const) {
    const refused = await post(sidecar, path, "two", headers);
    expect([refused.status, refused.body.includes(SECRET)]).toEqual([503, false]);
  }
  expect(logs.filter((line) => line.startsWith("error"))).toEqual([
    "error: requests are refused whose head may hold a credential, which must not wait in the spool; their answers tell what to do",
  ]);
  expect(storage.seen).toHaveLength(1);
});

test("the token of a job is for the sidecar alone", async () => {
  const { sidecar, storage } = await spooled();
  const issued = await call({ socket: sidecar.socket! }, "POST", "/v1/jobs/7/token");
  const { token } = JSON.parse(issued.body) as { token: string };
  const headers = { ...TEXT, "logveil-job": "7", "logveil-token": token };
  expect((await post(sidecar, "/x", "one", headers)).status).toBe(201);
  expect(storage.seen[0]!.headers["logveil-token"]).toBeUndefined();
  expect((await post(sidecar, "/x", "one", { ...TEXT, "logveil-job": "7" })).status).toBe(401);
});

test("what the sidecar gives by itself is not on disk, and is given as it is now", async () => {
  const folder = join(temporary(), "spool");
  const { sidecar, storage } = await spooled({ folder, given: ["Authorization", "Bearer credential-of-the-upstream"] });
  await storage.off();
  expect((await post(sidecar, "/x", "one", { ...TEXT, authorization: "Bearer of-a-client" })).status).toBe(202);
  for (const name of readdirSync(folder).filter((each) => each !== "rejected")) {
    const bytes = readFileSync(join(folder, name), "latin1");
    for (const raw of ["credential-of-the-upstream", "of-a-client"]) expect(bytes).not.toContain(raw);
  }
  await storage.on();
  await soon(() => expect(storage.seen[0]!.headers.authorization).toBe("Bearer credential-of-the-upstream"));
});

test("requests that change nothing do not wait: they are answered or refused", async () => {
  const { sidecar, storage } = await spooled();
  expect((await call(sidecar, "GET", "/health", undefined, { "x-api-key": "k" })).status).toBe(201);
  await storage.off();
  expect((await call(sidecar, "GET", "/health")).status).toBe(503);
  expect(await metric(sidecar, "spool_requests")).toBe(0);
});

test("full, it refuses, and is not ready until there is room", async () => {
  const { sidecar, storage, logs } = await spooled();
  await storage.off();
  const noise = (bytes: number): Buffer => Buffer.alloc(bytes, "a line of text that is long enough\n");
  const statuses: number[] = [];
  while (statuses.at(-1) !== 503) statuses.push((await post(sidecar, "/x", noise(200_000))).status);
  expect(statuses.filter((status) => status === 202)).toHaveLength(5);
  expect(logs).toContain("error: the spool is in trouble: full; what cannot be kept gets 503");
  // There is room for one more that is smaller.
  expect((await post(sidecar, "/y", noise(45_000))).status).toBe(202);
  expect(await post(sidecar, "/z", noise(60_000))).toMatchObject({ status: 503, headers: { "retry-after": "30" } });
  expect(await readiness(sidecar)).toBe("full");
  await storage.on();
  await soon(() => expect(storage.seen).toHaveLength(6));
  expect(await readiness(sidecar)).toBe("ok");
  expect((await post(sidecar, "/z", noise(60_000))).status).toBe(201);
});

test("without evidence nothing is kept", async () => {
  const { sidecar, storage, witness } = await spooled();
  witness.failure = Object.assign(new Error("no space"), { code: "ENOSPC" });
  expect((await post(sidecar, "/x", SECRET)).status).toBe(503);
  expect([storage.seen, await metric(sidecar, "spool_requests")]).toEqual([[], 0]);
});

test("nothing that waits is sent while masking cannot be trusted", async () => {
  const logs: string[] = [];
  const log = (level: string, message: string): void => void logs.push(`${level}: ${message}`);
  const spool = await Spool.open({ folder: join(temporary(), "spool"), maxBytes: 1 << 20, log });
  const sent: string[] = [];
  let isTrusted = false;
  let asked = 0;
  const body = new ResponseBody({ resume: () => undefined }, () => undefined);
  body.finish();
  const answer = { status: 200, fields: [], body, trailers: () => [] };
  const delivery = new Delivery(
    spool,
    async ({ head }) => {
      sent.push(head.path);
      if (sent.length === 1) throw Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
      return answer;
    },
    { backoff: { leastMs: 1, mostMs: 5 }, isTrusted: () => (asked++, isTrusted), log },
  );
  expect(await delivery.take(spool.draft(), { method: "POST", path: "/x", headers: [] })).toBeUndefined();
  await soon(() => expect(asked).toBeGreaterThan(3));
  expect([sent, logs.at(-1)]).toEqual([["/x"], "warn: the self-test of masking failed: requests wait in the spool"]);
  isTrusted = true;
  await soon(() => expect(sent).toEqual(["/x", "/x"]));
  await delivery.close();
});

test("a client that is gone in the middle leaves nothing", async () => {
  const { sidecar, storage, folder } = await spooled();
  const client = send({ ...sidecar.listen, method: "POST", path: "/x", headers: TEXT });
  client.on("error", () => undefined);
  client.write("x".repeat(300_000));
  await soon(() => expect(readdirSync(folder).some((name) => name.endsWith(".part"))).toBe(true));
  client.destroy();
  await soon(() => expect(readdirSync(folder).toSorted()).toEqual([".format.json", "cursor", "rejected", "spool.lock"]));
  expect([storage.seen, await metric(sidecar, "spool_requests")]).toEqual([[], 0]);
});

test("of a damaged body nothing is committed upstream, and what follows goes on", async () => {
  const { sidecar, storage, folder, logs } = await spooled();
  await storage.off();
  await post(sidecar, "/long", "a line\n".repeat(50_000));
  await post(sidecar, "/next", "next");
  const body = join(
    folder,
    readdirSync(folder).find((name) => name.endsWith(".body"))!,
  );
  const bytes = readFileSync(body);
  bytes[200_000]! ^= 1;
  writeFileSync(body, bytes);
  await storage.on();
  await soon(() => expect(storage.bodies).toEqual(["next"]));
  expect(logs).toContain(`error: the body of a request that waited is damaged: it is set aside in ${join(folder, "rejected", "1-0-damaged.http")}`);
});
