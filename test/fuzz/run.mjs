/**
 * `npm run fuzz -- cost`: inputs that are slow to mask, see cost.mjs.
 *
 * `npm run fuzz [-- SECONDS]`: the comparison with the oracle, on every engine that loads, with new random cases until the time (60 s) is up. What differs becomes a file in corpus/.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readOptions, searchCost } from "./cost.mjs";

if (process.argv[2] === "cost") {
  try {
    process.exit(await searchCost(readOptions(process.argv.slice(3))));
  } catch (error) {
    console.error(error.message);
    process.exit(2);
  }
}
const root = fileURLToPath(new URL("../..", import.meta.url));
const seconds = Number(process.argv[2] ?? 60);
if (!(seconds > 0)) {
  console.error("fuzz: expected a number of seconds");
  process.exit(2);
}
const until = Date.now() + seconds * 1000;
let rounds = 0;
do {
  const { status, stdout } = spawnSync(process.execPath, [join(root, "node_modules/vitest/vitest.mjs"), "run", "test/laws/oracle.test.ts"], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, LOGVEIL_RUNS: "10000", LOGVEIL_KEEP_CASES: "1" },
    encoding: "utf8",
  });
  if (status !== 0) {
    console.error(
      `${stdout}\nfuzz: an engine differs from the oracle; the smallest counterexample is now a file in test/fuzz/corpus, which npm test replays: commit it with the fix`,
    );
    process.exit(1);
  }
  rounds++;
} while (Date.now() < until);
console.log(`fuzz: ${rounds} rounds of 10,000 cases for each engine, no difference`);
