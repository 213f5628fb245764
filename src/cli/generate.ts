/** Completion scripts and the manual page, grown from the option table. */
import { ALLOW } from "./guard.js";
import { COMMANDS, EXIT_HELP, longName } from "./options.js";

type Shell = "bash" | "zsh" | "fish";

export const SHELLS: readonly Shell[] = ["bash", "zsh", "fish"];

export function completions(shell: Shell): string {
  const names = COMMANDS.map(({ name }) => name).join(" ");
  if (shell === "fish") {
    const rows = COMMANDS.flatMap((command) => [
      `complete -c logveil -n __fish_use_subcommand -a ${command.name} -d '${quote(command.summary)}'`,
      ...command.options.map((row) => {
        const values = row.choices === undefined ? (row.flags.includes("<") ? " -r" : "") : ` -x -a '${row.choices.join(" ")}'`;
        return `complete -c logveil -n '__fish_seen_subcommand_from ${command.name}' -l ${longName(row).slice(2)}${values} -d '${quote(row.help)}'`;
      }),
    ]);
    return `${rows.join("\n")}\n`;
  }
  const cases = COMMANDS.map((command) => `    ${command.name}) words="${command.options.map(longName).join(" ")}" ;;`).join("\n");
  const values = COMMANDS.flatMap(({ options }) => options)
    .filter(({ choices }, i, all) => choices !== undefined && all.findIndex((row) => row.choices === choices) === i)
    .map((row) => `    ${longName(row)}) COMPREPLY=($(compgen -W "${row.choices!.join(" ")}" -- "$word")); return ;;`)
    .join("\n");
  const bash = `_logveil() {
  local word="\${COMP_WORDS[COMP_CWORD]}" words="${names}"
  case "\${COMP_WORDS[COMP_CWORD-1]}" in
${values}
  esac
  if [ "$COMP_CWORD" -gt 1 ]; then case "\${COMP_WORDS[1]}" in
${cases}
  esac; fi
  case "$word" in
    -*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
    *) if [ "$COMP_CWORD" -eq 1 ]; then COMPREPLY=($(compgen -W "$words" -- "$word")); else COMPREPLY=($(compgen -f -- "$word")); fi ;;
  esac
}
complete -o filenames -F _logveil logveil
`;
  return shell === "bash" ? bash : `autoload -Uz bashcompinit && bashcompinit\n${bash}`;
}

const quote = (text: string): string => text.replaceAll("'", "\\'");

/** The manual page in roff (man(7)). */
export function manual(version: string): string {
  const escape = (text: string): string =>
    text
      .replaceAll("\\", "\\e")
      .replaceAll("-", "\\-")
      .replace(/^([.'])/gm, "\\&$1");
  const commands = COMMANDS.flatMap((command) => [
    `.SS ${escape(`logveil ${command.name} ${command.usage}`)}`,
    escape(`${command.summary}.`),
    ...command.options.flatMap((row) => [
      ".TP",
      `.B ${escape(row.flags)}`,
      escape(row.help + (row.repeat ? "; may be repeated" : "") + (row.default === undefined ? "" : `; default: ${row.default}`)),
    ]),
    ...command.examples.flatMap(([line, what]) => [".PP", escape(`Example (${what}):`), ".PP", ".nf", escape(line), ".fi"]),
  ]);
  return `${[
    `.TH LOGVEIL 1 "" "logveil ${version}"`,
    ".SH NAME",
    "logveil \\- mask credentials in build logs",
    ".SH SYNOPSIS",
    ".B logveil",
    "command [options] [arguments]",
    ".SH OPTIONS",
    "Before the command:",
    ".TP",
    `.B ${escape(`${ALLOW} command`)}`,
    escape(
      "for developers of logveil: let a debugger in, which can read every secret. Without it no command starts with a debugger, or with options of Node that show memory.",
    ),
    ".TP",
    `.B ${escape("-V, --version")}`,
    "print the version.",
    ".SH COMMANDS",
    ...commands,
    ".SH EXIT STATUS",
    escape(EXIT_HELP),
  ].join("\n")}\n`;
}
