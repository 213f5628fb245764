/** What the benches share: measures with their bars, checked answers, and the record of a run. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));
export const smoke = process.argv.includes("--smoke");

const results = [];
let wrong = 0;

export const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
export const quantile = (values, part) => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))];

/** Prints and keeps a measure. `bar` is `[">=" or "<=", number]`, from the issue that set it. */
export function record(measure, value, unit, bar) {
  results.push({ measure, value: Number(value.toPrecision(4)), unit, bar: bar?.join(" ") });
  const reached = bar === undefined ? "" : `bar ${bar.join(" ")}: ${(bar[0] === ">=" ? value >= bar[1] : value <= bar[1]) ? "reached" : "NOT reached"}`;
  const digits = value < 10 ? 2 : value < 1000 ? 1 : 0;
  console.log(`${measure.padEnd(66)} ${value.toFixed(digits).padStart(9)} ${unit.padEnd(6)} ${reached}`);
}

/** Notes a wrong answer: the run fails in the end. */
export function check(what, ok) {
  if (ok) return;
  wrong++;
  console.error(`WRONG ANSWER: ${what}`);
}

/** Writes the record of the run and ends it. `part` is told in its name. */
export function finish(corpora, part) {
  if (!smoke) {
    const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: root, encoding: "utf8" }).trim();
    const hash = createHash("sha256");
    for (const text of corpora) hash.update(text);
    const file = `${root}bench/results/${new Date().toISOString().slice(0, 10)}-${commit}${part === undefined ? "" : `-${part}`}.json`;
    mkdirSync(`${root}bench/results`, { recursive: true });
    const machine = `${cpus().length} x ${cpus()[0].model}`;
    writeFileSync(file, `${JSON.stringify({ commit, node: process.version, machine, corpora: hash.digest("hex"), results }, null, 1)}\n`);
    console.log(`recorded in ${file.slice(root.length)}`);
  }
  if (wrong > 0) process.exit(1);
}
