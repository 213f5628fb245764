/** The composition root of the sidecar: engine, store, jobs, and the servers around them. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { TlsOptions } from "node:tls";
import { createEngine, type EngineOptions } from "../engine.js";
import type { DecodeLimits } from "../codec/layers.js";
import { LogveilError } from "../errors.js";
import { adminRoutes, type Check, runChecks } from "./admin.js";
import { type Access, apiRoutes } from "./api.js";
import { runCanary } from "./canary.js";
import { controlRoutes } from "./control.js";
import { type Connection, serveRoutes, type ServerLimits } from "./http.js";
import { type Evidence, type JobLimits, Jobs, Refusal } from "./jobs.js";
import { type Bound, listenOn, type Where } from "./listen.js";
import { type BodyRoute, Upstream, type UpstreamOptions } from "./proxy.js";
import { isName, Store, type StoreOptions } from "./store.js";
import { type ListedToken, Tokens } from "./tokens.js";

export interface SidecarOptions {
  readonly version: string;
  readonly listen: Where;
  /** Of the data port; absent: cleartext. With authorities of clients, each needs a certificate. */
  readonly tls?: TlsOptions;
  /** Absent: no health and no figures. */
  readonly admin?: Where;
  /** Path of the control socket; absent: no control API on it. */
  readonly socket?: string;
  /** The control API over TCP, for clients with certificates. */
  readonly control?: { readonly listen: Where; readonly tls: TlsOptions };
  readonly store: StoreOptions;
  /** Absent: logs are kept in the store. Else everything is masked and forwarded, and nothing kept. */
  readonly upstream?: UpstreamOptions & { readonly routes: readonly BodyRoute[]; readonly decode: Partial<DecodeLimits> };
  readonly engine: EngineOptions;
  readonly server: ServerLimits;
  readonly jobs: JobLimits;
  /** Every request needs the token of its job, or a certificate that names it. */
  readonly tokensRequired: boolean;
  /** Tokens besides those that the control API issues. */
  readonly tokens?: readonly ListedToken[];
  readonly evidence: Evidence;
  /** What an operator should know. Never holds bytes of a log. */
  readonly log: (level: "info" | "warn" | "error", message: string) => void;
}

export interface Sidecar {
  readonly listen: Bound;
  readonly admin: Bound | undefined;
  readonly socket: string | undefined;
  /** Where the control API is over TCP. */
  readonly control: Bound | undefined;
  /** Stops taking requests, waits for those under way for at most so many milliseconds. False if some had to be cut off. */
  close(graceMs: number): Promise<boolean>;
}

/** What findings of requests without a job are filed under. */
const NO_JOB = "-";
const CANARY_INTERVAL_MS = 60_000;
const PRUNE_INTERVAL_MS = 3_600_000;

