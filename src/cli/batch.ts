/** Many inputs, one after the other: one that fails does not end the run. What failed is told at the end, and so is what was done. */
import { LogveilError } from "../errors.js";
import { EXIT, worst } from "./options.js";
import type { Session } from "./session.js";
import { say } from "./talk.js";

/** What became of an input: `masked`: all of it was looked at, and what was found is masked, or listed. */
type Outcome = "masked" | "skipped" | "not clean" | "failed";

export interface BatchOptions {
  readonly isVerbose: boolean;
  /** Whether stderr is for the report alone. */
  readonly isSilent: boolean;
  /** Whether findings change files; else they are listed. */
  readonly changes: boolean;
  /** Whether stdin is read instead of files. */
  readonly isStdin: boolean;
}

export class Batch {
  private readonly problems: string[] = [];
  private readonly outcomes: Record<Outcome, number> = { masked: 0, skipped: 0, "not clean": 0, failed: 0 };
  /** Of the inputs that were done. */
  private readonly sums = { bytes: 0, findings: 0, changed: 0 };

  constructor(
    private readonly session: Session,
    private readonly options: BatchOptions,
  ) {}

  /** Does one input. Rethrows what is no fault of that input: an output that cannot be written, a defect. */
  async run(name: string, work: () => Promise<void>): Promise<void> {
    const { found: foundBefore, bytesIn: bytesBefore } = this.session;
    try {
      await work();
    } catch (error) {
      const outcome = outcomeOf(error);
      if (outcome === undefined) throw error;
      this.note(name, outcome, (error as Error).message);
      return;
    }
    const found = this.session.found - foundBefore;
    const bytes = this.session.bytesIn - bytesBefore;
    this.sums.findings += found;
    this.sums.bytes += bytes;
    if (found > 0) this.sums.changed++;
    this.outcomes.masked++;
    if (this.options.isVerbose) {
      const what = this.options.changes ? (found > 0 ? ", changed" : ", unchanged") : "";
      say(`${name}: ${sizeOf(bytes)}, ${counted(found, "finding")}${what}`);
    }
  }

  /** Tells what failed. */
  tellProblems(): void {
    for (const problem of this.problems.splice(0)) say(problem);
  }

  /** Tells what failed and what was done, closes the session, answers the exit code. */
  finish(): number {
    const { session, outcomes } = this;
    const { bytes, findings, changed } = this.sums;
    this.tellProblems();
    const { masked, skipped, failed } = outcomes;
    const notClean = outcomes["not clean"];
    const extra = [changes(this.options, changed), told(skipped, "skipped"), told(notClean, "not clean"), told(failed, "failed")];
    const summary = [
      this.options.isStdin ? "stdin" : counted(masked, "file"),
      sizeOf(bytes),
      counted(findings, "finding"),
      ...extra.filter((text) => text !== undefined),
    ];
    if (!this.options.isSilent) session.notice(summary.join(", "));
    const code = session.finish({ files: masked, ...(this.options.changes && { changed }), skipped, notClean, failed });
    // Nothing was done: that is a failure, not a part of the work.
    const isAllFailed = failed > 0 && masked + skipped + notClean === 0;
    return worst(code, isAllFailed ? EXIT.USAGE : notClean + failed > 0 ? EXIT.PARTIAL : EXIT.OK);
  }

  private note(name: string, outcome: Outcome, message: string): void {
    this.outcomes[outcome]++;
    this.session.report({ type: "file", stream: this.session.masked(name), outcome, reason: this.session.masked(message) });
    if (outcome !== "skipped") this.problems.push(message);
    else if (!this.options.isSilent) this.session.notice(message);
  }
}

function outcomeOf(error: unknown): Outcome | undefined {
  if (!(error instanceof LogveilError)) return undefined;
  if (error.code === "LV_NOT_CLEAN") return error.facts["kind"] === "media" ? "skipped" : "not clean";
  if (error.code === "LV_CHANGED") return "not clean";
  return error.code === "LV_IO" && error.facts["isOver"] !== true ? "failed" : undefined;
}

const told = (count: number, what: string): string | undefined => (count === 0 ? undefined : `${count} ${what}`);
const changes = (options: BatchOptions, changed: number): string | undefined => (options.changes ? `${changed} changed` : undefined);
const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`;

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** In decimal units, with three digits at most. */
function sizeOf(bytes: number): string {
  let [size, unit] = [bytes, 0];
  while (size >= 999.5 && unit < UNITS.length - 1) [size, unit] = [size / 1000, unit + 1];
  return unit === 0 ? counted(bytes, "byte") : `${size < 9.95 ? size.toFixed(1) : size.toFixed(0)} ${UNITS[unit]}`;
}
