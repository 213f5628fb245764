/** Evidence by the audit: findings, accounts of streams and what happens to jobs are recorded in order; `settled` waits until they are on disk. */
import type { Audit } from "../audit/audit.js";
import type { Evidence } from "./accounts.js";

/** Small pieces of a stream are gathered up to so many bytes before they are hashed: there may be ten thousand streams. */
const GATHER_BYTES = 4096;

export function auditEvidence(audit: Audit): Evidence {
  let last: Promise<unknown> = Promise.resolve();
  let inForce = "";
  const append = (...args: Parameters<Audit["append"]>): void => {
    last = audit.append(...args);
    // Told by `settled`; a failure closes the audit, so later ones fail as well.
    last.catch(() => undefined);
  };
  return {
    record(job, stream, offset, policy) {
      const ledger = audit.ledger({ job, stream, policy, resumedAt: offset, gatherBytes: GATHER_BYTES });
      return {
        input: (chunk) => ledger.input(chunk),
        output: (piece) => ledger.output(piece),
        finding(finding) {
          ledger.finding(finding);
          append({ type: "finding", job, ...finding, policy });
        },
        end: () => append(ledger.summary()),
      };
    },
    event: (event, job, facts) =>
      append({ type: "job", job, event, policy: inForce, ...(typeof facts?.["stream"] === "string" ? { stream: facts["stream"] } : {}) }),
    policy: (digest) => append({ type: "policy", policy: (inForce = digest) }),
    settled: () => last.then(() => undefined),
  };
}
