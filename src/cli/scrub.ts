/** `logveil scrub` and `logveil check`: files or stdin through the engine. */
import { LogveilError } from "../errors.js";
import type { Finding } from "../types.js";
import { outputPath, scrubFile, scrubInPlace, scrubInput, scrubTo } from "./files.js";
import { EXIT } from "./options.js";
import { startProgress } from "./progress.js";
import { type MaskingOptions, openSession } from "./session.js";

export interface ScrubOptions extends MaskingOptions {
  readonly inPlace?: true;
  readonly out?: string;
}

const STDOUT = 1;

export async function scrub(files: readonly string[], options: ScrubOptions): Promise<number> {
  if (options.inPlace === true && options.out !== undefined) throw new LogveilError("LV_USAGE", "--in-place and --out exclude each other");
  if ((options.inPlace === true || options.out !== undefined) && files.length === 0) throw new LogveilError("LV_USAGE", "--in-place and --out need files");
  const session = await openSession(options);
  const { holdBackMs } = session.engine.limits;
  const progress = startProgress(session.quiet);
  try {
    if (files.length === 0) await scrubInput(progress.watch(session.open("stdin")), STDOUT, holdBackMs);
    for (const file of files) {
      const before = session.found;
      const machine = progress.watch(session.open(file));
      if (options.inPlace === true) {
        const others = await scrubInPlace(file, machine, holdBackMs, () => session.found > before);
        if (others > 0)
          session.notice(`${file} is masked, but the file had ${others} more name${others > 1 ? "s" : ""} (hard links) that still hold the unmasked text`);
      } else if (options.out !== undefined) await scrubTo(file, await outputPath(file, options.out), machine, holdBackMs, () => true);
      else await scrubFile(file, machine, STDOUT, holdBackMs);
    }
  } finally {
    progress.stop();
  }
  return session.finish();
}

export async function check(files: readonly string[], options: MaskingOptions): Promise<number> {
  const session = await openSession(options);
  const { holdBackMs } = session.engine.limits;
  const progress = startProgress(session.quiet);
  const list = (finding: Finding): void => {
    const { stream, line, offset, length, secret, rule, confidence, variant, kind } = finding;
    process.stdout.write(
      `${stream}:${line}: ${offset}+${length} ${rule === undefined ? "secret" : "rule"} ${secret} (${kind !== "masked" ? kind : (confidence ?? variant)})\n`,
    );
  };
  try {
    if (files.length === 0) await scrubInput(progress.watch(session.open("stdin", list)), undefined, holdBackMs);
    for (const file of files) await scrubFile(file, progress.watch(session.open(file, list)), undefined, holdBackMs);
  } finally {
    progress.stop();
  }
  const { found } = session;
  session.finish();
  return found > 0 ? EXIT.FINDINGS : EXIT.OK;
}
