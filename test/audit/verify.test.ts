/** Tampering: whatever is done to the lines of an audit is found, and named at the right record. Small cases are enumerated, not sampled. */
import { createPublicKey, verify as verifySignature } from "node:crypto";
import { readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { openAudit } from "../../src/audit/audit.js";
import { drafted, seal } from "../../src/audit/chain.js";
import { ChainCheck, type Pin } from "../../src/audit/check.js";
import { verifyAudit } from "../../src/audit/verify.js";
import { fastBlake3, nativeBlake3, portableBlake3 } from "../../src/blake3.js";
import { copyOf, files, finding, findings, folder, linesOf, records, withBytes, withLines, written } from "./support.js";

const seqOf = (line: string): number => (JSON.parse(line) as { seq: number }).seq;

/** Checks a file's bytes in memory. */
function checked(name: string, bytes: Buffer, pin: Pin): ChainCheck {
  const check = new ChainCheck({ blake3: fastBlake3(), start: "genesis", pins: [pin] });
  check.beginFile(name);
  let start = 0;
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, start)) {
    if (!check.line(bytes.subarray(start, at))) return check;
    start = at + 1;
  }
  if (start < bytes.length) check.torn();
  check.finish();
  return check;
}

/** The line with some fields changed, hashed as it should be; a forger's work without the key. */
function forged(line: string, change: Record<string, unknown>): string {
  const { seq, time, type, prev, hash, ...fields } = JSON.parse(line) as Record<string, unknown>;
  void hash;
  const given = { seq, time, prev, ...change } as { seq: number; time: string; prev: string };
  const rest = Object.fromEntries(Object.entries(change).filter(([key]) => !["seq", "time", "prev"].includes(key)));
  return seal(fastBlake3(), given, drafted(type as string, given.time, { ...fields, ...rest }))
    .line.toString()
    .trimEnd();
}

