/** `logveil serve` as a process of its own, for tests: ended with the test, with a secret in its environment. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { COMMAND, serveProcess, type Serving } from "./serving.js";

export const SECRET = "env-token-9876543210-abcdef";

export interface Process extends Serving {
  /** Level and message of each line on stderr. */
  readonly lines: () => string[];
}

/** Variables for a sidecar whose state lies in `home`. */
export const environment = (home: string): NodeJS.ProcessEnv => ({
  PATH: process.env["PATH"],
  HOME: home,
  XDG_STATE_HOME: join(home, "state"),
  XDG_RUNTIME_DIR: join(home, "run"),
  BUILD_TOKEN: SECRET,
});

/** A sidecar whose state lies in `home`, with variables of its own; resolves when it is ready. */
export async function serve(home: string, args: readonly string[] = [], more: Readonly<Record<string, string>> = {}): Promise<Process> {
  const serving = await serveProcess(home, { args, env: { BUILD_TOKEN: SECRET, ...more } });
  onTestFinished(() => void serving.child.kill("SIGKILL"));
  const lines = (): string[] =>
    serving
      .told()
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as { level: string; msg: string })
      .map(({ level, msg }) => `${level} ${msg}`);
  return { ...serving, lines };
}

export const logveil = (env: NodeJS.ProcessEnv, args: readonly string[], input = ""): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(process.execPath, [COMMAND, ...args], { env, input, encoding: "utf8" });
