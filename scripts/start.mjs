/**
 * `npm start`: sets up, starts the sidecar as `logveil serve` does without configuration, sends the log of the set-up through it as a sample build, with a made-up
 * secret in it, and says where to look. Runs until it is interrupted. `npm start -- FILE` shows on a log of yours what masking does, and ends.
 *
 * The usual ports and the usual state folder are taken if nothing else has them; else free ports and a folder of its own. Where it listens the sidecar itself says, on
 * its stderr: so the sample never goes to another server, whatever listens where.
 */
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { log, root, setupOrExit } from "./setup.mjs";

const HOST = "127.0.0.1";
const USUAL = { data: 4180, admin: 4181 };
const READY_MS = 60_000;
/** Time of a sidecar that failed to end by itself. */
const END_MS = 5000;
/** A signal that comes again within this time is the same: a terminal sends it to everyone, and npm passes it on. */
const SAME_SIGNAL_MS = 1000;

await setupOrExit();
const command = join(root, "dist/cli/main.js");
const files = process.argv.slice(2);
if (files.length > 0) process.exit(spawnSync(process.execPath, [command, "demo", ...files], { stdio: "inherit" }).status ?? 1);

const isFree = (port) =>
  new Promise((resolve) => {
    const server = createServer()
      .once("error", () => resolve(false))
      .listen({ port, host: HOST, exclusive: true }, () => server.close(() => resolve(true)));
  });

/** Whether a sidecar of this user answers, which then has the state folder, too. */
const answers = (path) =>
  new Promise((resolve) => {
    const socket = connect(path)
      .once("error", () => resolve(false))
      .once("connect", () => {
        socket.destroy();
        resolve(true);
      });
  });

/** Nothing of the user's configuration: it might forward the sample elsewhere. */
const KEPT = ["LOGVEIL_ENGINE", "LOGVEIL_NATIVE", "LOGVEIL_SIMD"];
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("LOGVEIL_") || KEPT.includes(name)));
const token = `sample-${randomBytes(12).toString("hex")}`;

/** Where it listens, and which variables say where its state and its control socket are. Folders that are made for it are removed by `clean`. */
async function places() {
  const runtime = environment.XDG_RUNTIME_DIR || "/run";
  const home = environment.XDG_STATE_HOME || join(environment.HOME ?? "/root", ".local", "state");
  const isTaken = !(await isFree(USUAL.data)) || !(await isFree(USUAL.admin));
  const isRunning = await answers(join(runtime, "logveil", "control.sock"));
  if (!isTaken && !isRunning) return { ...USUAL, state: join(home, "logveil"), variables: {}, clean() {} };
  mkdirSync(join(root, ".build", "start"), { recursive: true, mode: 0o700 });
  const own = mkdtempSync(join(root, ".build", "start", "state-"));
  // Not in the checkout: the path of a socket has at most 107 bytes.
  const sockets = mkdtempSync(join(tmpdir(), "logveil-start-"));
  const why = isTaken ? `port ${USUAL.data} or ${USUAL.admin} is taken, perhaps by another logveil` : "another logveil of yours is running";
  console.log(`logveil: ${why}: this one takes free ports, and keeps its state in ${join(own, "logveil")}`);
  const clean = () => rmSync(sockets, { recursive: true, force: true });
  return { data: 0, admin: 0, state: join(own, "logveil"), variables: { XDG_STATE_HOME: own, XDG_RUNTIME_DIR: sockets }, clean };
}

/** Starts the sidecar. It is a process group of its own, which gets no signals of the terminal: they come from here, once. */
function start({ data, admin, variables }) {
  const config = join(root, ".build", "start.yaml");
  writeFileSync(config, "{}\n");
  const noSignal = process.allowedNodeEnvironmentFlags.has("--disable-sigusr1") ? ["--disable-sigusr1"] : [];
  const format = process.stderr.isTTY ? "text" : "auto";
  const flags = ["--config", config, "--listen", `${HOST}:${data}`, "--admin-listen", `${HOST}:${admin}`, "--log-format", format];
  return spawn(process.execPath, [...noSignal, `--import=${new URL("end-with-parent.mjs", import.meta.url)}`, command, "serve", ...flags], {
    stdio: ["ignore", "inherit", "pipe", "ipc"],
    env: { ...environment, ...variables, SAMPLE_BUILD_TOKEN: token },
    detached: true,
  });
}