describe("one file", () => {
  let dir = "";
  let name = "";
  let lines: string[] = [];
  let last = 0;
  beforeAll(async () => {
    dir = await written(25);
    [name] = files(dir) as [string];
    lines = linesOf(dir, name);
    last = lines.length - 1;
  });

  test("as written it is good, with every hash", async () => {
    for (const blake3 of [portableBlake3, nativeBlake3() ?? portableBlake3]) {
      const result = await verifyAudit(dir, { blake3 });
      expect(result).toMatchObject({ ok: true, records: lines.length, unsigned: 0, key: "folder", closed: true, recoveries: 0, files: 1 });
      expect(result.bytes).toBe(readFileSync(join(dir, name)).length);
    }
  });

  test("every single changed byte is found, in its line", () => {
    const bytes = readFileSync(join(dir, name));
    const { seq, hash } = JSON.parse(lines.at(-1)!) as { seq: number; hash: string };
    let line = 1;
    for (let at = 0; at < bytes.length; at++) {
      for (const value of [bytes[at]! ^ 1, bytes[at]! ^ 0x80, 10]) {
        if (value === bytes[at]) continue;
        const changed = Buffer.from(bytes);
        changed[at] = value;
        const { problem } = checked(name, changed, { seq, hash, source: "head" });
        if (problem?.line !== line || problem.seq !== line - 1 || !["changed", "cut"].includes(problem.kind))
          expect(problem, `byte ${at} to ${value}`).toEqual({ line, seq: line - 1, kind: "changed" });
      }
      if (bytes[at] === 10) line++;
    }
    expect(line).toBe(lines.length + 1);
    expect(checked(name, bytes, { seq, hash, source: "head" }).problem).toBeUndefined();
  });

  test("and so it is in a file on disk", async () => {
    const bytes = readFileSync(join(dir, name));
    for (let at = 5; at < bytes.length; at += 211) {
      const changed = Buffer.from(bytes);
      changed[at]! ^= 1;
      const line = bytes.subarray(0, at).filter((byte) => byte === 10).length + 1;
      expect((await withBytes(dir, name, changed)).problem, `byte ${at}`).toMatchObject({ line, seq: line - 1, file: name });
    }
  });

  test("every dropped line", async () => {
    for (let i = 0; i <= last; i++) {
      const { problem } = await withLines(dir, name, lines.toSpliced(i, 1));
      expect(problem, `line ${i + 1}`).toMatchObject(i === last ? { kind: "cut", line: i + 1, seq: i } : { kind: "dropped", line: i + 1, seq: i });
    }
  });

  test("every doubled line, also further down", async () => {
    for (let i = 0; i <= last; i++)
      for (let to = i + 1; to <= lines.length; to += 5) {
        const { problem } = await withLines(dir, name, lines.toSpliced(to, 0, lines[i]!));
        expect(problem, `${i} at ${to}`).toMatchObject({ kind: "inserted", line: to + 1, seq: i });
      }
  });

  test("every swap of two lines", async () => {
    for (let i = 0; i <= last; i++)
      for (let j = i + 1; j <= last; j += j - i < 3 ? 1 : 6) {
        const { problem } = await withLines(dir, name, lines.with(i, lines[j]!).with(j, lines[i]!));
        expect(problem, `${i} and ${j}`).toMatchObject({ kind: "reordered", line: i + 1, seq: j });
      }
  });

  test("every inserted line: garbage, a foreign record, a forged one", async () => {
    const other = await written(30);
    const foreign = linesOf(other, files(other)[0]!);
    for (let i = 1; i <= lines.length; i++) {
      expect((await withLines(dir, name, lines.toSpliced(i, 0, foreign[i]!))).problem, `foreign ${i}`).toMatchObject({
        kind: i > last ? "changed" : "inserted",
        seq: i,
      });
      expect((await withLines(dir, name, lines.toSpliced(i, 0, "{}"))).problem, `garbage ${i}`).toMatchObject({
        kind: i > last ? "changed" : "inserted",
        line: i + 1,
      });
      // Numbered and chained as the record that stands there; of the last one audit.head knows the hash.
      const prev = (JSON.parse(lines[i - 1]!) as { hash: string }).hash;
      const fake = forged(lines[3]!, { seq: i, prev, job: "forged" });
      const { problem } = await withLines(dir, name, lines.toSpliced(i, 0, fake));
      if (i > last) expect(problem).toBeUndefined();
      else expect(problem, `forged ${i}`).toMatchObject({ line: i + 1, kind: i === last ? "changed" : "inserted", seq: i });
    }
  });

  test("every record rewritten with a hash of its own", async () => {
    for (let i = 3; i < last; i++) {
      if (lines[i]!.includes('"checkpoint"')) continue;
      expect((await withLines(dir, name, lines.with(i, forged(lines[i]!, { job: "other" })))).problem, `record ${i}`).toMatchObject({
        kind: "changed",
        line: i + 1,
        seq: i,
      });
      const { problem } = await withLines(dir, name, lines.with(i, forged(lines[i]!, { prev: "0".repeat(64) })));
      expect(problem, `prev of ${i}`).toMatchObject({ kind: "changed", line: i + 1, seq: i });
    }
  });

  test("a chain written anew breaks at the next signature", async () => {
    const anew: string[] = lines.slice(0, 5);
    for (const line of lines.slice(5)) anew.push(forged(line, { job: "x", seq: anew.length, prev: (JSON.parse(anew.at(-1)!) as { hash: string }).hash }));
    unlinkSync(join(dir, "audit.head"));
    const { problem, checkpoint } = await withLines(dir, name, anew);
    const signed = lines.findIndex((line, i) => i >= 5 && line.includes('"checkpoint"'));
    expect(problem).toMatchObject({ kind: "signature", seq: signed, line: signed + 1 });
    expect(checkpoint!.seq).toBeLessThan(5);
    // Without its checkpoints it is a chain that no one signed.
    const bare: string[] = [];
    for (const line of lines.filter((each) => !each.includes('"checkpoint"')))
      bare.push(forged(line, { seq: bare.length, prev: bare.length === 0 ? "0".repeat(64) : (JSON.parse(bare.at(-1)!) as { hash: string }).hash }));
    expect((await withLines(dir, name, bare)).problem).toMatchObject({ kind: "signature", line: 1 });
    writeFileSync(join(dir, "audit.head"), `${lines.at(-1)}\n`);
    expect((await verifyAudit(dir)).ok).toBe(true);
  });

  test("every truncation, by the byte", async () => {
    const bytes = readFileSync(join(dir, name));
    let line = 1;
    for (let at = 0; at < bytes.length; at++) {
      if (at % 23 === 0 || bytes[at] === 10 || bytes[at - 1] === 10)
        expect((await withBytes(dir, name, bytes.subarray(0, at))).problem, `at ${at}`).toMatchObject({ kind: "cut", line });
      if (bytes[at] === 10) line++;
    }
  });

  test("a truncation behind the last checkpoint is found by what was kept elsewhere", async () => {
    const before = readFileSync(join(dir, "audit.head"));
    unlinkSync(join(dir, "audit.head"));
    const { hash } = JSON.parse(lines.at(-1)!) as { hash: string };
    const cut = lines.slice(0, -3);
    expect((await withLines(dir, name, cut)).ok).toBe(true);
    for (const options of [{ expectSeq: last }, { expectHash: hash }, { expectSeq: last, expectHash: hash }])
      expect((await withLines(dir, name, cut, options)).problem).toMatchObject({ kind: "cut", line: last - 1, seq: last - 2 });
    expect((await verifyAudit(dir, { expectSeq: last, expectHash: hash })).ok).toBe(true);
    expect((await verifyAudit(dir, { expectSeq: last, expectHash: "1".repeat(64) })).problem).toMatchObject({ kind: "changed", seq: last });
    writeFileSync(join(dir, "audit.head"), before);
  });

  test("another's key, a changed head, a renamed file", async () => {
    const other = await written(1);
    expect((await verifyAudit(dir, { publicKeys: [join(other, "audit.key.pub")] })).problem).toMatchObject({
      kind: "signature",
      why: expect.stringContaining("not given"),
    });
    expect(await verifyAudit(dir, { publicKeys: [join(other, "audit.key.pub"), join(dir, "audit.key.pub")] })).toMatchObject({ ok: true, key: "given" });
    const copy = copyOf(dir);
    writeFileSync(join(copy, "audit.head"), "{}\n");
    expect((await verifyAudit(copy)).problem).toMatchObject({ kind: "changed", file: "audit.head" });
    writeFileSync(join(copy, "audit.head"), readFileSync(join(other, "audit.head")));
    expect((await verifyAudit(copy)).ok).toBe(false);
    renameSync(join(copy, name), join(copy, name.replace("000001", "000002")));
    unlinkSync(join(copy, "audit.head"));
    expect((await verifyAudit(copy)).problem).toMatchObject({ kind: "changed", line: 1, why: expect.stringContaining("another name") });
  });

  test("ten lines of other code come to the same: hash and signature by hand", () => {
    let prev = "0".repeat(64);
    const key = createPublicKey(readFileSync(join(dir, "audit.key.pub")));
    for (const line of lines) {
      const [body, tail] = [line.slice(0, -75), line.slice(-75)];
      expect(tail).toBe(`,"hash":"${portableBlake3.hashHex(Buffer.from(body))}"}`);
      const record = JSON.parse(line) as { prev: string; hash: string; sig?: string };
      expect(record.prev).toBe(prev);
      prev = record.hash;
      if (record.sig !== undefined) expect(verifySignature(null, Buffer.from(body.split(',"sig":"')[0]!), key, Buffer.from(record.sig, "base64"))).toBe(true);
    }
  });
});

