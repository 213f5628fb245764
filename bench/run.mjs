/** `npm run bench [-- --smoke]`: measures against the bars, rivals in the same run, answers checked. Records to bench/results/. See README.md. */
import { createEngine } from "../dist/index.js";
import { benchAudit } from "./audit.mjs";
import { benchCli } from "./cli.mjs";
import { corpora, secrets } from "./corpora.mjs";
import { check, finish, median, quantile, record, smoke } from "./lib.mjs";
import { benchFramings } from "./framing.mjs";
import { benchMatcher } from "./matcher.mjs";
import { rivals } from "./rivals.mjs";
import { benchRules } from "./rules.mjs";

const SIZE = smoke ? 1 << 20 : 32 << 20;
const RIVAL_SIZE = smoke ? 1 << 16 : 1 << 20;
const ROUNDS = smoke ? 1 : 5;
/** As the command line reads. */
const CHUNK = 256 * 1024;

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

const worst = { native: 60, portable: 50 };
const bars = {
  "fixture logs": { native: 2000, portable: 150 },
  "near-prefixes": worst,
  "shared JWT header": worst,
  "self-repeating secret, 10 KB": worst,
  "10 KB secret, coloured at every byte": worst,
  "matches back to back": worst,
};

for (const engine of engines) {
  const started = performance.now();
  const built = createEngine({ engine, rules: false, secrets: common });
  record(`${engine}: build ${common.length} secrets x all variants`, performance.now() - started, "ms", ["<=", 1000]);
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
  record(`${engine}: a late secret live`, median(late), "ms", ["<=", 20]);

  const line = Buffer.from(`${"2026-11-21T09:00:00.123Z [build] compiling module 17 of 200: src/components/list.tsx ".padEnd(199, ".")}\n`);
  const stream = built.stream();
  const times = Array.from({ length: 20_000 }, () => {
    const before = performance.now();
    stream.push(line);
    return (performance.now() - before) * 1000;
  }).slice(2000);
  record(`${engine}: a line of 200 bytes, push to emit, p50`, median(times), "us", ["<=", 10]);
  record(`${engine}: a line of 200 bytes, push to emit, p99`, quantile(times, 0.99), "us", ["<=", 50]);
  built.close();

  for (const { name, text, own, masked } of texts) {
    const measured = createEngine({ engine, rules: false, secrets: [...common, ...own] });
    const runs = Array.from({ length: ROUNDS }, () => pass(measured, text));
    const speed = median(runs.map((run) => run.speed));
    // A cut secret at the end of the text is a fragment: one finding at most where nothing is planted.
    // Control sequences inside a mask stay, so of coloured text only a part goes.
    const most = masked === "in part" ? text.length * 0.8 : text.length / 10;
    for (const run of runs) check(`${engine}, ${name}`, masked ? run.out < most && run.findings > 0 : run.findings <= 1);
    record(`${engine}: ${name}`, speed, "MB/s", bars[name]?.[engine] && [">=", bars[name][engine]]);
    measured.close();
  }
}

// Rivals: raw values only, no variants, no streaming, no escapes; the same planted text for all.
const planted = Buffer.from(texts[0].text.subarray(0, RIVAL_SIZE));
for (let i = 0; i < 20; i++) planted.write(common[i].value, Math.floor(((i + 0.5) * RIVAL_SIZE) / 20));
const own = createEngine({ engine: engines[0], rules: false, secrets: common });
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

benchFramings(engines, common);
if (engines.includes("native")) {
  benchMatcher(texts[0].text.subarray(0, smoke ? SIZE : 12 << 20), ROUNDS);
  await benchRules(texts[0].text.subarray(0, smoke ? SIZE : 12 << 20), common);
  benchCli(texts[0].text, common);
}
await benchAudit();
finish(texts.map(({ text }) => text));
