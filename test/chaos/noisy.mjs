/**
 * `npm run chaos -- noisy [FINDINGS [JOBS]]`: one job sends a body of a million findings (`x SECRET y`, line by line) beside 50 others, each of which writes a line a second. Measured: how long the lines of
 * the others wait until they are acknowledged, the bytes of the audit, the memory of the sidecar. Afterwards the summary must count as many findings as there are records, and the audit must verify.
 * The sidecar runs on one core, the clients on another, where `taskset` is there. The figures are kept in bench/results.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { Agent, request as send } from "node:http";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { check, finish, quantile, record, root } from "../../bench/lib.mjs";

const COMMAND = join(root, "dist/cli/main.js");
const SECRET = "env-token-9876543210-abcd";
const NOISE = Buffer.from(`x ${SECRET} y\n`);
/** Lines that are sent together. */
const PIECE = Buffer.concat(Array.from({ length: 2000 }, () => NOISE));
const LINE_MS = 1000;
/** How long the others are measured without the noise, to compare with. */
const QUIET_MS = 10_000;

const hasTaskset = cpus().length > 1 && spawnSync("taskset", ["-c", "0", "true"]).status === 0;

/** Starts a sidecar; resolves when it listens. */
function serve(home) {
  mkdirSync(join(home, "run"), { recursive: true, mode: 0o700 });
  const command = [process.execPath, COMMAND, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
  const [file, ...args] = hasTaskset ? ["taskset", "-c", "0", ...command] : command;
  const env = { PATH: process.env.PATH, HOME: home, XDG_STATE_HOME: join(home, "state"), XDG_RUNTIME_DIR: join(home, "run"), BUILD_TOKEN: SECRET };
  const child = spawn(file, args, { env, stdio: ["ignore", "ignore", "pipe"] });
  return new Promise((resolve, reject) => {
    let said = "";
    child.once("exit", () => reject(new Error(`the sidecar ended: ${said}`)));
    child.stderr.setEncoding("utf8").on("data", (text) => {
      said = (said + text).slice(-20_000);
      const port = Number(/listening on https?:\/\/127\.0\.0\.1:(\d+)/.exec(said)?.[1]);
      if (port > 0 && said.includes("logs are kept in")) resolve({ child, port });
    });
  });
}

/** A request; resolves with its status when the answer has ended. `write` sends the body. */
function call(port, path, write, agent) {
  return new Promise((resolve, reject) => {
    const request = send({ port, host: "127.0.0.1", method: "POST", path, agent });
    request.on("error", reject).on("response", (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text) => (body += text));
      response.on("end", () => resolve({ status: response.statusCode, body })).on("error", reject);
    });
    void write(request);
  });
}

/** Sends so many lines of noise in one body, as fast as they are taken. */
async function sendNoise(request, findings) {
  for (let left = findings; left > 0;) {
    const lines = Math.min(left, PIECE.length / NOISE.length);
    left -= lines;
    if (!request.write(PIECE.subarray(0, lines * NOISE.length))) await new Promise((resolve) => request.once("drain", resolve));
  }
  request.end();
}

const memoryOf = (pid) => Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))[1]) / 1024;

/** A job that writes a line a second until it is over. */
async function writeLines(port, job, times, isOver) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  await sleep(Math.random() * LINE_MS);
  for (let n = 0; !isOver(); n++) {
    const started = performance.now();
    const { status, body } = await call(port, `/v1/jobs/victim-${job}/streams/s`, (request) => request.end(`line ${n} of ${SECRET}\n`), agent);
    if (status !== 200) throw new Error(`a line of another job was answered with ${status}: ${body}`);
    times.push(performance.now() - started);
    await sleep(Math.max(1, LINE_MS - (performance.now() - started)));
  }
  agent.destroy();
}

function findingsOf({ type, causes }) {
  return type === "finding" ? 1 : (causes ?? []).reduce((sum, { count }) => sum + count, 0);
}

