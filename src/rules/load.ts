/** Rule files: TOML, checked field by field, every rule proven. An error names the file, the line, the field, what was expected and what to do. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { parse, TomlError } from "smol-toml";
import type { z } from "zod";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import { compileRule, RuleFault } from "./compile.js";
import { nearest } from "./nearest.js";
import { proveRule } from "./prove.js";
import { fileSchema, type RuleSource, ruleSchema } from "./schema.js";

/** Reads rules from TOML files, or all `*.toml` of folders. Throws `LV_RULES` or `LV_IO`. */
export function loadRules(paths: readonly string[]): RuleSource[] {
  const rules = paths.flatMap((path) => filesOf(path).flatMap((file) => parseRules(read(file), file)));
  const seen = new Set<string>();
  for (const { id } of rules) {
    if (seen.has(id)) throw new LogveilError("LV_RULES", `rule ${id} is defined twice: give one of them another id`, { facts: { id } });
    seen.add(id);
  }
  return rules;
}

/** Parses, compiles and proves the rules of one file. Throws `LV_RULES`. */
export function parseRules(toml: string, file: string): RuleSource[] {
  const lines = toml.split("\n");
  const fault = (line: number, message: string): LogveilError => new LogveilError("LV_RULES", `${file}:${line}: ${message}`, { facts: { file, line } });
  let data: unknown;
  try {
    data = parse(toml);
  } catch (error) {
    if (error instanceof TomlError) throw fault(error.line, `no TOML: ${error.message.split("\n")[0]}`);
    throw error;
  }
  const result = fileSchema.safeParse(data);
  if (!result.success) {
    const issue = result.error.issues[0]!;
    const [, index, ...path] = issue.path;
    const line = lineOf(lines, Number(index ?? 0), issueField(issue) ?? String(path[0] ?? ""));
    throw fault(line, describe(issue, path));
  }
  result.data.rules.forEach((source, index) => {
    try {
      proveRule(compileRule(source));
    } catch (error) {
      if (error instanceof RuleFault) throw fault(lineOf(lines, index, error.field), `rule ${source.id}: ${error.field}: ${error.message}`);
      throw error;
    }
  });
  return result.data.rules;
}

function filesOf(path: string): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    const names = readdirSync(path).filter((name) => name.endsWith(".toml"));
    if (names.length === 0) throw new LogveilError("LV_RULES", `${path}: no .toml files there`, { facts: { path } });
    return names.toSorted().map((name) => join(path, name));
  } catch (error) {
    throw unreadable(path, error);
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw unreadable(file, error);
  }
}

function unreadable(path: string, error: unknown): LogveilError {
  if (error instanceof LogveilError) return error;
  return new LogveilError("LV_IO", `${path}: cannot be read: ${reasonAndCure(error)}`, { cause: error });
}

/** The line on which rule `index` says `field`, or else on which it begins. 1-based. */
function lineOf(lines: readonly string[], index: number, field: string): number {
  let rule = -1;
  let start = 0;
  for (const [number, line] of lines.entries()) {
    const text = line.trim();
    if (text.startsWith("[[rules]]")) {
      rule++;
      if (rule === index) start = number;
    } else if (rule === index && field !== "" && text.startsWith(field) && /^[ \t]*=/.test(text.slice(field.length))) return number + 1;
    if (rule > index) break;
  }
  return start + 1;
}

type Issue = z.core.$ZodIssue;

function issueField(issue: Issue): string | undefined {
  return issue.code === "unrecognized_keys" ? issue.keys[0] : undefined;
}

function describe(issue: Issue, path: readonly PropertyKey[]): string {
  const field = issueField(issue);
  if (field === undefined) return `${path.map(String).join(".") || "file"}: ${issue.message}`;
  const known = path.length === 0 && issue.path.length > 0 ? Object.keys(ruleSchema.shape) : ["rules", "literal", "fold", "words", "within", "measure", "min"];
  const near = nearest(field, known);
  return `unknown field ${JSON.stringify(field)}${near === undefined ? "" : `; did you mean ${near}?`}`;
}
