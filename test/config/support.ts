/** Configurations of tests: files in a folder of their own, an environment without anything of this machine. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { type LoadedConfig, loadConfig, type LoadOptions } from "../../src/config/index.js";
import { LogveilError } from "../../src/errors.js";

export const folder = mkdtempSync(join(tmpdir(), "logveil-config-"));
let files = 0;

/** Writes a file; answers its path. */
export function write(text: string | Uint8Array, mode = 0o600): string {
  const path = join(folder, `${files++}.yaml`);
  writeFileSync(path, text, { mode });
  return path;
}

/** A home without a configuration. */
export const HOME = { HOME: folder };

/** Loads a text as the file, with nothing around it. */
export const loadText = (text: string, more: LoadOptions = {}): LoadedConfig => loadConfig({ env: HOME, file: write(text), ...more });

/** Everything that is wrong with a text or with options, a line each; FILE stands for its path. */
export function problemsOf(text: string | Uint8Array, more: LoadOptions = {}): string[] {
  const file = write(text);
  try {
    loadConfig({ env: HOME, file, ...more });
  } catch (error) {
    expect(error).toBeInstanceOf(LogveilError);
    const { code, message, facts } = error as LogveilError;
    expect(code).toBe("LV_CONFIG");
    const lines = message.split("\n");
    if (lines.length > 1) expect(lines.shift()).toBe(`${lines.length} errors in the configuration:`);
    if (facts["problems"] !== undefined) expect(facts["problems"]).toEqual(lines);
    return lines.map((line) => line.replaceAll(file, "FILE").replaceAll(folder, "DIR"));
  }
  throw new Error("there is nothing wrong with it");
}
