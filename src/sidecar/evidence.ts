/**
 * Evidence by the audit: findings, accounts of streams and what happens to jobs are recorded in order, each job in a share of its own, so that no job waits for the records of
 * another. Findings are gathered in their stream's account and recorded together: when someone waits for them, when they are many, or after a second.
 */
import type { Audit } from "../audit/audit.js";
import type { Ledger } from "../audit/ledger.js";
import type { AuditEntry } from "../audit/records.js";
import type { Finding } from "../types.js";
import { type Evidence, NO_JOB, type StreamRecord } from "./accounts.js";
import { Refusal } from "./refusal.js";

/** Small pieces of a stream are gathered up to so many bytes before they are hashed: there may be ten thousand streams. */
const GATHER_BYTES = 4096;
/** Findings that nobody waits for are recorded after so long, in milliseconds. */
const FLUSH_MS = 1000;
/** From when on the disk is said to be stuck, in milliseconds. */
const STUCK_MS = 10_000;

export interface EvidenceOptions {
  /** Longest wait of a request until its findings are on record, in milliseconds. */
  readonly waitMs: number;
}

/** The evidence of a sidecar; `close` appends what waits, before the audit is closed. */
export interface AuditEvidence extends Evidence {
  close(): void;
}

export function auditEvidence(audit: Audit, { waitMs }: EvidenceOptions): AuditEvidence {
  let inForce = "";
  /** Streams of each share with findings that are not recorded yet. */
  const waiting = new Map<string, Set<AuditRecord>>();
  const append = (entry: AuditEntry, share?: string): void => {
    // Whoever must know waits for `settled`. What could not be written waits in the audit.
    audit.append(entry, share).catch(() => undefined);
  };
  const flush = (share: string): void => {
    for (const record of waiting.get(share) ?? []) record.flush();
    waiting.delete(share);
  };
  const settled = (share: string): Promise<void> => {
    flush(share);
    return inTime(audit.settled(share), waitMs);
  };
  const flushAll = (): void => {
    for (const share of waiting.keys()) flush(share);
  };
  const timer = setInterval(flushAll, FLUSH_MS);
  timer.unref();
  return {
    record(job, stream, offset, policy) {
      // Requests without a job have nothing to do with each other.
      const share = job === NO_JOB ? `${job}/${stream}` : job;
      const ledger = audit.ledger({ job, stream, policy, resumedAt: offset, gatherBytes: GATHER_BYTES });
      const record = new AuditRecord(ledger, {
        append: (entry) => append(entry, share),
        isWaiting() {
          const records = waiting.get(share);
          if (records === undefined) waiting.set(share, new Set([record]));
          else records.add(record);
        },
        room: () => (audit.hasRoom(share) ? undefined : inTime(audit.room(share), waitMs)),
        settled: () => settled(share),
      });
      return record;
    },
    event: (event, job, facts) =>
      append({ type: "job", job, event, policy: inForce, ...(typeof facts?.["stream"] === "string" ? { stream: facts["stream"] } : {}) }, job),
    policy: (digest) => append({ type: "policy", policy: (inForce = digest) }),
    settled,
    problem() {
      if (audit.failure !== undefined) return audit.failure.error.message;
      const { writingMs } = audit.stats;
      return writingMs > STUCK_MS ? `the audit has been waiting for the disk for ${Math.round(writingMs / 1000)} s` : undefined;
    },
    close() {
      clearInterval(timer);
      flushAll();
    },
  };
}

interface RecordHost {
  append(this: void, entry: AuditEntry): void;
  /** It has findings that are not recorded yet. */
  isWaiting(this: void): void;
  room(this: void): Promise<void> | undefined;
  settled(this: void): Promise<void>;
}

class AuditRecord implements StreamRecord {
  constructor(
    private readonly ledger: Ledger,
    private readonly host: RecordHost,
  ) {}

  input(chunk: Uint8Array): void {
    this.ledger.input(chunk);
  }

  output(piece: Uint8Array): void {
    this.ledger.output(piece);
  }

  finding(finding: Finding): void {
    const { ledger } = this;
    if (ledger.pending === 0) this.host.isWaiting();
    ledger.finding(finding);
    if (ledger.isFull) this.flush();
  }

  /** Records the findings so far. */
  flush(): void {
    const entry = this.ledger.findings();
    if (entry !== undefined) this.host.append(entry);
  }

  end(): void {
    this.host.append(this.ledger.summary());
  }

  room(): Promise<void> | undefined {
    return this.host.room();
  }

  settled(): Promise<void> {
    return this.host.settled();
  }
}

/** Gives up waiting after so long; what is waited for goes on. */
async function inTime(work: Promise<void>, waitMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const message = `the findings of this job could not be put on record within ${waitMs} ms (limits.queueTimeout): the disk of the audit is slow; try again later`;
      reject(new Refusal(503, message, { "retry-after": "5" }, "store"));
    }, waitMs);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
