/**
 * kill -9, resets, full disks and stalls at random, against real sidecars: nothing acknowledged is lost, nothing raw is on disk or goes on, the audit is whole. A few runs;
 * `npm run chaos` does as many as one likes.
 */
import { expect, test } from "vitest";
import { Random } from "../chaos/random.js";
import { runForwarded } from "../chaos/forwarded.js";
import { runPiped } from "../chaos/piped.js";
import { runStored } from "../chaos/stored.js";

const RUNS = Number(process.env["LOGVEIL_CHAOS_RUNS"] ?? 10);
const SEED = Number(process.env["LOGVEIL_CHAOS_SEED"] ?? 1);
const PIPED = process.env["LOGVEIL_CHAOS_KIND"] === "pipes";

/** What is done with a number. */
const runOf = (seed: number): ((random: Random) => Promise<Record<string, number>>) => (PIPED ? runPiped : seed % 3 === 0 ? runForwarded : runStored);

test.skipIf(PIPED)("slow pipes: nothing that was promised is lost by kill -9", { timeout: 300_000 }, async () => {
  expect(await runPiped(new Random(SEED))).toEqual({ kill: 5 });
});

test("disturbed at random", { timeout: RUNS * 300_000 }, async () => {
  const faults: Record<string, number> = {};
  for (let seed = SEED; seed < SEED + RUNS; seed++) {
    try {
      for (const [fault, count] of Object.entries(await runOf(seed)(new Random(seed * 7919)))) faults[fault] = (faults[fault] ?? 0) + count;
    } catch (error) {
      throw new Error(`run ${seed} (npm run chaos -- ${PIPED ? "pipes " : ""}1 ${seed}): ${(error as Error).message}`, { cause: error });
    }
  }
  console.log(`chaos: ${JSON.stringify(faults)}`);
  expect(Object.keys(faults).length).toBeGreaterThan(0);
});
