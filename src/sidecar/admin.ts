/** Health and figures, on a listener of their own. Labels have few values; nothing here comes from a log. */
import { json, type Route } from "./http.js";
import type { exposition } from "./metrics.js";

/** One thing that must hold for the sidecar to be ready: its name, and what is wrong. */
export interface Check {
  readonly name: string;
  /** It is told, but does not decide. */
  readonly isAdvice?: boolean;
  /** Resolves to what is wrong, or to undefined. */
  run(): Promise<string | undefined>;
}

export interface Health {
  readonly checks: readonly Check[];
  isStarted(this: void): boolean;
  /** What only another start mends; undefined: nothing. */
  ruin(this: void): string | undefined;
}

export function adminRoutes(version: string, { checks, isStarted, ruin }: Health, metrics: ReturnType<typeof exposition>): Route[] {
  return [
    {
      method: "GET",
      path: "/livez",
      handle({ response }) {
        const reason = ruin();
        json(response, reason === undefined ? 200 : 503, reason === undefined ? { live: true } : { live: false, reason: `${reason}: restart required` });
      },
    },
    { method: "GET", path: "/startupz", handle: ({ response }) => json(response, isStarted() ? 200 : 503, { started: isStarted() }) },
    {
      method: "GET",
      path: "/readyz",
      async handle({ response }) {
        const results = await runChecks(checks);
        const isReady = checks.every(({ name, isAdvice }) => isAdvice === true || results[name] === "ok");
        json(response, isReady ? 200 : 503, { checks: results });
      },
    },
    { method: "GET", path: "/version", handle: ({ response }) => json(response, 200, { version, node: process.versions.node }) },
    {
      method: "GET",
      path: "/metrics",
      async handle({ response }) {
        const { type, text } = await metrics();
        response.writeHead(200, { "content-type": type }).end(text);
      },
    },
  ];
}

/** Each check by name: `ok`, or what is wrong. */
export async function runChecks(checks: readonly Check[]): Promise<Record<string, string>> {
  const results: Record<string, string> = {};
  for (const check of checks) results[check.name] = (await check.run().catch((error: NodeJS.ErrnoException) => error.code ?? "failed")) ?? "ok";
  return results;
}
