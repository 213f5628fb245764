/** Old files are removed whole and oldest first, a signed record says so before, and what is left verifies; what others remove does not. */
import { copyFileSync, existsSync, readdirSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { type Audit, openAudit } from "../../src/audit/audit.js";
import type { AuditOptions } from "../../src/audit/options.js";
import { verifyAudit } from "../../src/audit/verify.js";
import { copyOf, files, finding, folder, records } from "./support.js";

const sizeOf = (dir: string): number =>
  readdirSync(dir)
    .filter((name) => name.includes(".jsonl"))
    .reduce((sum, name) => sum + statSync(join(dir, name)).size, 0);

/** Appends findings one by one until pruning has caught up with them. */
async function appended(audit: Audit, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await audit.append(finding(i));
}

describe("by size", () => {
  test("all together stay below it, the one that is written stays, and what is left verifies at any time", async () => {
    const dir = folder();
    const pruned: number[] = [];
    const audit = await openAudit({ folder: dir, maxBytes: 40_000, onPruned: (count) => pruned.push(count) });
    for (let round = 0; round < 12; round++) {
      await appended(audit, 40);
      await vi.waitFor(() => expect(sizeOf(dir)).toBeLessThan(40_000 + 10_000 + 1000), { timeout: 10_000, interval: 5 });
      if (round % 4 === 3) expect(await verifyAudit(dir)).toMatchObject({ ok: true });
    }
    await audit.close();
    const result = await verifyAudit(dir, { publicKeys: [join(dir, "audit.key.pub")] });
    expect(result).toMatchObject({ ok: true, closed: true, unsigned: 0 });
    expect(result.first!.seq).toBeGreaterThan(100);
    expect(result.prunedBy).toBeGreaterThan(result.first!.seq);
    expect(pruned.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(5);
    expect(sizeOf(dir)).toBeLessThan(40_000);
    // And goes on.
    const again = await openAudit({ folder: dir, maxBytes: 40_000 });
    await appended(again, 100);
    await again.close();
    expect(await verifyAudit(dir)).toMatchObject({ ok: true });
  });

  test("the torn tail of a file goes with it", async () => {
    const dir = folder();
    await (await openAudit({ folder: dir })).close();
    const [name] = files(dir) as [string];
    writeFileSync(join(dir, `${name}.torn`), Buffer.alloc(30_000));
    const audit = await openAudit({ folder: dir, maxBytes: 20_000 });
    await vi.waitFor(() => expect(existsSync(join(dir, `${name}.torn`))).toBe(false), { timeout: 10_000, interval: 5 });
    await audit.close();
    expect(existsSync(join(dir, name))).toBe(false);
    expect(await verifyAudit(dir)).toMatchObject({ ok: true });
  });
});

describe("by age", () => {
  const HOUR = 3_600_000;

  async function aged(options: Partial<AuditOptions> = {}): Promise<{ dir: string; clock: { now: number }; audit: Audit }> {
    const dir = folder();
    const clock = { now: Date.parse("2026-11-21T00:00:00Z") };
    const audit = await openAudit({ folder: dir, maxFileMs: HOUR, maxAgeMs: 10 * HOUR, now: () => clock.now, ...options });
    for (let hour = 0; hour < 30; hour++) {
      await audit.append(finding(hour));
      clock.now += HOUR;
    }
    return { dir, clock, audit };
  }

  test("files whose last record is older go, others stay", async () => {
    const { dir, clock, audit } = await aged();
    await audit.append(finding(30));
    await vi.waitFor(() => expect(files(dir).length).toBeLessThan(13), { timeout: 10_000, interval: 5 });
    await audit.close();
    const kept = records(dir).filter(({ type }) => type === "finding");
    expect(kept.length).toBeGreaterThanOrEqual(10);
    for (const { time } of kept) expect(clock.now - Date.parse(time as string)).toBeLessThanOrEqual(12 * HOUR);
    expect(await verifyAudit(dir)).toMatchObject({ ok: true, closed: true });
  });

  test("a crash between the record and the removal, and within it, leaves what verifies", async () => {
    const { dir, audit } = await aged({ maxAgeMs: 1000 * HOUR });
    await audit.close();
    const names = files(dir);
    const all = copyOf(dir);
    const next = await openAudit({ folder: all, maxBytes: 20_000 });
    await next.close();
    const gone = names.filter((name) => !existsSync(join(all, name)));
    expect(gone.length).toBeGreaterThan(5);
    // As if none were gone yet; then one after the other.
    for (const name of gone) copyFileSync(join(dir, name), join(all, name));
    for (const name of gone) {
      expect(await verifyAudit(all), name).toMatchObject({ ok: true });
      unlinkSync(join(all, name));
    }
    expect(await verifyAudit(all)).toMatchObject({ ok: true });
  });

  test("what was removed without a record is missed, also one file more than the record says", async () => {
    const { dir, audit } = await aged();
    await audit.close();
    const names = files(dir);
    for (let more = 1; more < 4; more++) {
      const copy = copyOf(dir);
      for (const name of names.slice(0, more)) unlinkSync(join(copy, name));
      expect((await verifyAudit(copy)).problem, `${more} more`).toMatchObject({ kind: "dropped", line: 1, seq: 0 });
    }
    const whole = folder();
    const other = await openAudit({ folder: whole, maxFileBytes: 1000 });
    await appended(other, 10);
    await other.close();
    unlinkSync(join(whole, files(whole)[0]!));
    expect((await verifyAudit(whole)).problem).toMatchObject({ kind: "dropped", line: 1, seq: 0 });
    expect(await verifyAudit(whole, { start: "anywhere" })).toMatchObject({ ok: true });
  });

  test("a record known from elsewhere that was removed cannot be vouched for", async () => {
    const { dir, audit } = await aged();
    await audit.close();
    expect((await verifyAudit(dir, { expectSeq: 1 })).problem).toMatchObject({ why: expect.stringContaining("which was removed as record") });
  });
});
