/** The writer: order, shared syncs, rotation, crashes, errors of the disk, locks, keys, and that records hold nothing but what is listed. */
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync, unlinkSync, utimesSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Audit, type AuditOptions, openAudit } from "../../src/audit/audit.js";
import type { AppendHandle } from "../../src/audit/journal.js";
import { Ledger } from "../../src/audit/ledger.js";
import type { AuditEntry } from "../../src/audit/records.js";
import { verifyAudit } from "../../src/audit/verify.js";
import { nativeBlake3, portableBlake3 } from "../../src/blake3.js";
import type { Finding } from "../../src/types.js";
import { copyOf, files, finding, findings, folder, linesOf, records, written } from "./support.js";

const code = async (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => "no error",
    (error: { code: string }) => error.code,
  );

/** A file handle that counts, and fails where it is told to. */
function faulty(fail: (call: "write" | "datasync", count: number) => string | undefined): {
  openFile: NonNullable<AuditOptions["openFile"]>;
  calls: Record<"write" | "datasync", number>;
} {
  const calls = { write: 0, datasync: 0 };
  const attempt = (call: "write" | "datasync"): void => {
    const error = fail(call, ++calls[call]);
    if (error !== undefined) throw Object.assign(new Error(error), { code: error });
  };
  return {
    calls,
    openFile: async (path): Promise<AppendHandle> => {
      const handle = await open(path, "ax", 0o600);
      return {
        async write(bytes, offset, length) {
          // First a part of it, as the system may.
          attempt("write");
          return handle.write(bytes, offset, offset === 0 ? Math.ceil(length / 2) : length);
        },
        async datasync() {
          attempt("datasync");
          await handle.datasync();
        },
        close: () => handle.close(),
      };
    },
  };
}

