/** Proves the rules of patterns/ and writes them into dist/patterns.json, without what only their proof needs. Runs after the compiler. */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { loadRules } from "../dist/rules/load.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const PROOF = new Set(["examples", "negatives", "provenance"]);
try {
  const rules = loadRules([`${root}patterns`]);
  for (const { id, examples } of rules) if (examples.length === 0) throw new Error(`rule ${id} has no example`);
  writeFileSync(
    `${root}dist/patterns.json`,
    JSON.stringify(rules, (field, value) => (PROOF.has(field) ? undefined : value)),
  );
} catch (error) {
  console.error(`logveil: ${error.message}`);
  process.exitCode = 1;
}
