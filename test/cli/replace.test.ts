/** Files that are replaced: what is written to them meanwhile, what killed runs left, and where `--out` writes. */
import { spawn, spawnSync } from "node:child_process";
import fs, { appendFileSync, existsSync, linkSync, mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { scrubInPlace } from "../../src/cli/replace.js";
import { createEngine } from "../../src/engine.js";
import { processMark } from "../../src/lock.js";
import { commandEnv, logveil, MAIN, MASK, newFolder, SECRET, startLogveil, WITH } from "../support/command.js";

const line = `x ${SECRET} y\n`;
const masked = line.replace(SECRET, MASK);

const settled = async (isDone: () => boolean): Promise<void> => {
  const started = Date.now();
  while (!isDone() && Date.now() - started < 60_000) await new Promise((resolve) => setTimeout(resolve, 2));
  expect(isDone()).toBe(true);
};

describe("a file that is written to while it is masked in place", () => {
  const big = line.repeat(400_000);

  test.each([
    ["grows", (file: string) => appendFileSync(file, "late\n"), `${big}late\n`],
    ["is replaced by another", rotate, "new\n"],
    ["is changed and set back to its time", overwrite, `X${big.slice(1)}`],
  ] as const)("one that %s is left as it is, and told", async (_, change, after) => {
    const dir = newFolder();
    const file = join(dir, "a.log");
    writeFileSync(file, big);
    const child = startLogveil(["scrub", ...WITH, "--in-place", file]);
    let err = "";
    child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
    const ended = new Promise((resolve) => child.on("close", resolve));
    await settled(() => readdirSync(dir).some((name) => name.includes(".logveil-")));
    change(file);
    expect(await ended).toBe(3);
    expect(err).toContain(`logveil: ${file} changed while it was being masked, so it is left as it is; try again when nothing writes to it\n`);
    expect(readFileSync(file, "utf8") === after).toBe(true);
    expect(readdirSync(dir).filter((name) => name.includes(".logveil-"))).toEqual([]);
  });

  function rotate(file: string): void {
    renameSync(file, `${file}.1`);
    writeFileSync(file, "new\n");
  }

  function overwrite(file: string): void {
    const { atime, mtime } = fs.statSync(file);
    const descriptor = fs.openSync(file, "r+");
    fs.writeSync(descriptor, "X", 0);
    fs.closeSync(descriptor);
    fs.utimesSync(file, atime, mtime);
  }

  test("what is appended between the last look and the rename is masked too, and not lost", async () => {
    const file = join(newFolder(), "a.log");
    // A secret that the seam cuts: of its first half the end of the file makes a fragment.
    const [half, rest] = [SECRET.slice(0, 9), SECRET.slice(9)];
    writeFileSync(file, `${line}more ${half}`);
    const { scrub } = scrubbing(file);
    beforeRename(() => appendFileSync(file, `${rest} end\nlate ${line}`));
    expect(await scrub()).toEqual({ isChanged: true, otherNames: 0 });
    expect(readFileSync(file, "utf8")).toBe(`${masked}more ${MASK}more ${MASK} end\nlate ${masked}`);
  });

  test("a program that keeps the old file open and goes on writing is told of; what came until then is there", async () => {
    const file = join(newFolder(), "a.log");
    writeFileSync(file, line);
    const descriptor = fs.openSync(file, "a");
    const timer = setInterval(() => void fs.writeSync(descriptor, line), 10);
    onTestFinished(() => clearInterval(timer));
    const { scrub } = scrubbing(file);
    let error: unknown;
    // It may write while the file is masked, too: then that is left alone.
    for (let i = 0; i < 50 && !/keeps the old file open/.test(String(error)); i++) error = await scrub().catch((failure: unknown) => failure);
    expect(error).toMatchObject({
      code: "LV_CHANGED",
      message: expect.stringContaining("another program keeps the old file open, and its further lines are lost"),
    });
    const after = readFileSync(file, "utf8");
    expect(after.length).toBeGreaterThan(masked.length * 5);
    expect(after).toBe(masked.repeat(after.length / masked.length));
  });

  function scrubbing(file: string): { scrub: () => ReturnType<typeof scrubInPlace> } {
    let found = 0;
    const engine = createEngine({ secrets: [{ name: "MY_TOKEN", value: SECRET }], rules: false, onFinding: () => found++ });
    onTestFinished(() => engine.close());
    const reading = { holdBackMs: 500, binary: "skip" } as const;
    return {
      scrub: () =>
        scrubInPlace(
          file,
          () => engine.stream(),
          reading,
          () => found > 0,
        ),
    };
  }

  /** Has `work` done right before a file is renamed. */
  function beforeRename(work: () => void): void {
    const { renameSync: original } = fs;
    fs.renameSync = (from, to) => {
      work();
      original(from, to);
    };
    syncBuiltinESMExports();
    onTestFinished(() => {
      fs.renameSync = original;
      syncBuiltinESMExports();
    });
  }

  test("no line of a program that appends all the time is lost over many scrubs", async () => {
    const file = join(newFolder(), "a.log");
    writeFileSync(file, "");
    const program = `const fs = require("node:fs"); let i = 0; setInterval(() => fs.appendFileSync(process.argv[1], \`\${++i} ${SECRET}\\n\`), 2)`;
    const writer = spawn(process.execPath, ["-e", program, file], { stdio: "ignore" });
    onTestFinished(() => void writer.kill("SIGKILL"));
    await settled(() => readFileSync(file, "utf8").length > 500);
    const codes = new Set<number | null>();
    const { scrub } = scrubbing(file);
    for (let i = 0; i < 150; i++) {
      codes.add(
        await scrub().then(
          () => 0,
          (error: { code: string }) => (error.code === "LV_CHANGED" ? 3 : 2),
        ),
      );
    }
    writer.kill("SIGKILL");
    await new Promise((resolve) => writer.on("close", resolve));
    const numbers = readFileSync(file, "utf8")
      .trimEnd()
      .split("\n")
      .map((each) => Number.parseInt(each, 10));
    // What had gone to the old file comes behind what has come by then.
    expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: numbers.length }, (_, i) => i + 1));
    expect(codes.has(2)).toBe(false);
    expect(codes.has(0)).toBe(true);
  });
});

