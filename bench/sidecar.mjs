/**
 * `npm run bench:sidecar [-- --smoke]`: the sidecar on loopback against a proxy of the same code with masking off, in one run. One process is client and upstream, both
 * on bare sockets; the proxies are processes of their own. What arrives is counted; a planted secret must not.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { logText, secrets } from "./corpora.mjs";
import { check, finish, median, quantile, record, root, smoke } from "./lib.mjs";

const MB = 1 << 20;
const ROUNDS = smoke ? 1 : 5;
const LARGE = smoke ? MB : 64 * MB;
const MIDDLE = 128 * 1024;
const SMALL = 2048;

/** An upstream that reads requests and answers 204. `onBytes` sees what comes. */
function openUpstream() {
  const seen = { bytes: 0, requests: 0, onBytes: undefined };
  const server = createServer({ noDelay: true }, (socket) => {
    let head = "";
    let left = -1;
    let tail = Buffer.alloc(0);
    const answer = () => {
      seen.requests++;
      head = "";
      left = -1;
      socket.write("HTTP/1.1 204 No Content\r\n\r\n");
    };
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => {
      seen.bytes += chunk.length;
      seen.onBytes?.(chunk);
      let at = 0;
      if (left < 0 && !head.endsWith("\r\n\r\n")) {
        const from = head.length;
        head += chunk.toString("latin1");
        const end = head.indexOf("\r\n\r\n");
        if (end < 0) return;
        at = end + 4 - from;
        head = head.slice(0, end + 4);
        const length = /^content-length: (\d+)/im.exec(head);
        left = length === null ? Infinity : Number(length[1]);
      }
      if (left !== Infinity) {
        left -= chunk.length - at;
        if (left <= 0) answer();
        return;
      }
      tail = Buffer.concat([tail, chunk.subarray(Math.max(at, chunk.length - 5))]).subarray(-5);
      if (tail.toString("latin1") === "0\r\n\r\n") answer();
    });
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve({ seen, server, url: `http://127.0.0.1:${server.address().port}` })));
}

/** One connection that sends the same request again and again. Resolves with the milliseconds that `count` took. */
function send(port, request, count) {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, noDelay: true });
    let done = 0;
    let answer = "";
    const started = performance.now();
    const next = () => {
      for (let at = 0; at < request.length; at += 256 * 1024) socket.write(request.subarray(at, at + 256 * 1024));
    };
    socket.on("connect", next);
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      answer += chunk.toString("latin1");
      const end = answer.indexOf("\r\n\r\n");
      if (end < 0) return;
      if (!answer.startsWith("HTTP/1.1 204")) return reject(new Error(answer.split("\r\n")[0]));
      answer = answer.slice(end + 4);
      if (++done < count) return next();
      socket.destroy();
      resolve(performance.now() - started);
    });
  });
}

const request = (body, fields = "") =>
  Buffer.concat([Buffer.from(`POST /logs HTTP/1.1\r\nHost: logs\r\nContent-Type: text/plain\r\n${fields}Content-Length: ${body.length}\r\n\r\n`), body]);