describe("writing", () => {
  test("concurrent appends keep their order and share syncs", async () => {
    const dir = folder();
    const audit = await openAudit({ folder: dir, checkpointRecords: 100 });
    const { syncs } = audit.stats;
    const resolved: number[] = [];
    await Promise.all(Array.from({ length: 2000 }, (_, i) => audit.append(finding(i)).then(({ seq }) => resolved.push(seq))));
    expect(audit.stats.syncs - syncs).toBeLessThan(20);
    expect(audit.stats.queuedBytes).toBe(0);
    expect(resolved).toEqual(resolved.toSorted((a, b) => a - b));
    expect(
      records(dir)
        .filter(({ type }) => type === "finding")
        .map(({ line }) => line),
    ).toEqual(Array.from({ length: 2000 }, (_, i) => i + 1));
    await audit.close();
    expect(await verifyAudit(dir)).toMatchObject({ ok: true, unsigned: 0 });
  });

  test("an append has resolved only when its bytes are synced", async () => {
    const dir = folder();
    let synced = 0;
    const { openFile } = faulty((call) => void (call === "datasync" && (synced = files(dir).reduce((sum, name) => sum + statSync(join(dir, name)).size, 0))));
    const audit = await openAudit({ folder: dir, openFile });
    for (let i = 0; i < 20; i++) {
      const { hash } = await audit.append(finding(i));
      const [name] = files(dir) as [string];
      expect(readFileSync(join(dir, name)).subarray(0, synced).includes(hash)).toBe(true);
    }
    await audit.close();
  });

  test("checkpoints come after so many records and so long", async () => {
    const dir = folder();
    const audit = await openAudit({ folder: dir, checkpointRecords: 10, checkpointMs: 30 });
    for (let i = 0; i < 25; i++) await audit.append(finding(i));
    await new Promise((resolve) => setTimeout(resolve, 120));
    await audit.drained();
    const types = records(dir).map(({ type }) => type);
    expect(types.filter((type) => type === "checkpoint").length).toBeGreaterThanOrEqual(4);
    expect(types.at(-1)).toBe("checkpoint");
    const quiet = types.length;
    await new Promise((resolve) => setTimeout(resolve, 80));
    expect(records(dir)).toHaveLength(quiet);
    expect(readFileSync(join(dir, "audit.head"), "utf8").trimEnd()).toBe(linesOf(dir, files(dir)[0]!).at(-1));
    const { seq, hash } = await audit.checkpoint();
    expect(JSON.parse(readFileSync(join(dir, "audit.head"), "utf8"))).toMatchObject({ seq, hash });
    await audit.close();
  });

  test("files are rotated by size and age; modes are narrow", async () => {
    const dir = folder();
    let now = Date.parse("2026-11-21T00:00:00Z");
    const audit = await openAudit({ folder: dir, maxFileBytes: 4000, maxFileMs: 60_000, now: () => now });
    await audit.append(findings(12));
    await audit.append(finding(0));
    expect(files(dir)).toHaveLength(2);
    now += 60_000;
    await audit.append(finding(1));
    expect(files(dir)).toHaveLength(3);
    await audit.close();
    expect(files(dir)[2]).toBe("audit-20261121T000100000Z-000003.jsonl");
    expect(statSync(dir).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(dir)) expect(statSync(join(dir, name)).mode & 0o777, name).toBe(name.endsWith(".pub") ? 0o644 : 0o600);
    expect(existsSync(join(dir, "audit.lock"))).toBe(false);
    expect(await verifyAudit(dir)).toMatchObject({ ok: true, files: 3, unsigned: 0 });
  });

  test("what cannot be recorded is refused whole, and the chain goes on", async () => {
    const dir = folder();
    const audit = await openAudit({ folder: dir });
    const bad: unknown[] = [
      { ...finding(1), line: -1 },
      { ...finding(1), kind: "a\nb" },
      { ...finding(1), stream: "x".repeat(2000) },
      { type: "start" },
      { type: "job", job: "1" },
      { type: "warning", code: "not a code" },
    ];
    for (const entry of bad) expect(await code(audit.append([finding(0), entry as AuditEntry]))).toBe("LV_USAGE");
    await audit.append({ type: "job", job: "1", event: "begin" });
    await audit.append({ type: "warning", code: "LV_OVER_MASK", secret: "A" });
    await audit.close();
    expect(records(dir).map(({ type }) => type)).toEqual(["open", "start", "checkpoint", "job", "warning", "stop", "checkpoint"]);
    expect(await code(audit.append(finding(1)))).toBe("LV_CLOSED");
    expect((await verifyAudit(dir)).ok).toBe(true);
  });

  test("the queue is bounded", async () => {
    const dir = folder();
    const gate = { open: Promise.resolve(), release: (): void => {} };
    const audit = await openAudit({
      folder: dir,
      maxQueueBytes: 10_000,
      openFile: async (path) => {
        const handle = await open(path, "ax", 0o600);
        const datasync = async (): Promise<void> => {
          await gate.open;
          await handle.datasync();
        };
        return { write: (bytes, offset, length) => handle.write(bytes, offset, length), datasync, close: () => handle.close() };
      },
    });
    gate.open = new Promise((resolve) => (gate.release = resolve));
    const waiting = Array.from({ length: 40 }, (_, i) => code(audit.append(finding(i))));
    expect(audit.stats.queuedBytes).toBeLessThanOrEqual(10_000);
    gate.release();
    const told = await Promise.all(waiting);
    expect(told.indexOf("LV_AUDIT_FULL")).toBeGreaterThan(20);
    expect(new Set(told.slice(told.indexOf("LV_AUDIT_FULL")))).toEqual(new Set(["LV_AUDIT_FULL"]));
    await audit.drained();
    expect(await code(audit.append(finding(99)))).toBe("no error");
    await audit.close();
    expect(await verifyAudit(dir)).toMatchObject({ ok: true });
    expect(records(dir).filter(({ type }) => type === "finding")).toHaveLength(told.indexOf("LV_AUDIT_FULL") + 1);
  });
});

