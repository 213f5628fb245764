/** `logveil config` as a user meets it: the built program in a process of its own. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";

const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const home = mkdtempSync(join(tmpdir(), "logveil-cli-config-"));
const xdg = join(home, "xdg");
const file = join(xdg, "logveil", "logveil.yaml");
const other = join(home, "other.yaml");
const bad = join(home, "bad.yaml");
const HOOK = "https://hooks.example.com/T0/hunter2";
mkdirSync(join(xdg, "logveil"), { recursive: true });
writeFileSync(join(home, "key"), "k", { mode: 0o600 });
writeFileSync(file, `store:\n  maxAge: 7d\nonFinding:\n  webhook: { url: ${HOOK}, secretFile: ${join(home, "key")} }\n`);
writeFileSync(other, "log:\n  level: debug\n");
writeFileSync(bad, "listn: 127.0.0.1:1\nstore:\n  maxFileSize: 64\n");

function logveil(args: string[], env: NodeJS.ProcessEnv = {}): { out: string; err: string; code: number | null } {
  const { stdout, stderr, status } = spawnSync(process.execPath, [main, ...args], { env: { PATH: process.env["PATH"], HOME: home, ...env }, encoding: "utf8" });
  expect(stdout + stderr, "a credential is printed").not.toContain("hunter2");
  return { out: stdout, err: stderr, code: status };
}

describe("show", () => {
  test("prints what is in force; with --origin also why", () => {
    const plain = logveil(["config", "show"]);
    expect([plain.code, plain.err]).toEqual([0, ""]);
    expect(parse(plain.out)).toMatchObject({ listen: "127.0.0.1:4180", store: { dir: join(home, ".local/state/logveil/logs"), maxAge: "30d" } });
    expect(plain.out).not.toContain("default");
    const env = { XDG_CONFIG_HOME: xdg, LOGVEIL_LIMITS_MAX_RATIO: "9", LOGVEIL_LISTEN: "127.0.0.1:1" };
    const { out, code } = logveil(["config", "show", "--origin", "--listen", "[::1]:2", "--log-level", "warn"], env);
    expect(code).toBe(0);
    expect(out.split("\n")).toEqual(
      expect.arrayContaining([
        'listen: "[::1]:2" # flag --listen',
        "  listen: 127.0.0.1:4181 # default",
        `  maxAge: 7d # file ${file}:2`,
        `    url: "***" # file ${file}:4`,
        "  maxRatio: 9 # env LOGVEIL_LIMITS_MAX_RATIO",
        "  level: warn # flag --log-level",
        "  # url: not set",
      ]),
    );
  });

  test("--config names another file, and what is printed is one", () => {
    const { out } = logveil(["config", "show", "--config", other], { XDG_CONFIG_HOME: xdg });
    expect(parse(out)).toMatchObject({ log: { level: "debug" }, store: { maxAge: "30d" } });
    const again = join(home, "again.yaml");
    writeFileSync(again, out);
    expect(logveil(["config", "show", "--config", again]).out).toBe(out);
  });

  test("an error is an error here too; so is a word too many", () => {
    expect(logveil(["config", "show", "--config", bad]).code).toBe(2);
    expect(logveil(["config", "show", other])).toEqual({ out: "", err: "logveil: config show: expected no arguments; --config names a file\n", code: 2 });
    expect(logveil(["config", "shw"])).toEqual({
      out: "",
      err: "logveil: config: expected one of show, check, schema; logveil config --help tells more\n",
      code: 2,
    });
  });
});

describe("check", () => {
  test("tells everything that is wrong, by line, and exits with 2", () => {
    const { out, err, code } = logveil(["config", "check", bad]);
    expect([out, code]).toEqual(["", 2]);
    expect(err).toBe(
      `logveil: 2 errors in the configuration:\n${bad}:1: unknown field "listn"; did you mean listen?\n` +
        `${bad}:3: store.maxFileSize: expected a size such as 64MiB, with one of the units B, KiB, MiB, GiB, TiB; a number without its unit says too little\n`,
    );
  });

  test("says what was checked", () => {
    expect(logveil(["config", "check", other])).toEqual({ out: `${other}: no errors\n`, err: "", code: 0 });
    expect(logveil(["config", "check"], { XDG_CONFIG_HOME: xdg }).out).toBe(`${file}: no errors\n`);
    expect(logveil(["config", "check"]).out).toBe("no file, defaults and environment: no errors\n");
    expect(logveil(["config", "check", other, bad])).toEqual({ out: "", err: "logveil: config check: expected one file\n", code: 2 });
    expect(logveil(["config", "check", join(home, "none.yaml")]).err).toBe(
      `logveil: ${join(home, "none.yaml")}: cannot be read: no such file or folder (ENOENT); check the path\n`,
    );
  });

  test("knows the rules, and warns", () => {
    expect(logveil(["config", "check"], { LOGVEIL_RULES_DISABLE: "jwtt" }).err).toBe(
      "logveil: LOGVEIL_RULES_DISABLE: there is no rule jwtt; did you mean jwt?\n",
    );
    const { err, code } = logveil(["config", "check", "--listen", "0.0.0.0:1"], { LOGVEIL_STOR_DIR: "/x" });
    expect([err.split("\n").length, code]).toEqual([4, 0]);
    expect(err).toContain(
      "logveil: the variable LOGVEIL_STOR_DIR is none of logveil's; did you mean LOGVEIL_STORE_DIR?\nlogveil: --listen: other hosts can send logs",
    );
  });
});

test("schema prints a JSON schema", () => {
  const { out, code } = logveil(["config", "schema"]);
  expect([code, (JSON.parse(out) as { title: string }).title]).toEqual([0, "logveil configuration"]);
});

test("other commands load neither YAML nor schema", () => {
  // Loading them takes longer than everything else that a command loads.
  const script = `import { register } from "node:module"; register("data:text/javascript," + encodeURIComponent("export async function resolve(name, context, next) { if (/^(yaml|zod)/.test(name)) throw new Error('loaded ' + name); return next(name, context); }"));`;
  const loader = `data:text/javascript,${encodeURIComponent(script)}`;
  const run = (args: string[]) =>
    spawnSync(process.execPath, ["--import", loader, main, ...args], { input: "a\n", env: { ...process.env, HOME: home }, encoding: "utf8" });
  expect(run(["scrub"]).stdout).toBe("a\n");
  expect(run(["config", "schema"]).status).not.toBe(0);
});
