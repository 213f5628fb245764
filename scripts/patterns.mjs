/** Proves the rules of patterns/ and writes them into dist/patterns.json, and the schema of such files beside it. Runs after the compiler. */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { compileRule } from "../dist/rules/compile.js";
import { loadRules } from "../dist/rules/load.js";
import { jsonSchema } from "../dist/rules/schema.js";
import { storeRule } from "../dist/rules/stored.js";

const root = fileURLToPath(new URL("..", import.meta.url));
try {
  const rules = loadRules([`${root}patterns`]);
  for (const { id, examples } of rules) if (examples.length === 0) throw new Error(`rule ${id} has no example`);
  writeFileSync(`${root}dist/patterns.json`, JSON.stringify(rules.map((rule) => storeRule(compileRule(rule)))));
  writeFileSync(`${root}dist/rules.schema.json`, `${JSON.stringify(jsonSchema(), undefined, 2)}\n`);
} catch (error) {
  console.error(`logveil: ${error.message}`);
  process.exitCode = 1;
}
