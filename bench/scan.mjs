/**
 * Our matcher alone, through the engine boundary, as a process of its own so that `LOGVEIL_ENGINE` and `LOGVEIL_SIMD` can be forced:
 * `node scan.mjs NEEDLES TEXT CHUNK_BYTES ROUNDS`. Prints a line of JSON. The format of NEEDLES is told in rivals/src/main.rs.
 */
import { readFileSync } from "node:fs";
import { ROW } from "../dist/core/matcher.js";
import { loadMatcher } from "../dist/native/loader.js";
import { median, quantile } from "./lib.mjs";

const [needlesFile, textFile, chunkBytes, rounds] = process.argv.slice(2);
const data = readFileSync(needlesFile);
const count = data.readUInt32LE();
const offsets = new Uint32Array(count + 1);
const flags = new Uint8Array(count);
const parts = [];
for (let i = 0, at = 4; i < count; i++) {
  const length = data.readUInt32LE(at);
  flags[i] = data[at + 4];
  parts.push(data.subarray(at + 5, at + 5 + length));
  offsets[i + 1] = offsets[i] + length;
  at += 5 + length;
}
const table = () => ({ bytes: Buffer.concat(parts), offsets, flags });
const text = readFileSync(textFile);
const chunk = Number(chunkBytes);
const matcher = loadMatcher();

const builds = [];
let set;
for (let i = 0; i < 3; i++) {
  set?.release();
  const built = table();
  const started = performance.now();
  set = matcher.build(built);
  builds.push(performance.now() - started);
}
// One needle more, as a set of its own beside the large one.
const adds = [];
for (let i = 0; i < 200; i++) {
  const bytes = Buffer.from(`one-more-needle-${i}-${"x".repeat(16)}`);
  const started = performance.now();
  const one = matcher.build({ bytes, offsets: Uint32Array.of(0, bytes.length), flags: Uint8Array.of(1) });
  const stream = matcher.open([set, one], 0, 65536);
  adds.push(performance.now() - started);
  stream.release();
  one.release();
}

const speeds = [];
let matches = 0;
for (let round = 0; round < Number(rounds); round++) {
  const stream = matcher.open([set], 0, 65536);
  matches = 0;
  const started = performance.now();
  for (let at = 0; at < text.length; at += chunk) {
    const rows = stream.scan(text.subarray(at, at + chunk));
    for (let i = 0; i < rows; i++) matches += stream.rows[i * 6] === ROW.RAW ? 1 : 0;
  }
  speeds.push(text.length / 1e3 / (performance.now() - started));
  stream.release();
}
const beyond = (set.memoryBytes - set.needleBytes) / count;
console.log(JSON.stringify({ engine: matcher.engine, speed: median(speeds), matches, build: median(builds), add: quantile(adds, 0.99), beyond }));
