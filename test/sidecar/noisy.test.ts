/** A job whose log is full of secrets: its findings are all on record, in few bytes, and no other job waits for them; a slow or full disk of the audit makes its senders wait. */
import { readdirSync, readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { type Audit, openAudit } from "../../src/audit/audit.js";
import type { AuditOptions } from "../../src/audit/options.js";
import { verifyAudit } from "../../src/audit/verify.js";
import { type AuditEvidence, auditEvidence } from "../../src/sidecar/evidence.js";
import { LineStarts } from "../../src/sidecar/lines.js";
import type { Sidecar } from "../../src/sidecar/serve.js";
import type { Finding } from "../../src/types.js";
import { call, start, temporary, upstreamAt } from "../support/sidecar.js";

const SECRET = "global-secret-0123456789";
const NOISE = `x ${SECRET} y\n`;

type Fields = Readonly<Record<string, unknown>>;

const filesOf = (dir: string): string[] =>
  readdirSync(dir)
    .filter((name) => name.endsWith(".jsonl"))
    .toSorted()
    .map((name) => join(dir, name));
const recordsOf = (dir: string): Fields[] =>
  filesOf(dir).flatMap((file) =>
    readFileSync(file, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Fields),
  );

/** A sidecar with an audit whose disk can be made to wait, or to be full. */
async function audited(options: Partial<AuditOptions> = {}, waitMs = 20_000): Promise<Audited> {
  const dir = join(temporary(), "audit");
  const disk: Disk = { wait: Promise.resolve(), isFull: false };
  const audit = await openAudit({
    folder: dir,
    retryMs: 20,
    openFile: async (path, flags) => {
      const handle = await open(path, flags, 0o600);
      return {
        write: (bytes, offset, length) => handle.write(bytes, offset, length),
        async datasync() {
          await disk.wait;
          if (disk.isFull) throw Object.assign(new Error("no room"), { code: "ENOSPC" });
          await handle.datasync();
        },
        close: () => handle.close(),
      };
    },
    ...options,
  });
  const evidence = auditEvidence(audit, { waitMs });
  onTestFinished(async () => {
    evidence.close();
    await audit.close().catch(() => undefined);
  });
  const { sidecar } = await start({ evidence, engine: { secrets: [{ name: "GLOBAL", value: SECRET }], limits: { holdBackMs: 20 } } });
  return { sidecar, audit, evidence, dir, disk };
}

interface Audited {
  readonly sidecar: Sidecar;
  readonly audit: Audit;
  readonly evidence: AuditEvidence;
  readonly dir: string;
  readonly disk: Disk;
}

interface Disk {
  wait: Promise<void>;
  isFull: boolean;
}

const post = (sidecar: Sidecar, job: string, body: string): Promise<{ status: number; body: string }> =>
  call(sidecar, "POST", `/v1/jobs/${job}/streams/s`, body);
const findingsOf = (dir: string, job: string): number =>
  recordsOf(dir)
    .filter((record) => record["job"] === job)
    .reduce(
      (sum, { type, causes }) =>
        sum + (type === "finding" ? 1 : ((causes as { count: number }[] | undefined) ?? []).reduce((all, { count }) => all + count, 0)),
      0,
    );

describe("a noisy job", () => {
  test("every finding is on record when its request is answered, in a tenth of the log, and others are served meanwhile", { timeout: 120_000 }, async () => {
    const { sidecar, audit, dir } = await audited();
    const count = 40_000;
    const noisy = post(sidecar, "noisy", NOISE.repeat(count)).then((answer) => ({ ...answer, recorded: findingsOf(dir, "noisy") }));
    let answered = 0;
    const state = { isOver: false };
    void noisy.finally(() => (state.isOver = true));
    while (!state.isOver) {
      expect((await post(sidecar, `quiet-${answered % 3}`, NOISE)).status).toBe(200);
      if (!state.isOver) answered++;
    }
    const { status, recorded } = await noisy;
    expect([status, recorded]).toEqual([200, count]);
    expect(answered).toBeGreaterThan(0);
    for (const job of ["noisy", "quiet-0", "quiet-1", "quiet-2"]) expect((await call(sidecar, "POST", `/v1/jobs/${job}/streams/s/end`)).status).toBe(200);
    await audit.drained();
    const noise = recordsOf(dir).filter((record) => record["job"] === "noisy");
    expect(noise.find(({ type }) => type === "summary")).toMatchObject({ kinds: { masked: count }, total: count });
    expect(noise.reduce((sum, record) => sum + JSON.stringify(record).length, 0)).toBeLessThan((NOISE.length * count) / 10);
    expect(await verifyAudit(dir)).toMatchObject({ ok: true, differences: [] });
  });

  test("many findings in one line are on record, and a stream that may go on only at its end does not remember them", { timeout: 120_000 }, async () => {
    const { sidecar, audit, dir } = await audited();
    const count = 20_000;
    expect((await post(sidecar, "j", `x ${SECRET} y `.repeat(count))).status).toBe(200);
    expect((await call(sidecar, "POST", "/v1/jobs/j/streams/s/end")).status).toBe(200);
    await audit.drained();
    expect(findingsOf(dir, "j")).toBe(count);
    expect(await verifyAudit(dir)).toMatchObject({ ok: true, differences: [] });
    const lines = new LineStarts({ input: 0, output: 0 });
    lines.takeInput(Buffer.from("a long line\nand"));
    for (let offset = 0; offset < 10; offset++) lines.takeFinding({ offset, length: 2 } as Finding);
    expect(lines).toHaveProperty("found", []);
    // Within this one a line begins.
    lines.takeFinding({ offset: 10, length: 3 } as Finding);
    lines.takeOutput([Buffer.from("a long line\nand")]);
    expect(lines.before(15)).toEqual({ input: 0, output: 0 });
  });

  test("of a forwarded request everything is one record: what was found, and the digest of what left", async () => {
    const { createServer } = await import("node:http");
    const upstream = createServer((request, response) => void request.resume().on("end", () => response.end("ok")));
    await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => upstream.close().closeAllConnections());
    const dir = join(temporary(), "audit");
    const audit = await openAudit({ folder: dir });
    const evidence = auditEvidence(audit, { waitMs: 5000 });
    const { port } = upstream.address() as { port: number };
    const { sidecar } = await start({ evidence, upstream: upstreamAt(port, { maxConnections: 2 }) });
    await call(sidecar, "POST", "/x", NOISE.repeat(100), { "content-type": "text/plain" });
    evidence.close();
    await audit.close();
    const own = recordsOf(dir).filter((record) => record["stream"] !== undefined);
    expect(own).toMatchObject([
      { type: "summary", total: 100, outputBlake3: expect.any(String), causes: [{ secret: "GLOBAL", count: 100, line: 1, offset: 2 }] },
    ]);
    expect(await verifyAudit(dir)).toMatchObject({ ok: true, differences: [] });
  });
});

