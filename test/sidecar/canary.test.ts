/** The self-test finds what it is for: an engine that lets a spelling through. */
import { expect, test } from "vitest";
import { createEngine, type Engine } from "../../src/engine.js";
import { runCanary } from "../../src/sidecar/canary.js";

test("a sound engine lets none through, and keeps nothing of it", async () => {
  const engine = createEngine({ secrets: [{ name: "A", value: "some-secret-0123456789" }] });
  const before = engine.stats();
  expect(await runCanary(engine)).toEqual([]);
  expect(engine.stats()).toEqual(before);
  engine.close();
});

/** An engine whose streams put one spelling back into what they let go. */
function leaking(engine: Engine, spell: (value: string) => Buffer): Engine {
  return {
    ...engine,
    scope(name: string) {
      const scope = engine.scope(name);
      let secret = "";
      return {
        ...scope,
        addSecrets: (secrets: readonly { readonly value: string }[]) => {
          secret = secrets[0]!.value;
          return scope.addSecrets(secrets as never);
        },
        stream: () => ({ push: () => [], end: () => [spell(secret)] }),
        close: () => scope.close(),
      };
    },
  } as unknown as Engine;
}

test.each([
  ["plain", (value: string) => Buffer.from(value)],
  ["base64", (value: string) => Buffer.from(Buffer.from(value).toString("base64"))],
  ["hex", (value: string) => Buffer.from(Buffer.from(value).toString("hex"))],
])("one that lets %s through is found out", async (name, spell) => {
  const engine = createEngine({ secrets: [] });
  expect(await runCanary(leaking(engine, spell))).toContain(name);
  engine.close();
});
