/** The writer: order, shared syncs, checkpoints, rotation, back-pressure, errors of the disk. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { openAudit } from "../../src/audit/audit.js";
import type { AppendHandle } from "../../src/audit/journal.js";
import type { AuditOptions } from "../../src/audit/options.js";
import type { AuditEntry } from "../../src/audit/records.js";
import { verifyAudit } from "../../src/audit/verify.js";
import { code, files, finding, findings, folder, linesOf, records } from "./support.js";

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
    openFile: async (path, flags): Promise<AppendHandle> => {
      const handle = await open(path, flags, 0o600);
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
      { ...finding(1), stream: "x".repeat(5000) },
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

  test("a full queue is no error: whoever adds to it waits for room, others do not, and each share has its turn", async () => {
    const dir = folder();
    const gate = { open: Promise.resolve(), release: (): void => {} };
    const audit = await openAudit({
      folder: dir,
      maxQueueBytes: 200_000,
      openFile: async (path, flags) => {
        const handle = await open(path, flags, 0o600);
        const datasync = async (): Promise<void> => {
          await gate.open;
          await handle.datasync();
        };
        return { write: (bytes, offset, length) => handle.write(bytes, offset, length), datasync, close: () => handle.close() };
      },
    });
    gate.open = new Promise((resolve) => (gate.release = resolve));
    const order: string[] = [];
    const append = (share: string, i: number): Promise<unknown> => audit.append(finding(i), share).then(() => order.push(share));
    // The first batch is under way; what comes now waits.
    const first = append("quiet", 0);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const noisy = Array.from({ length: 5000 }, (_, i) => append("noisy", i));
    expect(audit.hasRoom("noisy")).toBe(false);
    expect(audit.hasRoom("quiet")).toBe(true);
    const admitted = audit.room("noisy");
    const quiet = append("quiet", 1);
    let isQuietDone = false;
    void audit.settled("quiet").then(() => (isQuietDone = true));
    gate.release();
    await Promise.all([first, quiet, admitted]);
    expect(isQuietDone).toBe(true);
    // It did not wait for all of the other share.
    expect(order.filter((share) => share === "noisy").length).toBeLessThan(5000);
    await Promise.all(noisy);
    await audit.close();
    expect(await verifyAudit(dir)).toMatchObject({ ok: true });
    expect(records(dir).filter(({ type }) => type === "finding")).toHaveLength(5002);
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

  test.each([
    ["write", 6],
    ["write", 7],
    ["datasync", 4],
  ] as const)(
    "%s number %i fails for a while: it opens again by itself, all that waited is on record once, and a gap says what happened",
    async (call, from) => {
      const dir = folder();
      const told: string[] = [];
      const state = { isFull: false };
      const { openFile } = faulty((now, calls) => {
        if (now === call && calls === from) state.isFull = true;
        return state.isFull && now === call ? "ENOSPC" : undefined;
      });
      const audit = await openAudit({
        folder: dir,
        openFile,
        retryMs: 20,
        onFailure: ({ message }) => told.push(message),
        onRecovery: () => told.push("recovered"),
      });
      const results: unknown[] = [];
      // In shares, some of which wait while others are written.
      for (let i = 0; i < 30; i += 3) results.push(...(await Promise.all([0, 1, 2].map((each) => code(audit.append(finding(i + each), `job-${each}`))))));
      expect(results).toContain("no error");
      expect(results).toContain("LV_AUDIT_WRITE");
      expect(audit.failure?.error.message).toMatch(/audit-.*\.jsonl: the audit cannot be written: no space left on the disk \(ENOSPC\)/);
      expect(await code(audit.settled("job-1"))).toBe("LV_AUDIT_WRITE");
      expect(await code(audit.room("job-1"))).toBe("LV_AUDIT_WRITE");
      await new Promise((resolve) => setTimeout(resolve, 100));
      state.isFull = false;
      await vi.waitFor(() => expect(audit.failure).toBeUndefined(), { timeout: 10_000, interval: 10 });
      await audit.append(finding(30));
      await audit.close();
      expect(told).toEqual([expect.stringContaining("(ENOSPC)"), "recovered"]);
      expect(await verifyAudit(dir)).toMatchObject({ ok: true, closed: true, recoveries: 0, gaps: [{ code: "ENOSPC" }] });
      const lines = records(dir)
        .filter(({ type }) => type === "finding")
        .map(({ line }) => line as number);
      expect(lines.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 31 }, (_, i) => i + 1));
      const gap = records(dir).find(({ type }) => type === "gap")!;
      expect(Date.parse(gap["until"] as string) - Date.parse(gap["from"] as string)).toBeGreaterThanOrEqual(80);
    },
  );

  test("a file that could not be begun leaves nothing behind, however often it is tried", async () => {
    const dir = folder();
    let isFull = false;
    const audit = await openAudit({
      folder: dir,
      maxFileBytes: 2000,
      retryMs: 10,
      openFile: async (path, flags) => {
        const handle = await open(path, flags, 0o600);
        const datasync = async (): Promise<void> => {
          if (isFull) throw Object.assign(new Error("full"), { code: "ENOSPC" });
          await handle.datasync();
        };
        return { write: (bytes, offset, length) => handle.write(bytes, offset, length), datasync, close: () => handle.close() };
      },
    });
    while (audit.stats.file === files(dir)[0] && records(dir).length < 6) await audit.append(finding(records(dir).length));
    isFull = true;
    expect(await code(audit.append(finding(50)))).toBe("LV_AUDIT_WRITE");
    await new Promise((resolve) => setTimeout(resolve, 100));
    isFull = false;
    await vi.waitFor(() => expect(audit.failure).toBeUndefined(), { timeout: 10_000, interval: 10 });
    await audit.close();
    expect(files(dir).map((name) => name.slice(-12, -6))).toEqual(files(dir).map((_, i) => String(i + 1).padStart(6, "0")));
    expect(await verifyAudit(dir)).toMatchObject({ ok: true, closed: true, gaps: [{}] });
    expect(records(dir).filter(({ line }) => line === 51)).toHaveLength(1);
  });

  test("an audit that is closed while it cannot be written says so, and gives the lock back", async () => {
    const dir = folder();
    const { openFile } = faulty((call, calls) => (call === "write" && calls >= 6 ? "ENOSPC" : undefined));
    const audit = await openAudit({ folder: dir, openFile });
    const results: unknown[] = [];
    for (let i = 0; i < 5; i++) results.push(await code(audit.append(finding(i))));
    expect(results).toContain("LV_AUDIT_WRITE");
    expect(await code(audit.close())).toBe("LV_AUDIT_WRITE");
    expect(existsSync(join(dir, "audit.lock"))).toBe(false);
  });

  test("an audit that cannot write its first record does not open, and leaves no lock", async () => {
    const dir = folder();
    expect(await code(openAudit({ folder: dir, openFile: faulty(() => "ENOSPC").openFile }))).toBe("LV_AUDIT_WRITE");
    expect(existsSync(join(dir, "audit.lock"))).toBe(false);
    await (await openAudit({ folder: dir })).close();
    expect((await verifyAudit(dir)).ok).toBe(true);
  });
});