/** Starts a sidecar; resolves when it is ready. Throws `LV_CONFIG`, `LV_IO`, and what an engine throws. */
export async function startSidecar(options: SidecarOptions): Promise<Sidecar> {
  const { log, version } = options;
  const counts = { findings: 0, requests: 0 };
  const store = await Store.open(options.store);
  const engine = createEngine({ ...options.engine, onWarning: ({ message }) => log("warn", message) });
  // Not the engine's own count: the self-test finds things, too.
  const evidence: Evidence = {
    finding(job, finding) {
      counts.findings++;
      options.evidence.finding(job, finding);
    },
    event: (...event) => options.evidence.event(...event),
    settled: () => options.evidence.settled(),
  };
  const jobs = new Jobs(engine, store, evidence, options.jobs);
  const tokens = new Tokens({ required: options.tokensRequired, listed: options.tokens ?? [], keepsLogs: options.upstream === undefined });
  const state = { started: false, draining: false, leaked: await runCanary(engine) };
  const checks: Check[] = [
    { name: "accepting", run: async () => (state.draining ? "shutting down" : undefined) },
    { name: "canary", run: async () => (state.leaked.length > 0 ? `masking failed for ${state.leaked.join(", ")}` : undefined) },
    { name: "store", run: () => store.probe().then(() => undefined) },
    { name: "evidence", run: () => evidence.settled().then(() => undefined) },
  ];
  const failed = (error: unknown): void => log("error", `a request failed: ${describe(error)}`);
  const access: Access = {
    check({ request, connection }, job) {
      counts.requests++;
      tokens.check(request, connection, job);
    },
    checkSome: ({ request, connection }) => tokens.checkSome(request, connection),
    may: ({ request, connection }, job) => tokens.may(request, connection, job),
  };
  const isTrusted = (): boolean => state.leaked.length === 0;
  const upstream =
    options.upstream &&
    new Upstream(options.upstream, options.upstream.routes, {
      holdBackMs: engine.limits.holdBackMs,
      decode: options.upstream.decode,
      open: (job) => (job === undefined ? engine : jobs.scope(job)).stream({ onFinding: (finding) => evidence.finding(job ?? NO_JOB, finding) }),
      settled: () => evidence.settled(),
    });
  const forward = async (request: IncomingMessage, response: ServerResponse, connection: Connection): Promise<void> => {
    // A certificate says it for a client that does not.
    const [named, ...others] = connection.jobs ?? [];
    if (typeof named === "string" && others.length === 0) request.headers["logveil-job"] ??= named;
    const job = request.headers["logveil-job"];
    counts.requests++;
    if (typeof job === "string" && !isName(job)) throw new Refusal(400, "Logveil-Job: names of jobs have 1 to 100 bytes of UTF-8 without control characters");
    tokens.check(request, connection, typeof job === "string" ? job : NO_JOB);
    if (!isTrusted()) throw new Refusal(503, "the self-test of masking failed: nothing is taken", { "retry-after": "60" });
    await upstream!.forward(request, response);
  };
  const served = { limits: options.server, failed };
  const data = serveRoutes(upstream === undefined ? apiRoutes(jobs, access, isTrusted) : [], {
    ...served,
    tls: options.tls,
    ...(upstream !== undefined && { otherwise: forward }),
  });
  const status = (): { jobs: number; streams: number; secrets: number; needles: number } => ({
    ...jobs.counts,
    secrets: engine.stats().secrets,
    needles: engine.stats().needles,
  });
  const ready = (): boolean => state.started && !state.draining && state.leaked.length === 0;
  const controls = controlRoutes(jobs, tokens, () => ({ version, ready: ready(), ...status() }));
  const control = serveRoutes(controls, served);
  const remote = options.control && { door: serveRoutes(controls, { ...served, tls: options.control.tls }), where: options.control.listen };
  const metrics = (): Parameters<typeof adminRoutes>[3] extends () => infer M ? M : never => ({
    counters: {
      findings_total: { help: "Spans that were masked, counted or exposed", values: { "": counts.findings } },
      requests_total: { help: "Requests on the data port", values: { "": counts.requests } },
    },
    gauges: Object.fromEntries(Object.entries({ ...status(), ready: Number(ready()) }).map(([name, value]) => [name, { help: `Number of ${name}`, value }])),
  });
  const admin = serveRoutes(
    adminRoutes(version, checks, () => state.started, metrics),
    served,
  );

  const timers = [
    setInterval(() => {
      runCanary(engine).then((leaked) => {
        if (leaked.length > 0) log("error", `the self-test failed: masking let ${leaked.join(", ")} through; nothing is taken any more`);
        state.leaked = leaked;
      }, failed);
    }, CANARY_INTERVAL_MS),
    setInterval(() => void store.prune(Date.now(), (job) => jobs.isLive(job)).then((removed) => tokens.forget(removed), failed), PRUNE_INTERVAL_MS),
  ];
  for (const timer of timers) timer.unref();

  const listen = await listenOn(data.server, options.listen, "listen");
  const adminAddress = options.admin && (await listenOn(admin.server, options.admin, "admin.listen"));
  if (options.socket !== undefined) await listenOn(control.server, { path: options.socket }, "control.socket");
  const remoteAddress = remote && (await listenOn(remote.door.server, remote.where, "control.tcp"));
  state.started = true;
  for (const [name, result] of Object.entries(await runChecks(checks))) if (result !== "ok") log("error", `not ready: ${name}: ${result}`);
  return {
    listen,
    admin: adminAddress,
    socket: options.socket,
    control: remoteAddress,
    async close(graceMs) {
      state.draining = true;
      for (const timer of timers) clearInterval(timer);
      const whole = (await Promise.all([data, control, ...(remote ? [remote.door] : [])].map((door) => door.stop(graceMs)))).every(Boolean);
      await jobs.close();
      await upstream?.close();
      await admin.stop(0);
      engine.close();
      return whole;
    },
  };
}

/** Code and name of what failed: never a text that could hold input. */
function describe(error: unknown): string {
  if (error instanceof LogveilError) return `${error.code}: ${error.message}`;
  const { code, name } = error as NodeJS.ErrnoException;
  return code ?? name ?? "unknown";
}
