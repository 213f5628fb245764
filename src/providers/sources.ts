/** Where the command line takes secrets from: environment, files, file descriptors. Values never come from arguments: other users can read those. */
import { readFileSync } from "node:fs";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import type { SecretInput } from "../types.js";
import { parseSecrets } from "./parse.js";

/** Values of environment variables; `*` in a pattern stands for any characters. A name without `*` must be set. */
export function fromEnvironment(patterns: readonly string[], environment: NodeJS.ProcessEnv): SecretInput[] {
  return patterns.flatMap((pattern) => {
    if (!/^[A-Za-z_*][A-Za-z0-9_*]*$/.test(pattern))
      throw new LogveilError("LV_USAGE", `--secret-env takes the name of a variable, not its value; * stands for any characters`);
    if (!pattern.includes("*")) {
      const value = environment[pattern];
      if (value === undefined) throw new LogveilError("LV_CONFIG", `--secret-env ${pattern}: no such variable is set`);
      return [{ name: pattern, value }];
    }
    const matches = new RegExp(`^${pattern.replaceAll("*", ".*")}$`);
    return Object.entries(environment).flatMap(([name, value]) => (matches.test(name) && value ? [{ name, value }] : []));
  });
}

/** Secrets listed in files; `option` is what named them, for errors. */
export function fromLists(files: readonly string[], option: string = "--secrets"): SecretInput[] {
  return files.flatMap((file) => parseSecrets(read(file, option).toString(), file));
}

/** Whole files as values, given as NAME=PATH; one line end at the end of the file is not part of the value. */
export function fromFiles(pairs: readonly string[], option: string = "--secret-file"): SecretInput[] {
  return pairs.map((pair) => {
    const at = pair.indexOf("=");
    if (at <= 0) throw new LogveilError("LV_USAGE", "--secret-file takes NAME=PATH");
    const value = read(pair.slice(at + 1), option);
    const end = value.at(-1) === 0x0a ? (value.at(-2) === 0x0d ? -2 : -1) : undefined;
    return { name: pair.slice(0, at), value: value.subarray(0, end) };
  });
}

/** Secrets listed on open file descriptors. */
export function fromDescriptors(descriptors: readonly string[]): SecretInput[] {
  return descriptors.flatMap((descriptor) => {
    if (!/^\d+$/.test(descriptor)) throw new LogveilError("LV_USAGE", "--secrets-fd takes the number of an open file descriptor");
    return parseSecrets(read(Number(descriptor), "--secrets-fd").toString(), `descriptor ${descriptor}`);
  });
}

function read(file: string | number, option: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new LogveilError("LV_IO", `${option}: cannot read ${typeof file === "number" ? `descriptor ${file}` : file}: ${reasonAndCure(error)}`, {
      cause: error,
    });
  }
}
