/**
 * kill -9, resets, full disks and stalls at random, against real sidecars: nothing acknowledged is lost, nothing raw is on disk or goes on, the audit is whole. A few runs;
 * `npm run chaos` does as many as one likes.
 */
import { expect, test } from "vitest";
import { Random } from "../chaos/random.js";
import { runForwarded } from "../chaos/forwarded.js";
import { runStored } from "../chaos/stored.js";

const RUNS = Number(process.env["LOGVEIL_CHAOS_RUNS"] ?? 10);
const SEED = Number(process.env["LOGVEIL_CHAOS_SEED"] ?? 1);

test("disturbed at random", { timeout: RUNS * 300_000 }, async () => {
  const faults: Record<string, number> = {};
  for (let seed = SEED; seed < SEED + RUNS; seed++) {
    try {
      const random = new Random(seed * 7919);
      const run = seed % 3 === 0 ? runForwarded : runStored;
      for (const [fault, count] of Object.entries(await run(random))) faults[fault] = (faults[fault] ?? 0) + count;
    } catch (error) {
      throw new Error(`run ${seed} (npm run chaos -- 1 ${seed}): ${(error as Error).message}`, { cause: error });
    }
  }
  console.log(`chaos: ${JSON.stringify(faults)}`);
  expect(Object.keys(faults).length).toBeGreaterThan(0);
});
