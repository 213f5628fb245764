/** No command lets a debugger in: not by a signal, at whatever moment, not by an option of Node. The built program, in a process of its own, gets real signals. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { danger } from "../../src/cli/guard.js";
import { COMMAND, end, serveProcess } from "../support/serving.js";
import { temporary } from "../support/sidecar.js";

const folder = mkdtempSync(join(tmpdir(), "logveil-guard-"));
const env = { PATH: process.env["PATH"], HOME: folder, XDG_STATE_HOME: folder, XDG_RUNTIME_DIR: folder };
const LISTENS = "Debugger listening";
const why = (execArgv: readonly string[], more: Record<string, string> = {}): string | undefined => danger({ execArgv, env: more, inspector: undefined });

describe("options of Node", () => {
  test.each([
    "--inspect",
    "--inspect=0.0.0.0:9229",
    "--inspect-brk",
    "--inspect_wait=0",
    "--inspect-port=0",
    "--debug-port=1",
    "--heapsnapshot-signal=SIGUSR2",
    "--heapsnapshot-near-heap-limit=1",
    "--report-on-signal",
    "--report_on_fatalerror",
    "--report-uncaught-exception",
    "--cpu-prof",
    "--heap-prof",
    "--prof",
    "--abort-on-uncaught-exception",
    "--tls-keylog=/tmp/keys",
    "--trace",
    "--trace-tls",
    "--trace-event-categories=node",
    "--print-bytecode",
    "--log-all",
  ])("%s is refused, on the command line and in NODE_OPTIONS, by its name without its value", (option) => {
    const name = option.replace(/=.*/, "").replaceAll("_", "-");
    for (const text of [why([option]), why([], { NODE_OPTIONS: `--max-old-space-size=512 ${option}` }), why([], { NODE_OPTIONS: `"${option}"` })]) {
      expect(text).toContain(`has ${name}, which`);
      expect(text).not.toContain("0.0.0.0");
    }
  });

  test("others are fine", () => {
    const harmless = [
      "--max-old-space-size=512",
      "--enable-source-maps",
      "--trace-warnings",
      "--trace-deprecation",
      "--no-warnings",
      "--import=./inspect.js",
      "--disable-sigusr1",
    ];
    expect(why(harmless, { NODE_OPTIONS: harmless.join(" ") })).toBeUndefined();
    expect(why([], { NODE_DEBUG: "http" })).toContain("NODE_DEBUG");
    expect(why([], { NODE_DEBUG: "" })).toBeUndefined();
  });

  test.each([["--inspect=0"], ["--report-on-signal"], ["--heapsnapshot-signal=SIGUSR2"]])(
    "the command does not start with %s, unless --allow-debugger stands before it",
    (option) => {
      const refused = spawnSync(process.execPath, [option, COMMAND, "--version"], { env, encoding: "utf8" });
      expect([refused.status, refused.stdout]).toEqual([2, ""]);
      expect(refused.stderr).toContain(`logveil: refused: the command line of node has ${option.replace(/=.*/, "")}, which`);
      const allowed = spawnSync(process.execPath, [option, COMMAND, "--allow-debugger", "--version"], { env, encoding: "utf8" });
      expect(allowed).toMatchObject({ status: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
      expect(allowed.stderr).toContain("--allow-debugger: a debugger may read every secret");
      // Of a command that run starts it is none of our business.
      const inner = spawnSync(process.execPath, [option, COMMAND, "run", "--no-rules", "--", "echo", "--allow-debugger"], { env, encoding: "utf8" });
      expect([inner.status, inner.stdout]).toEqual([2, ""]);
    },
  );
});

