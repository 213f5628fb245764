/** `logveil scrub` and `logveil check`: files or stdin through the engine. */
import { type BigIntStats, fstatSync, statSync } from "node:fs";
import { LogveilError } from "../errors.js";
import type { Finding } from "../types.js";
import { Batch } from "./batch.js";
import { type Reading, scrubFile, scrubInput } from "./files.js";
import { EXIT, worst } from "./options.js";
import { makeFolder, planOutputs } from "./outputs.js";
import { type Progress, startProgress } from "./progress.js";
import { scrubInPlace, scrubTo } from "./replace.js";
import { type MaskingOptions, openSession, type Session } from "./session.js";

export interface ScrubOptions extends MaskingOptions {
  readonly inPlace?: true;
  readonly out?: string;
}

const STDIN = 0;
const STDOUT = 1;

/** What each input is done with. */
interface Work {
  readonly session: Session;
  readonly batch: Batch;
  readonly progress: Progress;
  readonly reading: Reading;
}

export async function scrub(files: readonly string[], options: ScrubOptions): Promise<number> {
  const { inPlace, out } = options;
  if (inPlace === true && out !== undefined) throw new LogveilError("LV_USAGE", "--in-place and --out exclude each other");
  const writesFiles = inPlace === true || out !== undefined;
  if (writesFiles && files.length === 0) throw new LogveilError("LV_USAGE", "--in-place and --out need files");
  checkReport(files, options.report);
  if (!writesFiles) checkStdout(files);
  const outputs = out === undefined ? [] : await planOutputs(files, out);
  return withWork(files, options, writesFiles, async (work) => {
    const { session, batch, progress, reading } = work;
    const open = (file: string) => progress.watch(session.open(file));
    if (files.length === 0) await batch.run("stdin", () => scrubInput(open("stdin"), STDOUT, reading));
    if (inPlace === true) for (const file of files) await batch.run(file, () => replaceFile(file, work));
    else if (out === undefined) for (const file of files) await batch.run(file, () => scrubFile(file, open(file), STDOUT, reading));
    for (const output of outputs)
      await batch.run(output.file, async () => {
        await makeFolder(output);
        await scrubTo(output.file, output.target, open(output.file), reading);
      });
  });
}

async function replaceFile(file: string, { session, progress, reading }: Work): Promise<void> {
  const before = session.found;
  const { isChanged, otherNames } = await scrubInPlace(
    file,
    (part) => progress.watch(session.open(part === "whole" ? file : `${file} (end)`)),
    reading,
    () => session.found > before,
  );
  if (isChanged && otherNames > 0)
    session.notice(`${file} is masked, but the file had ${otherNames} more name${otherNames > 1 ? "s" : ""} (hard links) that still hold the unmasked text`);
}

export async function check(files: readonly string[], options: MaskingOptions): Promise<number> {
  const list = (finding: Finding): void => {
    const { stream, line, offset, length, secret, rule, confidence, variant, kind } = finding;
    process.stdout.write(
      `${stream}:${line}: ${offset}+${length} ${rule === undefined ? "secret" : "rule"} ${secret} (${kind !== "masked" ? kind : (confidence ?? variant)})\n`,
    );
  };
  checkReport(files, options.report);
  let found = 0;
  const code = await withWork(files, options, false, async ({ session, batch, progress, reading }) => {
    const open = (file: string) => progress.watch(session.open(file, list));
    if (files.length === 0) await batch.run("stdin", () => scrubInput(open("stdin"), undefined, reading));
    for (const file of files) await batch.run(file, () => scrubFile(file, open(file), undefined, reading));
    found = session.found;
  });
  return worst(code, found > 0 ? EXIT.FINDINGS : EXIT.OK);
}

/** Opens a session, does the work, tells what was done; answers the exit code. */
async function withWork(files: readonly string[], options: MaskingOptions, changes: boolean, work: (work: Work) => Promise<void>): Promise<number> {
  const session = await openSession(options);
  const progress = startProgress(session.quiet);
  const { verbose, report } = options;
  const batch = new Batch(session, { isVerbose: verbose === true, isSilent: report === "-", isStdin: files.length === 0, changes });
  const reading = { holdBackMs: session.engine.limits.holdBackMs, binary: options.binary ?? "skip" } as const;
  try {
    await work({ session, batch, progress, reading });
  } catch (error) {
    progress.stop();
    batch.tellProblems();
    throw error;
  }
  progress.stop();
  return batch.finish();
}

/** Throws `LV_USAGE` if the report would be written over an input. */
function checkReport(files: readonly string[], report: string | undefined): void {
  if (report === undefined || report === "-") return;
  const place = statOf(report);
  const file = files.find((each) => isSameFile(place, statOf(each)));
  if (file !== undefined) throw new LogveilError("LV_USAGE", `--report: ${report} is an input, which the report would be written over`);
}

/** Throws `LV_USAGE` if what is read is also what is written: it would be lost, or never end. */
function checkStdout(files: readonly string[]): void {
  const output = fstatSync(STDOUT, { bigint: true });
  if (!output.isFile()) return;
  const file =
    files.length === 0
      ? isSameFile(output, fstatSync(STDIN, { bigint: true }))
        ? "stdin"
        : undefined
      : files.find((each) => isSameFile(output, statOf(each)));
  if (file !== undefined) throw new LogveilError("LV_USAGE", `${file} is also the output; use --in-place to mask a file where it is`);
}

const statOf = (file: string): BigIntStats | undefined => {
  try {
    return statSync(file, { bigint: true });
  } catch {
    return undefined;
  }
};

const isSameFile = (a: BigIntStats | undefined, b: BigIntStats | undefined): boolean =>
  a !== undefined && b !== undefined && a.isFile() && a.dev === b.dev && a.ino === b.ino;
