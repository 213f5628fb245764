/** `npm run bench [-- --smoke]`: measures against the bars, rivals in the same run, answers checked. Records to bench/results/. See README.md. */
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { createEngine } from "../dist/index.js";
import { corpora, secrets } from "./corpora.mjs";
import { rivals } from "./rivals.mjs";

const smoke = process.argv.includes("--smoke");
const SIZE = smoke ? 1 << 20 : 32 << 20;
const RIVAL_SIZE = smoke ? 1 << 16 : 1 << 20;
const ROUNDS = smoke ? 1 : 3;
const CHUNK = 64 * 1024;
const root = fileURLToPath(new URL("..", import.meta.url));

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const results = [];
let wrong = 0;

function record(measure, value, unit, bar, reached) {
  results.push({ measure, value: Number(value.toFixed(2)), unit, bar });
  console.log(
    `${measure.padEnd(58)} ${value.toFixed(1).padStart(9)} ${unit.padEnd(6)} ${bar === undefined ? "" : `bar ${bar}: ${reached ? "reached" : "NOT reached"}`}`,
  );
}

function check(what, ok) {
  if (ok) return;
  wrong++;
  console.error(`WRONG ANSWER: ${what}`);
}

/** One pass; answers MB/s, bytes out and findings. */
function pass(engine, text) {
  let findings = 0;
  const stream = engine.stream({ onFinding: () => findings++ });
  let out = 0;
  const started = performance.now();
  for (let at = 0; at < text.length; at += CHUNK) for (const piece of stream.push(text.subarray(at, at + CHUNK))) out += piece.length;
  for (const piece of stream.end()) out += piece.length;
  return { speed: text.length / 1e3 / (performance.now() - started), out, findings };
}

const common = secrets(smoke ? 50 : 1000, "bench");
const texts = corpora(SIZE, common);
const engines = ["native", "portable"].filter((engine) => {
  try {
    createEngine({ engine }).close();
    return true;
  } catch {
    console.log(`the ${engine} engine is not there: left out`);
    return false;
  }
});

for (const engine of engines) {
  const started = performance.now();
  const built = createEngine({ engine, secrets: common });
  record(`${engine}: build ${common.length} secrets x all variants`, performance.now() - started, "ms", "<= 1000", performance.now() - started <= 1000);
  const { needles, needleBytes, memoryBytes } = built.stats();
  record(`${engine}: memory per needle beyond its bytes (${needles} needles)`, (memoryBytes - needleBytes) / needles, "B");

  // A late secret, with a stream that holds a full window of input.
  const late = [];
  for (let i = 0; i < 10; i++) {
    const stream = built.stream();
    stream.push(texts[0].text.subarray(0, 128 * 1024));
    const before = performance.now();
    await built.addSecrets([{ name: `late${i}`, value: `${common[i].value}-late` }]);
    late.push(performance.now() - before);
    check("a late secret is masked", !Buffer.concat([...stream.push(Buffer.from(` ${common[i].value}-late `)), ...stream.end()]).includes(common[i].value));
  }
  record(`${engine}: a late secret live`, median(late), "ms", "<= 20", median(late) <= 20);
  built.close();

  for (const { name, text, own, masked } of texts) {
    const measured = createEngine({ engine, secrets: [...common, ...own] });
    const runs = Array.from({ length: ROUNDS }, () => pass(measured, text));
    const speed = median(runs.map((run) => run.speed));
    // A cut secret at the end of the text is a fragment: one finding at most where nothing is planted.
    // Control sequences inside a mask stay, so of coloured text only a part goes.
    const most = masked === "in part" ? text.length * 0.8 : text.length / 10;
    for (const run of runs) check(`${engine}, ${name}`, masked ? run.out < most && run.findings > 0 : run.findings <= 1);
    const bar = name === "fixture logs" ? (engine === "native" ? 150 : 80) : name === "synthetic logs" ? undefined : 50;
    record(`${engine}: ${name}`, speed, "MB/s", bar === undefined ? undefined : `>= ${bar}`, speed >= bar);
    measured.close();
  }
}

// Rivals: raw values only, no variants, no streaming, no escapes; the same planted text for all.
const planted = Buffer.from(texts[0].text.subarray(0, RIVAL_SIZE));
for (let i = 0; i < 20; i++) planted.write(common[i].value, Math.floor(((i + 0.5) * RIVAL_SIZE) / 20));
const own = createEngine({ engine: engines[0], secrets: common });
const ours = Array.from({ length: ROUNDS }, () => pass(own, planted));
check(
  "all planted secrets found",
  ours.every((run) => run.findings >= 20 && run.findings <= 21),
);
const ourSpeed = median(ours.map((run) => run.speed));
for (const { name, prepare } of await rivals()) {
  const run = prepare(common.map(({ value }) => value));
  const speeds = [];
  for (let i = 0; i < ROUNDS; i++) {
    const started = performance.now();
    const found = run(planted);
    speeds.push(planted.length / 1e3 / (performance.now() - started));
    check(`${name} finds the planted secrets`, found === undefined || found === 20);
  }
  record(`rival: ${name}`, median(speeds), "MB/s");
  record(`  logveil (${engines[0]}, all variants) against it`, ourSpeed / median(speeds), "x");
}

const starts = Array.from({ length: smoke ? 2 : 10 }, () => {
  const started = performance.now();
  const { stdout } = spawnSync(process.execPath, [`${root}dist/cli/main.js`, "scrub", "--quiet", "--secret-env", "BENCH_SECRET"], {
    input: "a hunter2-hunter2 b",
    env: { ...process.env, BENCH_SECRET: "hunter2-hunter2" },
  });
  check("scrub masks", stdout.toString() === "a [REDACTED:BENCH_SECRET] b");
  return performance.now() - started;
});
record("start of logveil scrub, to its end", median(starts), "ms", "<= 200", median(starts) <= 200);

if (!smoke) {
  const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: root, encoding: "utf8" }).trim();
  const hash = createHash("sha256");
  for (const { text } of texts) hash.update(text);
  const file = `${root}bench/results/${new Date().toISOString().slice(0, 10)}-${commit}.json`;
  mkdirSync(`${root}bench/results`, { recursive: true });
  writeFileSync(
    file,
    `${JSON.stringify({ commit, node: process.version, machine: `${cpus().length} x ${cpus()[0].model}`, bytes: SIZE, corpora: hash.digest("hex"), results }, null, 1)}\n`,
  );
  console.log(`recorded in ${file.slice(root.length)}`);
}
if (wrong > 0) process.exit(1);
