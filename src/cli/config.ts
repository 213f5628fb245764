/** `logveil config`: show, check, schema. Prints values and places, never a credential. */
import { checkRules, configSchema, fieldsFromOptions, type LoadedConfig, loadConfig, printConfig } from "../config/index.js";
import { LogveilError } from "../errors.js";
import { EXIT } from "./options.js";

interface ConfigCommandOptions {
  readonly config?: string;
  readonly origin?: true;
}

const VERBS = ["show", "check", "schema"];

export function config([verb, ...args]: string[], options: ConfigCommandOptions & Readonly<Record<string, unknown>>): number {
  switch (verb) {
    case "show":
      none(verb, args);
      process.stdout.write(printConfig(load(options, options.config), options.origin === true ? "origins" : "values"));
      return EXIT.OK;
    case "check":
      return check(args, options);
    case "schema":
      none(verb, args);
      print(JSON.stringify(configSchema(), undefined, 2));
      return EXIT.OK;
    default:
      throw new LogveilError("LV_USAGE", `config: expected one of ${VERBS.join(", ")}; logveil config --help tells more`);
  }
}

const print = (text: string): void => void process.stdout.write(`${text}\n`);

function none(verb: string, args: readonly string[]): void {
  if (args.length > 0) throw new LogveilError("LV_USAGE", `config ${verb}: expected no arguments; --config names a file`);
}

function check([file, ...rest]: readonly string[], options: ConfigCommandOptions): number {
  if (rest.length > 0 || (file !== undefined && options.config !== undefined)) throw new LogveilError("LV_USAGE", "config check: expected one file");
  const loaded = load(options, file ?? options.config);
  for (const warning of checkRules(loaded)) process.stderr.write(`logveil: ${warning}\n`);
  print(`${loaded.sources.file ?? "no file, defaults and environment"}: no errors`);
  return EXIT.OK;
}

function load(options: ConfigCommandOptions, file: string | undefined): LoadedConfig {
  const { config: _, origin: __, ...flags } = options;
  const loaded = loadConfig({ flags: fieldsFromOptions(flags), ...(file === undefined ? {} : { file }) });
  for (const warning of loaded.warnings) process.stderr.write(`logveil: ${warning}\n`);
  return loaded;
}
