/** Health and figures, on a listener of their own. Labels have few values; nothing here comes from a log. */
import { json, type Route } from "./http.js";

/** One thing that must hold for the sidecar to be ready: its name, and what is wrong. */
export interface Check {
  readonly name: string;
  /** Resolves to what is wrong, or to undefined. */
  run(): Promise<string | undefined>;
}

export interface Metrics {
  readonly counters: Readonly<Record<string, { readonly help: string; readonly values: Readonly<Record<string, number>> }>>;
  readonly gauges: Readonly<Record<string, { readonly help: string; readonly value: number }>>;
}

export function adminRoutes(version: string, checks: readonly Check[], isStarted: () => boolean, metrics: () => Metrics): Route[] {
  return [
    { method: "GET", path: "/livez", handle: ({ response }) => json(response, 200, { live: true }) },
    { method: "GET", path: "/startupz", handle: ({ response }) => json(response, isStarted() ? 200 : 503, { started: isStarted() }) },
    {
      method: "GET",
      path: "/readyz",
      async handle({ response }) {
        const results = await runChecks(checks);
        json(response, Object.values(results).every((result) => result === "ok") ? 200 : 503, { checks: results });
      },
    },
    { method: "GET", path: "/version", handle: ({ response }) => json(response, 200, { version, node: process.versions.node }) },
    {
      method: "GET",
      path: "/metrics",
      handle: ({ response }) => void response.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }).end(exposition(metrics())),
    },
  ];
}

/** Each check by name: `ok`, or what is wrong. */
export async function runChecks(checks: readonly Check[]): Promise<Record<string, string>> {
  const results: Record<string, string> = {};
  for (const check of checks) results[check.name] = (await check.run().catch((error: NodeJS.ErrnoException) => error.code ?? "failed")) ?? "ok";
  return results;
}

/** The text format of Prometheus, version 0.0.4. */
function exposition({ counters, gauges }: Metrics): string {
  const lines: string[] = [];
  for (const [name, { help, values }] of Object.entries(counters)) {
    lines.push(`# HELP logveil_${name} ${help}`, `# TYPE logveil_${name} counter`);
    for (const [labels, value] of Object.entries(values)) lines.push(`logveil_${name}${labels === "" ? "" : `{${labels}}`} ${value}`);
  }
  for (const [name, { help, value }] of Object.entries(gauges))
    lines.push(`# HELP logveil_${name} ${help}`, `# TYPE logveil_${name} gauge`, `logveil_${name} ${value}`);
  return `${lines.join("\n")}\n`;
}
