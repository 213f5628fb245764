/** What is done about findings besides masking them: by the id of the rule, else by its confidence. A registered secret counts as certain. */
import type { Finding } from "../types.js";

export type Action = "count" | "warn" | "fail-job" | "webhook";
export type ActionTable = Readonly<Record<string, readonly Action[]>>;

/** What a finding is of, in a few words of ours: for metrics. */
export const sureness = ({ rule, confidence }: Finding): string => (rule === undefined ? "registered" : (confidence ?? "medium"));

/** What findings of one secret or rule have in common for whoever acts on them. */
export interface FindingKind {
  readonly finding: Pick<Finding, "kind" | "secret" | "rule" | "confidence">;
  /** Under what they are counted. */
  readonly figure: string;
  /** What a warning calls them. */
  readonly what: string;
  /** What `actions` was made of. */
  readonly table: ActionTable;
  readonly actions: readonly Action[];
  readonly warns: boolean;
  readonly isSent: boolean;
}

/** The kinds of findings of one stream. */
export class Kinds {
  /** By the name of the secret or rule. */
  private readonly bySecret = new Map<string, FindingKind[]>();
  private last: FindingKind | undefined;

  constructor(private readonly job: string) {}

  of(finding: Finding, table: ActionTable): FindingKind {
    const { last } = this;
    if (last !== undefined && last.table === table && isOf(last, finding)) return last;
    const kinds = this.bySecret.get(finding.secret)?.filter((kind) => kind.table === table) ?? [];
    const known = kinds.find((kind) => isOf(kind, finding));
    if (known !== undefined) return (this.last = known);
    this.last = kindOf(this.job, finding, table);
    this.bySecret.set(finding.secret, [...kinds, this.last]);
    return this.last;
  }
}

const isOf = ({ finding }: FindingKind, { kind, secret, rule, confidence }: Finding): boolean =>
  secret === finding.secret && kind === finding.kind && rule === finding.rule && confidence === finding.confidence;

function kindOf(job: string, finding: Finding, table: ActionTable): FindingKind {
  const { kind, secret, rule, confidence } = finding;
  const actions = actionsFor(table, finding);
  return {
    finding: { kind, secret, ...(rule !== undefined && { rule }), ...(confidence !== undefined && { confidence }) },
    figure: `${kind} ${sureness(finding)}`,
    what: `${rule === undefined ? "secret" : "rule"} ${secret} in job ${job}`,
    table,
    actions,
    warns: actions.includes("warn"),
    isSent: actions.includes("webhook"),
  };
}

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

  found(what: string, { kind, stream, line, offset }: Finding): void {
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
