/** The composition root of the sidecar: engine, store, jobs, and the servers around them. */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo, Server as NetServer } from "node:net";
import { createEngine, type EngineOptions } from "../engine.js";
import type { DecodeLimits } from "../codec/layers.js";
import { LogveilError } from "../errors.js";
import { adminRoutes, type Check, type Metrics, runChecks } from "./admin.js";
import { apiRoutes } from "./api.js";
import { runCanary } from "./canary.js";
import { controlRoutes, listenUnix } from "./control.js";
import { serveRoutes, type ServerLimits } from "./http.js";
import { type Evidence, type JobLimits, Jobs, Refusal } from "./jobs.js";
import { type BodyRoute, Upstream, type UpstreamOptions } from "./proxy.js";
import { isName, Store, type StoreOptions } from "./store.js";
import { openSyslog, type Syslog, type SyslogContext, type SyslogOptions } from "./syslog.js";
import { Tokens } from "./tokens.js";

export interface TcpAddress {
  readonly host: string;
  readonly port: number;
}

export interface SidecarOptions {
  readonly version: string;
  readonly listen: TcpAddress;
  /** Absent: no health and no figures. */
  readonly admin?: TcpAddress;
  /** Path of the control socket; absent: no control API. */
  readonly socket?: string;
  readonly store: StoreOptions;
  /** Absent: logs are kept in the store. Else everything is masked and forwarded, and nothing kept. */
  readonly upstream?: UpstreamOptions & { readonly routes: readonly BodyRoute[]; readonly decode: Partial<DecodeLimits> };
  /** Absent: no syslog. */
  readonly syslog?: SyslogOptions;
  readonly engine: EngineOptions;
  readonly server: ServerLimits;
  readonly jobs: JobLimits;
  /** Every request needs the token of its job. */
  readonly tokensRequired: boolean;
  readonly evidence: Evidence;
  /** What an operator should know. Never holds bytes of a log. */
  readonly log: (level: "info" | "warn" | "error", message: string) => void;
}

export interface Sidecar {
  readonly listen: TcpAddress;
  readonly admin: TcpAddress | undefined;
  readonly socket: string | undefined;
  readonly syslog: Syslog["addresses"];
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
  const tokens = new Tokens(options.tokensRequired);
  const state = { started: false, draining: false, leaked: await runCanary(engine) };
  const checks: Check[] = [
    { name: "accepting", run: async () => (state.draining ? "shutting down" : undefined) },
    { name: "canary", run: async () => (state.leaked.length > 0 ? `masking failed for ${state.leaked.join(", ")}` : undefined) },
    { name: "store", run: () => store.probe().then(() => undefined) },
    { name: "evidence", run: () => evidence.settled().then(() => undefined) },
  ];
  let syslog: Syslog | undefined;
  if (options.syslog !== undefined) checks.push({ name: "syslog", run: async () => syslog?.problem() });
  const failed = (error: unknown): void => log("error", `a request failed: ${describe(error)}`);
  const authorize: Parameters<typeof apiRoutes>[1] = ({ request }, job) => {
    counts.requests++;
    tokens.check(request, job);
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
  const forward = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const job = request.headers["logveil-job"];
    counts.requests++;
    if (typeof job === "string" && !isName(job)) throw new Refusal(400, "Logveil-Job: names of jobs have 1 to 100 bytes of UTF-8 without control characters");
    if (typeof job === "string" || options.tokensRequired) tokens.check(request, typeof job === "string" ? job : NO_JOB);
    if (!isTrusted()) throw new Refusal(503, "the self-test of masking failed: nothing is taken", { "retry-after": "60" });
    await upstream!.forward(request, response);
  };
  const data =
    upstream === undefined ? serveRoutes(apiRoutes(jobs, authorize, isTrusted), options.server, failed) : serveRoutes([], options.server, failed, forward);
  const status = (): { jobs: number; streams: number; secrets: number; needles: number } => ({
    ...jobs.counts,
    secrets: engine.stats().secrets,
    needles: engine.stats().needles,
  });
  const ready = (): boolean => state.started && !state.draining && state.leaked.length === 0;
  const control = serveRoutes(
    controlRoutes(jobs, tokens, () => ({ version, ready: ready(), ...status() })),
    options.server,
    failed,
  );
  const metrics = (): Metrics => ({
    counters: {
      ...syslogCounters(syslog),
      findings_total: { help: "Spans that were masked, counted or exposed", values: { "": counts.findings } },
      requests_total: { help: "Requests on the data port", values: { "": counts.requests } },
    },
    gauges: Object.fromEntries(Object.entries({ ...status(), ready: Number(ready()) }).map(([name, value]) => [name, { help: `Number of ${name}`, value }])),
  });
  const admin = serveRoutes(
    adminRoutes(version, checks, () => state.started, metrics),
    options.server,
    failed,
  );

