/** The command line without rules, but for one start: its start, a pipe through it against `cat`, a file against reading it, and what masking costs beyond passing through. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, openSync, closeSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { check, median, record, root, smoke } from "./lib.mjs";

const main = `${root}dist/cli/main.js`;
const BYTES = smoke ? 8 << 20 : 1 << 30;
const ROUNDS = smoke ? 1 : 5;

const quoted = (words) => words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");

/** Seconds that a shell line takes. */
function seconds(line) {
  const started = performance.now();
  const { status } = spawnSync("bash", ["-c", line], { stdio: "ignore" });
  check(line, status === 0);
  return (performance.now() - started) / 1000;
}

/** CPU seconds of a shell line, by the shell's own `times`. */
function cpu(line) {
  const out = execFileSync("bash", ["-c", `${line} > /dev/null; times`], { encoding: "utf8" });
  const children = out.trim().split("\n").at(-1).split(" ");
  return children.map((time) => /(\d+)m([\d.]+)s/.exec(time)).reduce((sum, [, minutes, rest]) => sum + Number(minutes) * 60 + Number(rest), 0);
}

export function benchCli(text, values) {
  const folder = mkdtempSync(join(tmpdir(), "logveil-bench-"));
  const [file, list] = [join(folder, "log"), join(folder, "secrets.jsonl")];
  const descriptor = openSync(file, "w");
  for (let written = 0; written < BYTES;) written += writeSync(descriptor, text);
  closeSync(descriptor);
  writeFileSync(list, values.map((value) => `${JSON.stringify(value)}\n`).join(""));

  const start = (args) =>
    Array.from({ length: smoke ? 2 : 10 }, () => {
      const started = performance.now();
      const { stdout } = spawnSync(process.execPath, [main, "scrub", "--quiet", "--no-rules", ...args], { input: `a ${values[0].value} b` });
      check("scrub masks", stdout.toString() === (args.length > 0 ? `a [REDACTED:${values[0].name}] b` : `a ${values[0].value} b`));
      return performance.now() - started;
    });
  record("start of scrub to its end, no secrets", median(start([])), "ms", ["<=", 150]);
  record(`start of scrub to its end, ${values.length} secrets`, median(start(["--secrets", list])), "ms", ["<=", 400]);

  const withRules = Array.from({ length: smoke ? 2 : 10 }, () => {
    const started = performance.now();
    spawnSync(process.execPath, [main, "scrub", "--quiet"], { input: "a b" });
    return performance.now() - started;
  });
  record("start of scrub to its end, all rules", median(withRules), "ms");

  const scrub = quoted([process.execPath, main, "scrub", "--quiet", "--no-rules", "--secrets", list]);
  const through = quoted([process.execPath, main, "scrub", "--quiet", "--no-rules"]);
  const checked = quoted([process.execPath, main, "check", "--quiet", "--no-rules", "--secrets", list, file]);
  const quotedFile = quoted([file]);
  const pipe = (command) => seconds(`cat ${quotedFile} | ${command} | cat > /dev/null`);
  const ratios = { pipe: [], check: [], cpu: [] };
  for (let round = 0; round < ROUNDS; round++) {
    ratios.pipe.push(pipe("cat") / pipe(scrub));
    ratios.check.push(seconds(`cat ${quotedFile} > /dev/null`) / seconds(`${checked} > /dev/null || [ $? = 1 ]`));
    ratios.cpu.push(cpu(`cat ${quotedFile} | ${scrub}`) / cpu(`cat ${quotedFile} | ${through}`));
  }
  const size = `${(BYTES / (1 << 30)).toFixed(2)} GiB, ${values.length} secrets, start included`;
  record(`scrub in a pipe against cat (${size})`, median(ratios.pipe), "x", [">=", 1]);
  record(`check of a file against reading it (${size})`, median(ratios.check), "x", [">=", 0.45]);
  record(`CPU of scrub in a pipe against scrub without secrets`, median(ratios.cpu), "x", ["<=", 1.25]);
  rmSync(folder, { recursive: true });
}
