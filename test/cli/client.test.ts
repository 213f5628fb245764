/** Commands that talk to a sidecar, and arguments that are wrong: the built program against a sidecar in a process of its own. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { COMMAND, end, serveProcess, type Serving } from "../support/serving.js";
import { call } from "../support/sidecar.js";

const SECRET = "a-secret-of-the-client-test";
const elsewhere = mkdtempSync(join(tmpdir(), "logveil-client-"));

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs it in an environment in which nothing tells where the sidecar is, but for `env`. */
function logveil(args: readonly string[], env: Readonly<Record<string, string>> = {}, input = ""): Ran {
  const { status, stdout, stderr } = spawnSync(process.execPath, [COMMAND, ...args], {
    input,
    encoding: "utf8",
    timeout: 60_000,
    env: { PATH: process.env["PATH"], HOME: elsewhere, XDG_STATE_HOME: elsewhere, XDG_RUNTIME_DIR: elsewhere, ...env },
  });
  return { code: status, out: stdout, err: stderr };
}

describe("a sidecar that is elsewhere", () => {
  let serving: Serving;
  let server: string;
  beforeAll(async () => {
    serving = await serveProcess(mkdtempSync(join(tmpdir(), "logveil-client-home-")));
    server = `http://127.0.0.1:${serving.port}`;
    expect((await call(serving, "POST", "/v1/jobs/open/streams/make", "one line\n")).status).toBe(200);
    // A job with a token: who reads it at the data port must show it.
    expect((await call({ socket: serving.socket }, "POST", "/v1/jobs/closed/token")).status).toBe(200);
  }, 120_000);
  afterAll(() => end(serving.child, "SIGKILL"));

  test("LOGVEIL_CONTROL_SOCKET holds for every command that uses the control socket, and an option before it", () => {
    const env = { LOGVEIL_CONTROL_SOCKET: serving.socket };
    expect(logveil(["status"]).code).toBe(2);
    expect(logveil(["status"], env)).toMatchObject({ code: 0, out: expect.stringContaining('"jobs"') });
    expect(logveil(["reload"], env)).toMatchObject({ code: 0, out: expect.stringContaining("reloaded") });
    expect(logveil(["secrets", "add", "--job", "open"], env, `TOKEN=${SECRET}`)).toEqual({ code: 0, out: "", err: "" });
    expect(logveil(["job", "token", "other"], env)).toMatchObject({ code: 0, out: expect.stringMatching(/^\S{40,}\n$/) });
    expect(logveil(["job", "end", "other"], env).code).toBe(0);
    expect(logveil(["logs"], env)).toMatchObject({ code: 0, out: expect.stringContaining("open  ") });
    expect(logveil(["status", "--socket", serving.socket], { LOGVEIL_CONTROL_SOCKET: "/nowhere" }).code).toBe(0);
    expect(logveil(["status"], { LOGVEIL_CONTROL_SOCKET: "relative" })).toMatchObject({
      code: 2,
      err: expect.stringContaining("LOGVEIL_CONTROL_SOCKET: expected the absolute path"),
    });
    expect(logveil(["status"], { LOGVEIL_CONTROL_SOCKET: "/nowhere" }).err).toBe(
      "logveil: no sidecar answers at /nowhere: no such file or folder (ENOENT); start one with logveil serve, or name it by --socket or LOGVEIL_CONTROL_SOCKET\n",
    );
  });

  test("LOGVEIL_SERVER says where logs are read, and --server before it", () => {
    expect(logveil(["logs", "open"], { LOGVEIL_SERVER: server })).toEqual({ code: 0, out: "one line\n", err: "" });
    expect(logveil(["logs", "open", "--server", server], { LOGVEIL_SERVER: "http://127.0.0.1:1" }).code).toBe(0);
    expect(logveil(["logs", "open"], { LOGVEIL_SERVER: "nonsense" })).toMatchObject({
      code: 2,
      err: expect.stringContaining("LOGVEIL_SERVER: expected http://"),
    });
  });

  test("the owner of the control socket reads a job's log without its token, nobody else does", async () => {
    const { out: token } = logveil(["job", "token", "closed"], { LOGVEIL_CONTROL_SOCKET: serving.socket });
    const file = join(elsewhere, "token");
    writeFileSync(file, token, { mode: 0o600 });
    const headers = { authorization: `Bearer ${token.trim()}` };
    expect((await call(serving, "POST", "/v1/jobs/closed/streams/make", "for few\n", headers)).status).toBe(200);
    expect(logveil(["logs", "closed", "--server", server])).toMatchObject({ code: 2, out: "", err: expect.stringContaining("token") });
    expect(logveil(["logs", "closed", "--server", server, "--token-file", file])).toMatchObject({ code: 0, out: "for few\n" });
    for (const [args, env] of [
      [["logs", "closed"], { LOGVEIL_CONTROL_SOCKET: serving.socket }],
      [["logs", "closed", "make"], { XDG_RUNTIME_DIR: join(serving.socket, "../..") }],
      [["logs", "closed", "--socket", serving.socket], { LOGVEIL_SERVER: server }],
    ] as const)
      expect(logveil(args, env)).toEqual({ code: 0, out: "for few\n", err: "" });
    // Reading is all: a log is written at the data port, where the rules of its job hold.
    expect((await call({ socket: serving.socket }, "POST", "/v1/jobs/closed/streams/make", "more\n")).status).toBeGreaterThanOrEqual(400);
  });
});

