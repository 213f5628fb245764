/** Who may write where: locks, keys, modes. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, unlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Audit, openAudit } from "../../src/audit/audit.js";
import { verifyAudit } from "../../src/audit/verify.js";
import { code, folder } from "./support.js";

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