  const syslogContext: SyslogContext = {
    jobs,
    limits: options.server,
    holdBackMs: engine.limits.holdBackMs,
    log,
    isTrusted,
    open: (job, sender) => jobs.scope(job).stream({ name: sender, onFinding: (finding) => evidence.finding(job, finding) }),
    settled: () => evidence.settled(),
    listen: listenTcp,
  };
  const timers = [
    setInterval(() => {
      runCanary(engine).then((leaked) => {
        if (leaked.length > 0) log("error", `the self-test failed: masking let ${leaked.join(", ")} through; nothing is taken any more`);
        state.leaked = leaked;
      }, failed);
    }, CANARY_INTERVAL_MS),
    setInterval(() => void store.prune(Date.now(), (job) => jobs.isLive(job)).catch(failed), PRUNE_INTERVAL_MS),
  ];
  for (const timer of timers) timer.unref();

  let listen: TcpAddress;
  let adminAddress: TcpAddress | undefined;
  try {
    listen = await listenTcp(data, options.listen, "listen");
    adminAddress = options.admin && (await listenTcp(admin, options.admin, "admin"));
    if (options.socket !== undefined) await listenUnix(control, options.socket);
    syslog = options.syslog && (await openSyslog(options.syslog, syslogContext));
  } catch (error) {
    await Promise.all([data, admin, control].map((server) => stop(server, 0)));
    throw error;
  }
  state.started = true;
  for (const [name, result] of Object.entries(await runChecks(checks))) if (result !== "ok") log("error", `not ready: ${name}: ${result}`);
  return {
    listen,
    admin: adminAddress,
    socket: options.socket,
    syslog: syslog?.addresses ?? {},
    async close(graceMs) {
      state.draining = true;
      for (const timer of timers) clearInterval(timer);
      const whole = (await Promise.all([...[data, control].map((server) => stop(server, graceMs)), syslog?.close(graceMs) ?? true])).every(Boolean);
      await jobs.close();
      await upstream?.close();
      await stop(admin, 0);
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

function syslogCounters(syslog: Syslog | undefined): Metrics["counters"] {
  if (syslog === undefined) return {};
  const { messages, dropped, refused } = syslog.counts();
  const labelled = (values: Readonly<Record<string, number>>): Record<string, number> =>
    Object.fromEntries(Object.entries(values).map(([at, value]) => [`at="${at}"`, value]));
  return {
    syslog_messages_total: { help: "Messages that were taken", values: labelled(messages) },
    syslog_dropped_total: { help: "Messages that were neither kept nor passed on", values: labelled(dropped) },
    syslog_refused_total: { help: "Connections that were not taken, or closed for what came", values: labelled(refused) },
  };
}

async function listenTcp(server: NetServer, { host, port }: TcpAddress, field: string): Promise<TcpAddress> {
  try {
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, host, resolve));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === "EADDRINUSE" ? "another process listens there" : code;
    throw new LogveilError("LV_CONFIG", `${field}: cannot listen on ${host}:${port}: ${why}; choose another address`, { cause: error });
  }
  const { address, port: bound } = server.address() as AddressInfo;
  return { host: address, port: bound };
}

/** Ends a server: requests under way may finish within the time. */
async function stop(server: Server, graceMs: number): Promise<boolean> {
  if (!server.listening) return true;
  let cut = false;
  const ended = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const timer = setTimeout(() => {
    cut = true;
    server.closeAllConnections();
  }, graceMs);
  await ended;
  clearTimeout(timer);
  return !cut;
}
