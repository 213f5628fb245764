/** The built command as a sidecar in a process of its own. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, vi } from "vitest";
import { call } from "../support/sidecar.js";

const COMMAND = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
/** The value of BUILD_TOKEN in its environment. */
export const SECRET = "env-token-9876543210-abcdef";

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

export interface Process {
  readonly child: ChildProcess;
  readonly port: number;
  readonly admin: number;
  readonly env: NodeJS.ProcessEnv;
  /** All of stderr so far. */
  readonly told: () => string;
  /** Level and message of each line of it. */
  readonly lines: () => string[];
}

/** A sidecar whose state lies in `home`; resolves when it is ready. */
export async function serve(home: string, ports?: readonly [number, number], args: readonly string[] = [], more: NodeJS.ProcessEnv = {}): Promise<Process> {
  const [port, admin] = ports ?? [await freePort(), await freePort()];
  const env = { PATH: process.env["PATH"], HOME: home, XDG_STATE_HOME: join(home, "state"), XDG_RUNTIME_DIR: join(home, "run"), BUILD_TOKEN: SECRET, ...more };
  const child = spawn(process.execPath, [COMMAND, "serve", "--listen", `127.0.0.1:${port}`, "--admin-listen", `127.0.0.1:${admin}`, ...args], {
    env,
    stdio: ["ignore", "ignore", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let told = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (told += text));
  await vi.waitFor(async () => expect((await call({ port: admin }, "GET", "/readyz")).status).toBe(200), { timeout: 60_000, interval: 50 });
  const lines = (): string[] =>
    told
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as { level: string; msg: string })
      .map(({ level, msg }) => `${level} ${msg}`);
  return { child, port, admin, env, told: () => told, lines };
}

export const logveil = (env: NodeJS.ProcessEnv, args: readonly string[], input = ""): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(process.execPath, [COMMAND, ...args], { env, input, encoding: "utf8" });
