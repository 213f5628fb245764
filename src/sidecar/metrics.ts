/** Figures for Prometheus. Labels have few values, all of them ours. They are counted as plain numbers; the library that prints them is loaded when first asked. */
import type { Figures } from "./accounts.js";
import { SECONDS } from "./buckets.js";

/** What is now. */
export interface Gauges {
  readonly version: string;
  readonly engine: string;
  readonly ready: boolean;
  readonly jobs: number;
  readonly failedJobs: number;
  readonly streams: number;
  readonly heldBytes: number;
  readonly rules: number;
  readonly secrets: number;
  readonly needles: number;
  readonly matcherBytes: number;
  readonly secretsAgeMs: number;
  /** Time of the last reload in milliseconds since the epoch, the start being the first. */
  readonly reloadedAt: number;
  readonly reloadOk: boolean;
  readonly waiting: number;
  readonly refused: number;
  readonly webhook: { readonly queued: number; readonly delivered: number; readonly dropped: number };
  /** Bytes of the audit that are not known to be on disk, and records that were sealed. */
  readonly spool?: { readonly requests: number; readonly bytes: number; readonly refused: number; readonly damaged: number };
  readonly audit?: { readonly queuedBytes: number; readonly records: number };
}

type Row = readonly [name: string, help: string, value: (now: Gauges, sums: Figures) => number | undefined];

const COUNTERS: readonly Row[] = [
  ["input_bytes_total", "Bytes of logs that came in, after decoding", (_, sums) => sums.inputBytes],
  ["output_bytes_total", "Bytes of masked logs that left", (_, sums) => sums.outputBytes],
  ["failed_jobs_total", "Jobs that failed by onFinding.actions", (_, sums) => sums.failedJobs],
  ["turned_away_total", "Requests that waited too long for their turn and got 503", ({ refused }) => refused],
  ["webhook_delivered_findings_total", "Findings that the webhook took", ({ webhook }) => webhook.delivered],
  ["webhook_dropped_findings_total", "Findings that were not delivered to the webhook", ({ webhook }) => webhook.dropped],
  ["audit_records_total", "Records of the audit", ({ audit }) => audit?.records],
];

const GAUGES: readonly Row[] = [
  ["ready", "Whether logs are taken", ({ ready }) => Number(ready)],
  ["open_jobs", "Jobs that are open, or whose secrets are still known", ({ jobs }) => jobs],
  ["failed_jobs", "Jobs of which nothing more is taken until they are ended", ({ failedJobs }) => failedJobs],
  ["open_streams", "Streams that are open", ({ streams }) => streams],
  ["held_bytes", "Bytes of open streams that are undecided and held back", ({ heldBytes }) => heldBytes],
  ["waiting_requests", "Requests that wait for their turn", ({ waiting }) => waiting],
  ["rules", "Rules in force", ({ rules }) => rules],
  ["secrets", "Secrets that are known, those of jobs included", ({ secrets }) => secrets],
  ["needles", "Spellings of secrets that are looked for", ({ needles }) => needles],
  ["matcher_memory_bytes", "Memory of the automata", ({ matcherBytes }) => matcherBytes],
  ["secrets_age_seconds", "Time since secrets were last read", ({ secretsAgeMs }) => secretsAgeMs / 1000],
  ["config_last_reload_successful", "Whether the last reload of the configuration succeeded", ({ reloadOk }) => Number(reloadOk)],
  ["config_last_reload_success_timestamp_seconds", "When the configuration was last loaded", ({ reloadedAt }) => reloadedAt / 1000],
  ["webhook_queued_findings", "Findings that wait for the webhook", ({ webhook }) => webhook.queued],
  ["spool_requests", "Requests that wait in the spool", ({ spool }) => spool?.requests],
  ["spool_bytes", "Bytes that wait in the spool", ({ spool }) => spool?.bytes],
  ["audit_queued_bytes", "Bytes of the audit that are not on disk yet", ({ audit }) => audit?.queuedBytes],
];