/** Shows what the sidecar says; answers its addresses when it has said both. Rejects if it ends before, or takes too long. */
function addressesOf(sidecar) {
  return new Promise((resolve, reject) => {
    let told = "";
    sidecar.stderr.setEncoding("utf8").on("data", (text) => {
      process.stderr.write(text);
      if (told === undefined) return;
      told += text;
      const [data, admin] = ["listening on", "health and metrics are at"].map((what) => new RegExp(`${what} (http://[\\d.]+:\\d+)`).exec(told)?.[1]);
      if (data === undefined || admin === undefined) return;
      told = undefined;
      resolve({ data, admin });
    });
    sidecar.once("exit", () => reject(new Error("the sidecar ended while it started: what it said stands above")));
    setTimeout(() => reject(new Error(`the sidecar did not start within ${READY_MS / 1000} s`)), READY_MS).unref();
  });
}

async function ready(admin) {
  for (const until = Date.now() + READY_MS; Date.now() < until; await new Promise((resolve) => setTimeout(resolve, 100))) {
    const answer = await fetch(`${admin}/readyz`).catch(() => undefined);
    if (answer?.ok) return;
  }
  throw new Error(`the sidecar is not ready after ${READY_MS / 1000} s: curl ${admin}/readyz says why`);
}

async function send(server, job, path, body) {
  const answer = await fetch(`${server}/v1/jobs/${job}/streams/build${path}`, { method: "POST", body });
  if (!answer.ok) throw new Error(`the sidecar answered ${answer.status}: ${(await answer.json()).message}`);
}

/** Sends the sample; says where to look. */
async function show({ data, admin }, { state }) {
  await ready(admin);
  const job = `sample-${new Date().toISOString().replaceAll(/[-:]|\..*/g, "")}`;
  const lines = existsSync(log) ? readFileSync(log, "utf8").split("\n").slice(-20) : [];
  const leaks = [
    `+ curl -H 'Authorization: Bearer ${token}' https://example.org`,
    `echo ${token} | base64`,
    Buffer.from(`${token}\n`).toString("base64"),
    `\x1b[31m${token.slice(0, 9)}\x1b[0m${token.slice(9)}`,
  ];
  await send(data, job, "", [...lines, ...leaks, "done", ""].join("\n"));
  await send(data, job, "/end");
  const server = data.endsWith(`:${USUAL.data}`) ? "" : ` --server ${data}`;
  console.log(`
A sample build went through it: the last lines of the log of this set-up, and a made-up token, four times.
  npx logveil logs${server} ${job}
  curl ${data}/v1/jobs/${job}/streams/build
Send one of yours:      make 2>&1 | curl -sT- -X POST ${data}/v1/jobs/mine/streams/make
Health and figures:     curl ${admin}/readyz ${admin}/metrics
What was found, signed: npx logveil audit verify ${join(state, "audit")}
Ctrl-C ends it.`);
}

const where = await places();
const sidecar = start(where);
const exited = once(sidecar, "exit");
let signalled = 0;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {
    const isFirst = signalled === 0;
    if (!isFirst && Date.now() - signalled < SAME_SIGNAL_MS) return;
    signalled = Date.now();
    // Who asks twice does not want to wait.
    sidecar.kill(isFirst ? "SIGTERM" : "SIGKILL");
  });
}
process.on("SIGUSR1", () => undefined);
try {
  await show(await addressesOf(sidecar), where);
} catch (error) {
  if (signalled === 0) console.error(`logveil: ${error.message}`);
  sidecar.kill("SIGTERM");
  setTimeout(() => sidecar.kill("SIGKILL"), END_MS).unref();
  process.exitCode = 1;
}
const [code] = await exited;
where.clean();
process.exit(signalled > 0 && code === 0 ? 0 : process.exitCode || (code ?? 1));
