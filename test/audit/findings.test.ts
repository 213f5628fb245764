/** Findings that are recorded together: what is written of them can be read back, is short, and is compared with what streams count. */
import { join } from "node:path";
import { statSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { openAudit } from "../../src/audit/audit.js";
import { type CauseFields, MAX_PENDING_FINDINGS } from "../../src/audit/causes.js";
import { Column, differencesOf, numbersOf } from "../../src/audit/columns.js";
import { Ledger } from "../../src/audit/ledger.js";
import type { FindingsEntry } from "../../src/audit/records.js";
import { verifyAudit } from "../../src/audit/verify.js";
import { portableBlake3 } from "../../src/blake3.js";
import type { Finding } from "../../src/types.js";
import { copyOf, files, finding, folder, linesOf, records } from "./support.js";

const found = (i: number, more: Partial<Finding> = {}): Finding => {
  const { type: _, job: __, ...plain } = finding(i);
  return { ...plain, ...more };
};

/** Offsets and lengths of a cause, as README.md says. */
function placesOf(cause: CauseFields): { offset: number; length: number; fingerprint: string | undefined }[] {
  const offsets = [cause.offset];
  for (const step of differencesOf(Buffer.from(cause.places ?? "", "base64"))!) offsets.push(offsets.at(-1)! + step);
  const lengths = cause.lengths === undefined ? offsets.map(() => cause.length!) : numbersOf(Buffer.from(cause.lengths, "base64"))!;
  return offsets.map((offset, i) => ({ offset, length: lengths[i]!, fingerprint: cause.fingerprint ?? cause.fingerprints?.slice(i * 8, i * 8 + 8) }));
}

const sorted = <T extends { offset: number }>(places: T[]): T[] => places.toSorted((a, b) => a.offset - b.offset);

describe("columns", () => {
  test("numbers and differences up to 53 bits: what is read is what was written", () => {
    const numbers = [0, 1, 127, 128, 16_383, 16_384, 2 ** 31 - 1, 2 ** 31, 2 ** 32 + 5, 2 ** 52, Number.MAX_SAFE_INTEGER];
    const column = new Column();
    for (const number of numbers) column.number(number);
    expect(numbersOf(column.told(portableBlake3).bytes)).toEqual(numbers);
    const steps = numbers.filter((number) => number < 2 ** 51).flatMap((number) => [number, -number - 1]);
    const signed = new Column();
    for (const step of steps) signed.difference(step);
    expect(differencesOf(signed.told(portableBlake3).bytes)).toEqual(steps);
  });

  test("the bytes are those of the documentation", () => {
    const column = new Column();
    for (const number of [0, 300, 127]) column.number(number);
    for (const step of [28, -1]) column.difference(step);
    expect([...column.told(portableBlake3).bytes]).toEqual([0, 0xac, 0x02, 0x7f, 56, 1]);
  });

  test("beyond 4 KiB whole numbers are kept, and the digest of all bytes", () => {
    const column = new Column();
    const all: number[] = [];
    for (let i = 0; i < 3000; i++) {
      column.number(300);
      all.push(0xac, 0x02);
    }
    column.number(1);
    all.push(1);
    const { bytes, blake3 } = column.told(portableBlake3);
    expect(bytes.length).toBe(4096);
    expect(blake3).toBe(portableBlake3.hashHex(Buffer.from(all)));
  });

  test("bytes that are not whole numbers are refused", () => {
    expect(numbersOf(Buffer.from([0x80]))).toBeUndefined();
    expect(numbersOf(Buffer.alloc(9, 0xff))).toBeUndefined();
  });
});

describe("a ledger's findings", () => {
  const ledger = (): Ledger => new Ledger({ job: "j", stream: "stdout", policy: "ab12", account: 7 });

  test("one is a record of its own, readable, and says how many there were", () => {
    const own = ledger();
    own.finding(found(0));
    own.findings();
    own.finding(found(4));
    expect(own.findings()).toEqual({ type: "finding", ...found(4), job: "j", stream: "stdout", policy: "ab12", account: 7, total: 2 });
    expect(own.findings()).toBeUndefined();
  });

  test("many are told by their causes, each with its places, in any order and of any length", () => {
    const own = ledger();
    const all: Finding[] = [];
    // Steps of its own, so that the test does what it did before.
    let state = 1;
    const next = (bound: number): number => (state = (state * 48_271) % 2_147_483_647) % bound;
    let offset = 0;
    for (let i = 0; i < 3000; i++) {
      offset += next(10) === 0 ? -next(500) : next(100_000);
      all.push(
        found(i, {
          offset: Math.max(0, offset),
          length: next(5) === 0 ? next(5000) : 36,
          secret: `S${next(3)}`,
          variant: next(2) === 0 ? "plain" : "base64",
          ...(next(4) === 0 && { rule: "jwt", confidence: "high", kind: "exposed" as const }),
        }),
      );
    }
    // Small enough that no column is cut.
    const taken: CauseFields[] = [];
    for (const [i, each] of all.entries()) {
      own.finding(each);
      if (i % 500 === 499) taken.push(...(own.findings() as FindingsEntry).causes);
    }
    const read = taken.flatMap((cause) =>
      placesOf(cause).map((place) => {
        const { kind, secret, rule, confidence, variant } = cause;
        return { kind, secret, rule, confidence, variant, ...place };
      }),
    );
    const said = all.map(({ kind, secret, rule, confidence, variant, offset: at, length, fingerprint }) => ({
      kind,
      secret,
      rule,
      confidence,
      variant,
      offset: at,
      length,
      fingerprint,
    }));
    const key = (one: object): string => JSON.stringify(one, ["secret", "variant", "kind", "offset", "length"]);
    const byKey = (a: object, b: object): number => (key(a) < key(b) ? -1 : 1);
    expect(read.toSorted(byKey)).toEqual(said.toSorted(byKey));
    expect(taken.every(({ count, ...cause }) => placesOf({ count, ...cause }).length === count)).toBe(true);
  });

  test("values of a rule that never repeat share a cause, in which each has its fingerprint", () => {
    const own = ledger();
    const all = Array.from({ length: 400 }, (_, i) => found(i, { secret: "jwt", rule: "jwt", confidence: "high", fingerprint: String(i).padStart(8, "A") }));
    for (const each of all) own.finding(each);
    const { causes } = own.findings() as FindingsEntry;
    expect(causes).toHaveLength(17);
    expect(causes.at(-1)).not.toHaveProperty("fingerprint");
    const read = sorted(causes.flatMap(placesOf));
    expect(read).toEqual(all.map(({ offset, length, fingerprint }) => ({ offset, length, fingerprint })));
  });

  test("the summary has the findings that no record has, and counts all", () => {
    const own = ledger();
    own.finding(found(0));
    own.findings();
    own.finding(found(1));
    own.finding(found(2, { kind: "fragment" }));
    expect(own.summary()).toMatchObject({
      account: 7,
      total: 3,
      kinds: { masked: 2, fragment: 1 },
      causes: [{ kind: "masked", count: 1 }, { kind: "fragment" }],
    });
  });

  test("a million findings take a few bytes each, however long they wait", async () => {
    const dir = folder();
    const audit = await openAudit({ folder: dir });
    const noisy = audit.ledger({ job: "j", stream: "s" });
    const line = 28;
    let most = 0;
    for (let i = 0; i < 1_000_000; i++) {
      noisy.finding(found(i, { offset: i * line, length: 24, line: i }));
      most = Math.max(most, noisy.pending);
      if (noisy.isFull) await audit.append(noisy.findings()!);
    }
    expect(most).toBe(MAX_PENDING_FINDINGS);
    await audit.append(noisy.summary());
    await audit.close();
    const bytes = files(dir).reduce((sum, name) => sum + statSync(join(dir, name)).size, 0);
    expect(bytes).toBeLessThan(0.01 * line * 1_000_000);
    expect(await verifyAudit(dir)).toMatchObject({ ok: true, differences: [] });
  });
});

describe("what streams count", () => {
  /** An audit of two streams, of which entries are left out. */
  async function audited(leaveOut: (i: number) => boolean): Promise<string> {
    const dir = folder();
    const audit = await openAudit({ folder: dir });
    const ledgers = ["a", "a"].map((stream) => audit.ledger({ job: "j", stream }));
    let i = 0;
    for (let round = 0; round < 4; round++)
      for (const own of ledgers) {
        for (let each = 0; each <= round; each++) own.finding(found(each));
        const entry = own.findings()!;
        if (!leaveOut(i++)) await audit.append(entry);
      }
    for (const own of ledgers) await audit.append(own.summary());
    await audit.close();
    return dir;
  }

  test("as many as there are records: nothing is said, also where streams of one name are open at once", async () => {
    expect(await verifyAudit(await audited(() => false))).toMatchObject({ ok: true, differences: [] });
  });

  test("a record that was never written is told, once", async () => {
    for (let missing = 0; missing < 8; missing++) {
      const { ok, problem, differences } = await verifyAudit(await audited((i) => i === missing));
      expect({ ok, problem }).toEqual({ ok: false, problem: undefined });
      expect(differences).toMatchObject([{ job: "j", stream: "a", isOld: false }]);
      expect(differences[0]!.counted - differences[0]!.recorded).toBe(1 + Math.floor(missing / 2));
    }
  });

  test("what stood before the first file is not missed, what comes after a start is", async () => {
    const dir = folder();
    const audit = await openAudit({ folder: dir, maxFileBytes: 1500 });
    const own = audit.ledger({ job: "j", stream: "s" });
    for (let i = 0; i < 12; i++) {
      own.finding(found(i));
      await audit.append(own.findings()!);
    }
    await audit.append(own.summary());
    await audit.close();
    const copy = copyOf(dir);
    const names = files(copy);
    expect(names.length).toBeGreaterThan(2);
    expect(await verifyAudit(join(copy, names.at(-1)!))).toMatchObject({ ok: true, differences: [] });
  });

  test("a cause that does not have as many places as it counts is told", async () => {
    const dir = folder();
    const audit = await openAudit({ folder: dir });
    const own = audit.ledger({ job: "j", stream: "s" });
    for (let i = 0; i < 10; i++) own.finding(found(i));
    const entry = own.findings() as FindingsEntry;
    await audit.append({ ...entry, causes: entry.causes.map((cause) => ({ ...cause, places: cause.places!.slice(0, 8) })) });
    await audit.append(own.summary());
    await audit.close();
    expect(linesOf(dir, files(dir)[0]!).length).toBe(records(dir).length);
    expect(await verifyAudit(dir)).toMatchObject({ ok: false, differences: [{ counted: 10, recorded: 4 }] });
  });
});
