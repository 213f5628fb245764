/** `logveil audit verify` as a user meets it: the built program, its answers and exit codes. */
import { spawnSync } from "node:child_process";
import { mkdirSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { openAudit } from "../../src/audit/audit.js";
import { copyOf, files, finding, folder, linesOf, written } from "../audit/support.js";

const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

function verify(...args: string[]): { out: string; err: string; code: number | null } {
  const { stdout, stderr, status } = spawnSync(process.execPath, [main, "audit", "verify", ...args], { encoding: "utf8" });
  return { out: stdout, err: stderr, code: status };
}

describe("audit verify", () => {
  let dir = "";
  let names: string[] = [];
  beforeAll(async () => {
    dir = await written(40, 20);
    names = files(dir);
  });

  test("of a good audit: what is signed, what to keep elsewhere, and that pins hold", () => {
    const { out, code, err } = verify(dir);
    expect([code, err]).toEqual([0, ""]);
    expect(out).toMatch(/^ok {6}\d+ records, 0 to \d+, in \d files\n/);
    expect(out).toContain("the public key is the one in the folder itself");
    expect(out).toContain("closed in order");
    const [, seq, hash] = /--expect-seq (\d+) --expect-hash ([0-9a-f]{64})/.exec(out)!;
    const pinned = verify(dir, "--public-key", join(dir, "audit.key.pub"), "--expect-seq", seq!, "--expect-hash", hash!);
    expect(pinned.code).toBe(0);
    expect(pinned.out).not.toContain("caution");
    expect(verify(dir, "--expect-seq", String(Number(seq) + 1))).toMatchObject({
      code: 1,
      out: expect.stringContaining(`record ${Number(seq) + 1} was cut off`),
    });
    expect(JSON.parse(verify(dir, "--json").out)).toMatchObject({ ok: true, unsigned: 0, checkpoint: { seq: Number(seq), hash } });
  });

  test("of a damaged one: file, line, record and why; exit code 1", () => {
    const copy = copyOf(dir);
    const lines = linesOf(copy, names[1]!);
    const { seq } = JSON.parse(lines[4]!) as { seq: number };
    writeFileSync(join(copy, names[1]!), lines.map((line, i) => `${i === 4 ? line.replace("NPM_TOKEN", "NPM_TOKEM") : line}\n`).join(""));
    const { out, code } = verify(copy);
    expect(code).toBe(1);
    expect(out).toContain(`NOT OK  ${names[1]}:5: record ${seq} was changed: its hash is not that of its bytes\n`);
    expect(out).not.toContain("TOKEM");
    expect(out).not.toContain("keep ");
    expect(JSON.parse(verify(copy, "--json").out)).toMatchObject({ ok: false, problem: { kind: "changed", file: names[1], line: 5, seq } });
    expect(verify(join(copy, names[1]!)).code).toBe(1);
    expect(verify(join(copy, names[0]!))).toMatchObject({ code: 0 });
  });

  test("the beginning may be elsewhere, when that is said", () => {
    const copy = copyOf(dir);
    unlinkSync(join(copy, names[0]!));
    expect(verify(copy)).toMatchObject({ code: 1, out: expect.stringContaining("missing before this line") });
    expect(verify(copy, "--partial")).toMatchObject({ code: 0, out: expect.stringContaining("what stood before it was not looked at") });
  });

  test("without a public key it says that nothing was checked by one", () => {
    const copy = copyOf(dir);
    unlinkSync(join(copy, "audit.key.pub"));
    expect(verify(copy)).toMatchObject({ code: 0, out: expect.stringContaining("NOT CHECKED") });
  });

  test("a missing audit.head is told", () => {
    const copy = copyOf(dir);
    unlinkSync(join(copy, "audit.head"));
    expect(verify(copy)).toMatchObject({ code: 0, out: expect.stringContaining("audit.head is missing") });
    expect(verify(join(copy, names[0]!)).out).not.toContain("audit.head");
  });

  test("a log is one that the audit tells of, or it is not", async () => {
    const open = folder();
    const audit = await openAudit({ folder: open });
    const ledger = audit.ledger({ job: "42", stream: "make" });
    const log = join(open, "make.log");
    writeFileSync(log, "a masked log\n");
    ledger.output(Buffer.from("a masked log\n"));
    await audit.append(ledger.summary());
    expect(verify("--log", log, open)).toMatchObject({
      code: 0,
      out: expect.stringMatching(/\nlog {5}of 13 bytes: job 42, stream make, as it left by \S+Z \(record \d+, .*, only chained\)\n/),
    });
    await audit.checkpoint();
    expect(verify("--log", log, open).out).toMatch(/stream make, as it left by \S+Z \(record \d+, [^,]*\)\n/);
    await audit.close();
    writeFileSync(log, "a maskt log!\n");
    expect(verify("--log", log, open)).toMatchObject({ code: 1, out: expect.stringContaining("NOT OK  the log (13 bytes) is none of which a summary tells") });
    expect(spawnSync(process.execPath, [main, "audit", "verify", "--log", "-", open], { input: "a masked log\n" }).status).toBe(0);
    expect(verify("--log", "/nowhere", open)).toMatchObject({
      code: 2,
      err: expect.stringContaining("--log: cannot read /nowhere: no such file or folder (ENOENT)"),
    });
  });

  test("tells how many records are only chained", async () => {
    const open = folder();
    const audit = await openAudit({ folder: open });
    await audit.append([finding(1), finding(2)]);
    expect(verify(open).out).toMatch(/2 records behind it only chained[^]*not closed[^]*caution records cut off behind the last checkpoint leave no trace/);
    await audit.close();
  });

  test.each([
    [[], "expected one audit file or folder"],
    [["a", "b"], "expected one audit file or folder"],
    [["/nowhere"], "cannot be read: no such file or folder (ENOENT)"],
    [["--expect-seq", "x", "."], "--expect-seq"],
    [["--expect-hash", "ab", "."], "--expect-hash"],
    [["--public-key", "/nowhere", "."], "/nowhere: the audit key cannot be read"],
    [["--public-key", main, "."], "expected an Ed25519 key in PEM"],
  ])("wrong use %j: exit code 2", (args, message) => {
    expect(verify(...args)).toMatchObject({ code: 2, out: "", err: expect.stringContaining(message) });
  });

  test("a folder without an audit, another verb", () => {
    const empty = folder();
    mkdirSync(empty);
    expect(verify(empty)).toMatchObject({ code: 2, err: expect.stringContaining("no audit files") });
    expect(spawnSync(process.execPath, [main, "audit", "check"], { encoding: "utf8" })).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("expected verify"),
    });
    expect(spawnSync(process.execPath, [main, "man"], { encoding: "utf8" }).stdout).toContain("logveil audit verify");
  });
});
