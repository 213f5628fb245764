/** What cannot be masked where it lies: containers, compressed formats, media, text in UTF-16. Left alone, told by name and by the exit code. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { logveil, MASK, newFolder, SECRET, startLogveil, WITH } from "../support/command.js";

const folder = newFolder();
const log = `a ${SECRET} b\n`.repeat(20);
writeFileSync(join(folder, "x.log"), log);

const made = (program: string, args: readonly string[], input?: Buffer): Buffer =>
  execFileSync(program, args, { cwd: folder, stdio: ["pipe", "pipe", "ignore"], ...(input && { input }) });
const tar = made("tar", ["-cf", "-", "x.log"]);
const png = Buffer.concat([Buffer.from("89504e470d0a1a0a", "hex"), Buffer.from(log)]);
const elf = Buffer.concat([Buffer.from("\x7fELF\x02\x01\x01\0", "latin1"), Buffer.from(log)]);

const CONTAINERS: readonly (readonly [name: string, told: string, bytes: Buffer])[] = [
  ["stored.zip", "zip", storedZip()],
  ["x.tar", "tar", tar],
  ["x.tar.gz", "tar in gzip", gzipSync(tar)],
  ["x.log.gz.gz", "gzip in gzip", gzipSync(gzipSync(log))],
  ["x.xz", "xz", made("xz", ["-c"], Buffer.from(log))],
  ["x.bz2", "bzip2", made("bzip2", ["-c"], Buffer.from(log))],
  ["x.sqlite", "sqlite", Buffer.from(`SQLite format 3\0${log}`)],
  ["x.pdf", "pdf", Buffer.from(`%PDF-1.4\n${log}`)],
  ["run.sh", "zip", Buffer.concat([Buffer.from('#!/bin/sh\nexec unzip "$0"\n'), storedZip()])],
];

/** An archive whose one member lies in it as it is: masked as text its lengths would be wrong. */
function storedZip(): Buffer {
  const member = Buffer.alloc(30);
  member.write("PK\x03\x04", "latin1");
  const directory = Buffer.alloc(46);
  directory.write("PK\x01\x02", "latin1");
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", "latin1");
  end.writeUInt32LE(directory.length, 12);
  return Buffer.concat([member, Buffer.from(log), directory, end]);
}

const put = (name: string, bytes: Buffer | string): string => {
  const file = join(newFolder(), name);
  writeFileSync(file, bytes);
  return file;
};

describe("containers", () => {
  const lines = (dir: string): string[] => CONTAINERS.map(([name, told]) => `logveil: cannot look into ${join(dir, name)} (${told}); unpack it first`);
  const putAll = (): { dir: string; files: string[] } => {
    const dir = newFolder();
    for (const [name, , bytes] of CONTAINERS) writeFileSync(join(dir, name), bytes);
    return { dir, files: CONTAINERS.map(([name]) => join(dir, name)) };
  };

  test("scrub --in-place leaves each of them alone and says that it is not clean", () => {
    const { dir, files } = putAll();
    const before = files.map((file) => statSync(file));
    const { code, err } = logveil(["scrub", ...WITH, "--in-place", ...files]);
    expect([code, err.split("\n").slice(0, CONTAINERS.length)]).toEqual([3, lines(dir)]);
    for (const [i, [name, , bytes]] of CONTAINERS.entries()) {
      expect(readFileSync(files[i]!).equals(bytes), name).toBe(true);
      const { ino, mtimeMs } = before[i]!;
      expect(statSync(files[i]!), name).toMatchObject({ ino, mtimeMs });
    }
    expect(readdirSync(dir).toSorted()).toEqual(CONTAINERS.map(([name]) => name).toSorted());
  });

  test("check, scrub and scrub --out let nothing of them through", () => {
    const { dir, files } = putAll();
    for (const args of [["check"], ["scrub"], ["scrub", "--out", join(dir, "out")]]) {
      const { code, raw, err } = logveil([args[0]!, ...WITH, ...args.slice(1), ...files]);
      expect([args, code, raw.length, err.split("\n").slice(0, CONTAINERS.length)]).toEqual([args, 3, 0, lines(dir)]);
    }
    for (const [name] of CONTAINERS) expect(existsSync(join(dir, "out", name))).toBe(false);
  });

  test.each(CONTAINERS.filter(([name]) => ["stored.zip", "x.tar", "x.tar.gz", "x.xz"].includes(name)))(
    "a pipe that turns out to be %s lets no byte through",
    async (_, told, bytes) => {
      const child = startLogveil(["scrub", ...WITH]);
      let [out, err] = [0, ""];
      child.stdout.on("data", (chunk: Buffer) => (out += chunk.length));
      child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
      child.stdin.on("error", () => undefined);
      // The first piece is no magic yet, unless it may be text: that leaves.
      const first = told === "tar" ? 512 : 1;
      child.stdin.write(bytes.subarray(0, first));
      await new Promise((resolve) => setTimeout(resolve, 150));
      child.stdin.end(bytes.subarray(first));
      expect([await new Promise((resolve) => child.on("close", resolve)), out]).toEqual([3, 0]);
      expect(err).toContain(`logveil: cannot look into stdin (${told}); unpack it first\n`);
    },
  );

  test("--binary=text does not make text of them", () => {
    const file = put("x.tar", tar);
    expect(logveil(["scrub", ...WITH, "--in-place", "--binary=text", file]).code).toBe(3);
    expect(readFileSync(file).equals(tar)).toBe(true);
  });
});