describe("temporary files", () => {
  test("what a killed run left is removed by the next one on that file, and nothing else is", async () => {
    const dir = newFolder();
    const [file, other] = [join(dir, "a.log"), join(dir, "b.log")];
    writeFileSync(file, line.repeat(400_000));
    writeFileSync(other, line);
    const child = startLogveil(["scrub", ...WITH, "--in-place", file]);
    const leftovers = (): string[] => readdirSync(dir).filter((name) => name.includes(".logveil-"));
    await settled(() => leftovers().length > 0);
    child.kill("SIGKILL");
    await new Promise((resolve) => child.on("close", resolve));
    const [left] = leftovers();
    expect(left).toMatch(/^\.a\.log\.logveil-/);
    // One of a run that lives: this one.
    const live = `.a.log.logveil-${processMark()}-0123456789ab`;
    const likeIt = ".a.log.logveil-notes";
    for (const name of [live, likeIt]) writeFileSync(join(dir, name), "");
    expect(logveil(["scrub", ...WITH, "--in-place", other]).code).toBe(0);
    expect(leftovers().toSorted()).toEqual([left!, live, likeIt].toSorted());
    expect(logveil(["scrub", ...WITH, "--in-place", file]).code).toBe(0);
    expect(leftovers().toSorted()).toEqual([live, likeIt].toSorted());
  });

  test("a name as long as names may be leaves room for that of its temporary file", () => {
    const file = join(newFolder(), `${"n".repeat(251)}.log`);
    writeFileSync(file, line);
    expect(logveil(["scrub", ...WITH, "--in-place", file]).code).toBe(0);
    expect(readFileSync(file, "utf8")).toBe(masked);
  });
});