/** Starts a process; resolves with what `ready` finds in its output. */
function start(args, env, ready) {
  const child = spawn(process.execPath, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  return new Promise((resolve, reject) => {
    let text = "";
    const take = (chunk) => {
      text += chunk;
      const found = ready.exec(text);
      if (found !== null) resolve({ child, port: Number(found[1]) });
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    child.once("exit", () => reject(new Error(`a proxy ended: ${text}`)));
  });
}

/** User and system time of a process, in seconds, and its resident memory in bytes. */
function usage(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1].split(" ");
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  return { cpu: (Number(fields[11]) + Number(fields[12])) / 100, rss: Number(/^VmRSS:\s+(\d+)/m.exec(status)[1]) * 1024 };
}

const folder = mkdtempSync(join(tmpdir(), "logveil-bench-"));
const common = secrets(smoke ? 50 : 1000, "bench");
writeFileSync(join(folder, "secrets.jsonl"), common.map((secret) => JSON.stringify(secret)).join("\n"), { mode: 0o600 });
const upstream = await openUpstream();
const serveEnv = {
  XDG_STATE_HOME: join(folder, "state"),
  XDG_RUNTIME_DIR: join(folder, "run"),
  LOGVEIL_SECRETS_ENV: "off",
  LOGVEIL_UPSTREAM_MAX_CONNECTIONS: "4096",
  LOGVEIL_LIMITS_MAX_CONNECTIONS: "16000",
};
const serveArgs = (more) => [
  join(root, "dist/cli/main.js"),
  "serve",
  "--admin-listen",
  "127.0.0.1:0",
  "--secrets-files",
  join(folder, "secrets.jsonl"),
  "--upstream-max-connections",
  "4096",
  ...more,
];
/** Not from what it says: a port may hold one of the secrets, and is masked then. */
const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
const startSidecar = async (more) => {
  const port = await freePort();
  const { child } = await start(serveArgs(["--listen", `127.0.0.1:${port}`, ...more]), serveEnv, /listening on/);
  return { child, port };
};

const starts = [];
for (let i = 0; i < ROUNDS; i++) {
  const started = performance.now();
  const { child } = await startSidecar([]);
  starts.push(performance.now() - started);
  await new Promise((resolve) => child.removeAllListeners("exit").once("exit", resolve).kill("SIGKILL"));
}
record(`sidecar: start to ready, all rules, ${common.length} secrets`, median(starts), "ms", ["<=", 500]);

const proxies = {
  pass: await start([join(root, "bench/passthrough.mjs"), upstream.url], {}, /^(\d+)\n/m),
  mask: await startSidecar(["--upstream", upstream.url]),
};
// Garbage of the start is given back after a while.
await new Promise((resolve) => setTimeout(resolve, smoke ? 0 : 7000));
const base = usage(proxies.mask.child.pid).rss;
record("sidecar: memory when started", base / MB, "MiB");

const logs = logText(LARGE);
const [planted] = common;
check("the corpus holds no secret", !logs.includes(planted.value));

/** Alternates between both proxies; answers medians of `run(port)` by proxy, and of CPU seconds. */
async function compare(run) {
  const values = { pass: [], mask: [] };
  const cpu = { pass: [], mask: [] };
  for (const { port } of Object.values(proxies)) await run(port);
  for (let i = 0; i < ROUNDS; i++) {
    for (const [name, { child, port }] of Object.entries(proxies)) {
      const before = usage(child.pid).cpu;
      values[name].push(await run(port));
      cpu[name].push(usage(child.pid).cpu - before);
    }
  }
  return { pass: median(values.pass), mask: median(values.mask), cpu: median(cpu.mask) / Math.max(0.01, median(cpu.pass)) };
}

/** Several connections with the same request; answers MB/s of input. */
const throughput = (body, connections, count, fields) => async (port) => {
  const each = request(body, fields);
  const times = await Promise.all(Array.from({ length: connections }, () => send(port, each, count)));
  return (body.length * connections * count) / 1e3 / Math.max(...times);
};

async function measure(what, run, unit, bar, absolute) {
  const { pass, mask, cpu } = await compare(run);
  record(`pass-through: ${what}`, pass, unit);
  record(`sidecar: ${what}`, mask, unit, absolute);
  record(`  against it`, mask / pass, "x", bar);
  record(`  CPU against it`, cpu, "x");
}

await measure(`bodies of ${LARGE / MB} MiB, 2 connections`, throughput(logs, 2, smoke ? 1 : 2), "MB/s", [">=", 0.85], [">=", 400]);
const part = (size, at = 0) => logs.subarray(at, at + size);
await measure("bodies of 128 KiB, 8 connections", throughput(part(MIDDLE), 8, smoke ? 2 : 100), "MB/s", [">=", 0.85]);
const small = part(SMALL);
await measure(
  "bodies of 2 KiB, 16 connections",
  async (port) => {
    const count = smoke ? 10 : 500;
    const times = await Promise.all(Array.from({ length: 16 }, () => send(port, request(small), count)));
    return (16 * count * 1000) / Math.max(...times);
  },
  "req/s",
  [">=", 0.85],
);
const packed = gzipSync(part(smoke ? MB : 4 * MB), { level: 6 });
await measure("gzip in and out, 2 connections", throughput(packed, 2, 1, "Content-Encoding: gzip\r\n"), "MB/s", [">=", 0.9]);

/** Milliseconds from a line's write to its arrival upstream, on one open request. */
async function latencies(port) {
  const socket = connect({ port, noDelay: true });
  socket.write("POST /logs HTTP/1.1\r\nHost: logs\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
  const lines = logs.subarray(0, 400_000).toString("latin1").split("\n");
  const times = [];
  for (let i = 0; i < (smoke ? 20 : 2000); i++) {
    // Letters only: a number may be one of the secrets.
    const mark = `mark-${[...String(i)].map((digit) => "qwertzuiop"[digit]).join("")} `;
    const line = Buffer.from(`${mark}${lines[(i * 7) % lines.length]}\n`, "latin1");
    let seen = "";
    const arrived = new Promise((resolve) => {
      upstream.seen.onBytes = (chunk) => {
        seen += chunk.toString("latin1");
        if (seen.includes(mark)) resolve();
      };
    });
    const started = performance.now();
    socket.write(Buffer.concat([Buffer.from(`${line.length.toString(16)}\r\n`), line, Buffer.from("\r\n")]));
    await arrived;
    times.push(performance.now() - started);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  upstream.seen.onBytes = undefined;
  socket.destroy();
  return times;
}
const lines = { pass: await latencies(proxies.pass.port), mask: await latencies(proxies.mask.port) };
for (const [name, rank, bar] of [
  ["p50", 0.5, 0.5],
  ["p99", 0.99, 3],
])
  record(`sidecar: added latency of a line, ${name}`, quantile(lines.mask, rank) - quantile(lines.pass, rank), "ms", ["<=", bar]);

/** Opens connections that stay open, on each of which `pieces` are sent. */
async function open(count, pieces) {
  const sockets = [];
  for (let i = 0; i < count; i++) {
    const socket = connect({ port: proxies.mask.port });
    socket.on("error", () => undefined).resume();
    for (const piece of pieces) socket.write(piece);
    sockets.push(socket);
    if (i % 100 === 99) await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await new Promise((resolve) => setTimeout(resolve, smoke ? 100 : 3000));
  return sockets;
}

async function close(sockets) {
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => setTimeout(resolve, smoke ? 100 : 2000));
}

/** A request whose body goes on. */
const begun = (body) => [
  `POST /logs HTTP/1.1\r\nHost: logs\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n`,
  body,
  "\r\n",
];

/** Bytes of memory for each of so many streams that have got `body`. */
async function memory(count, body) {
  const before = usage(proxies.mask.child.pid).rss;
  const sockets = await open(count, begun(body));
  const after = usage(proxies.mask.child.pid).rss;
  await close(sockets);
  return (after - before) / count;
}
record("sidecar: memory of an idle stream", (await memory(smoke ? 50 : 4000, part(100))) / 1024, "KiB", ["<=", 64]);
record("sidecar: memory of a stream that got 256 KiB", (await memory(smoke ? 20 : 2000, part(256 * 1024))) / 1024, "KiB", ["<=", 512]);

/** Connections that have had an answer and wait, streams that go on, and a client beside them. */
const crowd = smoke ? [200, 50] : [10_000, 2000];
const idle = await open(crowd[0], [request(part(100))]);
const active = await open(crowd[1], begun(part(4096)));
const beside = await send(proxies.mask.port, request(small), 200);
check(
  "all of them are still there",
  [...idle, ...active].every((socket) => !socket.closed),
);
record(`sidecar: a request of 2 KiB beside ${crowd[0]} idle connections and ${crowd[1]} open streams`, beside / 200, "ms");
record("  memory then", usage(proxies.mask.child.pid).rss / MB, "MiB");
await close([...idle, ...active]);

/** The planted secret, cut in two, through the proxy that masks. */
let arrived = "";
upstream.seen.onBytes = (chunk) => (arrived += chunk.toString("latin1"));
await send(proxies.mask.port, request(Buffer.from(`x ${planted.value} y\n`)), 1);
check("a planted secret is masked", arrived.includes("[REDACTED:") && !arrived.includes(planted.value));

for (const { child } of Object.values(proxies)) child.removeAllListeners("exit").kill("SIGKILL");
upstream.server.close();
rmSync(folder, { recursive: true, force: true });
finish([logs], "sidecar");
process.exit(0);