/** Tables of counts by labels, whose values are joined by a space. */
const LABELLED: readonly (readonly [
  name: string,
  help: string,
  labels: readonly string[],
  table: (now: Gauges, sums: Figures) => Iterable<readonly [string, number]>,
])[] = [
  ["findings_total", "Spans that were masked, counted or exposed, by how sure the rule is", ["kind", "confidence"], (_, sums) => sums.findings],
  ["http_requests_total", "Requests, by class of the answer; none: cut off before it", ["listener", "code"], (_, sums) => sums.requests],
  [
    "spool_rejected_total",
    "Requests that were set aside, as the upstream refused them or they were damaged",
    ["reason"],
    ({ spool }) =>
      spool === undefined
        ? []
        : [
            ["refused", spool.refused],
            ["damaged", spool.damaged],
          ],
  ],
  ["refused_total", "Requests, syslog connections and datagrams that were refused, by reason", ["reason"], (_, sums) => sums.refusals],
  ["upstream_failures_total", "Exchanges with the log storage that failed, by kind", ["kind"], (_, sums) => sums.upstreamFailures],
  ["syslog_messages_total", "Messages that were taken", ["at"], (_, sums) => sums.syslogMessages],
  ["syslog_dropped_total", "Messages that were neither kept nor passed on", ["at"], (_, sums) => sums.syslogDropped],
  ["syslog_refused_total", "Connections that were not taken, or closed for what came", ["at"], (_, sums) => sums.syslogRefused],
];

/** Prints the figures in the text format of Prometheus; answers its media type too. */
export function exposition(sums: Figures, gauges: () => Gauges): () => Promise<{ readonly type: string; readonly text: string }> {
  let making: ReturnType<typeof make> | undefined;
  let now = gauges();
  return async () => {
    now = gauges();
    const registry = await (making ??= make(sums, () => now));
    return { type: registry.contentType, text: await registry.metrics() };
  };
}

async function make(sums: Figures, gauges: () => Gauges) {
  const { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } = await import("prom-client");
  const registry = new Registry();
  const registers: [] = [];
  for (const [name, help, value] of COUNTERS) {
    registry.registerMetric(
      new Counter({
        name: `logveil_${name}`,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(value(gauges(), sums) ?? 0);
        },
      }),
    );
  }
  for (const [name, help, value] of GAUGES) {
    registry.registerMetric(
      new Gauge({
        name: `logveil_${name}`,
        help,
        registers,
        collect() {
          this.set(value(gauges(), sums) ?? 0);
        },
      }),
    );
  }
  for (const [name, help, labelNames, table] of LABELLED) {
    registry.registerMetric(
      new Counter({
        name: `logveil_${name}`,
        help,
        labelNames,
        registers,
        collect() {
          this.reset();
          for (const [key, count] of table(gauges(), sums)) this.labels(...key.split(" ")).inc(count);
        },
      }),
    );
  }
  const name = "logveil_upstream_seconds";
  const help = "From the end of a request to the head of the log storage's answer";
  registry.registerMetric(
    new (class extends Histogram {
      /** What the registry and `get` ask; it is not declared. */
      async getForPromString() {
        const { counts, count, sum } = sums.upstreamSeconds;
        const bucket = (le: string, value: number) => ({ metricName: `${name}_bucket`, labels: { le }, value });
        const sumOf = (kind: "sum" | "count", value: number) => ({ metricName: `${name}_${kind}`, labels: {}, value });
        const values = [...SECONDS.map((bound, i) => bucket(String(bound), counts[i]!)), bucket("+Inf", count), sumOf("sum", sum), sumOf("count", count)];
        return { name, help, type: "histogram", values, aggregator: "sum" };
      }
    })({ name, help, buckets: [...SECONDS], registers }),
  );
  const { version, engine } = gauges();
  const build = { version, engine, node: process.versions.node };
  const info = new Gauge({ name: "logveil_build_info", help: "Which build runs", labelNames: Object.keys(build), registers });
  info.labels(build).set(1);
  registry.registerMetric(info);
  collectDefaultMetrics({ register: registry });
  return registry;
}
