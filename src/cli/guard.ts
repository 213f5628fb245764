/**
 * Keeps debuggers out. Node opens its inspector on SIGUSR1, and on 127.0.0.1, where every user of the machine can ask it for memory, and so for secrets. This file
 * imports nothing, and main.ts runs it before anything else is loaded; what is left of that window is looked at again afterwards.
 */

/** Goes before the command. */
export const ALLOW = "--allow-debugger";

/** Times after the start, in milliseconds, at which an inspector that a signal during the start has opened is looked for. */
const LATER_MS = [0, 20, 200, 1000];

/** Options of Node and V8 that show memory, values or keys to others. */
const FLAGS: readonly (readonly [flag: RegExp, does: string])[] = [
  [/^--(inspect|debug|experimental-network-inspection|experimental-worker-inspection)(-|=|$)/, "opens the debugger"],
  [/^--heapsnapshot-/, "writes the whole memory to a file"],
  [/^--(cpu-prof|heap-prof|prof|ll-prof|perf-prof|perf-basic-prof|interpreted-frames-native-stack)(-|=|$)/, "writes profiles of the process to files"],
  [/^--report-(on-|uncaught-|signal)/, "writes reports with all variables of the environment"],
  [/^--abort-on-uncaught-exception$/, "writes memory to a core dump"],
  [/^--(tls-keylog|trace-tls)(=|$)/, "writes the keys or the content of TLS connections"],
  [/^--trace(?!-(warnings|deprecation|exit|sigint)$)(-|=|$)/, "prints what the process does and with what"],
  [/^--(print|log)(-|$)/, "prints or writes what the process runs"],
];

/** Variables that make Node print what it reads and writes. */
const VARIABLES = ["NODE_DEBUG", "NODE_DEBUG_NATIVE"];

export interface Surroundings {
  readonly execArgv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where the inspector listens, if it does. */
  readonly inspector: string | undefined;
}

/** Why no secret may come into this process; undefined: it may. Names options, never their values. */
export function danger({ execArgv, env, inspector }: Surroundings): string | undefined {
  const places = [
    ["the command line of node", execArgv],
    ["NODE_OPTIONS", optionsIn(env["NODE_OPTIONS"] ?? "")],
  ] as const;
  for (const [place, options] of places) {
    for (const option of options) {
      // Node takes an underscore for a dash.
      const name = option.replace(/=.*$/s, "").replaceAll("_", "-");
      const does = FLAGS.find(([flag]) => flag.test(name))?.[1];
      if (does !== undefined) return `${place} has ${name}, which ${does}, so others can read secrets`;
    }
  }
  if (inspector !== undefined) return "the debugger of this process is open, so others on this machine can read secrets from it";
  const variable = VARIABLES.find((name) => (env[name] ?? "") !== "");
  return variable === undefined ? undefined : `${variable} is set, which prints what the process reads and writes, secrets too`;
}

/** Words of NODE_OPTIONS: separated by blanks, or in double quotes, in which a backslash escapes. */
function optionsIn(text: string): string[] {
  return (text.match(/(?:[^\s"]|"(?:\\.|[^"\\])*"?)+/gs) ?? []).map((word) =>
    word.replace(/"((?:\\.|[^"\\])*)"?/gs, (_, inner: string) => inner.replace(/\\(.)/gs, "$1")),
  );
}

interface Inspector {
  url(): string | undefined;
  close(): void;
}

/** Absent where Node was built without. */
const inspector = (): Inspector | undefined => (process.features.inspector ? process.getBuiltinModule("node:inspector") : undefined);

/** Ends the process if a debugger is open, or could be. With {@link ALLOW} as the first argument, which it removes, everything stays as Node has it. */
export function keepDebuggersOut(): void {
  if (process.argv[2] === ALLOW) {
    process.argv.splice(2, 1);
    process.stderr.write(`logveil: ${ALLOW}: a debugger may read every secret of this process\n`);
    return;
  }
  // While there is a listener, Node's own handler, which opens the inspector, is not in place.
  process.on("SIGUSR1", () => undefined);
  check(() => process.exit(2));
  // By then standard input may be read, and `exit` waits for a read that is under way: of a pipe, for as long as it stays open.
  for (const ms of LATER_MS) setTimeout(check, ms, () => process.kill(process.pid, "SIGKILL")).unref();
}

function check(end: () => void): void {
  const open = inspector();
  const why = danger({ execArgv: process.execArgv, env: process.env, inspector: open?.url() }) ?? reports();
  if (why === undefined) return;
  open?.close();
  process.stderr.write(`logveil: refused: ${why}. Start it without, or, to debug logveil itself, as logveil ${ALLOW} COMMAND\n`);
  end();
}

/** Reports can be switched on by a configuration file of Node, too. */
function reports(): string | undefined {
  const { report } = process as { report?: NodeJS.ProcessReport };
  const isOn = report !== undefined && (report.reportOnSignal || report.reportOnFatalError || report.reportOnUncaughtException);
  return isOn ? "Node is set to write reports, which hold all variables of the environment" : undefined;
}
