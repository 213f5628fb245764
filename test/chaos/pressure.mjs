/**
 * `npm run chaos -- pressure [--seconds 20]`: how long others wait while 4 clients send what is slow to mask, to the job API, through the proxy and by syslog. Measured are `/livez` and a line of another
 * job, until it is acknowledged (so its way to the disk counts, which the rows without clients tell). The sidecars run on one core, clients and upstream on another, where `taskset` is there. What the
 * machine does besides shows in these times, but not in how much CPU a sidecar uses before its event loop turns (turn-meter.mjs), which is told as well.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, createServer, request as send } from "node:http";
import { connect } from "node:net";
import { pipeline } from "node:stream/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { inputOf, worstInputs } from "../../bench/worst.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const CLIENTS = 4;
const BODY_BYTES = 128 * 1024;
/** Of small chunks there are many. */
const SMALL_BODY_BYTES = 8 * 1024;
const BAR_MS = 50;
/** How long the event loop may be held, in milliseconds. */
const HELD_BAR_MS = 20;
const PROBE_MS = 20;
const LINE = "a line of another job\n";

const quantile = (values, part) => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))] ?? Number.NaN;
const hasTaskset = cpus().length > 1 && spawnSync("taskset", ["-c", "0", "true"]).status === 0;

/** Starts a sidecar on the first core; resolves when it says where it listens. */
function serve(home, env) {
  mkdirSync(join(home, "run"), { recursive: true, mode: 0o700 });
  const meter = join(home, "turns");
  const command = [
    process.execPath,
    "--import",
    new URL("turn-meter.mjs", import.meta.url).href,
    join(root, "dist/cli/main.js"),
    "serve",
    "--listen",
    "127.0.0.1:0",
    "--admin-listen",
    "127.0.0.1:0",
  ];
  const [file, ...args] = hasTaskset ? ["taskset", "-c", "0", ...command] : command;
  const child = spawn(file, args, {
    env: { PATH: process.env.PATH, HOME: home, XDG_STATE_HOME: join(home, "state"), XDG_RUNTIME_DIR: join(home, "run"), LOGVEIL_TURN_METER: meter, ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  return new Promise((resolve, reject) => {
    let said = "";
    child.once("exit", () => reject(new Error(`the sidecar ended: ${said}`)));
    child.stderr.setEncoding("utf8").on("data", (text) => {
      said = (said + text).slice(-20_000);
      const [port, admin] = ["listening on", "metrics are at"].map((what) => Number(new RegExp(`${what} https?://127\\.0\\.0\\.1:(\\d+)`).exec(said)?.[1]));
      if (port > 0 && admin > 0) resolve({ child, port, admin, meter });
    });
  });
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A request; resolves with its status when the answer has ended. `chunk`: sends the body in pieces of so many bytes. */
function call(port, method, path, { body, chunk, headers = {}, agent } = {}) {
  return new Promise((resolve, reject) => {
    const request = send({
      port,
      host: "127.0.0.1",
      method,
      path,
      agent,
      headers: { ...headers, ...(chunk === undefined && body !== undefined && { "content-length": body.length }) },
    });
    request.setNoDelay(true);
    request.on("error", reject).on("response", (response) =>
      response
        .resume()
        .on("end", () => resolve(response.statusCode))
        .on("error", reject),
    );
    if (chunk === undefined || body === undefined) request.end(body);
    // Small pieces, as fast as they are taken.
    else pipeline(pieces(body, chunk), request).catch(reject);
  });
}

function* pieces(body, chunk) {
  for (let at = 0; at < body.length; at += chunk) yield body.subarray(at, at + chunk);
}

function syslog(port, body) {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" }, () => socket.end(body));
    socket
      .on("error", () => resolve(0))
      .on("close", () => resolve(200))
      .resume();
  });
}

/** What the clients of each face do with an input. */
const FACES = {
  "job API": ({ store }, input, body, client, n) =>
    call(store.port, "POST", `/v1/jobs/noisy-${client}/streams/s${n}`, { body, ...(input.chunk < 1024 && { chunk: input.chunk }) }),
  proxy: ({ forwarding }, input, body, client, n) => {
    const headers = { "logveil-job": `noisy-${client}`, "content-type": "text/plain" };
    const kind = n % 3;
    if (kind === 1) return call(forwarding.port, "POST", "/logs", { body: gzipSync(body), headers: { ...headers, "content-encoding": "gzip" } });
    if (kind === 2)
      return call(forwarding.port, "POST", "/logs", {
        body: Buffer.from(JSON.stringify({ log: body.toString("latin1") })),
        headers: { ...headers, "content-type": "application/json" },
      });
    return call(forwarding.port, "POST", "/logs", { body, headers, ...(input.chunk < 1024 && { chunk: input.chunk }) });
  },
  syslog: ({ store }, _input, body) => syslog(store.syslog, body),
};

/** What the meter of a sidecar has told since it was asked last. */
function held({ meter }) {
  const text = existsSync(meter) ? readFileSync(meter, "latin1") : "";
  writeFileSync(meter, "");
  return text.split("\n").filter(Boolean).map(Number);
}

/** Times something over and over until `until`. */
async function probe(until, times, work) {
  while (Date.now() < until) {
    const started = performance.now();
    const status = await work();
    if (status !== 200 && status !== 204) throw new Error(`a probe was answered with ${status}`);
    times.push(performance.now() - started);
    await sleep(Math.max(1, PROBE_MS - (performance.now() - started)));
  }
}

async function measure(sidecars, name, seconds, clients) {
  const until = Date.now() + seconds * 1000;
  const inputs = (await worstInputs()).map((input) => ({ input, body: inputOf(input, input.chunk < 1024 ? SMALL_BODY_BYTES : BODY_BYTES) }));
  const faces = name in FACES ? [FACES[name]] : Object.values(FACES);
  const sent = { bytes: 0, requests: 0, refused: 0 };
  const [livez, fresh, line, proxied] = [[], [], [], []];
  const work = async (client) => {
    for (let n = client; Date.now() < until; n += clients) {
      const { input, body } = inputs[n % inputs.length];
      const status = await faces[n % faces.length](sidecars, input, body, client, n).catch(() => 0);
      sent.requests++;
      if (status >= 200 && status < 300) sent.bytes += body.length;
      else sent.refused++;
    }
  };
  const { store, forwarding } = sidecars;
  const busy = name === "proxy" ? forwarding : store;
  held(busy);
  const agents = Array.from({ length: 4 }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
  await Promise.all([
    ...Array.from({ length: clients }, (_, client) => work(client)),
    probe(until, livez, () => call(busy.admin, "GET", "/livez", { agent: agents[0] })),
    probe(until, fresh, () => call(busy.admin, "GET", "/livez", { agent: false })),
    name === "proxy"
      ? probe(until, proxied, () =>
          call(forwarding.port, "POST", "/logs", {
            body: Buffer.from(LINE),
            agent: agents[1],
            headers: { "logveil-job": "victim", "content-type": "text/plain" },
          }),
        )
      : probe(until, line, () => call(store.port, "POST", "/v1/jobs/victim/streams/log", { body: Buffer.from(LINE), agent: agents[2] })),
  ]);
  for (const agent of agents) agent.destroy();
  const rows = {
    "the event loop does not turn, of CPU": held(busy),
    "/livez": livez,
    "/livez, a new connection": fresh,
    "a line of another job": line,
    "a request of another job": proxied,
  };
  let isMet = true;
  for (const [what, times] of Object.entries(rows)) {
    if (times.length === 0) continue;
    const [p50, p99, most] = [0.5, 0.99, 1].map((part) => quantile(times, part));
    const bar = what.includes("CPU") ? HELD_BAR_MS : BAR_MS;
    if (clients > 0 && p99 > bar) isMet = false;
    const load =
      clients === 0
        ? "nobody"
        : `${name}: ${(sent.bytes / 1e6 / seconds).toFixed(2)} MB/s, ${sent.requests} requests${sent.refused > 0 ? `, ${sent.refused} refused` : ""}`;
    console.log(`| ${load} | ${what} | ${p50.toFixed(1)} | ${p99.toFixed(1)} | ${most.toFixed(1)} |`);
  }
  return isMet;
}

/** Measures every face; answers the exit code. */
export async function pressure(args) {
  const seconds = args[0] === "--seconds" ? Number(args[1]) : args.length === 0 ? 20 : Number.NaN;
  if (!(seconds > 0)) throw new Error("chaos pressure: expected --seconds with a number");
  if (hasTaskset) spawnSync("taskset", ["-pc", "1", String(process.pid)]);
  const upstream = createServer((request, response) =>
    request
      .resume()
      .on("end", () => response.writeHead(204).end())
      .on("error", () => undefined),
  );
  await new Promise((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  const home = mkdtempSync(join(tmpdir(), "logveil-pressure-"));
  const started = [];
  try {
    const syslogPort = await freePort();
    const store = { ...(await serve(join(home, "store"), { LOGVEIL_SYSLOG_TCP: `127.0.0.1:${syslogPort}` })), syslog: syslogPort };
    started.push(store);
    const forwarding = await serve(join(home, "forwarding"), { LOGVEIL_UPSTREAM_URL: `http://127.0.0.1:${upstream.address().port}` });
    started.push(forwarding);
    const sidecars = { store, forwarding };
    console.log(`| clients send | measured | p50, ms | p99, ms (bar ${BAR_MS}; of CPU ${HELD_BAR_MS}) | longest, ms |\n|---|---|---|---|---|`);
    await measure(sidecars, "job API", Math.min(seconds, 5), 0);
    await measure(sidecars, "proxy", Math.min(seconds, 5), 0);
    let isMet = true;
    for (const name of [...Object.keys(FACES), "all of them"]) isMet = (await measure(sidecars, name, seconds, CLIENTS)) && isMet;
    console.log(isMet ? "chaos pressure: nobody waits longer than the bar" : "chaos pressure: the bar is not reached");
    return isMet ? 0 : 1;
  } finally {
    for (const { child } of started) child.kill("SIGKILL");
    upstream.close().closeAllConnections();
    rmSync(home, { recursive: true, force: true, maxRetries: 3 });
  }
}
