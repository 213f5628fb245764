/**
 * Makes src/rules/bigrams.ts: how much likelier each pair of letters is in text than in random letters. Trained on this project's own prose and
 * identifiers and on nothing else. `node scripts/train-random.mjs`
 */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const files = execFileSync("git", ["ls-files", "*.md", "*.ts", "*.rs", "*.mjs", "*.toml"], { cwd: root, encoding: "utf8" }).split("\n");
const counts = new Float64Array(26 * 26).fill(0.5);
for (const file of files.filter((name) => name !== "" && !name.endsWith("bigrams.ts") && !name.includes("lock"))) {
  for (const word of readFileSync(root + file, "latin1").match(/[A-Za-z]{3,}/g) ?? []) {
    const letters = word.toLowerCase();
    for (let i = 1; i < letters.length; i++) counts[(letters.charCodeAt(i - 1) - 97) * 26 + letters.charCodeAt(i) - 97]++;
  }
}
const total = counts.reduce((sum, count) => sum + count, 0);
// Tenths of bits, between -60 and 60.
const scores = [...counts].map((count) => Math.max(-60, Math.min(60, Math.round(10 * Math.log2((count / total) * 676)))));
const rows = Array.from({ length: 26 }, (_, i) => `  ${scores.slice(i * 26, i * 26 + 26).join(", ")},`);
writeFileSync(
  `${root}src/rules/bigrams.ts`,
  `/** Made by scripts/train-random.mjs from this project's own text: for each pair of letters (first letter a row) how much likelier it is in text than at random, in tenths of bits. */\n// prettier-ignore\nexport const BIGRAMS: readonly number[] = [\n${rows.join("\n")}\n];\n`,
);
