/** What is wrong with arguments: those that are too many, and options that there are not, with what may have been meant. */
import type { Command } from "commander";
import { LogveilError } from "../errors.js";
import { nearest } from "../rules/nearest.js";
import type { CommandRow } from "./options.js";

/** Options that are suggested at most for a short one. */
const MOST_SUGGESTED = 3;

/** Throws `LV_USAGE` for more arguments than a command takes. */
export function checkOperands({ name, operands }: Pick<CommandRow, "name" | "operands">, args: readonly string[]): void {
  if (operands === undefined || args.length <= operands) return;
  const expected = operands === 0 ? "no arguments" : operands === 1 ? "one argument at most" : `${operands} arguments at most`;
  throw new LogveilError(
    "LV_USAGE",
    `${name}: expected ${expected}, found ${args.map((arg) => JSON.stringify(arg)).join(" ")}; logveil ${name.split(" ")[0]} --help tells more`,
  );
}

/** What to say of an option that `command` does not have. */
export function unknownOption(flag: string, command: Command | undefined): string {
  const name = command === undefined || command.name() === "logveil" ? "logveil" : `logveil ${command.name()}`;
  const known = [...(command?.options ?? []).map(({ long }) => long ?? ""), "--help"].filter((long) => long !== "");
  const meant = flag.startsWith("--") ? [nearest(flag, known)].filter((each) => each !== undefined) : meantByLetter(flag[1] ?? "", known);
  const hint = meant.length === 0 ? `${name} --help lists what there is` : `did you mean ${meant.join(" or ")}?`;
  return `unknown option '${flag}'; ${flag === "-V" ? "for the version: logveil --version" : hint}`;
}

/** Options have long names only: those that begin with the letter. */
function meantByLetter(letter: string, known: readonly string[]): string[] {
  return [...new Set(known)].filter((long) => long[2] === letter.toLowerCase()).slice(0, MOST_SUGGESTED);
}
