/** `logveil rules`: list, show, test, explain, check, import, schema. Prints places and reasons, never the bytes of a log. */
import { readFileSync } from "node:fs";
import { stringify } from "smol-toml";
import { PortableAnchors } from "../core/anchors.js";
import { PortableEncodedStream } from "../core/encoded.js";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import { builtinSources, packOf } from "../rules/builtin.js";
import { CONFIDENCES } from "../rules/compile.js";
import { Detector } from "../rules/detector.js";
import type { RulePack } from "../rules/pack.js";
import type { RuleSource } from "../rules/schema.js";
import { checkOperands } from "./arguments.js";
import { EXIT } from "./options.js";
import { type MaskingOptions, rulesOf } from "./session.js";

type RulesCommandOptions = Pick<MaskingOptions, "rules" | "disable" | "minConfidence"> & { readonly maxLen?: string };

const VERBS = ["list", "show", "test", "explain", "check", "import", "schema"];

/** Most arguments of a verb; others take any number. */
const OPERANDS: Readonly<Record<string, number>> = { list: 0, test: 1, explain: 1, import: 1, schema: 0 };

export async function rules([verb = "", ...args]: string[], options: RulesCommandOptions): Promise<number> {
  checkOperands({ name: `rules ${verb}`, ...(verb in OPERANDS && { operands: OPERANDS[verb]! }) }, args);
  switch (verb) {
    case "list":
      return list(await sources(options), options);
    case "show":
      return show(await sources(options), args);
    case "test":
    case "explain":
      return trial(await pack(options), args[0], verb === "explain");
    case "check":
      return check(args);
    case "import":
      return importRules(args[0], options);
    case "schema":
      return schema();
    default:
      throw new LogveilError("LV_USAGE", `rules: expected one of ${VERBS.join(", ")}; logveil rules --help tells more`);
  }
}

const print = (text: string): void => void process.stdout.write(`${text}\n`);

async function sources(options: RulesCommandOptions): Promise<readonly RuleSource[]> {
  const chosen = await rulesOf(options);
  const extra = chosen === false ? [] : (chosen.extra ?? []);
  return [...builtinSources(), ...extra].filter(({ id }) => !options.disable?.includes(id));
}

async function pack(options: RulesCommandOptions): Promise<RulePack> {
  return packOf((await rulesOf(options)) || { builtin: false });
}

function list(all: readonly RuleSource[], { minConfidence = "low" }: RulesCommandOptions): number {
  const least = CONFIDENCES.indexOf(minConfidence);
  const shown = all.filter(({ confidence }) => CONFIDENCES.indexOf(confidence) >= least).toSorted((a, b) => a.id.localeCompare(b.id));
  const width = Math.max(...shown.map(({ id }) => id.length));
  for (const { id, confidence, kind, category, description } of shown)
    print(`${id.padEnd(width)}  ${confidence.padEnd(7)}  ${kind.padEnd(6)}  ${category.padEnd(8)}  ${description}`);
  process.stderr.write(`logveil: ${shown.length} rules\n`);
  return EXIT.OK;
}

function show(all: readonly RuleSource[], ids: readonly string[]): number {
  if (ids.length === 0) throw new LogveilError("LV_USAGE", "rules show: expected the id of a rule");
  for (const id of ids) {
    const rule = all.find((each) => each.id === id);
    if (rule === undefined) throw new LogveilError("LV_USAGE", `rules show: there is no rule ${id}; logveil rules list names them`);
    // Those of the built-in rules stand in patterns/ only.
    const { examples, ...rest } = rule;
    print(stringify({ rules: [examples.length === 0 ? rest : rule] }));
  }
  return EXIT.OK;
}

/** What the rules find in a text; with `why`, also what came close. */
function trial(rulePack: RulePack, file: string | undefined, why: boolean): number {
  const text = read(file);
  const found: { at: number; line: string }[] = [];
  const place = lineCounter(text);
  const detector = new Detector(
    rulePack,
    { anchors: new PortableAnchors(rulePack.table), encoded: () => new PortableEncodedStream() },
    {
      mask() {},
      found({ rule, start, end, confidence }) {
        found.push({ at: start, line: `${file ?? "stdin"}:${place(start)}: ${start}+${end - start} rule ${rulePack.rules[rule]!.id} (${confidence})` });
      },
      ...(why
        ? {
            missed(rule: number, at: number, reason: string): undefined {
              found.push({ at, line: `${file ?? "stdin"}:${place(at)}: ${at} not ${rulePack.rules[rule]!.id}: ${reason}` });
            },
          }
        : {}),
    },
  );
  detector.push(text);
  detector.end();
  for (const { line } of found.toSorted((a, b) => a.at - b.at)) print(line);
  return EXIT.OK;
}

function lineCounter(text: Buffer): (at: number) => number {
  const starts = [0];
  for (let at = text.indexOf(10); at >= 0; at = text.indexOf(10, at + 1)) starts.push(at + 1);
  return (at) => {
    let [low, high] = [0, starts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (starts[middle]! <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}

async function check(paths: readonly string[]): Promise<number> {
  if (paths.length === 0) throw new LogveilError("LV_USAGE", "rules check: expected TOML files or folders");
  const { loadRules } = await import("../rules/load.js");
  const all = loadRules(paths);
  print(`${all.length} rules, all proven: anchors, lengths, expressions, ${all.reduce((sum, { examples }) => sum + examples.length, 0)} examples`);
  return EXIT.OK;
}

async function schema(): Promise<number> {
  const { jsonSchema } = await import("../rules/schema.js");
  print(JSON.stringify(jsonSchema(), undefined, 2));
  return EXIT.OK;
}

async function importRules(file: string | undefined, { maxLen }: RulesCommandOptions): Promise<number> {
  if (file === undefined) throw new LogveilError("LV_USAGE", "rules import: expected a gitleaks configuration (TOML)");
  if (maxLen !== undefined && !(Number.isInteger(Number(maxLen)) && Number(maxLen) >= 1 && Number(maxLen) <= 1000))
    throw new LogveilError("LV_USAGE", "--max-len: expected a whole number from 1 to 1000");
  const { importGitleaks, unpack } = await import("../rules/gitleaks.js");
  const { rules: taken, rejected } = importGitleaks(unpack(read(file)).toString(), file, maxLen === undefined ? undefined : Number(maxLen));
  print(stringify({ rules: taken }));
  for (const { id, reason } of rejected) process.stderr.write(`logveil: ${id} is left out: ${reason}\n`);
  process.stderr.write(`logveil: ${taken.length} rules taken, ${rejected.length} left out\n`);
  return EXIT.OK;
}

function read(file: string | undefined): Buffer {
  try {
    return readFileSync(file ?? 0);
  } catch (error) {
    throw new LogveilError("LV_IO", `${file ?? "stdin"}: cannot be read: ${reasonAndCure(error)}`, { cause: error });
  }
}