describe("--out", () => {
  const tree = (): string => {
    const dir = newFolder();
    for (const folder of ["a", "b", "work"]) mkdirSync(join(dir, folder));
    for (const name of ["a/x.log", "b/x.log", "x.log", "work/x.log"]) writeFileSync(join(dir, name), `${name} ${line}`);
    return dir;
  };
  const files = (folder: string): string[] =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
      .toSorted();

  test.each([
    [
      ["a/x.log", "b/x.log", "./x.log"],
      ["a/x.log", "b/x.log", "x.log"],
    ],
    [
      ["../a/x.log", "../b/../b/x.log"],
      ["a/x.log", "b/x.log"],
    ],
    [
      ["/a/x.log", "/b/x.log"],
      ["a/x.log", "b/x.log"],
    ],
    [["/a/x.log"], ["x.log"]],
  ])("%j become %j", (inputs, outputs) => {
    const dir = tree();
    const cwd = inputs[0]!.startsWith("..") ? join(dir, "work") : dir;
    const named = inputs.map((name) => (name.startsWith("/") ? join(dir, name) : name));
    expect(logveil(["scrub", ...WITH, "--out", join(dir, "out"), ...named], { cwd }).code).toBe(0);
    expect(files(join(dir, "out"))).toEqual(outputs);
    for (const name of outputs) expect(readFileSync(join(dir, "out", name), "utf8")).toContain(masked);
  });

  test.each([
    ["the same name above and here", ["x.log", "../x.log"], "would both be written to"],
    ["one file twice", ["x.log", "./x.log"], "would both be written to"],
    ["an output that is another input", ["--out=..", "x.log", "../x.log"], "would both be written to"],
    ["an output that is an input", ["--out=.", "x.log"], "is an input"],
    ["an output that is the input of another", ["--out=../a", "x.log", "../a/x.log"], "is an input"],
  ])("two inputs for one output are refused before anything is written: %s", (_, args, message) => {
    const dir = tree();
    const before = files(dir).map((name) => readFileSync(join(dir, name), "utf8"));
    const out = args[0]!.startsWith("--out") ? [] : ["--out=../out"];
    const { code, err } = logveil(["scrub", ...WITH, ...out, ...args], { cwd: join(dir, "work") });
    expect([code, err]).toEqual([2, expect.stringContaining(message)]);
    expect(files(dir).map((name) => readFileSync(join(dir, name), "utf8"))).toEqual(before);
    expect(existsSync(join(dir, "out"))).toBe(false);
  });

  test("nothing is written outside of the folder, not through a link either", () => {
    const dir = tree();
    mkdirSync(join(dir, "out"));
    mkdirSync(join(dir, "elsewhere"));
    symlinkSync(join(dir, "elsewhere"), join(dir, "out", "a"));
    const { code, err } = logveil(["scrub", ...WITH, "--out", "out", "b/x.log", "a/x.log"], { cwd: dir });
    expect([code, err]).toEqual([2, expect.stringContaining("is a link to somewhere outside")]);
    expect([files(join(dir, "elsewhere")), files(join(dir, "out"))]).toEqual([[], []]);
  });
});

describe("inputs that would be written over", () => {
  test("the report is not written over an input, nor the output over what is read", () => {
    const dir = newFolder();
    const file = join(dir, "a.log");
    writeFileSync(file, line);
    linkSync(file, join(dir, "b.log"));
    expect(logveil(["scrub", ...WITH, "--report", join(dir, "b.log"), "--in-place", file])).toMatchObject({
      code: 2,
      err: expect.stringContaining("--report"),
    });
    const appended = spawnInShell(`scrub ${WITH.join(" ")} a.log >> a.log`, dir);
    expect(appended).toEqual([2, "logveil: a.log is also the output; use --in-place to mask a file where it is\n"]);
    expect(readFileSync(file, "utf8")).toBe(line);
  });
});

function spawnInShell(command: string, cwd: string): [number | null, string] {
  const { status, stderr } = spawnSync("sh", ["-c", `"$0" "$1" ${command}`, process.execPath, MAIN], { cwd, env: commandEnv });
  return [status, stderr.toString()];
}
