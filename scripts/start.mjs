/**
 * `npm start`: sets up, starts the sidecar as `logveil serve` does without configuration, sends the log of the set-up through it as a sample build, with a made-up
 * secret in it, and says where to look. Runs until it is interrupted. `npm start -- FILE` shows on a log of yours what masking does, and ends.
 */
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { log, root, setup } from "./setup.mjs";

setup();
const command = join(root, "dist/cli/main.js");
const files = process.argv.slice(2);
if (files.length > 0) process.exit(spawnSync(process.execPath, [command, "demo", ...files], { stdio: "inherit" }).status ?? 1);

const SERVER = "http://127.0.0.1:4180";
const token = `sample-${randomBytes(12).toString("hex")}`;
const sidecar = spawn(process.execPath, [command, "serve"], { stdio: "inherit", env: { ...process.env, SAMPLE_BUILD_TOKEN: token } });
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => sidecar.kill(signal));
sidecar.on("exit", (code) => process.exit(code ?? 1));

/** Waits until the sidecar is ready. */
async function ready() {
  for (;;) {
    const answer = await fetch("http://127.0.0.1:4181/readyz").catch(() => undefined);
    if (answer?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function send(path, body) {
  const answer = await fetch(`${SERVER}/v1/jobs/${job}/streams/build${path}`, { method: "POST", body });
  if (!answer.ok) throw new Error(`the sidecar answered ${answer.status}: ${(await answer.json()).message}`);
}

await ready();
const job = `sample-${new Date().toISOString().replaceAll(/[-:]|\..*/g, "")}`;
const lines = readFileSync(log, "utf8").split("\n").slice(-20);
const leaks = [
  `+ curl -H 'Authorization: Bearer ${token}' https://example.org`,
  `echo ${token} | base64`,
  Buffer.from(`${token}\n`).toString("base64"),
  `\x1b[31m${token.slice(0, 9)}\x1b[0m${token.slice(9)}`,
];
await send("", [...lines, ...leaks, "done", ""].join("\n"));
await send("/end");
console.log(`
A sample build went through it: the last lines of the log of this set-up, and a made-up token, four times.
  npx logveil logs ${job}
  curl ${SERVER}/v1/jobs/${job}/streams/build
Send one of yours:      make 2>&1 | curl -sT- -X POST ${SERVER}/v1/jobs/mine/streams/make
Health and figures:     curl http://127.0.0.1:4181/readyz http://127.0.0.1:4181/metrics
What was found, signed: npx logveil audit verify ${process.env.XDG_STATE_HOME ?? "~/.local/state"}/logveil/audit
Ctrl-C ends it.`);
