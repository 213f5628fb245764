/** The audit: records to disk and back through verification, and the digest of what leaves. Its files are checked against what was written. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openAudit } from "../dist/audit/audit.js";
import { verifyAudit } from "../dist/audit/verify.js";
import { check, median, record, smoke } from "./lib.mjs";

const RECORDS = smoke ? 2_000 : 200_000;
/** Findings of a chunk, appended together. */
const TOGETHER = 20;
/** Callers that wait for their append at the same time. */
const CALLERS = 64;

const entry = (i) => ({
  type: "finding",
  job: `job-${i % 100}`,
  kind: "masked",
  secret: "NPM_TOKEN",
  variant: "base64",
  fingerprint: "K3F9AAAA",
  stream: "stdout",
  line: i,
  offset: i * 100,
  length: 40,
});

export async function benchAudit() {
  const base = mkdtempSync(join(tmpdir(), "logveil-bench-"));
  const folder = join(base, "audit");
  const audit = await openAudit({ folder, policy: "ab12" });
  const waits = [];
  let next = 0;
  const caller = async () => {
    while (next < RECORDS) {
      const from = next;
      next += TOGETHER;
      const asked = performance.now();
      await audit.append(Array.from({ length: TOGETHER }, (_, i) => entry(from + i)));
      waits.push(performance.now() - asked);
    }
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: CALLERS }, caller));
  const seconds = (performance.now() - started) / 1000;
  const { syncs } = audit.stats;
  await audit.close();
  record(`audit: findings on disk, ${CALLERS} callers with ${TOGETHER} each`, RECORDS / seconds, "1/s");
  record("audit: an append, asked to durable, p50", median(waits), "ms");
  record("audit: findings for each fdatasync", RECORDS / syncs, "");

  const began = performance.now();
  const result = await verifyAudit(folder);
  const took = (performance.now() - began) / 1000;
  check("the audit verifies", result.ok && result.unsigned === 0 && result.records > RECORDS);
  record("audit: verified", result.records / took, "1/s");
  record("audit: verified", result.bytes / 1e6 / took, "MB/s");

  const bytes = Buffer.alloc(smoke ? 1 << 20 : 256 << 20, "masked ");
  for (const size of [1 << 18, 1 << 12, 200]) {
    const ledger = audit.ledger({ stream: "s" });
    const before = performance.now();
    for (let at = 0; at < bytes.length; at += size) ledger.output(bytes.subarray(at, at + size));
    check("a ledger counts", ledger.summary().outputBytes === bytes.length);
    record(`audit: digest of what leaves, pieces of ${size} bytes`, (bytes.length / 1e6 / (performance.now() - before)) * 1000, "MB/s");
  }
  rmSync(base, { recursive: true });
}
