/** Figures for Prometheus: what they count, that their names and labels are as they should be, that nothing of a log is in them. */
import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { call, start } from "../support/sidecar.js";

const LOG = "/v1/jobs/build-name-1/streams/stdout";

test("counts what came, what left, what was found", async () => {
  const { sidecar } = await start({ audit: () => ({ queuedBytes: 5, records: 7 }) });
  await call(sidecar, "POST", LOG, "one global-secret-0123456789\ntail");
  await call(sidecar, "POST", LOG, "more", { "logveil-offset": "0" });
  await call({ socket: sidecar.socket! }, "POST", "/v1/jobs/build-name-1/secrets", "A=job-secret-0123456789");
  const read = async (): Promise<string> => (await call({ port: sidecar.admin!.port }, "GET", "/metrics")).body;
  await read();
  const text = await read();
  for (const line of [
    "logveil_input_bytes_total 33",
    'logveil_findings_total{kind="masked",confidence="registered"} 1',
    'logveil_http_requests_total{listener="data",code="2xx"} 1',
    'logveil_http_requests_total{listener="data",code="4xx"} 1',
    "logveil_open_jobs 1",
    "logveil_open_streams 1",
    "logveil_secrets 2",
    "logveil_audit_queued_bytes 5",
    "logveil_audit_records_total 7",
    "logveil_ready 1",
    "logveil_config_last_reload_successful 1",
    'logveil_build_info{version="0.0.0",engine="native",node="' + process.versions.node + '"} 1',
  ])
    expect(text.replace('engine="portable"', 'engine="native"').split("\n")).toContain(line);
  expect(text).toMatch(/^process_resident_memory_bytes \d+$/m);
  for (const raw of ["global-secret", "job-secret", "build-name", "stdout"]) expect(text).not.toContain(raw);
});

test("names and types are as Prometheus has them", async (context) => {
  const { sidecar } = await start();
  await call(sidecar, "POST", LOG, "global-secret-0123456789\n");
  const { body: text, headers } = await call({ port: sidecar.admin!.port }, "GET", "/metrics");
  expect(headers["content-type"]).toMatch(/^text\/plain; version=0\.0\.4/);
  const own = [...text.matchAll(/^# TYPE (logveil_\S+) (\S+)$/gm)].map(([, name, type]) => [name!, type!] as const);
  expect(own.length).toBeGreaterThan(20);
  for (const [name, type] of own) {
    expect(name, name).toMatch(/^[a-z_]+$/);
    expect(name.endsWith("_total"), name).toBe(type === "counter");
    expect(text).toContain(`# HELP ${name} `);
  }
  const promtool = spawnSync("promtool", ["check", "metrics"], { input: text, encoding: "utf8" });
  if (promtool.error !== undefined) context.skip("promtool is not installed (Debian: prometheus)");
  // Of Node's own figures it does not like some names.
  expect(promtool.stderr.split("\n").filter((line) => line.startsWith("logveil_"))).toEqual([]);
});