describe("the disk fails", () => {
  test.each([
    ["write", 6, "ENOSPC"],
    ["write", 7, "EIO"],
    ["datasync", 3, "EIO"],
  ] as const)("%s number %i with %s: all that wait are rejected, and all that comes", async (call, count, errno) => {
    const dir = folder();
    const failures: string[] = [];
    const { openFile } = faulty((now, calls) => (now === call && calls >= count ? errno : undefined));
    const audit = await openAudit({ folder: dir, openFile, onFailure: (error) => failures.push(error.message) });
    const results: unknown[] = [];
    for (let i = 0; i < 5; i++) results.push(...(await Promise.all([code(audit.append(finding(i))), code(audit.append(finding(i)))])));
    const good = results.indexOf("LV_AUDIT_WRITE");
    expect(good).toBeGreaterThanOrEqual(0);
    expect(new Set(results.slice(good))).toEqual(new Set(["LV_AUDIT_WRITE"]));
    expect(failures).toEqual([expect.stringContaining(`(${errno})`)]);
    expect(await code(audit.checkpoint())).toBe("LV_AUDIT_WRITE");
    expect(await code(audit.close())).toBe("LV_AUDIT_WRITE");
    // Once there is room again, it goes on; what was acknowledged is there.
    const again = await openAudit({ folder: dir });
    await again.append(finding(9));
    await again.close();
    expect(await verifyAudit(dir)).toMatchObject({ ok: true, closed: true });
    expect(records(dir).filter(({ type }) => type === "finding").length).toBeGreaterThanOrEqual(good + 1);
  });

  test("an audit that cannot write its first record does not open, and leaves no lock", async () => {
    const dir = folder();
    expect(await code(openAudit({ folder: dir, openFile: faulty(() => "ENOSPC").openFile }))).toBe("LV_AUDIT_WRITE");
    expect(existsSync(join(dir, "audit.lock"))).toBe(false);
    await (await openAudit({ folder: dir })).close();
    expect((await verifyAudit(dir)).ok).toBe(true);
  });
});

