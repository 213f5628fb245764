/** Made-up entries, folders, and audits of a known shape. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openAudit } from "../../src/audit/audit.js";
import type { AuditEntry, FindingEntry } from "../../src/audit/records.js";
import { verifyAudit, type Verification, type VerifyOptions } from "../../src/audit/verify.js";

export const folder = (): string => join(mkdtempSync(join(tmpdir(), "logveil-audit-")), "audit");

export const finding = (i: number): FindingEntry => ({
  type: "finding",
  job: `job-${i % 3}`,
  kind: "masked",
  secret: "NPM_TOKEN",
  variant: "base64",
  fingerprint: "K3F9AAAA",
  stream: "stdout",
  line: i + 1,
  offset: i * 100,
  length: 40,
});

export const findings = (count: number): AuditEntry[] => Array.from({ length: count }, (_, i) => finding(i));

export const files = (dir: string): string[] =>
  readdirSync(dir)
    .filter((name) => name.endsWith(".jsonl"))
    .toSorted((a, b) => a.slice(-12).localeCompare(b.slice(-12)));
export const linesOf = (dir: string, name: string): string[] => readFileSync(join(dir, name), "utf8").split("\n").slice(0, -1);
export const records = (dir: string): Record<string, unknown>[] =>
  files(dir).flatMap((name) => linesOf(dir, name).map((line) => JSON.parse(line) as Record<string, unknown>));

/** A closed audit in files of about `perFile` records, a checkpoint after each ten. */
export async function written(count: number, perFile = Number.MAX_SAFE_INTEGER): Promise<string> {
  const dir = folder();
  const audit = await openAudit({ folder: dir, checkpointRecords: 10, maxFileBytes: Math.min(perFile * 420, 1 << 26), policy: "ab12" });
  for (let i = 0; i < count; i++) await audit.append(finding(i));
  await audit.close();
  return dir;
}

export function copyOf(dir: string): string {
  const copy = folder();
  cpSync(dir, copy, { recursive: true });
  return copy;
}

/** Verifies `dir` with one file's bytes replaced, and puts it back. */
export async function withBytes(dir: string, name: string, bytes: Buffer, options: VerifyOptions = {}): Promise<Verification> {
  const path = join(dir, name);
  const before = readFileSync(path);
  writeFileSync(path, bytes);
  try {
    return await verifyAudit(dir, options);
  } finally {
    writeFileSync(path, before);
  }
}

export const withLines = (dir: string, name: string, lines: readonly string[], options?: VerifyOptions): Promise<Verification> =>
  withBytes(dir, name, Buffer.from(lines.map((line) => `${line}\n`).join("")), options);

/** The code of the error that a promise rejects with. */
export const code = async (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => "no error",
    (error: { code: string }) => error.code,
  );
