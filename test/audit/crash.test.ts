/** Crashes: what they leave is put aside and told, what was acknowledged stays, and what no crash does is not gone over. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, statSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openAudit } from "../../src/audit/audit.js";
import { verifyAudit } from "../../src/audit/verify.js";
import { portableBlake3 } from "../../src/blake3.js";
import { code, copyOf, files, finding, findings, folder, records, written } from "./support.js";

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

  test.runIf(process.platform === "linux")("the system's own error in the middle of a line (a file size limit): closed, then gone on with", async () => {
    const dir = folder();
    const source = new URL("../../dist/audit/audit.js", import.meta.url).href;
    const program = `import { openAudit } from ${JSON.stringify(source)};
      const audit = await openAudit({ folder: ${JSON.stringify(dir)} });
      let good = 0;
      try { for (;;) good = (await audit.append(${JSON.stringify(findings(3))})).seq; }
      catch (error) { console.log(JSON.stringify([error.code, error.facts.code, good, await audit.close().catch(({ code }) => code)])); }`;
    const { stdout } = spawnSync("bash", ["-c", `trap '' XFSZ; ulimit -f 20; exec '${process.execPath}' --input-type=module -e "$1"`, "bash", program]);
    const [kind, errno, good, closed] = JSON.parse(stdout.toString()) as [string, string, number, string];
    expect([kind, errno, closed]).toEqual(["LV_AUDIT_WRITE", "EFBIG", "LV_AUDIT_WRITE"]);
    expect(good).toBeGreaterThan(20);
    expect(statSync(join(dir, files(dir)[0]!)).size).toBe(20 * 1024);
    expect((await verifyAudit(dir)).problem).toMatchObject({ kind: "cut" });
    await (await openAudit({ folder: dir })).close();
    expect(await verifyAudit(dir, { expectSeq: good })).toMatchObject({ ok: true, recoveries: 1 });
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
