/** `logveil run`: a command whose stdout and stderr are masked separately and live. */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import { EXIT } from "./options.js";
import { pump } from "./pump.js";
import { type MaskingOptions, openSession } from "./session.js";
import { say } from "./talk.js";

const FORWARDED = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const;

export async function run(command: readonly string[], options: MaskingOptions): Promise<number> {
  const [file, ...args] = command;
  if (file === undefined) throw new LogveilError("LV_USAGE", "run needs a command: logveil run [options] -- command [args...]");
  const session = await openSession(options);
  const { holdBackMs } = session.engine.limits;
  const child = spawn(file, args, { stdio: ["inherit", "pipe", "pipe"] });
  // A terminal sends its interrupt to the child as well: a second one would be one too many.
  const forward = (signal: NodeJS.Signals): void => {
    if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
  };
  for (const signal of FORWARDED) process.on(signal, forward);

  const exit = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
  // When nobody reads the output any more, the command learns it as from any pipe.
  const quietEpipe = (error: NodeJS.ErrnoException): void => {
    if (error.code !== "EPIPE") throw error;
  };
  const pumps = [
    pump(child.stdout, session.open("stdout"), process.stdout, holdBackMs).catch(quietEpipe),
    pump(child.stderr, session.open("stderr"), process.stderr, holdBackMs).catch(quietEpipe),
  ];
  let ended: { code: number | null; signal: NodeJS.Signals | null };
  try {
    [ended] = await Promise.all([exit, ...pumps]);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (child.pid !== undefined) throw error;
    say(code === "ENOENT" ? `${file}: no such command (${code}): check its name and PATH` : `${file}: cannot be run: ${reasonAndCure(error)}`);
    session.finish();
    return code === "ENOENT" ? 127 : 126;
  } finally {
    for (const signal of FORWARDED) process.off(signal, forward);
  }
  const own = session.finish();
  if (ended.signal !== null) {
    // Die as the command did; a signal that does not kill this process is told as shells do.
    process.kill(process.pid, ended.signal);
    return 128 + constants.signals[ended.signal];
  }
  return ended.code === 0 ? own : (ended.code ?? EXIT.INTERNAL);
}
