/** Every option of the command line, once: help, completions and the man page grow from these rows. */

export interface OptionRow {
  /** As commander writes it. */
  readonly flags: string;
  readonly help: string;
  readonly repeat?: true;
  readonly choices?: readonly string[];
  readonly default?: string;
}

export interface CommandRow {
  readonly name: string;
  readonly usage: string;
  /** Most arguments besides options; absent: any number, or the command looks itself. */
  readonly operands?: number;
  readonly summary: string;
  readonly options: readonly OptionRow[];
  /** Takes every field of the configuration as a flag, too. */
  readonly configured?: true;
  readonly examples: readonly (readonly [string, string])[];
}

const SECRETS: readonly OptionRow[] = [
  { flags: "--secret-env <name>", help: "mask the value of this environment variable; * stands for any characters", repeat: true },
  { flags: "--secrets <file>", help: 'mask the secrets in FILE: lines of {"name","value"|"valueBase64"}, or NAME=value', repeat: true },
  { flags: "--secret-file <name=path>", help: "mask the content of a file", repeat: true },
  { flags: "--secrets-fd <n>", help: "like --secrets, from an open file descriptor", repeat: true },
];

const RULES: readonly OptionRow[] = [
  { flags: "--rules <path>", help: "rules of your own besides the built-in ones: a TOML file or a folder of them", repeat: true },
  { flags: "--disable <id>", help: "leave a rule out", repeat: true },
  { flags: "--min-confidence <level>", help: "leave out rules below it", choices: ["low", "medium", "high", "certain"], default: "medium" },
  { flags: "--no-learn", help: "do not look for other spellings of what rules found" },
  { flags: "--no-rules", help: "known secrets only" },
];

const MASKING: readonly OptionRow[] = [
  {
    flags: "--mask <style>",
    help: "label [REDACTED:NAME], fixed ***, length (* per byte), keyed (label and fingerprint)",
    choices: ["label", "fixed", "length", "keyed"],
    default: "label",
  },
  { flags: "--mask-text <text>", help: "text of a fixed mask, character of a length mask" },
  { flags: "--engine <engine>", help: "which matcher runs", choices: ["auto", "native", "portable"], default: "auto" },
  ...RULES,
  { flags: "--report <file>", help: "write findings and a summary as JSON Lines; - is stderr" },
  { flags: "--fail-on-finding", help: "exit with 1 if anything was masked" },
  { flags: "--quiet", help: "no notices, no progress and no summary on stderr; what failed is told all the same" },
];

const FILES: readonly OptionRow[] = [
  {
    flags: "--binary <mode>",
    help: "pictures, sound, programs: skip (list them, leave them alone), text (mask them as text). Archives and compressed formats other than gzip and zstd are never clean",
    choices: ["skip", "text"],
    default: "skip",
  },
  { flags: "-v, --verbose", help: "a line for each file on stderr" },
];

/** Where the configuration comes from, and the fields of it that are set most. Each of their names is that of a field. */
export const CONFIGURATION: readonly OptionRow[] = [
  { flags: "--config <file>", help: "the configuration; else logveil.yaml in $XDG_CONFIG_HOME/logveil or /etc/logveil" },
  { flags: "--listen <address>", help: "where logs come in, such as 127.0.0.1:4180 or unix:/path" },
  { flags: "--admin-listen <address>", help: "where health and metrics answer" },
  { flags: "--control-socket <path>", help: "the socket of the control API" },
  { flags: "--upstream <url>", help: "forward masked logs there instead of keeping them" },
  { flags: "--store-dir <path>", help: "keep masked logs there" },
  { flags: "--log-level <level>", help: "the least that is told", choices: ["trace", "debug", "info", "warn", "error", "fatal", "silent"] },
];

const SOCKET: OptionRow = {
  flags: "--socket <path>",
  help: "the control socket of the sidecar; default: LOGVEIL_CONTROL_SOCKET, else logveil/control.sock in $XDG_RUNTIME_DIR or /run",
};

