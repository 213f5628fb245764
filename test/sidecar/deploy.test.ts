/**
 * What is shipped to run the sidecar with: units, image, pod and examples are linted by what is installed, and the examples are run against a real sidecar. And that the
 * pages about it speak of files and tests that there are.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";
import { COMMAND, end, serveProcess, type Serving } from "../support/serving.js";
import { call, temporary } from "../support/sidecar.js";

const DEPLOY = fileURLToPath(new URL("../../src/sidecar/deploy", import.meta.url));
const AGENTS = join(DEPLOY, "agents");
const SECRET = 'pa$$ "word" of-the-build-0815';

function isInstalled(tool: string): boolean {
  const there = spawnSync(tool, ["--version"]).status === 0;
  if (!there) console.warn(`no ${tool} here: what it checks is passed over`);
  return there;
}

function expectSuccess(command: string, ...args: string[]): void {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8" });
  expect([status, status === 0 ? "" : stdout + stderr]).toEqual([0, ""]);
}

test.runIf(isInstalled("systemd-analyze"))("systemd takes the units, and finds little that they leave open", () => {
  const folder = temporary();
  const units = readdirSync(DEPLOY).filter((name) => /\.(service|socket)$/.test(name));
  // The command is not installed here; everything else stays.
  for (const name of units)
    writeFileSync(join(folder, name), readFileSync(join(DEPLOY, name), "utf8").replace("ExecStart=/usr/bin/logveil", `ExecStart=${process.execPath}`));
  const paths = units.map((name) => join(folder, name));
  const { status, stdout, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", ...paths], { encoding: "utf8" });
  expect([status, stdout, stderr.split("\n").filter((line) => line.includes("logveil"))]).toEqual([0, "", []]);
  expectSuccess("systemd-analyze", "security", "--offline=true", "--threshold=15", join(folder, "logveil.service"));
});

test.runIf(isInstalled("hadolint"))("hadolint takes the Dockerfile", () => expectSuccess("hadolint", join(DEPLOY, "Dockerfile")));

test("the image is made of files that are there, and its command is the one that is built", () => {
  const ignored = readFileSync(join(DEPLOY, "Dockerfile.dockerignore"), "utf8").split("\n");
  const root = join(DEPLOY, "../../..");
  for (const line of ignored.filter((each) => each.startsWith("!"))) expect(readdirSync(root)).toContain(line.slice(1));
  expect(readFileSync(join(DEPLOY, "Dockerfile"), "utf8")).toContain("ln -s /usr/lib/logveil/dist/cli/main.js");
});

test.runIf(isInstalled("kubernetes-validate"))("the pod is one, for every version of Kubernetes that has sidecars", () => {
  for (const version of ["1.29", "1.33"]) expectSuccess("kubernetes-validate", "--strict", "-k", version, join(DEPLOY, "kubernetes.yaml"));
});

test("the pod keeps the sidecar apart, and asks for its health where that is answered", () => {
  const { spec } = parse(readFileSync(join(DEPLOY, "kubernetes.yaml"), "utf8")) as {
    spec: { initContainers: [Record<string, unknown>]; securityContext: object };
  };
  expect(spec.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
  expect(spec.initContainers[0]).toMatchObject({
    restartPolicy: "Always",
    startupProbe: { httpGet: { path: "/startupz" } },
    readinessProbe: { httpGet: { path: "/readyz" } },
    livenessProbe: { httpGet: { path: "/livez" } },
    securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } },
  });
});

/** A sidecar, and the environment of an agent beside it: the examples and `logveil` are in its PATH. */
async function agent(): Promise<{
  serving: Serving;
  run: (script: string, env?: Record<string, string>) => { status: number | null; stdout: string; stderr: string };
}> {
  const home = temporary();
  const serving = await serveProcess(home);
  onTestFinished(() => end(serving.child, "SIGKILL"));
  const bin = join(home, "bin");
  mkdirSync(bin);
  symlinkSync(COMMAND, join(bin, "logveil"));
  for (const name of ["make", "npm"]) {
    writeFileSync(join(bin, name), `#!/bin/sh\necho "${name} $*: $NPM_TOKEN"\necho "and $NPM_TOKEN" >&2\nexit "\${FAIL:-0}"\n`);
    chmodSync(join(bin, name), 0o755);
  }
  const basic = { ...serving.env, PATH: `${bin}:${AGENTS}:${process.env["PATH"]}`, LOGVEIL_SERVER: `http://127.0.0.1:${serving.port}`, NPM_TOKEN: SECRET };
  return { serving, run: (script, env) => spawnSync("bash", ["-c", script], { env: { ...basic, ...env }, encoding: "utf8", timeout: 60_000 }) };
}

const hasCurl = isInstalled("curl");
const MASKED = "make all: [REDACTED:NPM_TOKEN]\nand [REDACTED:NPM_TOKEN]\n";

