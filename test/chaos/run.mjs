/**
 * `npm run chaos [-- RUNS|SECONDSs [SEED]]`: sidecars that are killed, cut off, stopped and given full disks at random, two at a time, until so many runs (100) are done or
 * the time (`300s`) is up. Run N is always made from the number N: `npm run chaos -- 1 N` does it once more. `npm run chaos -- pressure`: see
 * pressure.mjs; `npm run chaos -- noisy`: see noisy.mjs. `npm run chaos -- pipes [RUNS|SECONDSs [SEED]]`: requests that stay open and send ten lines a second, see piped.ts;
 * five kills a run, six runs at a time.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setupOrExit } from "../../scripts/setup.mjs";
import { noisy } from "./noisy.mjs";
import { pressure } from "./pressure.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Runs of another kind, each with a first word of its own. */
const others = new Map(Object.entries({ noisy, pressure }));
const other = others.get(process.argv[2]);
if (other !== undefined) {
  await setupOrExit();
  try {
    process.exit(await other(process.argv.slice(3)));
  } catch (error) {
    console.error(error.message);
    process.exit(2);
  }
}

const isPiped = process.argv[2] === "pipes";
const [much = "100", first = String(Date.now() % 1e9)] = process.argv.slice(isPiped ? 3 : 2);
/** Runs of one process, and processes: pipes mostly wait. */
const [BATCH, PARALLEL] = isPiped ? [4, 6] : [25, 2];
if (!/^[1-9]\d*s?$/.test(much) || !/^\d{1,9}$/.test(first)) {
  console.error("chaos: expected a number of runs, or of seconds as in 300s, and perhaps the number of the first run");
  process.exit(2);
}
const runs = much.endsWith("s") ? Infinity : Number(much);
const until = much.endsWith("s") ? Date.now() + Number(much.slice(0, -1)) * 1000 : Infinity;
await setupOrExit();

let started = 0;
let done = 0;
const faults = {};

/** Runs batches until there are enough. Throws what a failed one said. */
async function work() {
  while (started < runs && Date.now() < until) {
    const count = Math.min(BATCH, runs - started);
    const seed = Number(first) + started;
    started += count;
    const said = await batch(seed, count);
    done += count;
    for (const [fault, times] of Object.entries(JSON.parse(/^chaos: (\{.*\})$/m.exec(said)[1]))) faults[fault] = (faults[fault] ?? 0) + times;
    console.log(`chaos: ${done} runs, nothing lost, nothing raw`);
  }
}

function batch(seed, count) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, "node_modules/vitest/vitest.mjs"), "run", "test/sidecar/chaos.test.ts"], {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        ...process.env,
        NO_COLOR: "1",
        LOGVEIL_CHAOS_RUNS: String(count),
        LOGVEIL_CHAOS_SEED: String(seed),
        ...(isPiped && { LOGVEIL_CHAOS_KIND: "pipes" }),
      },
    });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (said += text));
    child.on("close", (code) => (code === 0 ? resolve(said) : reject(new Error(said))));
  });
}

try {
  await Promise.all(Array.from({ length: PARALLEL }, work));
  console.log(
    `chaos: ${done} runs from number ${first} on; faults: ${Object.entries(faults)
      .map(([fault, times]) => `${fault} ${times}`)
      .join(", ")}`,
  );
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