describe("several files", () => {
  let dir = "";
  let names: string[] = [];
  beforeAll(async () => {
    dir = await written(60, 15);
    names = files(dir);
  });

  test("are one chain", async () => {
    expect(names.length).toBeGreaterThan(3);
    expect(await verifyAudit(dir)).toMatchObject({ ok: true, files: names.length, records: records(dir).length });
    for (const [i, name] of names.entries()) {
      const [first] = linesOf(dir, name).map((line) => JSON.parse(line) as Record<string, unknown>);
      expect(first).toMatchObject({ type: "open", file: name });
      expect(first!["previous"]).toBe(names[i - 1]);
      // Each alone is good too, from where it begins.
      expect(await verifyAudit(join(dir, name))).toMatchObject({ ok: true, unsigned: 0, first: { seq: first!["seq"] } });
    }
  });

  test("a missing one is named", async () => {
    for (const [i, name] of names.entries()) {
      const copy = copyOf(dir);
      unlinkSync(join(copy, name));
      const seq = seqOf(linesOf(dir, name)[0]!);
      const expected =
        i === names.length - 1
          ? { kind: "cut", file: names[i - 1], line: linesOf(dir, names[i - 1]!).length + 1, seq }
          : { kind: "dropped", file: names[i + 1], line: 1, seq };
      expect((await verifyAudit(copy)).problem, name).toMatchObject(expected);
      expect((await verifyAudit(copy, { start: "anywhere" })).ok).toBe(i === 0);
    }
  });

  test("the end of one is missing, or one is empty", async () => {
    for (const [i, name] of names.entries()) {
      const lines = linesOf(dir, name);
      expect((await withLines(dir, name, lines.slice(0, -2))).problem, name).toMatchObject({
        kind: "cut",
        file: name,
        line: lines.length - 1,
        seq: seqOf(lines.at(-2)!),
      });
      expect((await withBytes(dir, name, Buffer.alloc(0))).problem, name).toMatchObject({ kind: "cut", file: name, line: 1, seq: seqOf(lines[0]!) });
      expect((await withLines(dir, name, lines.slice(1))).problem, `first line of ${i}`).toMatchObject({
        file: name,
        line: 1,
        seq: seqOf(lines[0]!),
        kind: "dropped",
      });
    }
  });
});

test("a line of a megabyte and more is damage, not a reason to grow", async () => {
  const dir = await written(3);
  const [name] = files(dir) as [string];
  const lines = linesOf(dir, name);
  expect((await withLines(dir, name, lines.with(2, "x".repeat(5 << 20)))).problem).toMatchObject({ kind: "cut", line: 3 });
});

test("an audit that is being written is good at any time", async () => {
  const dir = folder();
  const audit = await openAudit({ folder: dir, checkpointRecords: 50, maxFileBytes: 30_000 });
  const state = { writing: true };
  const writer = (async () => {
    for (let i = 0; i < 150; i++) await audit.append(findings(7));
    state.writing = false;
  })();
  let checks = 0;
  for (; state.writing; checks++) expect((await verifyAudit(dir, { settleMs: 50 })).problem).toBeUndefined();
  await writer;
  expect(checks).toBeGreaterThan(1);
  await audit.append(finding(1));
  expect(await verifyAudit(dir)).toMatchObject({ ok: true, closed: false });
  await audit.close();
  expect(await verifyAudit(dir)).toMatchObject({ ok: true, closed: true, unsigned: 0 });
});
