/** The command as a user runs it: the built program in a process of its own, and a secret that must never be in what it says. */
import { spawn, type ChildProcessWithoutNullStreams, spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";

export const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
export const SECRET = "hunter2-hunter2-$x";
/** Options that make {@link SECRET} known. */
export const WITH = ["--secret-env", "MY_TOKEN"];
export const MASK = "[REDACTED:MY_TOKEN]";

export const newFolder = (): string => mkdtempSync(join(tmpdir(), "logveil-cli-"));

export const commandEnv: NodeJS.ProcessEnv = { ...process.env, MY_TOKEN: SECRET, XDG_STATE_HOME: newFolder() };

export interface Ran {
  readonly out: string;
  readonly raw: Buffer;
  readonly err: string;
  readonly code: number | null;
}

/** Runs it to its end. Fails if the secret is in stderr. */
export function logveil(args: readonly string[], { input = "", cwd = process.cwd() }: { input?: string | Buffer; cwd?: string } = {}): Ran {
  const { stdout, stderr, status } = spawnSync(process.execPath, [MAIN, ...args], { input, env: commandEnv, cwd });
  expect(stderr.includes(SECRET), "stderr holds the secret").toBe(false);
  return { out: stdout.toString(), raw: stdout, err: stderr.toString(), code: status };
}

export const startLogveil = (args: readonly string[], cwd: string = process.cwd()): ChildProcessWithoutNullStreams =>
  spawn(process.execPath, [MAIN, ...args], { env: commandEnv, cwd });
