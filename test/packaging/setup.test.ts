/** The scripts of a checkout: what they build never changes beneath a process that runs from it, they say what they do, and `npm start` talks to its own sidecar only. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, copyFileSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, readSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { temporary } from "../support/sidecar.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const scripts = (name: string): string => join(root, "scripts", name);

interface Publish {
  publishFile(this: void, from: string, to: string): boolean;
  publishFolder(this: void, from: string, to: string, options: object): void;
}
const { publishFile, publishFolder } = (await import(scripts("publish.mjs"))) as Publish;
interface Steps {
  run(this: void, command: string, args: string[], options: object): Promise<void>;
  step(this: void, name: string, hint: string, work: (onLine: (line: string) => void) => Promise<void>, out: object): Promise<void>;
}
const { run, step } = (await import(scripts("steps.mjs"))) as Steps;

describe("publishing what was built", () => {
  test("an equal file stays, another one takes its place, and who has the old one open keeps it", () => {
    const folder = temporary();
    const [from, to] = [join(folder, "from"), join(folder, "to")];
    writeFileSync(from, "one");
    expect(publishFile(from, to)).toBe(true);
    const { ino, mtimeMs } = statSync(to);
    expect(publishFile(from, to)).toBe(false);
    expect(statSync(to)).toMatchObject({ ino, mtimeMs });
    const open = openSync(to, "r");
    writeFileSync(from, "two");
    expect(publishFile(from, to)).toBe(true);
    expect(statSync(to).ino).not.toBe(ino);
    const bytes = Buffer.alloc(3);
    readSync(open, bytes, 0, 3, 0);
    closeSync(open);
    expect([bytes.toString(), readFileSync(to, "utf8"), readdirSync(folder).toSorted()]).toEqual(["one", "two", ["from", "to"]]);
  });

  const addon = readdirSync(join(root, "native")).find((name) => name.endsWith(".node"));
  test.runIf(addon !== undefined)("a process with the addon loaded goes on when another one is published", async () => {
    const folder = temporary();
    const [loaded, next] = [join(folder, "logveil.node"), join(folder, "next.node")];
    copyFileSync(join(root, "native", addon!), loaded);
    // What a copy over the mapped file would leave beneath the process.
    writeFileSync(next, Buffer.alloc(statSync(loaded).size, 0xcc));
    const program = `import { createEngine } from "logveil"; process.stdin.resume(); console.log("ready");
      process.stdin.once("data", () => { const engine = createEngine({ engine: "native", secrets: [{ name: "S", value: "hunter2-hunter2" }] }); console.log(engine.redact("a hunter2-hunter2 b")); process.exit(0); });`;
    const child = spawn(
      process.execPath,
      ["--input-type=module", "-e", `import { loadMatcher } from "${join(root, "dist/native/loader.js")}"; loadMatcher("native"); ${program}`],
      {
        cwd: root,
        env: { ...process.env, LOGVEIL_ENGINE: "", LOGVEIL_NATIVE: loaded },
      },
    );
    onTestFinished(() => void child.kill("SIGKILL"));
    let out = "";
    child.stdout.on("data", (text: Buffer) => (out += text.toString()));
    await expect.poll(() => out, { timeout: 60_000 }).toContain("ready");
    expect(publishFile(next, loaded)).toBe(true);
    child.stdin.write("go\n");
    expect(await once(child, "close")).toEqual([0, null]);
    expect(out).toContain("a [REDACTED:S] b");
  });

  test("what is no longer made stays for a week: a process may load a part of itself late", () => {
    const folder = temporary();
    const [from, to, since] = [join(folder, "from"), join(folder, "to"), join(folder, "since.json")];
    const build = (names: readonly string[], now: number): string[] => {
      spawnSync("rm", ["-rf", from]);
      mkdirSync(join(from, "deep"), { recursive: true });
      for (const name of names) writeFileSync(join(from, name), name);
      publishFolder(from, to, { last: ["main.js"], since, now, owns: (name: string) => !name.endsWith(".node") });
      return readdirSync(to, { recursive: true })
        .map(String)
        .filter((name) => name !== "deep")
        .toSorted();
    };
    const day = 24 * 3600 * 1000;
    mkdirSync(to);
    writeFileSync(join(to, "other.node"), "not ours");
    expect(build(["main.js", "part-1.js", "deep/a.js"], 0)).toEqual(["deep/a.js", "main.js", "other.node", "part-1.js"]);
    expect(build(["main.js", "part-2.js", "deep/a.js"], day)).toEqual(["deep/a.js", "main.js", "other.node", "part-1.js", "part-2.js"]);
    expect(build(["main.js", "part-2.js"], 7 * day)).toEqual(["deep/a.js", "main.js", "other.node", "part-1.js", "part-2.js"]);
    expect(build(["main.js", "part-2.js"], 8 * day)).toEqual(["deep/a.js", "main.js", "other.node", "part-2.js"]);
    expect(build(["main.js", "part-2.js"], 14 * day)).toEqual(["main.js", "other.node", "part-2.js"]);
  });
});

describe("steps", () => {
  const collected = (isTTY: boolean): { out: object; text: () => string } => {
    let text = "";
    return { out: { isTTY, columns: 60, write: (piece: string) => void (text += piece) }, text: () => text };
  };

  test("a step says its name, why it takes long, what compiles, and its seconds", async () => {
    const { out, text } = collected(true);
    await step(
      "installing",
      "re2 compiles from source",
      async (onLine) => {
        onLine("npm info run re2@1.24.0 install node_modules/re2 node install.js");
        await new Promise((resolve) => setTimeout(resolve, 1200));
      },
      out,
    );
    expect(text()).toMatch(/^logveil: installing … re2 compiles from source\n/);
    expect(text()).toMatch(/\r\x1b\[Klogveil: installing … 1 s, compiling re2/);
    expect(text()).toMatch(/\r\x1b\[Klogveil: installing: 1 s\n$/);
  });

  test("without a terminal no line is written over", async () => {
    const { out, text } = collected(false);
    await step("installing", "", async () => undefined, out);
    expect(text()).toBe("logveil: installing …\nlogveil: installing: 0 s\n");
  });

  test("on failure the end of the output is shown, and where all of it is", async () => {
    const log = join(temporary(), "setup.log");
    const program = `for (let i = 0; i < 100; i++) console.log("line " + i); console.error("the reason"); process.exit(3)`;
    const failure = run(process.execPath, ["-e", program], { cwd: root, log });
    await expect(failure).rejects.toThrow(/^… 61 more lines in .*setup\.log\nline 61\n/);
    await expect(failure).rejects.toThrow(/line 99\nthe reason\nlogveil: .* failed with exit code 3; the whole output is in .*setup\.log$/);
    expect(readFileSync(log, "utf8")).toContain("line 0\n");
    await expect(run("no-such-tool", [], { cwd: root, log })).rejects.toThrow("is not installed");
  });
});

describe("npm start", () => {
  /** Holds the usual port, as a stranger; whatever is sent to it is counted. */
  async function stranger(port: number): Promise<{ requests: () => number; server: Server }> {
    let requests = 0;
    const server = createServer((_, response) => {
      requests++;
      response.end("{}");
    });
    server.once("error", () => undefined).listen(port, "127.0.0.1");
    await Promise.race([once(server, "listening"), once(server, "error").catch(() => undefined)]);
    onTestFinished(() => void server.close());
    return { requests: () => requests, server };
  }

  function start(): { child: ChildProcess; said: () => string } {
    const home = temporary();
    mkdirSync(join(home, "run"));
    const env = {
      ...process.env,
      HOME: home,
      XDG_STATE_HOME: join(home, "state"),
      XDG_RUNTIME_DIR: join(home, "run"),
      LOGVEIL_UPSTREAM_URL: "http://127.0.0.1:1",
    };
    const child = spawn(process.execPath, [scripts("start.mjs")], { cwd: root, env });
    onTestFinished(() => void child.kill("SIGKILL"));
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text: Buffer) => (said += text.toString()));
    onTestFinished(() => {
      const own = /\S+start\/state-\w+/.exec(said)?.[0];
      if (own !== undefined) rmSync(own, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
    });
    return { child, said: () => said };
  }

  const isRunning = (port: string): Promise<boolean> =>
    fetch(`http://127.0.0.1:${port}/v1/jobs`).then(
      () => true,
      () => false,
    );
  const shown = async (said: () => string): Promise<string> => {
    await expect.poll(said, { timeout: 60_000 }).toContain("Ctrl-C ends it.");
    return /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(said())![1]!;
  };

  test("sends its sample to its own sidecar, on a free port with its own state, when the usual port is taken; it is gone when its parent is killed", async () => {
    const { requests, server } = await stranger(4180);
    const { child, said } = start();
    const port = await shown(said);
    expect(port).not.toBe("4180");
    expect(said()).toMatch(/4180 or 4181 is taken.*: this one takes free ports, and keeps its state in \S+start\/state-\S+/);
    expect(said()).toContain(`npx logveil logs --server http://127.0.0.1:${port} sample-`);
    const log = await (await fetch(/curl (http\S+\/streams\/build)/.exec(said())![1]!)).text();
    expect(log).toContain("Authorization: Bearer [REDACTED:SAMPLE_BUILD_TOKEN]");
    if ((server.address() as AddressInfo | null) !== null) expect(requests()).toBe(0);
    child.kill("SIGKILL");
    await expect.poll(() => isRunning(port), { timeout: 60_000 }).toBe(false);
  });

  test("two interrupts at once, as a terminal and npm send them, end it in order", async () => {
    await stranger(4180);
    const { child, said } = start();
    const port = await shown(said);
    child.kill("SIGINT");
    child.kill("SIGINT");
    expect(await once(child, "close")).toEqual([0, null]);
    expect(await isRunning(port)).toBe(false);
  });

  test("a sidecar that fails is reported, and nothing is left", async () => {
    await stranger(4180);
    const { child, said } = start();
    const port = await shown(said);
    const pid = Number(spawnSync("sh", ["-c", `ps -eo pid=,ppid= | awk '$2 == ${child.pid} { print $1 }'`], { encoding: "utf8" }).stdout.trim());
    process.kill(pid, "SIGKILL");
    const [code] = (await once(child, "close")) as [number];
    expect(code).not.toBe(0);
    expect(await isRunning(port)).toBe(false);
    expect(existsSync(join(root, "dist/cli/main.js"))).toBe(true);
  });
});
