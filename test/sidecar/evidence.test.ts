/** What the audit holds of jobs: findings with the policy that found them, accounts of streams that fit the logs as they are kept, also after a crash. */
import { readdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { openAudit } from "../../src/audit/audit.js";
import { digestLog, verifyAudit } from "../../src/audit/verify.js";
import { auditEvidence } from "../../src/sidecar/evidence.js";
import type { Sidecar } from "../../src/sidecar/serve.js";
import { call, copyOfStore, start, temporary, upstreamAt } from "../support/sidecar.js";

const LOG = "/v1/jobs/j/streams/s";
const SECRET = "global-secret-0123456789";
const ENGINE = { secrets: [{ name: "GLOBAL", value: SECRET }], limits: { holdBackMs: 50 } };

type Record = { readonly type: string } & Readonly<{ [field: string]: unknown }>;

/** A sidecar with an audit, and its records. */
async function audited(folder: string): Promise<{ sidecar: Sidecar; dir: string; end: () => Promise<Record[]> }> {
  const dir = join(folder, "audit");
  const audit = await openAudit({ folder: dir });
  onTestFinished(() => audit.close().catch(() => undefined));
  const { sidecar } = await start({
    store: { folder: join(folder, "logs"), maxFileBytes: 4096, maxAgeMs: 1e9, compress: "zstd" },
    engine: ENGINE,
    evidence: auditEvidence(audit, { waitMs: 10_000 }),
    audit: () => audit.stats,
  });
  const records = (): Record[] =>
    readdirSync(dir)
      .filter((name) => name.endsWith(".jsonl"))
      .toSorted()
      .flatMap((name) => readFileSync(join(dir, name), "utf8").trim().split("\n"))
      .map((line) => JSON.parse(line) as Record);
  return {
    sidecar,
    dir,
    async end() {
      await sidecar.close(1000);
      await audit.close();
      return records();
    },
  };
}

const digestOf = (log: string): ReturnType<typeof digestLog> =>
  digestLog(
    (async function* () {
      yield Buffer.from(log);
    })(),
  );

test("the account of a stream fits the log that is kept, and is on record before its end is told", async () => {
  const { sidecar, dir, end } = await audited(temporary());
  // Whole lines: after silence part of a secret would be a finding of its own.
  const lines = `one ${SECRET} and some text\n`.repeat(100);
  const text = lines.repeat(10);
  for (let i = 0; i < 10; i++) await call(sidecar, "POST", LOG, lines);
  expect((await call(sidecar, "POST", `${LOG}/end`)).status).toBe(200);
  const log = await digestOf((await call(sidecar, "GET", LOG)).body);
  expect((await verifyAudit(dir, { log })).log?.matches).toMatchObject([{ job: "j", stream: "s" }]);
  expect(await verifyAudit(dir, { log: { ...log, bytes: log.bytes + 1 } })).toMatchObject({ ok: false, log: { matches: [] } });
  const records = await end();
  const summary = records.filter(({ type }) => type === "summary");
  expect(summary).toMatchObject([
    { job: "j", stream: "s", inputBytes: text.length, outputBytes: log.bytes, kinds: { masked: 1000 }, secrets: { GLOBAL: 1000 } },
  ]);
  expect(summary[0]).not.toHaveProperty("resumedAt");
  expect(await verifyAudit(dir, { log })).toMatchObject({ ok: true, closed: true });
});

test("after a crash the account goes on with what is kept", async () => {
  const folder = temporary();
  const { sidecar, end } = await audited(folder);
  const text = `one ${SECRET} and some text\n`.repeat(500);
  const { body } = await call(sidecar, "POST", LOG, `${text}unfinished global-sec`);
  const { offset } = JSON.parse(body) as { offset: number };
  expect(offset).toBeGreaterThan(0);
  // What is on disk when the power goes.
  const copy = temporary();
  renameSync(copyOfStore(join(folder, "logs")), join(copy, "logs"));
  await end();
  const again = await audited(copy);
  // No one sends more: the job is ended though nothing has come since the start.
  expect((await call({ socket: again.sidecar.socket! }, "DELETE", "/v1/jobs/j")).status).toBe(200);
  const log = await digestOf((await call(again.sidecar, "GET", LOG)).body);
  const records = await again.end();
  expect(records.filter(({ type }) => type === "summary")).toMatchObject([
    { inputBytes: offset, outputBytes: log.bytes, outputBlake3: log.blake3, resumedAt: offset, kinds: {} },
  ]);
  expect((await verifyAudit(again.dir, { log })).ok).toBe(true);
});

test("records tell which policy was in force: at the start, after a reload, and of streams that began before", async () => {
  const { sidecar, end } = await audited(temporary());
  const { policy } = sidecar;
  await call(sidecar, "POST", LOG, `${SECRET}\n`);
  const live = { jobs: { maxJobs: 10, maxStreams: 10, maxOpen: 10, graceMs: 10 }, onFinding: { actions: {} } };
  await sidecar.apply({ ...live, engine: { ...ENGINE, rules: { minConfidence: "certain" } } });
  const after = sidecar.policy;
  expect(after).not.toBe(policy);
  await sidecar.apply({ ...live, engine: { secrets: [], rules: { minConfidence: "certain" } } });
  expect(sidecar.policy).toBe(after);
  await call(sidecar, "POST", LOG, `${SECRET}\n`);
  await sidecar.apply({ ...live, engine: { ...ENGINE, rules: { minConfidence: "certain" } } });
  await call(sidecar, "POST", LOG.replace(/s$/, "t"), `${SECRET}\n`);
  await call({ socket: sidecar.socket! }, "DELETE", "/v1/jobs/j");
  const records = await end();
  const shown = records.filter(({ type }) => ["policy", "finding", "summary"].includes(type)).map(({ type, stream, policy: digest }) => [type, stream, digest]);
  expect(shown.slice(0, 2)).toEqual([
    ["policy", undefined, policy],
    ["finding", "s", policy],
  ]);
  expect(shown.filter(([type]) => type === "policy")).toEqual([
    ["policy", undefined, policy],
    ["policy", undefined, after],
  ]);
  expect(shown.filter(([type, stream]) => type === "finding" && stream === "s")).toEqual([
    ["finding", "s", policy],
    ["finding", "s", policy],
  ]);
  expect(shown.filter(([, stream]) => stream === "t")).toEqual([
    ["finding", "t", after],
    ["summary", "t", after],
  ]);
});

test("forwarded bodies have an account each, under a name that their findings bear", async () => {
  const { createServer } = await import("node:http");
  const upstream = createServer((request, response) => void request.resume().on("end", () => response.end("ok")));
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => upstream.close().closeAllConnections());
  const { port } = upstream.address() as { port: number };
  const { sidecar, witness } = await start({ upstream: upstreamAt(port, { maxConnections: 2 }) });
  await call(sidecar, "POST", "/x", `{"a":"${SECRET}"}`, { "content-type": "application/json", "logveil-job": "j" });
  await vi.waitFor(() => expect([...witness.sums.values()]).toEqual([{ input: SECRET.length + 8, output: '{"a":"[REDACTED:GLOBAL]"}', ended: true }]));
  const [name] = [...witness.sums.keys()];
  expect(name).toMatch(/^j\/request-[a-z0-9]+-1$/);
  expect(witness.told).toMatchObject([{ job: "j", stream: name!.slice(2), secret: "GLOBAL" }]);
});
