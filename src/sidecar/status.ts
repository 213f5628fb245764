/** What a sidecar is doing, as figures: for the metrics and for `GET /v1/status`. */
import type { Engine } from "../engine.js";
import type { Accounts, Figures } from "./accounts.js";
import type { Reloading } from "./control.js";
import type { Gate } from "./gate.js";
import type { Jobs } from "./jobs.js";
import type { Gauges } from "./metrics.js";
import type { FairShare } from "./share.js";

export function gaugesOf(
  engine: Engine,
  jobs: Jobs,
  accounts: Accounts,
  gate: Gate,
  shares: readonly FairShare[],
  reload: Reloading["last"],
): Omit<Gauges, "version" | "ready" | "audit"> {
  const { rules, secrets, needles, memoryBytes: matcherBytes } = engine.stats();
  const sum = (of: (share: FairShare) => number): number => shares.reduce((total, share) => total + of(share), 0);
  return {
    engine: engine.engine,
    ...jobs.counts,
    failedJobs: accounts.failedJobs,
    rules,
    secrets,
    needles,
    matcherBytes,
    secretsAgeMs: gate.ageMs,
    reloadedAt: reload.at,
    reloadOk: reload.ok,
    waiting: sum(({ waiting }) => waiting),
    refused: sum(({ refused }) => refused),
    webhook: accounts.webhookStats,
  };
}

/** As JSON. */
export function statusOf(gauges: Gauges, { inputBytes, outputBytes, findings }: Figures, policy: string, reload: Reloading["last"]): object {
  const { reloadedAt: _, reloadOk: __, ...now } = gauges;
  return { ...now, policy, inputBytes, outputBytes, findings: Object.fromEntries(findings), reload: { ...reload, at: new Date(reload.at).toISOString() } };
}