describe("media", () => {
  test("media are listed, not touched, and do not change the exit code", () => {
    const dir = newFolder();
    const media = [
      ["x.png", "png", png],
      ["x.elf", "ELF", elf],
      ["x.png.gz", "png in gzip", gzipSync(png)],
    ] as const;
    for (const [name, , bytes] of media) writeFileSync(join(dir, name), bytes);
    const files = media.map(([name]) => name);
    for (const args of [["scrub", "--in-place"], ["check"], ["scrub"], ["scrub", "--out", "out"]]) {
      const { code, raw, err } = logveil([args[0]!, ...WITH, ...args.slice(1), ...files], { cwd: dir });
      expect([args, code, raw.length]).toEqual([args, 0, 0]);
      for (const [name, told] of media) expect(err).toContain(`logveil: ${name} is skipped (${told}); --binary=text masks it as text\n`);
      expect(err).toContain("3 skipped");
    }
    for (const [name, , bytes] of media) {
      expect(readFileSync(join(dir, name)).equals(bytes)).toBe(true);
      expect(existsSync(join(dir, "out", name))).toBe(false);
    }
    expect(logveil(["scrub", ...WITH], { input: png })).toMatchObject({ code: 0, raw: Buffer.alloc(0) });
  });

  test("--binary=text masks it as text", () => {
    const file = put("x.png", png);
    expect(logveil(["check", ...WITH, "--binary", "text", file]).code).toBe(1);
    expect(logveil(["scrub", ...WITH, "--in-place", "--binary=text", file]).code).toBe(0);
    expect(readFileSync(file).equals(Buffer.concat([png.subarray(0, 8), Buffer.from(log.replaceAll(SECRET, MASK))]))).toBe(true);
  });
});

describe("text that is not UTF-8", () => {
  test.each([
    ["with a mark", Buffer.from(`\ufeff${log}`, "utf16le")],
    ["without a mark", Buffer.from(log, "utf16le")],
    ["of the other order", Buffer.from(`\ufeff${log}`, "utf16le").swap16()],
  ])("UTF-16 %s is refused by name", (_, bytes) => {
    const file = put("x.log", bytes);
    const { code, err } = logveil(["scrub", ...WITH, "--in-place", file]);
    expect([code, err.split("\n")[0]]).toEqual([3, `logveil: cannot mask ${file} (UTF-16); convert it to UTF-8 first`]);
    expect(readFileSync(file).equals(bytes)).toBe(true);
  });
});

test("live text is not delayed: a prompt that a magic could begin with leaves after silence, other text at once", async () => {
  const child = startLogveil(["scrub", "--quiet", ...WITH]);
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  const until = async (text: string): Promise<void> => {
    const started = Date.now();
    const isThere = (): boolean => out === text;
    while (!isThere() && Date.now() - started < 20_000) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(out).toBe(text);
  };
  for (const piece of ["P", "K", " (y/n) ", "name "]) {
    child.stdin.write(piece);
    await until(out + piece);
  }
  child.stdin.end(`${SECRET}\n`);
  await until(`PK (y/n) name ${MASK}\n`);
  const lone = startLogveil(["scrub", "--quiet", ...WITH]);
  out = "";
  lone.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  lone.stdin.write("(");
  await until("(");
  lone.stdin.end("gdb) ");
  await until("(gdb) ");
});

