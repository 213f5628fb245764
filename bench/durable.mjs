/**
 * `npm run bench:durable [-- --streams 10000 --seconds 20 | --smoke]`: requests that stay open and send a line a second each, over one sidecar. Of some streams it is measured how
 * long a line takes to reach a follower, and until `HEAD` promises it, which it does once an fsync covers it. Then the sidecar is killed: after its next start nothing
 * promised may be gone.
 */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { Agent, request as send } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { check, finish, quantile, record, root, smoke } from "./lib.mjs";

const { values } = parseArgs({ options: { smoke: { type: "boolean" }, streams: { type: "string" }, seconds: { type: "string" } } });
const STREAMS = Number(values.streams ?? (smoke ? 100 : 10_000));
const SECONDS = Number(values.seconds ?? (smoke ? 3 : 20));
const STREAMS_PER_JOB = 200;
/** Streams whose lines are timed. */
const TIMED = Math.min(STREAMS, 20);
const POLL_MS = 50;
/** Connections that are opened at a time. */
const OPENING = 200;
const LINE_PAUSE_MS = 1000;
/** Whatever happens, it is over then. */
const LIMIT_MS = 240_000;
const SECRET = "bench-secret-01234567890";
/** One line in twenty holds a secret. All are of one length. */
const line = (index) =>
  `[${String(index).padStart(6, "0")}] cc -O2 -Wall -Iinclude -c src/module.c -o build/module.o ${index % 20 === 7 ? SECRET : "- ".repeat(SECRET.length / 2)} ok\n`;
const LINE_BYTES = line(0).length;

const home = mkdtempSync(join(tmpdir(), "logveil-durable-"));
mkdirSync(join(home, "run"), { mode: 0o700 });
const children = new Set();
process.once("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(home, { recursive: true, force: true });
});
setTimeout(() => {
  console.error(`durable: not done after ${LIMIT_MS / 1000} s`);
  process.exit(1);
}, LIMIT_MS).unref();

async function serve() {
  const began = performance.now();
  const child = spawn(process.execPath, [join(root, "dist/cli/main.js"), "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"], {
    env: { PATH: process.env.PATH, HOME: home, XDG_STATE_HOME: join(home, "state"), XDG_RUNTIME_DIR: join(home, "run"), BENCH_SECRET: SECRET },
    stdio: ["ignore", "ignore", "pipe"],
  });
  children.add(child);
  let told = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (told = (told + text).slice(-20_000)));
  for (;;) {
    const port = Number(/listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(told)?.[1]);
    if (port > 0) return { child, port, ms: performance.now() - began };
    if (child.exitCode !== null) throw new Error(told);
    await sleep(5);
  }
}

const agent = new Agent({ keepAlive: true });

/** What is kept of a stream, as it is promised. */
function promised(port, path) {
  return new Promise((resolve, reject) => {
    const request = send({ host: "127.0.0.1", port, path, method: "HEAD", agent }, (response) => {
      response.resume().once("end", () => resolve(Number(response.headers["logveil-offset"] ?? 0)));
    });
    request.on("error", reject).end();
  });
}

/** A request that stays open. Resolves when the sidecar has taken its first line. */
async function openPipe(port, index) {
  const path = `/v1/jobs/job-${Math.floor(index / STREAMS_PER_JOB)}/streams/s${index}`;
  const socket = connect(port, "127.0.0.1");
  const pipe = { path, socket, lines: 0, isGone: false };
  socket.setNoDelay(true).on("error", () => undefined);
  socket.on("data", () => undefined).on("close", () => (pipe.isGone = true));
  await new Promise((resolve) => socket.once("connect", resolve));
  socket.write(`POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n`);
  const answer = await new Promise((resolve) => socket.once("data", resolve));
  if (!answer.toString().startsWith("HTTP/1.1 100")) throw new Error(answer.toString());
  return pipe;
}

function sendLine(pipe) {
  const text = line(pipe.lines++);
  pipe.socket.write(`${text.length.toString(16)}\r\n${text}\r\n`);
  return pipe.lines;
}

/** Tells when masked lines reach a follower: `at[n]` is the time of line n. */
function follow(port, path) {
  const at = [];
  const request = send({ host: "127.0.0.1", port, path: `${path}?follow=1`, agent: false }, (response) => {
    response.setEncoding("latin1").on("data", (text) => {
      for (const char of text) if (char === "\n") at.push(performance.now());
    });
    response.on("error", () => undefined);
  });
  request.on("error", () => undefined).end();
  return { at, request };
}

