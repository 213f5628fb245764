/** Worker threads use the automata of the main thread's engine: real threads, over the built package as users have it. */
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { createEngine, type SharedSecrets } from "../../src/index.js";
import { ENGINES } from "../support/engines.js";

const entry = new URL("../../dist/index.js", import.meta.url).href;
const secrets = [
  { name: "A", value: "correct-horse-battery" },
  { name: "B", value: "job-secret-4711-x", scope: "job" },
];

/** Redacts in a thread of its own; answers the texts, or the code of the error. */
function inWorker(shared: SharedSecrets): Promise<unknown> {
  const code = `
    const { parentPort, workerData } = require("node:worker_threads");
    import(workerData.entry).then(({ createEngine }) => {
      try {
        const engine = createEngine({ engine: "native", shared: workerData.shared });
        const text = "x correct-horse-battery y job-secret-4711-x z";
        parentPort.postMessage([engine.redact(text), engine.scope("job").redact(text)]);
        engine.close();
      } catch (error) { parentPort.postMessage(error.code); }
    });`;
  return new Promise((resolve, reject) => {
    const worker = new Worker(code, { eval: true, workerData: { shared, entry } });
    worker.once("message", resolve).once("error", reject);
  });
}

test.skipIf(!ENGINES.some(({ engine }) => engine === "native"))("worker threads mask with shared secrets, mask and scopes", async () => {
  // The built package on both sides: two copies of the addon would share nothing.
  const built = (await import(entry)) as { createEngine: typeof createEngine };
  const engine = built.createEngine({ engine: "native", secrets, mask: "fixed" });
  const shared = engine.share();
  expect(JSON.stringify(shared)).not.toMatch(/horse|4711/);
  for (const answer of await Promise.all([inWorker(shared), inWorker(shared)])) expect(answer).toEqual(["x *** y job-secret-4711-x z", "x *** y *** z"]);
  expect(engine.redact("correct-horse-battery")).toBe("***");
  engine.close();
  expect(await inWorker(shared)).toBe("LV_USAGE");
});

test.skipIf(!ENGINES.some(({ engine }) => engine === "portable"))("a share brings its mask along, and the portable engine has none", () => {
  const engine = createEngine({ engine: "portable", secrets });
  expect(() => engine.share()).toThrow("only the native engine");
  engine.close();
  expect(() => createEngine({ mask: "fixed", shared: { scopes: [], mask: { style: "label" }, limits: engine.limits } })).toThrow("leave out mask");
});
