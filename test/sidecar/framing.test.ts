/** Requests that others collected because servers disagree about them: what is marked invalid is refused, and nothing of it reaches the upstream. */
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import type { Sidecar } from "../../src/sidecar/serve.js";
import { expect, onTestFinished, test, vi } from "vitest";
import { fixture, HAVE_FIXTURES } from "../support/fixtures.js";
import { inFrontOf, proxied, rude, speak } from "../support/proxy.js";
import { call } from "../support/sidecar.js";

/**
 * Passed on all the same, and rightly so. The first two are whole requests with something invalid behind them, which goes nowhere: see the test below. The others are marked
 * for the LF that they once had where this collection of them has CR LF.
 */
const PASSED = ["connection/2", "connection/3", "invalid/36", "invalid/39", "invalid/47"];

interface Passing {
  readonly sidecar: Sidecar;
  /** Methods and targets of what came upstream, whole or not. */
  readonly arrived: string[];
}

async function passing(): Promise<Passing> {
  const arrived: string[] = [];
  const upstream = createServer((request, response) => {
    arrived.push(`${request.method} ${request.url}`);
    request.resume().on("end", () => response.end("ok"));
  });
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => upstream.close().closeAllConnections());
  const routes = [{ path: "/", contentTypes: [], framing: "octet-stream", maskResponses: false }];
  // No silence is long enough for what is undecided to leave.
  const { sidecar } = await inFrontOf((upstream.address() as AddressInfo).port, { routes }, { engine: { limits: { holdBackMs: 60_000 } } });
  return { sidecar, arrived };
}

/** All that comes back for some bytes, after which the client says that it is done. */
function exchange({ listen }: Sidecar, raw: Buffer): Promise<string> {
  return new Promise<string>((resolve) => {
    let text = "";
    const socket = connect(listen.port, listen.host, () => socket.end(raw));
    socket.setEncoding("latin1").on("data", (piece: string) => (text += piece));
    socket.on("close", () => resolve(text)).on("error", () => undefined);
  });
}

test.runIf(HAVE_FIXTURES)("what is marked invalid goes nowhere", { timeout: 120_000 }, async () => {
  const { sidecar, arrived } = await passing();
  const wrong: string[] = [];
  for (const line of fixture("http/requests.jsonl").toString().trim().split("\n")) {
    const { source, name, verdict, raw } = JSON.parse(line) as { source: string; name: string; verdict: string; raw: string };
    if (verdict !== "invalid" || (source === "llhttp" && PASSED.includes(name))) continue;
    arrived.length = 0;
    const answer = await exchange(sidecar, Buffer.from(raw, "base64"));
    if (arrived.length > 0 || /^HTTP\/1\.[01] [23]/m.test(answer))
      wrong.push(`${source} ${name}: ${answer.split("\r\n")[0]} ${arrived.join(" ").slice(0, 80)}`);
  }
  expect(wrong).toEqual([]);
});

const POST = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";

test("line ends are CR LF, everywhere", async () => {
  const { sidecar, arrived } = await passing();
  for (const raw of [
    "GET /x HTTP/1.1\nHost: a\n\n",
    "GET /x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
    "GET /x HTTP/1.1\r\nHost: a\r\nX: y\r\n\n",
    "GET /x HTTP/1.1\r\nHost: a\r\nX:\ny\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost: a\r\nX: y\r\r\n\r\n",
    `${POST}X:x\n\r\n1\r\nA\r\n0\r\n\r\n`,
    `${POST}X:\n\r\n1\r\nA\r\n0\r\n\r\n`,
    `${POST}\r\n1\nA\r\n0\r\n\r\n`,
    `${POST}\r\n1\r\nA\n0\r\n\r\n`,
    `${POST}\r\n1\r\nA\r\n0\n\r\n`,
    `${POST}\r\n1\r\nA\r\n0\r\n\n`,
    `${POST}\r\n1\r\nA\r\n0\r\nX: y\n\r\n`,
  ])
    expect([raw, (await speak(sidecar, raw)).slice(0, 12), arrived]).toEqual([raw, "HTTP/1.1 400", []]);
});

test("what stands behind the last request of a connection is not read as another", async () => {
  const { sidecar, arrived } = await passing();
  // RFC 9112 §9.6: after a request that closes the connection there is none.
  for (const head of ["PUT /one HTTP/1.0\r\n\r\n", "PUT /one HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"]) {
    const answer = await speak(sidecar, `${head}PUT /two HTTP/1.1\r\nHost: a\r\n\r\n`);
    expect([answer.split("HTTP/1.1 ").length - 1, arrived.splice(0)]).toEqual([1, ["PUT /base/one"]]);
  }
  // What is no request is refused as itself: the one before it was whole.
  const answer = await speak(sidecar, "POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nq=42\r\n\r\nGET /two HTTP/1.1\r\n```\r\n\r\n");
  expect([answer.match(/HTTP\/1\.1 \d+/g), arrived]).toEqual([["HTTP/1.1 200", "HTTP/1.1 400"], ["POST /base/one"]]);
});

test("a client that says it has sent everything is answered; one that says so too early is not", async () => {
  const { sidecar, arrived } = await passing();
  const head = "POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
  expect([await exchange(sidecar, Buffer.from(`${head}q=42`)), arrived.splice(0)]).toEqual([expect.stringMatching(/^HTTP\/1.1 200 /), ["POST /base/one"]]);
  expect([await exchange(sidecar, Buffer.from(`${head}q=4`)), arrived]).toEqual([expect.stringMatching(/^HTTP\/1.1 400 /), []]);
});

test("a body that turns out to be none while it is being answered cuts the answer off, and puts nothing into it", async () => {
  const { sidecar } = await rude((upstream) => upstream.once("data", () => upstream.write("HTTP/1.1 401 No\r\nContent-Length: 9\r\n\r\nwho")));
  const socket = connect(sidecar.listen.port, sidecar.listen.host);
  onTestFinished(() => void socket.destroy());
  let answer = "";
  socket.setEncoding("latin1").on("data", (piece: string) => (answer += piece));
  const closed = new Promise((resolve) => socket.on("error", () => undefined).once("close", resolve));
  socket.write(`${POST}Content-Type: text/plain\r\n\r\n5\r\nline\n\r\n`);
  await vi.waitFor(() => expect(answer).toMatch(/\r\n\r\nwho$/));
  socket.write("no chunk\r\n");
  await closed;
  expect(answer).toMatch(/^HTTP\/1\.1 401 [^]*\r\n\r\nwho$/);
});

test("a body that turns out to be none is given up at once, though its client stays", async () => {
  const { sidecar, seen } = await proxied();
  const socket = connect(sidecar.listen.port, sidecar.listen.host);
  socket.on("error", () => undefined);
  onTestFinished(() => void socket.destroy());
  socket.write(`${POST}Content-Type: text/plain\r\n\r\n5\r\nline\n\r\nno chunk\r\n`);
  socket.resume();
  await vi.waitFor(() => expect(socket.destroyed || socket.readableEnded).toBe(true));
  expect((await call(sidecar, "GET", "/alive")).status).toBe(201);
  await vi.waitFor(() => expect(seen.filter(({ whole }) => whole).map(({ url }) => url)).toEqual(["/base/alive"]));
});