describe("SIGUSR1", () => {
  const started = (args: readonly string[], more: Record<string, string> = {}): { child: ChildProcess; told: () => string; out: () => string } => {
    const child = spawn(process.execPath, [COMMAND, ...args], { env: { ...env, TOKEN: "a-secret-of-the-test", ...more } });
    onTestFinished(() => void child.kill("SIGKILL"));
    let [told, out] = ["", ""];
    child.stderr.setEncoding("utf8").on("data", (text: string) => (told += text));
    child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
    return { child, told: () => told, out: () => out };
  };
  const masked = async (out: () => string, wanted: string): Promise<void> => expect.poll(out, { timeout: 60_000 }).toContain(wanted);

  test("scrub goes on", async () => {
    const { child, told, out } = started(["scrub", "--secret-env", "TOKEN", "--no-rules"]);
    child.stdin!.write("one\n");
    await masked(out, "one\n");
    for (let i = 0; i < 3; i++) child.kill("SIGUSR1");
    child.stdin!.end("a-secret-of-the-test\n");
    expect(await once(child, "close")).toEqual([0, null]);
    expect(out()).toBe("one\n[REDACTED:TOKEN]\n");
    expect(told()).not.toContain(LISTENS);
  });

  test("check goes on", async () => {
    const { child, told, out } = started(["check", "--secret-env", "TOKEN", "--no-rules"]);
    child.stdin!.write("a-secret-of-the-test\n");
    await masked(out, "stdin:1:");
    child.kill("SIGUSR1");
    child.stdin!.end();
    expect(await once(child, "close")).toEqual([1, null]);
    expect(told()).not.toContain(LISTENS);
  });

  test("run passes it on, and does nothing else about it", async () => {
    const { child, told, out } = started([
      "run",
      "--secret-env",
      "TOKEN",
      "--no-rules",
      "--",
      "sh",
      "-c",
      "trap 'echo got it; exit 7' USR1; echo ready; while :; do sleep 0.1; done",
    ]);
    await masked(out, "ready");
    child.kill("SIGUSR1");
    expect(await once(child, "close")).toEqual([7, null]);
    expect(out()).toBe("ready\ngot it\n");
    expect(told()).not.toContain(LISTENS);
  });

  test("serve goes on, and says that somebody tried", async () => {
    const serving = await serveProcess(temporary());
    onTestFinished(() => end(serving.child, "SIGKILL"));
    serving.child.kill("SIGUSR1");
    await masked(serving.told, "SIGUSR1");
    serving.child.kill("SIGUSR1");
    expect((await fetch(`http://127.0.0.1:${serving.admin}/livez`)).status).toBe(200);
    expect(serving.told()).not.toContain(LISTENS);
    await end(serving.child, "SIGTERM");
  });

  test("before the command is loaded, it ends it before a secret is read", async () => {
    const early = join(folder, "early.cjs");
    // As if it came while Node starts: Node opens its debugger then.
    writeFileSync(early, `process.kill(process.pid, "SIGUSR1"); const until = Date.now() + 200; while (Date.now() < until);`);
    const { child, told, out } = started(["scrub", "--secret-env", "TOKEN", "--no-rules"], { NODE_OPTIONS: `--require=${early}` });
    child.stdin!.on("error", () => undefined).write("a-secret-of-the-test\n");
    expect(await once(child, "close")).toEqual([2, null]);
    expect(told()).toContain("logveil: refused: the debugger of this process is open");
    expect(out()).toBe("");
  });

  test("a debugger that opens while it starts ends it, too", async () => {
    const late = join(folder, "late.cjs");
    writeFileSync(late, `setTimeout(() => require("node:inspector").open(0), 100);`);
    const { child, told } = started(["scrub", "--secret-env", "TOKEN", "--no-rules"], { NODE_OPTIONS: `--require=${late}` });
    child.stdin!.on("error", () => undefined);
    // A slow start is refused; later, its own exit would wait for standard input.
    expect([
      [2, null],
      [null, "SIGKILL"],
    ]).toContainEqual(await once(child, "close"));
    expect(told()).toContain("logveil: refused: the debugger of this process is open");
  });
});
