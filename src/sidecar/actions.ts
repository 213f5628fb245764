/** What is done about findings besides masking them: by the id of the rule, else by its confidence. A registered secret counts as certain. */
import type { Finding } from "../types.js";

export type Action = "count" | "warn" | "fail-job" | "webhook";
export type ActionTable = Readonly<Record<string, readonly Action[]>>;

/** What a finding is of, in a few words of ours: for metrics. */
export const sureness = ({ rule, confidence }: Finding): string => (rule === undefined ? "registered" : (confidence ?? "medium"));

export function actionsFor(table: ActionTable, { rule, confidence }: Finding): readonly Action[] {
  return (rule === undefined ? table["certain"] : (table[rule] ?? table[confidence ?? ""])) ?? [];
}

/** Time in which one rule or secret of one job is told once, in milliseconds. */
const QUIET_MS = 60_000;
/** Most rules and secrets of jobs that are remembered. */
const MAX_KEPT = 10_000;

interface Told {
  readonly at: number;
  /** Findings since then that were not told. */
  more: number;
}

/** Lines of a log about findings: one a minute for each rule or secret of a job, and how many more there were. */
export class Warnings {
  private readonly told = new Map<string, Told>();

  constructor(
    private readonly tell: (message: string) => void,
    private readonly now: () => number = () => performance.now(),
  ) {}

  found(job: string, { kind, rule, secret, stream, line, offset }: Finding): void {
    const what = `${rule === undefined ? "secret" : "rule"} ${secret} in job ${job}`;
    const before = this.told.get(what);
    if (before !== undefined && this.now() - before.at < QUIET_MS) {
      before.more++;
      return;
    }
    this.told.delete(what);
    const oldest = this.told.size < MAX_KEPT ? undefined : this.told.entries().next().value;
    if (oldest !== undefined) this.forget(...oldest);
    this.told.set(what, { at: this.now(), more: 0 });
    this.tell(`found: ${what}, stream ${stream}, line ${line}, offset ${offset}: ${kind}${more(before)}`);
  }

  /** Tells what was held back for longer than `quietMs`, and forgets it. */
  sweep(quietMs = QUIET_MS): void {
    for (const [what, told] of this.told) if (this.now() - told.at >= quietMs) this.forget(what, told);
  }

  private forget(what: string, told: Told): void {
    this.told.delete(what);
    if (told.more > 0) this.tell(`found: ${what}${more(told)}`);
  }
}

const more = (told: Told | undefined): string => (told === undefined || told.more === 0 ? "" : `; ${told.more} more since the line before`);
