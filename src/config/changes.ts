/** What differs between two configurations, and which of it a running sidecar can take on. */
import { FIELDS, valueAt } from "./fields.js";
import type { Config } from "./schema.js";

/** Fields, or groups of them, that hold from a reload on. The others need a restart. */
export const LIVE = [
  "secrets",
  "rules",
  "onFinding",
  "auth.hosts",
  "jobs",
  "limits.maxStreams",
  "limits.maxStreamsPerJob",
  "upstream.headersFile",
  "shutdown.grace",
  "log.level",
];

const isLive = (path: string): boolean => LIVE.some((live) => path === live || path.startsWith(`${live}.`));

/** Paths of fields with another value. */
export function changesOf(before: Config, after: Config): { readonly live: string[]; readonly needRestart: string[] } {
  const changed = FIELDS.filter(({ keys }) => JSON.stringify(valueAt(before, keys)) !== JSON.stringify(valueAt(after, keys))).map(({ path }) => path);
  return { live: changed.filter(isLive), needRestart: changed.filter((path) => !isLive(path)) };
}
