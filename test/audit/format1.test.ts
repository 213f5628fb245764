/**
 * An audit as format 1 was written: by the code of commit a9c604f, killed with a line half written (format1/). It opens, is appended to, and verifies. Its key grows from a phrase, so
 * that no key is stored.
 */
import { createHash, createPrivateKey } from "node:crypto";
import { chmodSync, cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { openAudit } from "../../src/audit/audit.js";
import { drafted, seal } from "../../src/audit/chain.js";
import { verifyAudit } from "../../src/audit/verify.js";
import { fastBlake3 } from "../../src/blake3.js";
import { code, files, finding, folder, linesOf, records } from "./support.js";

const FIXTURE = fileURLToPath(new URL("format1", import.meta.url));
/** PKCS#8 of an Ed25519 key, up to its seed (RFC 8410 §7). */
const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");

/** A copy of the fixture, with its key. */
function fixture(): string {
  const dir = folder();
  cpSync(FIXTURE, dir, { recursive: true });
  chmodSync(dir, 0o700);
  const seed = createHash("sha256").update("logveil audit fixture").digest();
  const key = createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: "der", type: "pkcs8" });
  writeFileSync(join(dir, "audit.key"), key.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  return dir;
}

describe("an audit of format 1", () => {
  test("verifies but for the line that was being written, each file by itself too", async () => {
    const dir = fixture();
    const names = files(dir);
    expect(names).toHaveLength(3);
    expect((await verifyAudit(dir)).problem).toMatchObject({ kind: "cut", file: names[2] });
    for (const name of names.slice(0, 2)) expect(await verifyAudit(join(dir, name))).toMatchObject({ ok: true, differences: [], key: "folder" });
  });

  test("opens, is appended to in format 2, signed by the same key, and verifies", async () => {
    const dir = fixture();
    const before = files(dir).flatMap((name) => readFileSync(join(dir, name), "utf8").split("\n").slice(0, -1));
    const audit = await openAudit({ folder: dir, policy: "ab12" });
    const ledger = audit.ledger({ job: "43", stream: "test" });
    ledger.finding(finding(5));
    ledger.finding(finding(6));
    await audit.append(ledger.findings()!);
    await audit.append(ledger.summary());
    await audit.close();
    expect(await verifyAudit(dir, { publicKeys: [join(FIXTURE, "audit.key.pub")] })).toMatchObject({
      ok: true,
      closed: true,
      recoveries: 1,
      files: 4,
      differences: [],
    });
    const all = records(dir);
    expect(
      files(dir)
        .flatMap((name) => linesOf(dir, name))
        .slice(0, before.length),
    ).toEqual(before);
    expect(all.filter(({ type }) => type === "open").map(({ format }) => format)).toEqual([1, 1, 1, 2]);
  });

  test("findings that it lost are told, though they do not make it wrong: streams of one name look alike there", async () => {
    const dir = fixture();
    const [, name] = files(dir) as [string, string];
    // The records behind are hashed again without the key: only the counts tell what is missing.
    const kept = linesOf(dir, name)
      .filter((line) => !line.includes('"line":11,'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    let { seq, prev } = kept[0] as { seq: number; prev: string };
    const lines = kept.map(({ time, type, ...record }) => {
      const fields = Object.fromEntries(Object.entries(record).filter(([field]) => !["seq", "prev", "hash", "sig"].includes(field)));
      const sealed = seal(fastBlake3(), { seq: seq++, prev }, drafted(type as string, time as string, fields));
      prev = sealed.hash;
      return sealed.line;
    });
    writeFileSync(join(dir, name), Buffer.concat(lines));
    const without = folder();
    cpSync(dir, without, { recursive: true, filter: (path) => !path.includes("audit.key") && !path.includes("audit.head") && !path.includes("000003") });
    expect(await verifyAudit(without)).toMatchObject({ ok: true, differences: [{ job: "42", stream: "make", counted: 13, recorded: 12, isOld: true }] });
  });
});

test("an audit of a newer format is refused, by its writer and by verification, and stays as it is", async () => {
  const dir = fixture();
  await (await openAudit({ folder: dir })).close();
  const name = files(dir).at(-1)!;
  const [opened] = linesOf(dir, name).map((line) => JSON.parse(line) as Record<string, unknown>);
  const { seq, time, type, prev, hash: _, ...fields } = opened!;
  const { line } = seal(fastBlake3(), { seq: seq as number, prev: prev as string }, drafted(type as string, time as string, { ...fields, format: 3 }));
  writeFileSync(join(dir, name), line);
  expect(await code(openAudit({ folder: dir }))).toBe("LV_FORMAT");
  const refused = verifyAudit(dir);
  expect(await code(refused)).toBe("LV_FORMAT");
  await expect(refused).rejects.toThrow(`${name}: the audit has format 3, this logveil reads formats up to 2`);
  expect(readFileSync(join(dir, name)).equals(line)).toBe(true);
});
