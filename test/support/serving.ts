/** `logveil serve` as a process, with its state in a folder of its own; on any port, ready when it says so on its control socket. */
import { type ChildProcess, spawn, type SpawnOptions } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { call } from "./sidecar.js";

export const COMMAND = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const READY_MS = 60_000;

export interface Serving {
  readonly child: ChildProcess;
  /** Of the sidecar itself, where it runs under another command. */
  readonly pid: number;
  readonly port: number;
  /** Of health and metrics. */
  readonly admin: number;
  readonly socket: string;
  readonly env: NodeJS.ProcessEnv;
  /** What it has said on stderr. */
  readonly told: () => string;
}

export interface ServeOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  /** A command that runs it, such as a tracer: what stands before `node`. */
  readonly under?: readonly string[];
  readonly spawn?: SpawnOptions;
}

/** Starts it; resolves when it is ready. Who starts it ends it. */
export async function serveProcess(home: string, { env: more, args = [], under = [], spawn: how = {} }: ServeOptions = {}): Promise<Serving> {
  const env = { PATH: process.env["PATH"], HOME: home, XDG_STATE_HOME: join(home, "state"), XDG_RUNTIME_DIR: join(home, "run"), ...more };
  const [command, ...rest] = [...under, process.execPath, COMMAND, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", ...args];
  const child = spawn(command!, rest, { env, stdio: ["ignore", "ignore", "pipe"], ...how });
  let told = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => (told += text));
  const socket = join(home, "run", "logveil", "control.sock");
  const until = Date.now() + READY_MS;
  for (;;) {
    const [port, admin] = ["listening on", "metrics are at"].map((what) => Number(new RegExp(`${what} https?://127\\.0\\.0\\.1:(\\d+)`).exec(told)?.[1]));
    if (port! > 0 && admin! > 0 && (await isReady(socket)))
      return { child, pid: under.length === 0 ? child.pid! : childOf(child.pid!), port: port!, admin: admin!, socket, env, told: () => told };
    if (child.exitCode !== null || child.signalCode !== null || Date.now() > until) {
      child.kill("SIGKILL");
      throw new Error(`logveil serve did not become ready: ${told}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function isReady(socket: string): Promise<boolean> {
  try {
    return (JSON.parse((await call({ socket }, "GET", "/v1/status")).body) as { ready: boolean }).ready;
  } catch {
    return false;
  }
}

/** Ends a process by a signal; resolves when it is gone. */
export async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill(signal);
  await gone;
}

function childOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim().split(" ")[0]);
}

/** Paths of all files in a folder, however deep. */
export function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}
