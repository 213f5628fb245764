/** Whether anything is taken: not with secrets that are too old, nor with nothing to mask by. */
import { expect, test, vi } from "vitest";
import { createEngine } from "../../src/engine.js";
import { Gate } from "../../src/sidecar/gate.js";
import { call, start } from "../support/sidecar.js";

const LOG = "/v1/jobs/j/streams/s";

test("secrets are too old after their time, and good again when they were read", () => {
  let now = 0;
  const engine = createEngine({ secrets: [{ name: "A", value: "some-secret-0123456789" }] });
  const gate = new Gate(engine, () => now);
  gate.loaded(1000);
  now = 1000;
  gate.check();
  now = 1001;
  expect(() => gate.check()).toThrow(expect.objectContaining({ status: 503, headers: { "retry-after": "10" } }));
  expect(gate.ignorance()).toMatch(/older than secrets.ttl/);
  gate.loaded(1000);
  gate.check();
  gate.loaded(undefined);
  now = Infinity;
  gate.check();
  engine.close();
});

test("with neither rules nor secrets nothing is taken, but of jobs with secrets of their own", async () => {
  const { sidecar } = await start({ engine: { rules: false, limits: { holdBackMs: 50 } } });
  const refused = await call(sidecar, "POST", LOG, "text\n");
  expect(refused).toMatchObject({ status: 503, headers: { "retry-after": "10" } });
  expect(JSON.parse(refused.body)).toMatchObject({ message: "neither rules nor secrets are loaded: nothing is taken" });
  expect((await call({ port: sidecar.admin!.port }, "GET", "/readyz")).body).toContain('"secrets":"neither rules nor secrets are loaded"');
  await call({ socket: sidecar.socket! }, "POST", "/v1/jobs/j/secrets", "A=job-secret-0123456789");
  expect((await call(sidecar, "POST", LOG, "x job-secret-0123456789\n")).status).toBe(200);
  expect((await call(sidecar, "POST", LOG.replace("/j/", "/k/"), "text\n")).status).toBe(503);
});

test("requests are refused when secrets have become too old, and taken again when they were read", async () => {
  const { sidecar } = await start({ secretsTtlMs: 1 });
  await vi.waitFor(async () => expect((await call(sidecar, "POST", LOG, "text\n")).status).toBe(503));
  expect((await call(sidecar, "GET", "/v1/jobs")).status).toBe(200);
  await sidecar.apply({
    engine: { secrets: [] },
    jobs: { maxJobs: 10, maxStreams: 10, maxOpen: 10, graceMs: 10 },
    onFinding: { actions: {} },
    secretsTtlMs: 1e9,
  });
  expect((await call(sidecar, "POST", LOG, "text\n")).status).toBe(200);
});
