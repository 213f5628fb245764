/** Evidence by the audit: findings and what happens to jobs are recorded in order; `settled` waits until they are on disk. */
import type { Audit } from "../audit/audit.js";
import type { Evidence } from "./jobs.js";

export function auditEvidence(audit: Audit): Evidence {
  let last: Promise<unknown> = Promise.resolve();
  const append = (...args: Parameters<Audit["append"]>): void => {
    last = audit.append(...args);
    // Told by `settled`; a failure closes the audit, so later ones fail as well.
    last.catch(() => undefined);
  };
  return {
    finding: (job, finding) => append({ type: "finding", job, ...finding }),
    event: (event, job, facts) => append({ type: "job", job, event, ...(typeof facts?.["stream"] === "string" ? { stream: facts["stream"] } : {}) }),
    settled: () => last.then(() => undefined),
  };
}