export const COMMANDS: readonly CommandRow[] = [
  {
    name: "scrub",
    usage: "[options] [file...]",
    summary: "mask secrets in files, or from stdin to stdout; gzip and zstd come out as they came in",
    options: [
      ...SECRETS,
      ...MASKING,
      ...FILES,
      {
        flags: "--in-place",
        help: "replace each file by its masked form, atomically, with its mode and owner but not its ACLs; a file without findings is not touched, nor is one that is written to meanwhile. A program that keeps the file open goes on writing to the old one: have it close the file first",
      },
      {
        flags: "--out <dir>",
        help: "write masked files into DIR: a/x.log as DIR/a/x.log, ../x.log as DIR/x.log, absolute paths below the folder that they have in common",
      },
    ],
    examples: [
      ["make 2>&1 | logveil scrub --secret-env 'CI_*_TOKEN'", "mask a live log"],
      ["logveil scrub --secrets .env --in-place logs/*.log.gz", "clean archived logs"],
    ],
  },
  {
    name: "run",
    usage: "[options] -- command [args...]",
    summary: "run a command with its stdout and stderr masked live; signals and exit code are passed on",
    options: [...SECRETS, ...MASKING],
    examples: [["logveil run --secret-env NPM_TOKEN -- npm publish", "mask what a command prints"]],
  },
  {
    name: "check",
    usage: "[options] [file...]",
    summary: "list what would be masked; exit with 1 if there is anything",
    options: [...SECRETS, ...MASKING.filter(({ flags }) => /^--(engine|rules|disable|min-confidence|no-learn|no-rules|report|quiet)/.test(flags)), ...FILES],
    examples: [["logveil check --secrets .env build.log", "does this log leak?"]],
  },
  {
    name: "rules",
    usage: "<list|show ID|test [FILE]|explain [FILE]|check PATH...|import FILE|schema>",
    summary: "list and show rules, see what they find and why not, check rule files, import those of gitleaks",
    options: [
      ...RULES.filter(({ flags }) => /^--(rules|disable|min-confidence)/.test(flags)),
      { flags: "--max-len <bytes>", help: "import: bound repetitions without an end by so many bytes, instead of leaving the rule out" },
    ],
    examples: [
      ["logveil rules list --min-confidence high", "what is looked for"],
      ["logveil rules explain build.log", "which rule fired where, and what nearly fired"],
      ["logveil rules check patterns", "prove the rules of a folder"],
      ["logveil rules import gitleaks.toml > own.toml && logveil scrub --rules own.toml build.log", "use a gitleaks configuration"],
    ],
  },
  {
    name: "config",
    usage: "<show|check [FILE]|schema>",
    summary: "show the effective configuration of the sidecar and where each value comes from, check a file, print the schema for editors",
    options: [{ flags: "--origin", help: "show: where each value comes from" }, ...CONFIGURATION],
    configured: true,
    examples: [
      ["logveil config show --origin", "what is in force, and why"],
      ["logveil config check logveil.yaml", "everything that is wrong with a file"],
      ["logveil config schema > logveil.schema.json", "let an editor complete and check"],
    ],
  },
  {
    name: "serve",
    usage: "[options]",
    operands: 0,
    summary: "run the sidecar: mask logs that are sent to it while they come, and keep them or forward them",
    options: CONFIGURATION,
    configured: true,
    examples: [
      ["logveil serve", "listen on 127.0.0.1:4180, keep masked logs in the state folder of the user"],
      ["make 2>&1 | curl -sT- -X POST http://127.0.0.1:4180/v1/jobs/42/streams/make", "send it a log while it is written"],
    ],
  },
  {
    name: "logs",
    usage: "[job [stream...]]",
    summary: "print the masked log of a job that a sidecar keeps; without a job, list them",
    options: [
      { flags: "--follow", help: "go on as more comes, until the stream ends" },
      {
        flags: "--server <url>",
        help: "the sidecar's address: http, https, or unix:/path; default: LOGVEIL_SERVER, the control socket if you may open it, http://127.0.0.1:4180",
      },
      SOCKET,
      { flags: "--token-file <file>", help: "the bearer token of the job, if it has one; the owner of the control socket needs none" },
      { flags: "--ca <file>", help: "https: the authority of the sidecar's certificate (PEM)" },
      { flags: "--cert <file>", help: "https: your own certificate, if the sidecar demands one (PEM)" },
      { flags: "--key <file>", help: "https: its key (PEM)" },
    ],
    examples: [["logveil logs 42 --follow", "read along"]],
  },
  {
    name: "secrets",
    usage: "add --job JOB",
    summary: "make the secrets on stdin known to a job of a sidecar; exit with 1 if one of them had left already",
    options: [{ flags: "--job <job>", help: "whose streams they mask" }, SOCKET],
    examples: [["printf 'TOKEN=%s' \"$TOKEN\" | logveil secrets add --job 42", "before the build prints it"]],
  },
  {
    name: "job",
    usage: "<end|token> JOB",
    summary: "end a job of a sidecar: its logs are kept to the last byte, its secrets forgotten; or make a token that its requests must bear",
    options: [SOCKET],
    examples: [["logveil job end 42", "when the build is over"]],
  },
  {
    name: "reload",
    usage: "",
    operands: 0,
    summary: "have a sidecar read its configuration, secrets and rules again, as SIGHUP does; what is wrong leaves everything as it is",
    options: [SOCKET],
    examples: [["logveil reload", "after a secret was rotated"]],
  },
  {
    name: "status",
    usage: "",
    operands: 0,
    summary: "tell what a sidecar is doing, as JSON",
    options: [SOCKET],
    examples: [["logveil status", "jobs, streams, secrets, findings, the last reload"]],
  },
  {
    name: "demo",
    usage: "[file]",
    operands: 1,
    summary: "plant a made-up secret in a dozen spellings into a log and show what becomes of them",
    options: [{ flags: "--engine <engine>", help: "which matcher runs", choices: ["auto", "native", "portable"], default: "auto" }],
    examples: [["logveil demo build.log", "on a log of yours"]],
  },
  {
    name: "audit",
    usage: "verify [options] <file|dir>",
    summary: "check that an audit is as it was written; names the first record that was changed, dropped, inserted, moved or cut off",
    options: [
      { flags: "--public-key <file>", help: "key that may have signed, as kept elsewhere; default: the one beside the audit", repeat: true },
      { flags: "--expect-seq <n>", help: "the record of this number must be there; finds what was cut off at the end" },
      { flags: "--expect-hash <hex>", help: "and have this hash" },
      { flags: "--partial", help: "files at the beginning may have been moved away; not needed for those that audit.maxAge or audit.maxBytes removed" },
      { flags: "--log <file>", help: "a masked log, - for stdin: is it as it left, by the length and digest on record" },
      { flags: "--json", help: "the result as one line of JSON" },
    ],
    examples: [
      ["logveil audit verify --public-key audit.key.pub --expect-seq 1200 /var/lib/logveil/audit", "with a key and a checkpoint kept elsewhere"],
      ["logveil logs 42 make | logveil audit verify --log - /var/lib/logveil/audit", "is this log what was recorded of it"],
    ],
  },
  {
    name: "completions",
    usage: "<bash|zsh|fish>",
    operands: 1,
    summary: "print a completion script for a shell",
    options: [],
    examples: [["source <(logveil completions bash)", "complete in this shell"]],
  },
  { name: "man", usage: "", operands: 0, summary: "print the manual page", options: [], examples: [["logveil man | man -l -", "read it"]] },
];

export const EXIT = Object.freeze({ OK: 0, FINDINGS: 1, USAGE: 2, PARTIAL: 3, INTERNAL: 70 });

/** Exit codes, the worst first: what a script must learn of before all else. */
const BY_WEIGHT: readonly number[] = [EXIT.INTERNAL, EXIT.USAGE, EXIT.PARTIAL, EXIT.FINDINGS, EXIT.OK];

/** The exit code of a run that several hold for. */
export const worst = (...codes: readonly number[]): number => BY_WEIGHT.find((code) => codes.includes(code)) ?? EXIT.OK;

export const EXIT_HELP =
  "Exit codes, the first that holds: 70 internal error · 2 usage, configuration, input or output: nothing was done · 3 partly done, or not clean: some files failed, cannot be looked into or were changed meanwhile · 1 findings (check, --fail-on-finding), damage (audit verify) · 0 ok. run: that of the command, 127 not found, 126 not executable.";

/** The long names of an option row, without values: `--mask`. */
export const longName = (row: OptionRow): string => /--[a-z-]+/.exec(row.flags)![0];