test("one coding whose first bytes come one by one is decoded", async () => {
  const child = startLogveil(["scrub", "--quiet", ...WITH]);
  const pieces: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => pieces.push(chunk));
  const coded = gzipSync(log);
  child.stdin.write(coded.subarray(0, 1));
  await new Promise((resolve) => setTimeout(resolve, 1200));
  child.stdin.end(coded.subarray(1));
  expect(await new Promise((resolve) => child.on("close", resolve))).toBe(0);
  writeFileSync(join(folder, "out.gz"), Buffer.concat(pieces));
  expect(execFileSync("gzip", ["-dc", join(folder, "out.gz")]).toString()).toBe(log.replaceAll(SECRET, MASK));
});

test("a batch does what it can, lists what failed at the end, and says what it did", () => {
  const dir = newFolder();
  const names = ["a.log", "b.gz", "c.tar", "d.png", "e.log", "f.log"];
  for (const [name, bytes] of [
    ["a.log", log],
    ["b.gz", gzipSync(log).subarray(0, 40)],
    ["c.tar", tar],
    ["d.png", png],
    ["f.log", "nothing\n"],
  ] as const)
    writeFileSync(join(dir, name), bytes);
  mkdirSync(join(dir, "e.log"));
  const { code, err } = logveil(["scrub", ...WITH, "--in-place", ...names, "gone.log"], { cwd: dir });
  expect(err.split("\n")).toEqual([
    "logveil: d.png is skipped (png); --binary=text masks it as text",
    expect.stringMatching(/^logveil: b\.gz: .*damaged or cut off/),
    "logveil: cannot look into c.tar (tar); unpack it first",
    "logveil: e.log is a folder; name the files in it",
    expect.stringMatching(/gone\.log/),
    "logveil: 2 files, 468 bytes, 20 findings, 1 changed, 1 skipped, 1 not clean, 3 failed",
    "",
  ]);
  expect(code).toBe(3);
  expect(readFileSync(join(dir, "a.log"), "utf8")).toBe(log.replaceAll(SECRET, MASK));
});

test("exit codes: 2 where every file failed, 3 before 1, 1 where there were only findings", () => {
  const file = put("a.log", log);
  const container = put("a.tar", tar);
  expect(logveil(["check", ...WITH, "/nonexistent/a", "/nonexistent/b"]).code).toBe(2);
  expect(logveil(["check", ...WITH, file, "/nonexistent/b"]).code).toBe(3);
  expect(logveil(["check", ...WITH, file, container]).code).toBe(3);
  expect(logveil(["check", ...WITH, file]).code).toBe(1);
  expect(logveil(["scrub", ...WITH, "--fail-on-finding", file, container]).code).toBe(3);
  expect(logveil(["scrub", ...WITH, "--fail-on-finding", file]).code).toBe(1);
  expect(logveil(["scrub", ...WITH, container]).code).toBe(3);
  expect(logveil(["--help"]).out.replaceAll(/\s+/g, " ")).toContain("3 partly done, or not clean");
});

test("a run says what it did, unless it is to be quiet; -v says it of each file", () => {
  const dir = newFolder();
  writeFileSync(join(dir, "a.log"), log);
  writeFileSync(join(dir, "b.log"), "x".repeat(1_500_000));
  const run = (...args: string[]): string => logveil(["scrub", ...WITH, "--out", "out", ...args, "a.log", "b.log"], { cwd: dir }).err;
  expect(run()).toBe("logveil: 2 files, 1.5 MB, 20 findings, 1 changed\n");
  expect(run("--quiet")).toBe("");
  expect(run("-v")).toBe(
    "logveil: a.log: 460 bytes, 20 findings, changed\nlogveil: b.log: 1.5 MB, 0 findings, unchanged\nlogveil: 2 files, 1.5 MB, 20 findings, 1 changed\n",
  );
  expect(logveil(["scrub", ...WITH], { input: log }).err).toBe("logveil: stdin, 460 bytes, 20 findings\n");
  expect(logveil(["check", ...WITH], { input: "x\n" }).err).toBe("logveil: stdin, 2 bytes, 0 findings\n");
  const report = logveil(["scrub", ...WITH, "--report", "report.jsonl", "--in-place", "a.log"], { cwd: dir });
  expect(report.code).toBe(0);
  const entries = readFileSync(join(dir, "report.jsonl"), "utf8").trim().split("\n");
  expect(JSON.parse(entries.at(-1)!)).toMatchObject({ type: "summary", files: 1, changed: 1, skipped: 0, notClean: 0, failed: 0 });
});
