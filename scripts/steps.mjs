/** Steps that take long: what runs, for how many seconds, and on what; on failure the end of its output. Everything it prints goes to a log as well. */
import { spawn } from "node:child_process";
import { appendFileSync } from "node:fs";

/** Where no terminal shows a line that changes, one is written so often. */
const LINE_MS = 15_000;
const TICK_MS = 1000;
/** Lines of output that are shown on failure. */
const SHOWN_LINES = 40;
/** Bytes of output that are kept to show. */
const KEPT_BYTES = 64 * 1024;

/** What a line of npm or cargo says is under way. */
const NOTES = [
  [/^npm info run (\S+)@\S+ (?:pre|post)?install /, (name) => `compiling ${name.replace(/^node_modules\//, "")}`],
  [/^\s*Compiling (\S+) v/, (name) => `compiling ${name}`],
];

// oxlint-disable-next-line no-control-regex
const COLOURS = /\x1b\[[0-9;]*m/g;

export const say = (text) => console.log(`logveil: ${text}`);

export class Failure extends Error {}

/** Shows `name`, the seconds since, and the newest note. Answers how to note something and how to end. */
function show(name, hint, out) {
  const started = Date.now();
  const seconds = () => Math.round((Date.now() - started) / 1000);
  let note = "";
  let shownAt = started;
  const text = () => `logveil: ${name} … ${seconds()} s${note === "" ? "" : `, ${note}`}`;
  if (!out.isTTY || hint !== "") out.write(`logveil: ${name} …${hint === "" ? "" : ` ${hint}`}\n`);
  const tick = () => {
    if (out.isTTY) {
      out.write(`\r\x1b[K${text().slice(0, Math.max(20, (out.columns ?? 80) - 1))}`);
    } else if (Date.now() - shownAt >= LINE_MS) {
      shownAt = Date.now();
      out.write(`${text()}\n`);
    }
  };
  tick();
  const timer = setInterval(tick, TICK_MS);
  return {
    note(what) {
      note = what;
    },
    end(isDone) {
      clearInterval(timer);
      if (out.isTTY) out.write("\r\x1b[K");
      if (isDone) out.write(`logveil: ${name}: ${seconds()} s\n`);
    },
  };
}

const children = new Set();

/** What a signal ends, ends what it runs, too. */
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {
    if (children.size === 0) return;
    for (const child of children) child.kill("SIGTERM");
    process.exit(130);
  });
}

/** Runs a command; rejects with a {@link Failure} that holds the end of its output. `onLine` gets each line of it. */
export function run(command, args, { cwd, log, onLine = () => undefined }) {
  appendFileSync(log, `$ ${command} ${args.join(" ")}\n`);
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, CARGO_TERM_COLOR: "never", NO_COLOR: "1", FORCE_COLOR: "0" },
    });
    children.add(child);
    let kept = "";
    let line = "";
    const take = (text) => {
      appendFileSync(log, text);
      kept = (kept + text).slice(-KEPT_BYTES);
      const lines = (line + text).split("\n");
      line = lines.pop();
      for (const each of lines) onLine(each.replaceAll(COLOURS, ""));
    };
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", take);
    const fail = (why) => {
      const lines = kept.trimEnd().split("\n");
      const shown = lines.slice(-SHOWN_LINES);
      const head = lines.length > shown.length ? `… ${lines.length - shown.length} more lines in ${log}\n` : "";
      reject(new Failure(`${head}${shown.join("\n")}\nlogveil: "${command} ${args.join(" ")}" ${why}; the whole output is in ${log}`));
    };
    child.once("error", (error) => {
      children.delete(child);
      fail(error.code === "ENOENT" ? "is not installed" : `cannot be run: ${error.code}`);
    });
    child.once("close", (code, signal) => {
      children.delete(child);
      if (code === 0) resolve();
      else fail(signal === null ? `failed with exit code ${code}` : `was ended by ${signal}`);
    });
  });
}

/** Runs `work` with its name, time and notes shown; `hint` says beforehand why it takes long. It gets a function that takes lines of output. */
export async function step(name, hint, work, out = process.stdout) {
  const shown = show(name, hint, out);
  let isDone = false;
  try {
    await work((line) => {
      for (const [pattern, noteOf] of NOTES) {
        const match = pattern.exec(line);
        if (match !== null) shown.note(noteOf(match[1]));
      }
    });
    isDone = true;
  } finally {
    shown.end(isDone);
  }
}
