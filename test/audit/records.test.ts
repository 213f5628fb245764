/** What is recorded, and that nothing else is; the account of a stream. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openAudit } from "../../src/audit/audit.js";
import { Ledger } from "../../src/audit/ledger.js";
import type { AuditEntry } from "../../src/audit/records.js";
import { nativeBlake3, portableBlake3 } from "../../src/blake3.js";
import type { Finding } from "../../src/types.js";
import { files, finding, folder, records } from "./support.js";

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
      format: 2,
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
        const ledger = new Ledger({ job: "j", stream: "s", account: 1, blake3 });
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
    const many = new Ledger({ stream: "s", account: 1 });
    for (let i = 0; i < 1500; i++) many.finding({ ...finding(0), secret: `S${i}` });
    many.finding({ ...finding(0), secret: "S1499" });
    const summary = many.summary();
    expect([Object.keys(summary.secrets).length, summary.secrets["S1499"], summary.others]).toEqual([1000, 2, 500]);
  });
});