describe("crashes", () => {
  test("a tail torn at any byte behind the last checkpoint is put aside, and the chain goes on", async () => {
    const dir = folder();
    const audit = await openAudit({ folder: dir });
    await audit.append(findings(2));
    const crashed = copyOf(dir);
    await audit.close();
    unlinkSync(join(crashed, "audit.lock"));
    const [name] = files(crashed) as [string];
    const bytes = readFileSync(join(crashed, name));
    const signed = bytes.lastIndexOf('"checkpoint"');
    const from = bytes.indexOf(10, signed) + 1;
    for (let at = from; at <= bytes.length; at += at > bytes.length - 30 || at < from + 10 ? 1 : 13) {
      const copy = copyOf(crashed);
      truncateSync(join(copy, name), at);
      const next = await openAudit({ folder: copy });
      await next.append(finding(5));
      await next.close();
      const torn = at - (bytes.lastIndexOf(10, at - 1) + 1);
      expect(await verifyAudit(copy), `at ${at}`).toMatchObject({ ok: true, files: 2, recoveries: torn > 0 ? 1 : 0 });
      const recovered = records(copy).find(({ type }) => type === "recovered");
      if (torn === 0) expect(recovered).toBeUndefined();
      else {
        expect(recovered).toMatchObject({ file: name, bytes: torn, side: `${name}.torn` });
        const side = readFileSync(join(copy, `${name}.torn`));
        expect(side.equals(bytes.subarray(at - torn, at))).toBe(true);
        expect(recovered!["blake3"]).toBe(portableBlake3.hashHex(side));
      }
    }
  });

  test("a file torn before its first record is whole is put aside as a whole", async () => {
    const dir = await written(5);
    const before = records(dir).length;
    for (const [i, bytes] of [Buffer.alloc(0), Buffer.from('{"seq":'), Buffer.alloc(5000)].entries()) {
      writeFileSync(join(dir, `audit-20300101T00000000${i}Z-000${i + 1}00.jsonl`), bytes);
      await (await openAudit({ folder: dir })).close();
      expect(await verifyAudit(dir)).toMatchObject({ ok: true, recoveries: i + 1, files: i + 2 });
    }
    expect(records(dir)).toHaveLength(before + 3 * 6 - 3 + 2 + 1);
  });

  test("garbage behind the last record, as a lost page makes it, too", async () => {
    const dir = await written(5);
    const [name] = files(dir) as [string];
    writeFileSync(join(dir, name), Buffer.concat([readFileSync(join(dir, name)), Buffer.alloc(4096), Buffer.from("\nabc\n")]));
    expect((await verifyAudit(dir)).ok).toBe(false);
    await (await openAudit({ folder: dir })).close();
    expect(await verifyAudit(dir)).toMatchObject({ ok: true, recoveries: 1 });
  });

  test("what no crash does is not gone over: damage before a checkpoint, too much of it, a missing file", async () => {
    const dir = await written(25);
    const [name] = files(dir) as [string];
    const bytes = readFileSync(join(dir, name));
    for (const damaged of [
      bytes.subarray(0, -1),
      bytes.subarray(0, 3000),
      Buffer.concat([bytes.subarray(0, 2000), Buffer.from("x"), bytes.subarray(2001)]),
      Buffer.alloc(0),
    ]) {
      const copy = copyOf(dir);
      writeFileSync(join(copy, name), damaged);
      expect(await code(openAudit({ folder: copy }))).toBe("LV_AUDIT_BROKEN");
      expect(readFileSync(join(copy, name)).equals(damaged)).toBe(true);
      expect(existsSync(join(copy, "audit.lock"))).toBe(false);
    }
    writeFileSync(join(dir, name), Buffer.concat([bytes, Buffer.alloc(10 << 20)]));
    expect(await code(openAudit({ folder: dir }))).toBe("LV_AUDIT_BROKEN");
    unlinkSync(join(dir, name));
    expect(await code(openAudit({ folder: dir }))).toBe("LV_AUDIT_BROKEN");
  });

  test("killed while it writes, again and again: what was acknowledged is there", async () => {
    const dir = folder();
    const source = new URL("../../dist/audit/audit.js", import.meta.url).href;
    const program = `import { openAudit } from ${JSON.stringify(source)};
      const audit = await openAudit({ folder: ${JSON.stringify(dir)}, checkpointRecords: 20, maxFileBytes: 50000 });
      for (;;) { const { seq, hash } = await audit.append(Array.from({ length: 5 }, (_, i) => (${JSON.stringify(finding(1))}))); process.stdout.write(seq + " " + hash + "\\n"); }`;
    for (let round = 0; round < 4; round++) {
      const child = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: ["ignore", "pipe", "inherit"] });
      let out = "";
      child.stdout.on("data", (text: Buffer) => (out += text.toString()));
      await new Promise((resolve) => {
        child.stdout.once("data", () => setTimeout(() => child.kill("SIGKILL"), 40 + 37 * round));
        child.once("close", resolve);
      });
      const [seq, hash] = out
        .trimEnd()
        .split("\n")
        .filter((line) => /^\d+ [0-9a-f]{64}$/.test(line))
        .at(-1)!
        .split(" ") as [string, string];
      const audit = await openAudit({ folder: dir });
      await audit.close();
      expect(await verifyAudit(dir, { expectSeq: Number(seq), expectHash: hash })).toMatchObject({ ok: true });
    }
  });
});