describe("arguments", () => {
  test.each([
    [["status", "x"], 'status: expected no arguments, found "x"'],
    [["reload", "x", "y"], 'reload: expected no arguments, found "x" "y"'],
    [["serve", "x"], 'serve: expected no arguments, found "x"'],
    [["man", "x"], 'man: expected no arguments, found "x"'],
    [["completions", "bash", "x"], "completions: expected one argument at most"],
    [["demo", "a", "b"], "demo: expected one argument at most"],
    [["rules", "list", "x"], 'rules list: expected no arguments, found "x"'],
    [["rules", "explain", "a", "b"], "rules explain: expected one argument at most"],
    [["rules", "schema", "x"], "rules schema: expected no arguments"],
    [["job", "end", "a", "b"], "job: expected end JOB or token JOB"],
    [["config", "schema", "x"], "config schema: expected no arguments"],
    [["audit", "verify", "a", "b"], "audit verify: expected one audit file or folder"],
    [["secrets", "add", "x", "--job", "j"], "secrets: expected add"],
  ])("%j are too many", (args, message) => {
    const { code, out, err } = logveil(args);
    expect([code, out]).toEqual([2, ""]);
    expect(err).toContain(`logveil: ${message}`);
  });

  test.each([
    [["scrub", "-r", "rules"], "unknown option '-r'; did you mean --rules or --report?"],
    [["scrub", "-x"], "unknown option '-x'; logveil scrub --help lists what there is"],
    [["scrub", "-V"], "unknown option '-V'; for the version: logveil --version"],
    [["scrub", "--secret-evn", "X"], "unknown option '--secret-evn'; did you mean --secret-env?"],
    [["serve", "--limits-holdback", "1s"], "unknown option '--limits-holdback'; did you mean --limits-hold-back?"],
    [["serve", "--sylog-tcp", "off"], "unknown option '--sylog-tcp'; did you mean --syslog-tcp?"],
    [["-x"], "unknown option '-x'; logveil --help lists what there is"],
  ])("%j get a suggestion, hidden options too", (args, message) => {
    const { code, out, err } = logveil(args);
    expect([code, out]).toEqual([2, ""]);
    expect(err.split("\n")).toContain(`logveil: ${message}`);
  });

  test("-V is the version", () => {
    expect(logveil(["-V"])).toMatchObject({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
  });
});