const cpuOf = (pid) => {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
};
const memoryOf = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;

const sidecar = await serve();
const pipes = [];
const opening = performance.now();
for (let index = 0; index < STREAMS; index += OPENING)
  pipes.push(...(await Promise.all(Array.from({ length: Math.min(OPENING, STREAMS - index) }, (_, offset) => openPipe(sidecar.port, index + offset)))));
console.log(`${STREAMS} streams are open after ${((performance.now() - opening) / 1000).toFixed(1)} s`);

const timed = pipes.filter((_, index) => index % Math.floor(STREAMS / TIMED) === 0).slice(0, TIMED);
const followers = new Map();
const [toFollower, toDisk] = [[], []];
let late = 0;
const until = performance.now() + SECONDS * 1000;

/** Sends the lines of all streams, spread over each second; what is behind is sent at once. */
async function sendAll() {
  for (let round = 0; performance.now() < until; round++) {
    const began = performance.now();
    for (let index = 0; index < pipes.length; index++) {
      if (!timed.includes(pipes[index])) sendLine(pipes[index]);
      const due = began + (index / pipes.length) * LINE_PAUSE_MS;
      if (index % 20 === 19 && due > performance.now()) await sleep(due - performance.now());
    }
    late = Math.max(late, performance.now() - began - LINE_PAUSE_MS);
    await sleep(Math.max(0, began + LINE_PAUSE_MS - performance.now()));
  }
}

/** Sends the lines of a stream that is timed, and waits for each. */
async function time(pipe, delay) {
  await sleep(delay);
  sendLine(pipe);
  while ((await promised(sidecar.port, pipe.path)) < LINE_BYTES) await sleep(POLL_MS);
  const follower = follow(sidecar.port, pipe.path);
  followers.set(pipe, follower);
  while (follower.at.length < 1) await sleep(5);
  while (performance.now() < until) {
    const sent = performance.now();
    const count = sendLine(pipe);
    await sleep(POLL_MS);
    while ((await promised(sidecar.port, pipe.path)) < count * LINE_BYTES) await sleep(POLL_MS);
    toDisk.push(performance.now() - sent);
    while (follower.at.length < count) await sleep(5);
    toFollower.push(follower.at[count - 1] - sent);
    await sleep(Math.max(0, sent + LINE_PAUSE_MS - performance.now()));
  }
}

const cpu = cpuOf(sidecar.child.pid);
const start = performance.now();
await Promise.all([sendAll(), ...timed.map((pipe, index) => time(pipe, (index / TIMED) * LINE_PAUSE_MS))]);
const seconds = (performance.now() - start) / 1000;
check(
  "a request was cut off",
  pipes.every(({ isGone }) => !isGone),
);
check("lines were timed", toDisk.length >= TIMED);
const lines = pipes.reduce((sum, pipe) => sum + pipe.lines, 0);
record(`durable: open streams`, STREAMS, "");
record("durable: lines sent in all", lines / seconds, "/s");
record("durable: a line until a follower reads it, p50", quantile(toFollower, 0.5), "ms");
record("durable: a line until a follower reads it, p99", quantile(toFollower, 0.99), "ms", ["<=", 100]);
record("durable: a line until HEAD promises it, p50", quantile(toDisk, 0.5), "ms");
record("durable: a line until HEAD promises it, p99", quantile(toDisk, 0.99), "ms", ["<=", 2000]);
record("durable: most that the sender was behind", Math.max(0, late), "ms");
record("durable: CPU of the sidecar", ((cpuOf(sidecar.child.pid) - cpu) / seconds) * 100, "%");
record("durable: memory of the sidecar", memoryOf(sidecar.child.pid), "MiB");

const before = await Promise.all(timed.map(({ path }) => promised(sidecar.port, path)));
sidecar.child.kill("SIGKILL");
await new Promise((resolve) => sidecar.child.once("exit", resolve));
for (const { socket } of pipes) socket.destroy();
const again = await serve();
record("durable: start after kill -9, until it listens", again.ms, "ms");
const after = await Promise.all(timed.map(({ path }) => promised(again.port, path)));
const lost = before.reduce((sum, offset, index) => sum + Math.max(0, offset - after[index]), 0);
record("durable: promised bytes lost by kill -9", lost, "B", ["<=", 0]);
check("promised bytes are lost", lost === 0);
again.child.kill("SIGKILL");
await new Promise((resolve) => again.child.once("exit", resolve));
agent.destroy();
finish([line(0)], "durable");
process.exit(0);