describe("one writer per folder", () => {
  test("a second one is refused; the lock of one that is gone is taken over", async () => {
    const dir = folder();
    const audit = await openAudit({ folder: dir });
    expect(await code(openAudit({ folder: dir }))).toBe("LV_AUDIT_LOCKED");
    await audit.close();
    const lock = (text: object | string): void => writeFileSync(join(dir, "audit.lock"), typeof text === "string" ? text : JSON.stringify(text));
    const probe = folder();
    const held = await openAudit({ folder: probe });
    const own = JSON.parse(readFileSync(join(probe, "audit.lock"), "utf8")) as { pid: number; place: string; token: string; started: string };
    await held.close();
    const reopened = async (): Promise<unknown> => code(openAudit({ folder: dir }).then((each) => each.close()));
    // The parent lives.
    lock({ ...own, pid: process.ppid, started: "" });
    expect(await reopened()).toBe("LV_AUDIT_LOCKED");
    // A pid that nobody has; ours, of an earlier process; one whose number was given anew; half a lock.
    lock({ ...own, pid: 2 ** 22 + 7 });
    expect(await reopened()).toBe("no error");
    if (own.started !== "") {
      lock({ ...own, started: "1", token: "x" });
      expect(await reopened()).toBe("no error");
      lock({ ...own, pid: process.ppid, started: "1" });
      expect(await reopened()).toBe("no error");
    }
    lock("{");
    expect(await reopened()).toBe("no error");
    // Someone died while taking over from one that was gone; someone is taking over right now.
    const gone = { ...own, pid: 2 ** 22 + 7 };
    lock(gone);
    writeFileSync(join(dir, `audit.lock.after-${gone.token}`), JSON.stringify({ ...gone, token: "00000000000000aa" }));
    expect(await reopened()).toBe("no error");
    lock(gone);
    writeFileSync(join(dir, `audit.lock.after-${gone.token}`), JSON.stringify({ ...own, pid: process.ppid, started: "", token: "00000000000000aa" }));
    expect(await reopened()).toBe("LV_AUDIT_LOCKED");
    unlinkSync(join(dir, `audit.lock.after-${gone.token}`));
    // Of another host or container: by its age.
    lock({ ...own, place: "elsewhere" });
    expect(await reopened()).toBe("LV_AUDIT_LOCKED");
    utimesSync(join(dir, "audit.lock"), Date.now() / 1000 - 60, Date.now() / 1000 - 60);
    expect(await reopened()).toBe("no error");
    expect((await verifyAudit(dir)).ok).toBe(true);
    expect(readdirSync(dir).filter((name) => name.startsWith("audit.lock"))).toEqual([]);
  });

  test("of many that start at once one wins", async () => {
    const dir = folder();
    mkdirSync(dir, { mode: 0o700 });
    writeFileSync(join(dir, "audit.lock"), "{");
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => openAudit({ folder: dir })));
    const won = results.filter((result): result is PromiseFulfilledResult<Audit> => result.status === "fulfilled");
    expect(won).toHaveLength(1);
    await won[0]!.value.close();
    expect((await verifyAudit(dir)).ok).toBe(true);
  });
});

describe("keys", () => {
  test("made narrow, used again, refused where others can read them or where they are no keys", async () => {
    const dir = folder();
    const keyFile = join(dir, "..", "own.pem");
    const start = async (): Promise<unknown> => code(openAudit({ folder: dir, keyFile }).then((audit) => audit.close()));
    expect(await start()).toBe("no error");
    const pem = readFileSync(keyFile, "utf8");
    expect(pem).toMatch(/^-----BEGIN PRIVATE KEY-----/);
    expect(statSync(keyFile).mode & 0o777).toBe(0o600);
    unlinkSync(`${keyFile}.pub`);
    expect(await start()).toBe("no error");
    expect(readFileSync(keyFile, "utf8")).toBe(pem);
    expect(await verifyAudit(dir, { publicKeys: [`${keyFile}.pub`] })).toMatchObject({ ok: true, key: "given", files: 2 });
    expect(await verifyAudit(dir)).toMatchObject({ ok: true, key: "none", checkpoint: { seq: expect.any(Number) } });
    for (const mode of [0o640, 0o604, 0o644, 0o660]) {
      chmodSync(keyFile, mode);
      expect(await start()).toBe("LV_AUDIT_KEY");
    }
    chmodSync(keyFile, 0o600);
    for (const text of ["", "no key", pem.replace(/^MC.*$/m, "AAAA")]) {
      writeFileSync(keyFile, text);
      expect(await start()).toBe("LV_AUDIT_KEY");
    }
  });

  test("a folder that others may write is refused", async () => {
    const dir = folder();
    mkdirSync(dir);
    chmodSync(dir, 0o770);
    expect(await code(openAudit({ folder: dir }))).toBe("LV_IO");
  });
});

