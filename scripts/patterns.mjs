/** Proves the rules of patterns/ and writes them into dist/patterns.json, and the schema of such files beside it. Runs after the compiler. */
import { fileURLToPath } from "node:url";
import { compileRule } from "../dist/rules/compile.js";
import { loadRules } from "../dist/rules/load.js";
import { jsonSchema } from "../dist/rules/schema.js";
import { storeRule } from "../dist/rules/stored.js";
import { publishText } from "./publish.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
try {
  const rules = loadRules([`${root}patterns`]);
  for (const { id, examples } of rules) if (examples.length === 0) throw new Error(`rule ${id} has no example`);
  publishText(JSON.stringify(rules.map((rule) => storeRule(compileRule(rule)))), `${root}dist/patterns.json`);
  publishText(`${JSON.stringify(jsonSchema(), undefined, 2)}\n`, `${root}dist/rules.schema.json`);
} catch (error) {
  console.error(`logveil: ${error.message}`);
  process.exitCode = 1;
}
