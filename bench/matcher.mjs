/** The matcher against others, by number of needles: the same needles and text, all in this run, matches counted. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dumps, seeded } from "./corpora.mjs";
import { check, record, root, smoke } from "./lib.mjs";

const CHUNK_BYTES = 64 * 1024;
const PLANTED = 500;
/** Bars of issue 3: with AVX2 against Vectorscan, any against aho-corasick. */
const AGAINST_VECTORSCAN = { 10: 0.5, 100: 0.8, 1000: 1, 10_000: 1, 100_000: 0.9 };
const AGAINST_AHO_CORASICK = { 100: 15, 1000: 15, 10_000: 15, 100_000: 8 };
/** On texts that suit a filter least, against Vectorscan. */
const ON_DUMPS = { "near-prefixes": 0.5, "base64 dump": 0.8, "hex dump": 0.8, "lock file": 0.8 };
const BUILD_MS = { 10_000: 150, 100_000: 1500 };
const COUNTS = smoke ? [100] : [10, 100, 1000, 10_000, 100_000];
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

/** `count` random needles of 16 to 48 bytes, of which those of 12 and more count as wrapped. */
function needles(count, seed) {
  const next = seeded(`needles ${count} ${seed}`);
  return Array.from({ length: count }, () => Array.from({ length: 16 + (next() % 33) }, () => ALPHABET[next() % 64]).join(""));
}

function fileOf(values) {
  const count = Buffer.alloc(4);
  count.writeUInt32LE(values.length);
  return Buffer.concat([
    count,
    ...values.flatMap((value) => {
      const head = Buffer.alloc(5);
      head.writeUInt32LE(value.length);
      head[4] = 1;
      return [head, Buffer.from(value)];
    }),
  ]);
}

/** The text with needles written over it, each inside a chunk, since not every rival finds more. */
function plant(text, values) {
  const planted = Buffer.from(text);
  const chunks = Math.floor(planted.length / CHUNK_BYTES);
  for (let i = 0; i < PLANTED; i++) {
    const chunk = i % chunks;
    const place = Math.floor(((Math.floor(i / chunks) + 0.5) * CHUNK_BYTES) / Math.ceil(PLANTED / chunks));
    planted.write(` ${values[i % values.length]} `, chunk * CHUNK_BYTES + place);
  }
  return planted;
}

const lines = (text) =>
  text
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));

/** Runs our matcher in a process of its own, under `env`. */
function scan(files, rounds, env) {
  const { stdout, status } = spawnSync(process.execPath, [join(root, "bench/scan.mjs"), ...files, String(CHUNK_BYTES), String(rounds)], {
    env: { ...process.env, ...env },
    encoding: "utf8",
  });
  return status === 0 ? lines(stdout)[0] : undefined;
}

/** Runs the Rust rivals. */
function others(files, rounds) {
  return lines(
    spawnSync(join(root, "bench/rivals/target/release/logveil-rivals"), [...files, String(CHUNK_BYTES), String(rounds)], { encoding: "utf8" }).stdout,
  );
}

export function benchMatcher(text, rounds) {
  const folder = mkdtempSync(join(tmpdir(), "logveil-bench-"));
  const rivals =
    spawnSync("cargo", ["build", "--release", "--locked", "--manifest-path", join(root, "bench/rivals/Cargo.toml")], { stdio: "ignore" }).status === 0;
  if (!rivals) console.log("the Rust rivals cannot be built (no cargo?): left out");
  for (const count of COUNTS) {
    const values = needles(count, "fresh");
    const files = [join(folder, "needles"), join(folder, "text")];
    writeFileSync(files[0], fileOf(values));
    writeFileSync(files[1], plant(text, values));
    const label = `${count.toLocaleString("en")} needles`;
    const found = {};
    for (const [name, env] of Object.entries({
      native: { LOGVEIL_ENGINE: "native" },
      "native, scalar": { LOGVEIL_ENGINE: "native", LOGVEIL_SIMD: "scalar" },
      portable: { LOGVEIL_ENGINE: "portable" },
    })) {
      const answer = scan(files, rounds, env);
      if (answer === undefined) continue;
      found[name] = answer;
      check(`${name}, ${label}: ${answer.matches} of ${PLANTED} matches`, answer.matches === PLANTED);
      record(`${label}: ${name}`, answer.speed, "MB/s");
    }
    const { native } = found;
    if (native !== undefined) {
      record(`${label}: build`, native.build, "ms", BUILD_MS[count] && ["<=", BUILD_MS[count]]);
      record(`${label}: one more live, p99`, native.add, "ms", ["<=", 1]);
      if (count >= 1000) record(`${label}: memory per needle beyond its bytes`, native.beyond, "B", ["<=", 200]);
    }
    if (!rivals) continue;
    for (const { name, speed, matches } of others(files, rounds)) {
      if (name !== "memcpy") check(`${name}, ${label}: ${matches} of ${PLANTED} matches`, matches === PLANTED);
      record(`${label}: ${name}`, speed, "MB/s");
      if (native === undefined) continue;
      const bars = { Vectorscan: AGAINST_VECTORSCAN, "aho-corasick": AGAINST_AHO_CORASICK }[name];
      record(`${label}: native against ${name}`, native.speed / speed, "x", bars?.[count] && [">=", bars[count]]);
    }
  }
  if (rivals) benchDumps(text.length, rounds, folder);
  rmSync(folder, { recursive: true });
}

/** 1,000 needles on text that looks like them. */
function benchDumps(size, rounds, folder) {
  const values = needles(1000, "fresh");
  const files = [join(folder, "needles"), join(folder, "text")];
  writeFileSync(files[0], fileOf(values));
  const near = Buffer.from(values.map((value) => `${value.slice(0, -1)}~`).join(" "));
  for (const { name, text } of [
    { name: "near-prefixes", text: Buffer.concat(Array(Math.ceil(size / near.length)).fill(near)).subarray(0, size) },
    ...dumps(size),
  ]) {
    writeFileSync(files[1], text);
    const native = scan(files, rounds, { LOGVEIL_ENGINE: "native" });
    const vectorscan = others(files, rounds).find((rival) => rival.name === "Vectorscan");
    if (native === undefined) return;
    record(`1,000 needles, ${name}: native`, native.speed, "MB/s");
    if (vectorscan === undefined) continue;
    check(`${name}: ${native.matches} and ${vectorscan.matches} matches`, native.matches === vectorscan.matches);
    record(`1,000 needles, ${name}: native against Vectorscan`, native.speed / vectorscan.speed, "x", ON_DUMPS[name] && [">=", ON_DUMPS[name]]);
  }
}
