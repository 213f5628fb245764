/** The command line as a user meets it: the built program in a process of its own. */
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, linkSync, mkdtempSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";

const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const SECRET = "hunter2-hunter2-$x";
const folder = (): string => mkdtempSync(join(tmpdir(), "logveil-cli-"));
const env = { ...process.env, MY_TOKEN: SECRET, XDG_STATE_HOME: folder() };

function logveil(args: string[], input: string | Buffer = ""): { out: string; raw: Buffer; err: string; code: number | null } {
  const { stdout, stderr, status } = spawnSync(process.execPath, [main, ...args], { input, env });
  expect(stderr.includes(SECRET), "stderr holds the secret").toBe(false);
  return { out: stdout.toString(), raw: stdout, err: stderr.toString(), code: status };
}

const WITH = ["--secret-env", "MY_TOKEN"];

describe("scrub", () => {
  test("masks stdin; styles; report", () => {
    const line = `a ${SECRET} b ${Buffer.from(SECRET).toString("base64")}\n`;
    expect(logveil(["scrub", ...WITH], line).out).toBe("a [REDACTED:MY_TOKEN] b [REDACTED:MY_TOKEN]\n");
    expect(logveil(["scrub", "--secret-env", "MY_*", "--mask", "fixed", "--mask-text", "<hidden>"], line).out).toBe("a <hidden> b <hidden>\n");
    expect(logveil(["scrub", ...WITH, "--mask", "length"], line).out).toHaveLength(line.length);
    expect(logveil(["scrub", ...WITH, "--mask", "keyed"], line).out).toMatch(/^a \[REDACTED:MY_TOKEN#[A-Z2-7]{8}\] b /);
    const { err, code } = logveil(["scrub", ...WITH, "--report", "-", "--fail-on-finding"], line);
    const entries = err
      .trim()
      .split("\n")
      .map((entry) => JSON.parse(entry) as Record<string, unknown>);
    expect(entries.map(({ type }) => type)).toEqual(["finding", "finding", "summary"]);
    expect(entries[2]).toMatchObject({ bytesIn: line.length, findings: 2, secrets: 1 });
    expect(code).toBe(1);
  });

  test.runIf(existsSync("/dev/full"))("says when the output, not the input, is at fault", () => {
    const { status, stderr } = spawnSync("bash", ["-c", `echo x | '${process.execPath}' '${main}' scrub --secret-env MY_TOKEN > /dev/full`], { env });
    expect([status, stderr.toString()]).toEqual([2, "logveil: stdin: the masked text cannot be written: no space left on the disk (ENOSPC); make room\n"]);
  });

  test("--in-place tells that another name of the file still holds the unmasked text", () => {
    const dir = folder();
    const [file, other] = [join(dir, "linked.log"), join(dir, "other.log")];
    writeFileSync(file, `a ${SECRET}\n`);
    linkSync(file, other);
    const { code, err } = logveil(["scrub", ...WITH, "--in-place", file]);
    expect([code, readFileSync(file, "utf8").includes(SECRET), readFileSync(other, "utf8").includes(SECRET)]).toEqual([0, false, true]);
    expect(err).toContain("1 more name (hard links)");
    expect(logveil(["scrub", ...WITH, "--in-place", other]).err).not.toContain("hard links");
  });

  test("--in-place killed at any moment leaves the original or the masked file, whole", async () => {
    const line = `x ${SECRET} y\n`;
    const original = line.repeat(100_000);
    const masked = original.replaceAll(SECRET, "[REDACTED:MY_TOKEN]");
    for (let ms = 60; ms <= 420; ms += 40) {
      const file = join(folder(), "log");
      writeFileSync(file, original);
      const child = spawn(process.execPath, [main, "scrub", ...WITH, "--in-place", file], { env, stdio: "ignore" });
      const exited = new Promise((resolve) => child.once("exit", resolve));
      const timer = setTimeout(() => child.kill("SIGKILL"), ms);
      await exited;
      clearTimeout(timer);
      const left = readFileSync(file, "utf8");
      expect(left === original || left === masked, `killed after ${ms} ms`).toBe(true);
    }
  });

  test("LOGVEIL_SIMD forces a scan loop, or says what there is", () => {
    const run = (simd: string) => spawnSync(process.execPath, [main, "scrub", ...WITH], { input: `a ${SECRET} b`, env: { ...env, LOGVEIL_SIMD: simd } });
    expect(run("scalar").stdout.toString()).toBe("a [REDACTED:MY_TOKEN] b");
    if (process.env["LOGVEIL_ENGINE"] !== "portable") expect(run("mmx")).toMatchObject({ status: 2, stdout: Buffer.alloc(0) });
  });

  test("reads secrets from lists, files and descriptors; refuses weak ones by name", () => {
    const dir = folder();
    writeFileSync(
      join(dir, "list.jsonl"),
      `{"name":"A","value":"alpha-secret-1"}\n{"name":"B","valueBase64":"${Buffer.from("beta-secret-2").toString("base64")}"}\n{"name":"W","value":"true"}\n`,
    );
    writeFileSync(join(dir, ".env"), "# comment\nexport C='gamma-secret-3'\n");
    writeFileSync(join(dir, "d"), "delta-secret-4\n");
    const args = ["--secrets", join(dir, "list.jsonl"), "--secrets", join(dir, ".env"), "--secret-file", `D=${join(dir, "d")}`];
    const { out, err } = logveil(["scrub", ...args], "alpha-secret-1 beta-secret-2 gamma-secret-3 delta-secret-4");
    expect(out).toBe("[REDACTED:A] [REDACTED:B] [REDACTED:C] [REDACTED:D]");
    expect(err).toContain("secret W is NOT masked");
    const piped = spawnSync("sh", ["-c", `"$0" "$1" scrub --secrets-fd 3 3<"$2"`, process.execPath, main, join(dir, ".env")], { input: "gamma-secret-3", env });
    expect(piped.stdout.toString()).toBe("[REDACTED:C]");
  });

  test("masks a secret that arrives in pieces, and lets a prompt through after silence", async () => {
    const child = spawn(process.execPath, [main, "scrub", ...WITH], { env });
    let out = "";
    child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
    const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
    child.stdin.write("user h");
    const started = Date.now();
    const hasCome = (): boolean => out === "user h";
    while (!hasCome() && Date.now() - started < 30_000) await pause(20);
    expect(out).toBe("user h");
    child.stdin.write(`\npass ${SECRET.slice(0, 8)}`);
    await pause(50);
    child.stdin.end(`${SECRET.slice(8)} end\n`);
    await new Promise((resolve) => child.on("close", resolve));
    expect(out).toBe("user h\npass [REDACTED:MY_TOKEN] end\n");
  });

  test("keeps codings, replaces in place with mode and link, leaves clean files untouched", () => {
    const dir = folder();
    const [log, gz, clean, link] = ["a.log", "b.gz", "c.gz", "l.log"].map((name) => join(dir, name)) as [string, string, string, string];
    writeFileSync(log, `x ${SECRET}\n`);
    chmodSync(log, 0o640);
    symlinkSync(log, link);
    writeFileSync(gz, Buffer.concat([gzipSync(`y ${SECRET.slice(0, 5)}`), gzipSync(`${SECRET.slice(5)}\n`)]));
    writeFileSync(clean, gzipSync("nothing here\n"));
    const before = readFileSync(clean);
    expect(gunzipSync(logveil(["scrub", ...WITH, gz]).raw).toString()).toBe("y [REDACTED:MY_TOKEN]\n");
    expect(logveil(["scrub", ...WITH, "--in-place", link, gz, clean]).code).toBe(0);
    expect(readFileSync(log, "utf8")).toBe("x [REDACTED:MY_TOKEN]\n");
    expect(statSync(log).mode & 0o777).toBe(0o640);
    expect(gunzipSync(readFileSync(gz)).toString()).toBe("y [REDACTED:MY_TOKEN]\n");
    expect(readFileSync(clean).equals(before)).toBe(true);
    expect(readdirSync(dir).filter((name) => name.startsWith("."))).toEqual([]);
    expect(logveil(["scrub", ...WITH, "--out", join(dir, "out"), log]).code).toBe(0);
    expect(logveil(["scrub", ...WITH, "--out", dir, log])).toMatchObject({ code: 2 });
  });

  test("zstd comes out as zstd", () => {
    const dir = folder();
    const made = spawnSync(
      process.execPath,
      ["-e", "const z=require('zstd-napi');process.stdout.write(z.compress(Buffer.from(process.env.MY_TOKEN+' in zstd')))"],
      { env, cwd: fileURLToPath(new URL("../..", import.meta.url)) },
    );
    writeFileSync(join(dir, "a.zst"), made.stdout);
    const { raw } = logveil(["scrub", ...WITH, join(dir, "a.zst")]);
    expect([...raw.subarray(0, 4)]).toEqual([0x28, 0xb5, 0x2f, 0xfd]);
    expect(logveil(["scrub", ...WITH, "--in-place", join(dir, "a.zst")]).code).toBe(0);
    expect(logveil(["check", ...WITH, join(dir, "a.zst")]).code).toBe(0);
  });

  test("zstd: a file of several frames is masked to its end; one that is cut off, or followed by something else, is an error and stays as it was", () => {
    const dir = folder();
    const made = spawnSync(
      process.execPath,
      ["-e", "const z=require('zstd-napi');process.stdout.write(z.compress(Buffer.from('x '+process.env.MY_TOKEN+'\\n')))"],
      {
        env,
        cwd: fileURLToPath(new URL("../..", import.meta.url)),
      },
    ).stdout;
    const skipped = Buffer.from("502a4d180400000061626364", "hex");
    const put = (name: string, ...parts: Buffer[]): string => {
      writeFileSync(join(dir, name), Buffer.concat(parts));
      return join(dir, name);
    };
    const frames = put("frames.zst", made, skipped, made, made);
    const bad = [put("cut.zst", made, made.subarray(0, -3)), put("head.zst", made.subarray(0, 6)), put("tail.zst", made, Buffer.from(SECRET))];
    const before = bad.map((file) => readFileSync(file));
    const { code, err } = logveil(["scrub", ...WITH, "--in-place", frames, ...bad]);
    expect(code).toBe(3);
    for (const file of bad) expect(err).toContain(`${file}: `);
    expect(bad.map((file, i) => readFileSync(file).equals(before[i]!))).toEqual([true, true, true]);
    const masked = spawnSync(
      process.execPath,
      ["-e", "process.stdout.write(require('zstd-napi').decompress(require('fs').readFileSync(process.argv[1])))", frames],
      {
        cwd: fileURLToPath(new URL("../..", import.meta.url)),
      },
    );
    expect(masked.stdout.toString()).toBe("x [REDACTED:MY_TOKEN]\n".repeat(3));
  });

  test("a damaged file is an error and stays as it was", () => {
    const file = join(folder(), "bad.gz");
    writeFileSync(file, gzipSync(`x ${SECRET} `.repeat(100)).subarray(0, 40));
    const before = readFileSync(file);
    const { code, err } = logveil(["scrub", ...WITH, "--in-place", file]);
    expect(code).toBe(2);
    expect(err).toContain("damaged or cut off");
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  test("a closed pipe is no error", () => {
    const { status, stderr } = spawnSync("sh", ["-c", `yes "$MY_TOKEN" | "$0" "$1" scrub --quiet --secret-env MY_TOKEN | head -n 1`, process.execPath, main], {
      env,
    });
    expect([status, stderr.toString()]).toEqual([0, ""]);
  });

  test.each([
    [["scrub", "--frob"], "unknown option"],
    [["scrub", "--secret-env", "NOPE_NOPE"], "no such variable"],
    [["scrub", ...WITH, "/nonexistent/file"], "/nonexistent/file: cannot be masked: no such file or folder (ENOENT)"],
    [["scrub", "--in-place"], "need files"],
    [["scrub", ...WITH, "--mask", "odd"], "Allowed choices"],
    [["run"], "run needs a command"],
    [["frobnicate"], "unknown command"],
  ])("%j is refused", (args, message) => {
    const { code, err } = logveil(args);
    expect([code, err]).toEqual([2, expect.stringContaining(message)]);
  });

  test("a bad line of secrets is told by its place, never by its content", () => {
    const file = join(folder(), "bad.jsonl");
    writeFileSync(file, `{"name":"A","value":"fine-value-1"}\n{"name":"B","valu":"${SECRET}"}\n`);
    const { code, err } = logveil(["scrub", "--secrets", file]);
    expect(code).toBe(2);
    expect(err).toContain(`${file}:2: unknown field "valu"; expected a line like`);
  });
});

describe("check, run and the rest", () => {
  test("check lists and tells by its exit code", () => {
    expect(logveil(["check", ...WITH], "fine\n").code).toBe(0);
    const { out, code } = logveil(["check", ...WITH], `one\ntwo ${SECRET}\n`);
    expect([out, code]).toEqual(["stdin:2: 8+18 secret MY_TOKEN (plain)\n", 1]);
  });

  test("run masks both outputs and passes the exit code, signals and failures to start on", async () => {
    const { out, err, code } = logveil(["run", ...WITH, "--", "sh", "-c", 'echo "o $MY_TOKEN"; echo "e $MY_TOKEN" >&2; exit 3']);
    expect([out, err, code]).toEqual(["o [REDACTED:MY_TOKEN]\n", "e [REDACTED:MY_TOKEN]\n", 3]);
    expect(logveil(["run", "--quiet", "--", "no-such-command-here"]).code).toBe(127);
    const child = spawn(process.execPath, [main, "run", ...WITH, "--", "sh", "-c", 'trap "echo got; exit 5" TERM; echo ready; while :; do sleep 0.1; done'], {
      env,
    });
    let out2 = "";
    child.stdout.on("data", (chunk: Buffer) => {
      out2 += chunk.toString();
      if (out2 === "ready\n") child.kill("SIGTERM");
    });
    expect(await new Promise((resolve) => child.on("close", resolve))).toBe(5);
    expect(out2).toBe("ready\ngot\n");
    const killed = spawnSync(process.execPath, [main, "run", ...WITH, "--", "sh", "-c", "kill -KILL $$"], { env });
    expect(killed.signal ?? killed.status).toBe("SIGKILL");
  });

  test("demo, manual, completions and help", () => {
    const { out, code } = logveil(["demo"]);
    expect([out.includes("0 of 14 spellings left"), code]).toEqual([true, 0]);
    expect(logveil(["man"]).out).toMatch(/^\.TH LOGVEIL 1[\s\S]*--?secret/);
    for (const shell of ["bash", "zsh", "fish"]) expect(logveil(["completions", shell]).out).toContain("secret-env");
    expect(spawnSync("bash", ["-n"], { input: logveil(["completions", "bash"]).out }).status).toBe(0);
    expect(logveil(["scrub", "--help"]).out).toContain("Examples:");
    expect(logveil(["--version"]).out).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe("rules", () => {
  const token = `ghp_${"aB3dE5gH7j".repeat(4).slice(0, 36)}`;

  test("scrub masks what no one told of, unless told not to", () => {
    expect(logveil(["scrub"], `x ${token} y\n`).out).toBe("x [REDACTED:github-token] y\n");
    expect(logveil(["scrub", "--no-rules", "--quiet"], `x ${token} y\n`).out).toBe(`x ${token} y\n`);
    expect(logveil(["scrub", "--disable", "github-token"], `x ${token} y\n`).out).toBe(`x ${token} y\n`);
    expect(logveil(["check"], `x ${token} y\n`).out).toBe("stdin:1: 2+40 rule github-token (certain)\n");
    expect(logveil(["scrub", "--disable", "github"], "x").err).toBe('logveil: there is no rule github to disable; "logveil rules list" names them\n');
  });

  test("list, show, test, explain: places and reasons, no bytes", () => {
    const { out, err } = logveil(["rules", "list", "--min-confidence", "certain"]);
    expect(out).toMatch(/^github-token +certain +run +token /m);
    expect(out).not.toMatch(/ medium /);
    expect(err).toMatch(/^logveil: \d+ rules\n$/);
    expect(logveil(["rules", "show", "github-token"]).out).toMatch(/^id = "github-token"$/m);
    expect(logveil(["rules", "show", "nothing"])).toMatchObject({
      code: 2,
      err: "logveil: rules show: there is no rule nothing; logveil rules list names them\n",
    });
    expect(logveil(["rules", "test"], `a\nx ${token}\n`).out).toBe("stdin:2: 4+40 rule github-token (certain)\n");
    const explained = logveil(["rules", "explain"], "x ghp_aB3dE5gH7jaB3dE5 y password=$PASSWORD\n").out;
    expect(explained).toContain("not password-assignment: its value is a reference");
    expect(logveil(["rules", "frob"]).err).toContain("expected one of list, show, test, explain, check, import");
  });

  test("own rules, checked and imported", () => {
    const dir = folder();
    const own = join(dir, "own.toml");
    const rule = `[[rules]]\nid = "acme-token"\ndescription = "ours"\ncategory = "token"\nconfidence = "certain"\nkind = "run"\nanchors = ["acme_"]\ncharset = "b62"\nminLen = 10\nexamples = ["acme_{b62:20}"]\nreferences = ["https://acme.example"]\nprovenance = "ours"\n`;
    writeFileSync(own, rule);
    expect(logveil(["rules", "check", own]).out).toContain("1 rules, all proven");
    expect(logveil(["scrub", "--rules", own], "x acme_0123456789ab y").out).toBe("x [REDACTED:acme-token] y");
    writeFileSync(own, rule.replace("anchors", "anchor"));
    expect(logveil(["scrub", "--rules", own], "x")).toMatchObject({
      code: 2,
      out: "",
      err: `logveil: ${own}:7: unknown field "anchor"; did you mean anchors?\n`,
    });
    const leaks = join(dir, "gitleaks.toml");
    writeFileSync(leaks, `[[rules]]\nid = "acme"\nregex = '''acme_[a-z]{8}'''\nkeywords = ["acme_"]\n[[rules]]\nid = "file"\npath = "x"\n`);
    const { out, err } = logveil(["rules", "import", leaks]);
    expect(err).toBe("logveil: file is left out: it is about paths of files only\nlogveil: 1 rules taken, 1 left out\n");
    writeFileSync(own, out);
    expect(logveil(["scrub", "--rules", own, "--quiet"], "x acme_abcdefgh y").out).toBe("x [REDACTED:acme] y");
  });
});
