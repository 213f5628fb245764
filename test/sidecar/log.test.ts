/** The sidecar's own log: lines of JSON or text, in order, none of them with a secret in it. */
import { expect, test } from "vitest";
import { openLog, type LogOptions } from "../../src/sidecar/log.js";
import { call, start } from "../support/sidecar.js";

function log(options: Partial<LogOptions> = {}): { lines: string[] } & ReturnType<typeof openLog> {
  const lines: string[] = [];
  return { lines, ...openLog({ level: "info", format: "auto", isTerminal: false, write: (line) => void lines.push(line), ...options }) };
}

test("JSON for machines, text for people", () => {
  for (const options of [{}, { format: "json", isTerminal: true } as const]) {
    const { tell, lines } = log(options);
    tell("warn", 'a "line"\nof two');
    expect(lines.length).toBe(1);
    expect(lines[0]).toMatch(/^\{.*\}\n$/);
    expect(JSON.parse(lines[0]!)).toEqual({ level: "warn", time: expect.stringMatching(/^\d{4}-.*Z$/), msg: 'a "line"\nof two' });
  }
  for (const options of [{ isTerminal: true }, { format: "text" } as const]) {
    const { tell, lines } = log(options);
    tell("error", "a line");
    expect(lines).toEqual([expect.stringMatching(/^\S+Z error a line\n$/)]);
  }
});

test("what is below the level is not told, and the level can change", () => {
  const { tell, setLevel, lines } = log({ level: "warn", format: "text" });
  tell("info", "one");
  setLevel("info");
  tell("info", "two");
  setLevel("silent");
  tell("error", "three");
  expect(lines).toEqual([expect.stringMatching(/two\n$/)]);
});

test("what is told passes through the engine", async () => {
  const { sidecar, logs } = await start();
  sidecar.log("warn", "a name with global-secret-0123456789 in it");
  const token = ["ghp", "x7Kq2mN9pL4wR8tY3vB6zD1fH5jC0sGa4T1p"].join("_");
  sidecar.log("error", `cannot read /x/${token}`);
  await call(sidecar, "GET", "/v1/jobs");
  expect(logs).toEqual(["warn: a name with [REDACTED:GLOBAL] in it", "error: cannot read /x/[REDACTED:github-token]"]);
  await sidecar.close(0);
  sidecar.log("warn", "global-secret-0123456789");
  expect(logs.length).toBe(2);
});

test("secrets that are not masked are told, by name", async () => {
  const { logs } = await start({ engine: { secrets: [{ name: "SHORT", value: "ab" }], limits: { holdBackMs: 50 } } });
  expect(logs).toEqual([expect.stringMatching(/^warn: secret SHORT is NOT masked: /)]);
});