/** What the audit says of a job: findings that are recorded, and that its summary counts; and the bytes of its records. */
function accountOf(folder, job) {
  let [recorded, counted, bytes] = [0, Number.NaN, 0];
  for (const name of readdirSync(folder).filter((file) => file.endsWith(".jsonl"))) {
    for (const line of readFileSync(join(folder, name), "utf8").trimEnd().split("\n")) {
      const fields = JSON.parse(line);
      if (fields.job !== job) continue;
      recorded += findingsOf(fields);
      bytes += line.length + 1;
      if (fields.type === "summary") counted = Object.values(fields.kinds).reduce((sum, count) => sum + count, 0);
    }
  }
  return { recorded, counted, bytes };
}

/** Runs it; resolves with the exit code. A wrong count ends the process with 1. `--smoke`: keeps no figures. */
export async function noisy(args) {
  const [findings = "1000000", jobs = "50"] = args.filter((arg) => arg !== "--smoke");
  if (![findings, jobs].every((count) => /^[1-9]\d*$/.test(count))) throw new Error("chaos noisy: expected a number of findings, and perhaps of jobs beside");
  const { figures, account, verified } = await run(Number(findings), Number(jobs));
  record("noisy job: lines of others without it, p99", figures.quiet, "ms");
  record("noisy job: lines of others beside it, median", figures.median, "ms");
  record("noisy job: lines of others beside it, p99", figures.p99, "ms", ["<=", 250]);
  record("noisy job: its audit, per cent of its log", (100 * account.bytes) / (Number(findings) * NOISE.length), "%", ["<=", 10]);
  record("noisy job: memory before", figures.before, "MiB");
  record("noisy job: memory at most", figures.most, "MiB");
  // Flat: what it needs it has when the first quarter is through.
  record("noisy job: growth behind the first quarter of the body", figures.lateGrowth, "MiB", ["<=", 64]);
  record("noisy job: findings a second", Number(findings) / figures.seconds, "1/s");
  const isRight = account.recorded === Number(findings) && account.counted === Number(findings);
  check(`${account.recorded} findings on record, ${account.counted} counted, of ${findings}`, isRight);
  check(`audit verify exits with ${verified.status}: ${verified.stdout}`, verified.status === 0);
  finish([NOISE], "noisy");
  return 0;
}

async function run(findings, jobs) {
  const home = mkdtempSync(join(tmpdir(), "logveil-noisy-"));
  const { child, port } = await serve(home);
  try {
    const figures = await measure(child.pid, port, findings, jobs);
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await gone;
    const audit = join(home, "state", "logveil", "audit");
    const verified = spawnSync(process.execPath, [COMMAND, "audit", "verify", audit], { encoding: "utf8" });
    return { figures, account: accountOf(audit, "noisy"), verified };
  } finally {
    child.kill("SIGKILL");
    rmSync(home, { recursive: true, force: true });
  }
}

async function measure(pid, port, findings, jobs) {
  const times = [];
  let isOver = false;
  const victims = Array.from({ length: jobs }, (_, job) => writeLines(port, job, times, () => isOver));
  // Until all of them are at it.
  await sleep(2 * LINE_MS);
  times.length = 0;
  await sleep(QUIET_MS);
  const quiet = times.splice(0);
  const before = memoryOf(pid);
  const memory = [];
  const sampler = setInterval(() => memory.push(memoryOf(pid)), 200);
  const started = performance.now();
  try {
    const answer = await call(port, "/v1/jobs/noisy/streams/s", (request) => sendNoise(request, findings));
    if (answer.status !== 200) throw new Error(`the noise was answered with ${answer.status}: ${answer.body}`);
    const seconds = (performance.now() - started) / 1000;
    const ended = await call(port, "/v1/jobs/noisy/streams/s/end", (request) => request.end());
    if (ended.status !== 200) throw new Error(`its end was answered with ${ended.status}: ${ended.body}`);
    const most = Math.max(...memory);
    const early = Math.max(...memory.slice(0, Math.ceil(memory.length / 4)));
    return {
      seconds,
      before,
      most,
      lateGrowth: most - early,
      quiet: quantile(quiet, 0.99),
      median: quantile(times, 0.5),
      p99: quantile(times, 0.99),
      lines: times.length,
    };
  } finally {
    clearInterval(sampler);
    isOver = true;
    await Promise.all(victims);
  }
}
