/** What forwards requests, put together: the proxy, whose turn it is, and the spool. Loaded only where there is an upstream: undici takes a tenth of the start. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { DecodeLimits } from "../codec/layers.js";
import type { Engine } from "../engine.js";
import type { RedactorStream } from "../live.js";
import { type Accounts, NO_JOB } from "./accounts.js";
import type { Gate } from "./gate.js";
import type { Fields } from "./fields.js";
import type { Connection } from "./http.js";
import { UpstreamHealth } from "./health.js";
import type { Jobs } from "./jobs.js";
import { Refusal } from "./refusal.js";
import { type ForwardContext, Upstream, type UpstreamOptions } from "./proxy.js";
import type { BodyRoute } from "./routes.js";
import { FairShare } from "./share.js";
import type { Backoff } from "./spool/delivery.js";
import { Spool } from "./spool/spool.js";
import { isName } from "./store.js";
import type { Tokens } from "./tokens.js";

/** See `SpoolOptions` and `SpoolContext`. */
export interface SpoolSetting {
  readonly folder: string;
  readonly maxBytes: number;
  readonly headers: readonly string[];
  readonly backoff?: Backoff;
}

export interface ForwardingOptions extends UpstreamOptions {
  readonly routes: readonly BodyRoute[];
  readonly decode: Partial<DecodeLimits>;
  /** See `MaskContext`. */
  readonly maxHeldBytes: number;
  readonly spool?: SpoolSetting;
  /** Whether an upstream that fails makes the sidecar not ready; absent: it is only reported. */
  readonly readiness?: "report" | "require";
}

export interface ForwardingContext {
  readonly engine: Engine;
  readonly jobs: Jobs;
  readonly accounts: Accounts;
  readonly gate: Gate;
  readonly tokens: Tokens;
  /** Limits of waiting for one's turn. */
  readonly turnMs: number;
  readonly maxWaiting: number;
  readonly log: (level: "info" | "warn" | "error", message: string) => void;
}

export interface Forwarding {
  /** Passes a request on. Throws a {@link Refusal}. */
  forward(this: void, request: IncomingMessage, response: ServerResponse, connection: Connection): Promise<void>;
  /** From now on every request has these fields, see `LiveOptions`. */
  setHeaders(headers: Fields): void;
  readonly share: FairShare;
  readonly spool: Spool | undefined;
  readonly health: UpstreamHealth;
  close(): Promise<void>;
}

/** Throws `LV_IO` where the spool cannot be opened. */
export async function openForwarding(options: ForwardingOptions, headers: Fields, context: ForwardingContext): Promise<Forwarding> {
  const { accounts, jobs, tokens, turnMs, maxWaiting } = context;
  const spool = options.spool && (await Spool.open({ ...options.spool, log: context.log }));
  const share = new FairShare({ ...sharesOf(options.maxConnections), waitMs: turnMs, maxWaiting });
  const health = new UpstreamHealth({ url: options.url, figures: accounts.figures, log: context.log });
  const upstream = openUpstream(options, headers, context, spool, health);
  const forward: Forwarding["forward"] = async (request, response, connection) => {
    // A certificate says it for a client that does not.
    const [named, ...others] = connection.jobs ?? [];
    if (typeof named === "string" && others.length === 0) request.headers["logveil-job"] ??= named;
    const given = request.headers["logveil-job"];
    const job = typeof given === "string" ? given : undefined;
    if (job !== undefined && !isName(job)) throw new Refusal(400, "Logveil-Job: names of jobs have 1 to 100 bytes of UTF-8 without control characters");
    tokens.check(request, connection, job ?? NO_JOB);
    accounts.check(job);
    if (job !== undefined) await jobs.check(job);
    const leave = share.enterNow(job ?? NO_JOB) ?? (await turnOf(share, job ?? NO_JOB, response));
    try {
      await upstream.forward(request, response);
    } finally {
      leave();
    }
  };
  return { forward, setHeaders: (next) => (upstream.headers = next), share, spool, health, close: () => upstream.close() };
}

function openUpstream(
  options: ForwardingOptions,
  headers: Fields,
  { engine, jobs, accounts, gate, log }: ForwardingContext,
  spool: Spool | undefined,
  health: UpstreamHealth,
): Upstream {
  const maskerOf = (job: string | undefined) => (job === undefined ? engine : jobs.scope(job));
  const context: ForwardContext = {
    holdBackMs: engine.limits.holdBackMs,
    decode: options.decode,
    maxHeldBytes: options.maxHeldBytes,
    open(job) {
      const account = accounts.openRequest(job);
      const masker = maskerOf(job);
      return { account, open: (kind) => masker.stream({ ...kind, name: account.stream, onFinding: (finding) => account.found(finding) }) };
    },
    settled: (job) => accounts.evidence.settled(job ?? NO_JOB),
    health,
    ...(spool !== undefined && {
      spool: { ...options.spool!, spool, log, isTrusted: () => gate.distrust === undefined, isClean: (text, job) => isClean(maskerOf(job).stream(), text) },
    }),
  };
  return new Upstream(options, options.routes, context, headers);
}

/** A job does not get all connections to the upstream while there are several. */
const sharesOf = (connections: number): { slots: number; slotsPerJob: number } => ({
  slots: connections,
  slotsPerJob: Math.max(1, Math.floor(connections * 0.75)),
});

/** As {@link FairShare.enter}, for as long as the client waits. */
async function turnOf(share: FairShare, job: string, response: ServerResponse): Promise<() => void> {
  const gone = new AbortController();
  const giveUp = (): void => gone.abort(new Refusal(503, "the client is gone"));
  response.once("close", giveUp);
  try {
    return await share.enter(job, gone.signal);
  } finally {
    response.off("close", giveUp);
  }
}

/** Whether a text goes through a stream as it is. */
function isClean(stream: RedactorStream, text: string): boolean {
  const bytes = Buffer.from(text, "latin1");
  return Buffer.concat([...stream.push(bytes), ...stream.end()]).equals(bytes);
}