test.runIf(hasCurl)("mask-build shows what is kept, and exits as the command does", { timeout: 60_000 }, async () => {
  const { serving, run } = await agent();
  const env = { LOGVEIL_JOB: "42" };
  expect(run("mask-secrets", env)).toMatchObject({ status: 64, stderr: expect.stringContaining("expected names of variables") });
  // What is set is masked, but whoever relies on the others must not go on.
  const partly = run("mask-secrets NOT_SET NPM_TOKEN EMPTY", { ...env, EMPTY: "" });
  expect([partly.status, partly.stderr]).toEqual([1, "mask-secrets: not set or empty, so not masked: NOT_SET EMPTY\n"]);
  expect(run("mask-build make make all", env)).toEqual(expect.objectContaining({ status: 0, stdout: MASKED, stderr: "" }));
  expect(run("mask-build again make all", { ...env, FAIL: "3" })).toMatchObject({ status: 3, stdout: MASKED });
  for (const stream of ["make", "again"]) expect((await call(serving, "GET", `/v1/jobs/42/streams/${stream}`)).body).toBe(MASKED);
  // What cannot be kept is not begun, and nothing raw is shown.
  const twice = run("mask-build make make all", env);
  expect([twice.status, twice.stdout, twice.stderr.includes("the command is not run")]).toEqual([69, "", true]);
  expect(run("mask-build ../x make all", env).status).toBe(64);
  expect(run("mask-build make", env).status).toBe(64);
  const { token } = JSON.parse((await call({ socket: serving.socket }, "POST", "/v1/jobs/42/token")).body) as { token: string };
  expect(run("mask-build third make all", env).status).toBe(69);
  const headers = join(temporary(), "headers");
  writeFileSync(headers, `Authorization: Bearer ${token}\n`, { mode: 0o600 });
  expect(run("mask-build third make all", { ...env, LOGVEIL_HEADERS: headers })).toMatchObject({ status: 0, stdout: MASKED });
});

test.runIf(hasCurl)("mask-build fails when logveil is lost", { timeout: 60_000 }, async () => {
  const { serving, run } = await agent();
  const lost = run(`mask-build build bash -c 'echo begin; kill -9 ${serving.pid}; for i in $(seq 100000); do echo "$NPM_TOKEN $i"; done'`, {
    LOGVEIL_JOB: "42",
  });
  expect(lost.status).not.toBe(0);
  expect(lost.stderr).toContain("logveil was lost: the end of the log is missing");
  expect(lost.stdout + lost.stderr).not.toContain("word");
  const none = run("mask-build build make all", { LOGVEIL_JOB: "42" });
  expect([none.status, none.stdout]).toEqual([69, ""]);
});

test.runIf(hasCurl)("the example for GitLab CI does what it says", { timeout: 60_000 }, async () => {
  const { serving, run } = await agent();
  const { build } = parse(readFileSync(join(AGENTS, "gitlab-ci.yml"), "utf8")) as { build: Record<"before_script" | "script" | "after_script", string[]> };
  const env = { LOGVEIL_JOB: "4711", DEPLOY_KEY: "another-secret-of-the-build" };
  const ran = run(["set -e", ...build.before_script, ...build.script].join("\n"), env);
  expect([ran.status, ran.stdout]).toEqual([0, `npm ci: [REDACTED:NPM_TOKEN]\nand [REDACTED:NPM_TOKEN]\n${MASKED}`]);
  expect(run(build.after_script.join("\n"), env).status).toBe(0);
  expect(JSON.parse((await call(serving, "GET", "/v1/jobs/4711")).body)).toMatchObject({ streams: ["install", "make"], ended: expect.any(Number) });
});

test.runIf(hasCurl)("the hooks for Buildkite do what they say", { timeout: 60_000 }, async () => {
  const { serving, run } = await agent();
  const env = { DEPLOY_KEY: "another-secret-of-the-build", BUILDKITE_JOB_ID: "0190-ab", BUILDKITE_COMMAND: "make all && FAIL=5 make all" };
  expect(run(join(AGENTS, "buildkite-hooks/command"), env)).toMatchObject({ status: 5, stdout: MASKED + MASKED });
  expect(run(join(AGENTS, "buildkite-hooks/pre-exit"), env).status).toBe(0);
  expect(JSON.parse((await call(serving, "GET", "/v1/jobs/0190-ab")).body)).toMatchObject({ ended: expect.any(Number) });
});

test.each(["../../../docs/threat-model.md", "README.md"])("what %s points to is there, tests by their names", (page) => {
  const path = join(DEPLOY, page);
  const links = [...readFileSync(path, "utf8").matchAll(/\]\(([^)#]+)\)(?: "([^"]+)")?/g)];
  expect(links.length).toBeGreaterThan(5);
  for (const [, target, title] of links) {
    const file = join(dirname(path), target!);
    expect(existsSync(file), file).toBe(true);
    if (title !== undefined) expect(readFileSync(file, "utf8"), target).toContain(title);
  }
});
