/** What is done about findings: told, the job failed, a service told; never with bytes of the log. */
import { createServer, type IncomingMessage } from "node:http";
import { createHmac } from "node:crypto";
import type { AddressInfo } from "node:net";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { SidecarOptions } from "../../src/sidecar/serve.js";
import { Warnings } from "../../src/sidecar/actions.js";
import { Webhook } from "../../src/sidecar/webhook.js";
import { call, start, upstreamAt } from "../support/sidecar.js";

const LOG = "/v1/jobs/build-1/streams/stdout";
const SECRET = "global-secret-0123456789";
const TOKEN = ["ghp", "x7Kq2mN9pL4wR8tY3vB6zD1fH5jC0sGa4T1p"].join("_");
const finding = { kind: "masked", secret: "A", variant: "plain", fingerprint: "ABCDEFGH", stream: "s", line: 3, offset: 40, length: 9 } as const;

interface Got {
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

/** A service that answers by `status`, and what it got. */
async function service(status: (count: number) => number): Promise<{ url: string; got: Got[] }> {
  const got: Got[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => {
      got.push({ headers: request.headers, body });
      response.writeHead(status(got.length), { location: "/elsewhere" }).end("thanks");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => server.close().closeAllConnections());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?k=v`, got };
}

describe("warn", () => {
  test("one line for each rule or secret of a job, without bytes", async () => {
    const { sidecar, logs } = await start({ onFinding: { actions: { certain: ["warn"] } } });
    await call(sidecar, "POST", LOG, `one\n${SECRET}\n`.repeat(5));
    await call(sidecar, "POST", LOG.replace("build-1", "build-2"), `x ${SECRET}\n`);
    const told = logs.filter((line) => line.includes("found"));
    expect(told).toEqual([
      "warn: found: secret GLOBAL in job build-1, stream stdout, line 2, offset 4: masked",
      "warn: found: secret GLOBAL in job build-2, stream stdout, line 1, offset 2: masked",
    ]);
    expect(logs.join("\n")).not.toContain(SECRET);
  });

  test("how many more there were is told after a minute", () => {
    let now = 0;
    const told: string[] = [];
    const warnings = new Warnings(
      (line) => told.push(line),
      () => now,
    );
    for (let i = 0; i < 4; i++) warnings.found("secret A in job j", finding);
    warnings.sweep();
    expect(told.length).toBe(1);
    now = 60_000;
    warnings.found("secret A in job j", finding);
    expect(told.at(-1)).toBe("found: secret A in job j, stream s, line 3, offset 40: masked; 3 more since the line before");
    warnings.found("secret A in job j", finding);
    now = 120_000;
    warnings.sweep();
    expect(told.at(-1)).toBe("found: secret A in job j; 1 more since the line before");
    for (let job = 0; job < 30_000; job++) warnings.found(`secret A in job ${job}`, finding);
    expect((warnings as unknown as { told: Map<string, unknown> }).told.size).toBeLessThanOrEqual(10_000);
  });
});

describe("fail-job", () => {
  const onFinding: SidecarOptions["onFinding"] = { actions: { "github-token": ["fail-job"], certain: ["count"] } };

  test("nothing more of the job is taken until it is ended; what was taken stays, masked", async () => {
    const { sidecar, witness } = await start({
      onFinding,
      engine: { secrets: [{ name: "GLOBAL", value: SECRET }], rules: { disable: [] }, limits: { holdBackMs: 50 } },
    });
    // A registered secret is only counted here.
    expect((await call(sidecar, "POST", LOG, `${SECRET}\n`)).status).toBe(200);
    await call(sidecar, "POST", LOG, `one\n${TOKEN}\ntwo\n`);
    for (const path of [LOG, `${LOG}/end`, LOG.replace("stdout", "other")]) {
      const refused = await call(sidecar, "POST", path, "three\n");
      expect(refused.status).toBe(422);
      expect(JSON.parse(refused.body)).toMatchObject({
        message: expect.stringMatching(/github-token was found .* what was taken stays, masked; nothing more is taken until the job is ended/),
      });
      expect(refused.body).not.toContain(TOKEN);
    }
    expect((await call(sidecar, "POST", LOG.replace("build-1", "build-2"), "x\n")).status).toBe(200);
    const metrics = (await call({ port: sidecar.admin!.port }, "GET", "/metrics")).body;
    expect(metrics).toContain("\nlogveil_failed_jobs 1\n");
    expect(metrics).toContain("\nlogveil_failed_jobs_total 1\n");
    expect(witness.told).toContainEqual({ type: "failed", job: "build-1" });
    expect((await call({ socket: sidecar.socket! }, "DELETE", "/v1/jobs/build-1")).status).toBe(200);
    expect((await call(sidecar, "GET", LOG)).body).toMatch(/^\[REDACTED:GLOBAL\]\none\n\[REDACTED:github-token\]\ntwo\n$/);
    expect((await call(sidecar, "POST", LOG.replace("stdout", "again"), "x\n")).status).toBe(200);
  });

  test("a request that is under way is cut off there", async () => {
    const { sidecar } = await start({ onFinding, engine: { limits: { holdBackMs: 50 } } });
    const refused = await call(sidecar, "POST", LOG, [`one\n${TOKEN}\n${"two\n".repeat(100)}`, "three\n".repeat(20_000)]);
    expect(refused.status).toBe(422);
    const { body } = await call(sidecar, "GET", LOG);
    expect(body).toMatch(/^one\n\[REDACTED:github-token\]\n/);
    expect(body).not.toContain("three\n".repeat(20_000));
  });

  test("what is forwarded is cut off before the end, and so is all that follows of its job", async () => {
    const seen: boolean[] = [];
    const upstream = createServer((request, response) => {
      request.on("error", () => undefined).on("close", () => seen.push(request.complete));
      request.resume().on("end", () => response.end("ok"));
    });
    await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => upstream.close().closeAllConnections());
    const { sidecar } = await start({
      onFinding,
      upstream: upstreamAt((upstream.address() as AddressInfo).port, { maxConnections: 2 }),
    });
    const post = (body: string, job?: string): Promise<number> =>
      call(sidecar, "POST", "/x", body, { "content-type": "text/plain", ...(job === undefined ? {} : { "logveil-job": job }) }).then(({ status }) => status);
    expect(await post(`${TOKEN}\nrest\n`, "a")).toBe(422);
    expect(await post("harmless\n", "a")).toBe(422);
    expect(await post(`${TOKEN}\nrest\n`)).toBe(422);
    expect(await post("harmless\n")).toBe(200);
    await vi.waitFor(() => expect(seen.filter(Boolean).length).toBe(1));
  });
});

describe("webhook", () => {
  test("signed batches with the fields of the audit, without bytes", async () => {
    const { url, got } = await service(() => 204);
    const { sidecar } = await start({ onFinding: { actions: { certain: ["webhook"] }, webhook: { url, key: "a-key-of-16-bytes" } } });
    await call(sidecar, "POST", LOG, `one\n${SECRET}\n${SECRET}\n`);
    await vi.waitFor(() => expect(got.flatMap(({ body }) => (JSON.parse(body) as { findings: object[] }).findings).length).toBe(2));
    const [{ headers, body }] = got as [Got];
    const { id, findings } = JSON.parse(body) as { id: string; findings: Record<string, unknown>[] };
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    expect(Object.keys(findings[0]!)).toEqual(["time", "job", "stream", "kind", "secret", "variant", "fingerprint", "line", "offset", "length", "policy"]);
    expect(findings[0]).toMatchObject({ job: "build-1", stream: "stdout", secret: "GLOBAL", line: 2, offset: 4, length: 24 });
    const [, seconds, signature] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(headers["logveil-signature"]))!;
    expect(createHmac("sha256", "a-key-of-16-bytes").update(`${seconds}.${body}`).digest("hex")).toBe(signature);
    expect(Math.abs(Number(seconds) - Date.now() / 1000)).toBeLessThan(3600);
    expect(body).not.toContain(SECRET);
  });

  test("what the service cannot take now is tried again as it was, signed anew", async () => {
    const { url, got } = await service((count) => (count < 3 ? 503 : 200));
    const told: string[] = [];
    const webhook = new Webhook({ url, key: "k".repeat(16), maxPauseMs: 5 }, (line) => told.push(line));
    webhook.send("j", finding, "00");
    await vi.waitFor(() => expect(webhook.stats).toEqual({ queued: 0, delivered: 1, dropped: 0 }));
    expect(new Set(got.map(({ body }) => body)).size).toBe(1);
    expect([got.length, told]).toEqual([3, ["onFinding.webhook: the service answers 503; it is tried again"]]);
    await webhook.close(0);
  });

  test.each([
    [400, "the service answers 400"],
    [307, "the service answers 307, and redirects are not followed"],
  ])("what it does not want (%i) is dropped, and told", async (status, why) => {
    const { url, got } = await service(() => status);
    const told: string[] = [];
    const webhook = new Webhook({ url, key: "k".repeat(16) }, (line) => told.push(line));
    webhook.send("j", finding, "00");
    await vi.waitFor(() => expect(webhook.stats).toEqual({ queued: 0, delivered: 0, dropped: 1 }));
    expect(told).toEqual([`onFinding.webhook: 1 findings were not delivered: ${why}; the audit has them`]);
    expect(got.length).toBe(1);
    await webhook.close(0);
  });

  test("the queue is bounded, and at the end sent as far as there is time", async () => {
    const told: string[] = [];
    const down = new Webhook({ url: "http://127.0.0.1:9/secret-path", key: "k".repeat(16) }, (line) => told.push(line));
    for (let i = 0; i < 10_005; i++) down.send("j", finding, "00");
    expect(down.stats).toEqual({ queued: 10_000, delivered: 0, dropped: 5 });
    await down.close(10);
    expect(down.stats).toEqual({ queued: 0, delivered: 0, dropped: 10_005 });
    expect(told.some((line) => line.includes("10000 findings wait for the service"))).toBe(true);
    expect(told.join("\n")).not.toContain("secret-path");
    const { url, got } = await service((count) => (count === 1 ? 503 : 204));
    const up = new Webhook({ url, key: "k".repeat(16) }, () => undefined);
    for (let i = 0; i < 250; i++) up.send("j", finding, "00");
    await up.close(60_000);
    expect([up.stats, got.length]).toEqual([{ queued: 0, delivered: 250, dropped: 0 }, 4]);
    up.send("j", finding, "00");
    expect(up.stats.dropped).toBe(1);
  });

  test("streams do not wait for a service that does not answer", async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => silent.close().closeAllConnections());
    const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/`;
    const { sidecar } = await start({ onFinding: { actions: { certain: ["webhook"] }, webhook: { url, key: "k".repeat(16) } } });
    expect((await call(sidecar, "POST", LOG, `${SECRET}\n`.repeat(500))).status).toBe(200);
    expect((await call(sidecar, "POST", `${LOG}/end`)).status).toBe(200);
    const { webhook } = JSON.parse((await call({ socket: sidecar.socket! }, "GET", "/v1/status")).body) as { webhook: object };
    expect(webhook).toEqual({ queued: 500, delivered: 0, dropped: 0 });
  });
});
