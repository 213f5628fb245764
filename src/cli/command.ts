/** The command line: parses with commander from the option table, loads only the command that runs, turns errors into messages and exit codes. */
import { readFileSync, rmSync } from "node:fs";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import { checkOperands, unknownOption } from "./arguments.js";
import { ALLOW } from "./guard.js";
import { COMMANDS, type CommandRow, EXIT, EXIT_HELP, type OptionRow } from "./options.js";

type Handler = (args: string[], options: Record<string, unknown>) => number | Promise<number>;

const version = (): string => (JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string }).version;

/** Loads a command's module when it runs: `scrub` must start fast. */
const HANDLERS: Readonly<Record<string, Handler>> = {
  scrub: async (files, options) => (await import("./scrub.js")).scrub(files, options),
  check: async (files, options) => printing((await import("./scrub.js")).check(files, options)),
  run: async (command, options) => printing((await import("./run.js")).run(command, options)),
  rules: async (args, options) => printing((await import("./rules.js")).rules(args, options)),
  config: async (args, options) => printing((await import("./config.js")).config(args, options)),
  audit: async (args, options) => printing((await import("./audit.js")).audit(args, options)),
  serve: async (_, options) => (await import("./serve.js")).serve(version(), options),
  logs: async (args, options) => printing((await import("./client.js")).logs(args, options)),
  secrets: async (args, options) => (await import("./client.js")).secrets(args, options),
  job: async (args, options) => printing((await import("./client.js")).jobs(args, options)),
  reload: async (_, options) => printing((await import("./client.js")).reload(options)),
  status: async (_, options) => printing((await import("./client.js")).status(options)),
  demo: async ([file], options) => printing((await import("./demo.js")).demo(file, options)),
  completions: async ([shell]) => {
    const { completions, SHELLS } = await import("./generate.js");
    const known = SHELLS.find((name) => name === shell);
    if (known === undefined) throw new LogveilError("LV_USAGE", `completions: expected one of ${SHELLS.join(", ")}`);
    process.stdout.write(completions(known));
    return EXIT.OK;
  },
  man: async () => {
    process.stdout.write((await import("./generate.js")).manual(version()));
    return EXIT.OK;
  },
};

/** For commands that write through `process.stdout`. `scrub` uses the bare descriptor: making a stream of it makes a pipe non-blocking. */
function printing<T>(result: T): T {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? EXIT.OK : EXIT.USAGE));
  return result;
}

function option(row: OptionRow): Option {
  const built = new Option(row.flags, row.help + (row.repeat ? " (repeatable)" : ""));
  if (row.choices !== undefined) built.choices(row.choices);
  if (row.default !== undefined) built.default(row.default);
  if (row.repeat) built.argParser((value: string, all: string[] | undefined) => [...(all ?? []), value]);
  return built;
}

function commandOf(row: CommandRow, done: (code: number) => void): Command {
  const built = new Command(row.name).description(row.summary).usage(row.usage).argument("[args...]").configureOutput(TALK).exitOverride();
  for (const each of row.options) built.addOption(option(each));
  if (row.name === "run") built.passThroughOptions();
  const examples = row.examples.map(([line, what]) => `  ${line}\n      ${what}`).join("\n");
  built.addHelpText("after", `\nExamples:\n${examples}\n\n${EXIT_HELP}`);
  return built.action(async (args: string[], options: Record<string, unknown>) => {
    checkOperands(row, args);
    done(await HANDLERS[row.name]!(args, options));
  });
}

/** Lets a command take every field of the configuration. Help shows the usual ones: docs/configuration.md has all. */
async function addFields(command: Command): Promise<void> {
  const { FIELDS } = await import("../config/index.js");
  for (const { flag } of FIELDS) if (!command.options.some(({ long }) => long === flag)) command.addOption(new Option(`${flag} <value>`).hideHelp());
  command.addHelpText("after", "\nEvery field of the configuration has a flag: logveil config show lists them, docs/configuration.md explains.");
}

/** What commander has to say: an argument that it quotes may hold a secret, so it waits for {@link explain}. */
const complaints: string[] = [];
const TALK = { writeErr: (text: string) => void complaints.push(text) };

async function main(): Promise<number> {
  let code: number = EXIT.OK;
  const program = new Command("logveil")
    .description("Masks credentials in build logs while they stream.")
    .version(version())
    .configureOutput(TALK)
    .exitOverride()
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .option(ALLOW, "before the command, for developers of logveil: let a debugger in, which can read every secret");
  for (const row of COMMANDS) {
    const command = commandOf(row, (result) => (code = result));
    if (row.configured === true && process.argv[2] === row.name) await addFields(command);
    program.addCommand(command);
  }
  program.addHelpText("after", `\nlogveil COMMAND --help tells more. ${EXIT_HELP}`);
  try {
    await program.parseAsync();
  } catch (error) {
    const failed = await explain(error, program);
    // A read that is pending would keep the process waiting for input that nobody wants any more. Help, in contrast, may still be on its way.
    if (!(error instanceof CommanderError)) process.stderr.write("", () => process.exit(failed));
    return failed;
  }
  return code;
}

/** Says what went wrong, without bytes of input and with secrets masked, and answers the exit code. */
async function explain(error: unknown, program?: Command): Promise<number> {
  if ((error as NodeJS.ErrnoException | undefined)?.code === "EPIPE") return EXIT.OK;
  const isOfArguments = error instanceof CommanderError || error instanceof InvalidArgumentError;
  if (isOfArguments && complaints.length === 0) return error.exitCode === 0 ? EXIT.OK : EXIT.USAGE;
  const { say } = await import("./talk.js");
  if (isOfArguments) {
    const [, flag] = /^error: unknown option '(.*)'/s.exec(error.message) ?? [];
    if (flag !== undefined) complaints.splice(0, Infinity, unknownOption(flag, program?.commands.find((each) => each.name() === process.argv[2]) ?? program));
    for (const text of complaints) say(text.replace(/^error: /, "").trimEnd());
    return error.exitCode === 0 ? EXIT.OK : EXIT.USAGE;
  }
  if (error instanceof LogveilError) {
    say(error.message);
    return EXIT.USAGE;
  }
  const { name, code } = (error ?? {}) as NodeJS.ErrnoException;
  if (code !== undefined && /^E[A-Z]+$/.test(code)) {
    say(`input or output failed: ${reasonAndCure(code)}`);
    return EXIT.USAGE;
  }
  // The message of an unforeseen error may quote what it stumbled over.
  say(`internal error (${name}); please report it with the command line and the version`);
  return EXIT.INTERNAL;
}

async function fail(error: unknown): Promise<never> {
  return process.exit(await explain(error));
}

/** Runs the command that the arguments name; answers the exit code. */
export function runCommand(): Promise<number> {
  for (const event of ["uncaughtException", "unhandledRejection"]) process.on(event, (error: unknown) => void fail(error));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => {
      // `run` listens too and passes signals on, `serve` ends what is under way; everything else stops, without its temporary files.
      if (process.argv[2] === "run" || process.argv[2] === "serve") return;
      void import("./replace.js").then(({ temporaryFiles }) => {
        for (const file of temporaryFiles()) rmSync(file, { force: true });
        process.kill(process.pid, signal);
      });
    });
  }
  return main();
}
