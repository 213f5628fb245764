/** Other secrets and rules in the place of those that there were: no stream is ever masked by less than before, none that is opened afterwards by more than after. */
import { describe, expect, test } from "vitest";
import { ENGINES } from "../support/engines.js";
import { createEngine, type Engine } from "../../src/engine.js";
import type { RedactorStream } from "../../src/live.js";

const [OLD, BOTH, NEW] = ["old-secret-0123456789", "kept-secret-0123456789", "new-secret-0123456789"];
const TOKEN = ["ghp", "x7Kq2mN9pL4wR8tY3vB6zD1fH5jC0sGa4T1p"].join("_");
const secret = (value: string, name: string = value.slice(0, 3)): { name: string; value: string } => ({ name, value });
const said = (stream: RedactorStream, text: string): string =>
  Buffer.concat(stream.push(Buffer.from(text)))
    .toString()
    .trim();

describe.each(ENGINES.map(({ engine }) => engine))("%s", (kind) => {
  const make = (): Engine => createEngine({ engine: kind, secrets: [secret(OLD), secret(BOTH)] });

  test("streams that are open get the new secrets and keep the old ones, new streams have the new ones", async () => {
    const engine = make();
    const open = engine.stream({ scope: "job" });
    const policy = engine.policy;
    expect(said(open, `${OLD}\n`)).toBe("[REDACTED:old]");
    expect(await engine.replace({ secrets: [secret(BOTH), secret(NEW)] })).toEqual([]);
    expect(said(open, `${OLD} ${BOTH} ${NEW}\n`)).toBe("[REDACTED:old] [REDACTED:kep] [REDACTED:new]");
    expect(engine.redact(`${OLD} ${BOTH} ${NEW}\n`)).toBe(`${OLD} [REDACTED:kep] [REDACTED:new]\n`);
    expect(engine.stats().secrets).toBe(2);
    expect(engine.policy).toBe(policy);
    open.end();
    engine.close();
  });

  test("what a stream holds back, and what it will get by other ways, is masked by both", async () => {
    const engine = make();
    const open = engine.stream({ scope: "job" });
    let out = said(open, `x: ${NEW.slice(0, 10)}`);
    await engine.replace({ secrets: [secret(NEW)] });
    await engine.scope("job").addSecrets([secret("job-secret-0123456789")]);
    await engine.addSecrets([secret("late-secret-0123456789")]);
    out += said(open, `${NEW.slice(10)} ${OLD} job-secret-0123456789 late-secret-0123456789\n`);
    expect(out).toMatch(/^x: ?\[REDACTED:new\] \[REDACTED:old\] \[REDACTED:job\] \[REDACTED:lat\]$/);
    open.end();
    engine.close();
  });

  test("rules hold for streams that are opened afterwards, secrets of scopes stay", async () => {
    const engine = make();
    await engine.scope("job").addSecrets([secret("job-secret-0123456789")]);
    const open = engine.stream({ scope: "job" });
    const { policy } = engine;
    await engine.replace({ secrets: [], rules: false });
    expect(engine.policy).not.toBe(policy);
    expect(said(open, `${TOKEN}\n`)).toMatch(/^\[REDACTED:/);
    expect(engine.scope("job").redact(`${TOKEN.replace("7", "8")} job-secret-0123456789\n`)).toMatch(/^ghp_\S+ \[REDACTED:job\]\n$/);
    expect([engine.masksAnything(), engine.masksAnything("job"), engine.masksAnything("other")]).toEqual([false, true, false]);
    await engine.replace({});
    expect(engine.policy).toBe(policy);
    expect(engine.redact(`${TOKEN}\n`)).toMatch(/^\[REDACTED:/);
    open.end();
    engine.close();
  });

  test("what is wrong changes nothing", async () => {
    const engine = make();
    const { policy } = engine;
    await expect(engine.replace({ secrets: [secret(NEW), secret("x".repeat(2 << 20))] })).rejects.toMatchObject({ code: "LV_SECRET_TOO_LONG" });
    await expect(engine.replace({ secrets: [secret(NEW)], rules: { disable: ["no-such-rule"] } })).rejects.toMatchObject({ code: "LV_RULES" });
    expect(engine.redact(`${OLD} ${NEW}\n`)).toBe(`[REDACTED:old] ${NEW}\n`);
    expect([engine.policy, engine.stats().secrets]).toEqual([policy, 2]);
    engine.close();
    await expect(engine.replace({})).rejects.toMatchObject({ code: "LV_CLOSED" });
  });

  test("sets that no stream has any more are let go of", async () => {
    const engine = make();
    const { memoryBytes } = engine.stats();
    for (let round = 0; round < 20; round++) {
      const open = engine.stream();
      await engine.replace({ secrets: [secret(`${round % 2}-secret-0123456789`), secret(BOTH)] });
      open.push(Buffer.from("text"));
      open.end();
    }
    expect(engine.stats().memoryBytes).toBeLessThan(memoryBytes * 2);
    expect((engine as unknown as { policies: { used: Set<unknown> } }).policies.used.size).toBe(1);
    engine.close();
  });
});