describe("answers", () => {
  test("a late secret's exposures are on record before they are told", async () => {
    const { sidecar, dir } = await audited();
    await post(sidecar, "j", "late-secret-2468013579 was here\n");
    const late = JSON.stringify({ name: "LATE", value: "late-secret-2468013579" });
    const told = await call({ socket: sidecar.socket! }, "POST", "/v1/jobs/j/secrets", late);
    expect([told.status, recordsOf(dir).filter(({ kind }) => kind === "exposed").length]).toEqual([200, 1]);
  });

  test("what was found when the sidecar ends is on record, also of a request that was cut off", async () => {
    const { sidecar, audit, evidence, dir } = await audited();
    await post(sidecar, "j", `${NOISE.repeat(3)}and no line end`);
    const record = evidence.record("cut", "off", 0, "");
    record.finding({ kind: "masked", secret: "S", variant: "plain", fingerprint: "AAAAAAAA", stream: "off", line: 1, offset: 0, length: 9 });
    await sidecar.close(1000);
    evidence.close();
    await audit.close();
    expect([findingsOf(dir, "j"), findingsOf(dir, "cut")]).toEqual([3, 1]);
    expect(await verifyAudit(dir)).toMatchObject({ ok: true, closed: true, differences: [] });
  });
});

describe("the disk of the audit", () => {
  test("is slow: a request waits, is told so after a while, and nothing is lost; the next one is served", { timeout: 60_000 }, async () => {
    const { sidecar, audit, dir, disk } = await audited({}, 300);
    let release = (): void => undefined;
    disk.wait = new Promise((resolve) => (release = resolve));
    const late = await post(sidecar, "a", NOISE.repeat(10));
    expect(late).toMatchObject({ status: 503, body: expect.stringContaining("could not be put on record within 300 ms (limits.queueTimeout)") });
    release();
    disk.wait = Promise.resolve();
    await vi.waitFor(() => expect(findingsOf(dir, "a")).toBe(10), { timeout: 10_000, interval: 20 });
    // The client goes on where it was told: what it had sent is kept by itself.
    const at = String(NOISE.length * 10);
    await vi.waitFor(async () => expect((await call(sidecar, "HEAD", "/v1/jobs/a/streams/s")).headers["logveil-offset"]).toBe(at), {
      timeout: 20_000,
      interval: 50,
    });
    expect((await call(sidecar, "POST", "/v1/jobs/a/streams/s", NOISE, { "logveil-offset": at })).status).toBe(200);
    expect((await post(sidecar, "b", NOISE)).status).toBe(200);
    expect((await call(sidecar, "POST", "/v1/jobs/a/streams/s/end")).status).toBe(200);
    await audit.drained();
    expect(findingsOf(dir, "a")).toBe(11);
    expect(await verifyAudit(dir)).toMatchObject({ ok: true, differences: [] });
  });

  test("is full: requests are told which path, nothing is taken, and all goes on by itself, an end that failed too", { timeout: 60_000 }, async () => {
    const { sidecar, audit, dir, disk } = await audited();
    expect((await post(sidecar, "a", NOISE)).status).toBe(200);
    disk.isFull = true;
    const ending = await call(sidecar, "POST", "/v1/jobs/a/streams/s/end");
    expect(ending).toMatchObject({
      status: 503,
      body: expect.stringContaining(`${filesOf(dir)[0]}: the audit cannot be written: no space left on the disk (ENOSPC)`),
    });
    const refused = await post(sidecar, "b", NOISE);
    expect(refused).toMatchObject({
      status: 503,
      body: expect.stringContaining(`${filesOf(dir)[0]}: the audit cannot be written: no space left on the disk (ENOSPC)`),
    });
    expect(refused.body).not.toContain(SECRET);
    const ready = await call({ port: sidecar.admin!.port }, "GET", "/readyz");
    expect([ready.status, ready.body]).toEqual([503, expect.stringContaining("the audit cannot be written: no space left on the disk (ENOSPC)")]);
    expect((await call({ port: sidecar.admin!.port }, "GET", "/livez")).status).toBe(200);
    disk.isFull = false;
    await vi.waitFor(async () => expect((await call({ port: sidecar.admin!.port }, "GET", "/readyz")).status).toBe(200), { timeout: 10_000, interval: 20 });
    expect((await call(sidecar, "POST", "/v1/jobs/a/streams/s/end")).status).toBe(200);
    expect((await post(sidecar, "b", NOISE)).status).toBe(200);
    await audit.drained();
    expect([findingsOf(dir, "a"), findingsOf(dir, "b")]).toEqual([1, 1]);
    expect(await verifyAudit(dir)).toMatchObject({ ok: true, differences: [], gaps: [{ code: "ENOSPC" }] });
  });

  test("figures: what waits for it is told", async () => {
    const { audit, disk } = await audited();
    let release = (): void => undefined;
    disk.wait = new Promise((resolve) => (release = resolve));
    const appended = audit.append({ type: "job", job: "j", event: "begin" }, "j");
    await vi.waitFor(() => expect(audit.stats.queuedBytes).toBeGreaterThan(0));
    release();
    await appended;
    expect(audit.stats.queuedBytes).toBe(0);
  });
});
