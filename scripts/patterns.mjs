/** Proves the rules of patterns/ and writes them into dist/patterns.json, without what only their proof needs. Runs after the compiler. */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { loadRules } from "../dist/rules/load.js";

const root = fileURLToPath(new URL("..", import.meta.url));
try {
  const rules = loadRules([`${root}patterns`]).map(({ examples, negatives, provenance, ...rule }) => rule);
  writeFileSync(`${root}dist/patterns.json`, JSON.stringify(rules));
} catch (error) {
  console.error(`logveil: ${error.message}`);
  process.exitCode = 1;
}