describe("what is recorded", () => {
  test("nothing but listed fields, whatever an object carries", async () => {
    const dir = folder();
    const audit = await openAudit({ folder: dir });
    const carrying = {
      text: "hunter2",
      match: "hunter2",
      value: "hunter2",
      message: "hunter2",
      hash: "hunter2",
      prev: "hunter2",
      sig: "hunter2",
      seq: "hunter2",
      time: "hunter2",
    };
    const ledger = audit.ledger({ job: "j", stream: "s" });
    ledger.output(Buffer.from("hunter2"));
    await audit.append([
      { ...finding(0), ...carrying },
      { type: "job", job: "j", event: "end", ...carrying },
      { ...ledger.summary(), ...carrying },
      { type: "warning", code: "LV_OVER_MASK", ...carrying },
    ] as AuditEntry[]);
    await audit.close();
    expect(readFileSync(join(dir, files(dir)[0]!), "utf8")).not.toContain("hunter2");
    // A field that joins Finding must be looked at before it may be recorded.
    const known: Record<keyof Finding, true> = {
      kind: true,
      secret: true,
      rule: true,
      confidence: true,
      variant: true,
      fingerprint: true,
      stream: true,
      line: true,
      offset: true,
      length: true,
    };
    expect(Object.keys(known)).toHaveLength(10);
  });

  test("the forms of records", async () => {
    const dir = folder();
    const audit = await openAudit({ folder: dir, policy: "ab12", now: () => Date.parse("2026-11-21T13:47:00.123Z") });
    await audit.append({ ...finding(2), secret: "aws-key", rule: "aws-key", confidence: "high" });
    await audit.append({ ...finding(3), policy: "cd34" });
    await audit.close();
    const [opened, start, checkpoint, ruled, plain] = records(dir);
    const time = "2026-11-21T13:47:00.123Z";
    expect(opened).toEqual({
      seq: 0,
      time,
      type: "open",
      format: 1,
      file: files(dir)[0],
      key: expect.stringMatching(/^[0-9a-f]{16}$/),
      prev: "0".repeat(64),
      hash: expect.any(String),
    });
    expect(start).toMatchObject({ seq: 1, type: "start", policy: "ab12", prev: opened!["hash"] });
    expect(checkpoint).toMatchObject({ seq: 2, type: "checkpoint", file: files(dir)[0], key: opened!["key"], sig: expect.stringMatching(/^.{86}==$/) });
    expect(ruled).toMatchObject({
      seq: 3,
      rule: "aws-key",
      confidence: "high",
      policy: "ab12",
      job: "job-2",
      line: 3,
      offset: 200,
      length: 40,
      kind: "masked",
    });
    expect(plain).toMatchObject({ policy: "cd34" });
    expect(Object.keys(plain!)).not.toContain("rule");
  });

  test("a ledger's digest does not depend on the pieces, and counts", () => {
    const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31) & 255));
    for (const blake3 of [portableBlake3, nativeBlake3() ?? portableBlake3])
      for (const size of [1 << 20, 65_536, 65_537, 4096, 777]) {
        const ledger = new Ledger({ job: "j", stream: "s", blake3 });
        ledger.input(Buffer.alloc(5));
        for (let at = 0; at < bytes.length; at += size) ledger.output(Buffer.from(bytes.subarray(at, at + size)));
        ledger.finding({ ...finding(0), secret: "__proto__" });
        ledger.finding({ ...finding(1), kind: "exposed", secret: "jwt", rule: "jwt" });
        ledger.finding(finding(2));
        const summary = ledger.summary();
        expect(summary).toMatchObject({
          inputBytes: 5,
          outputBytes: bytes.length,
          outputBlake3: portableBlake3.hashHex(bytes),
          kinds: { masked: 2, exposed: 1 },
          rules: { jwt: 1 },
        });
        expect(Object.entries(summary.secrets)).toEqual([
          ["__proto__", 1],
          ["NPM_TOKEN", 1],
        ]);
      }
    const many = new Ledger({ stream: "s" });
    for (let i = 0; i < 1500; i++) many.finding({ ...finding(0), secret: `S${i}` });
    many.finding({ ...finding(0), secret: "S1499" });
    const summary = many.summary();
    expect([Object.keys(summary.secrets).length, summary.secrets["S1499"], summary.others]).toEqual([1000, 2, 500]);
  });
});
