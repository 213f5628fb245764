/** The composition root of the sidecar: engine, store, jobs, and the servers around them. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { TlsOptions } from "node:tls";
import { createEngine, type EngineOptions } from "../engine.js";
import type { DecodeLimits } from "../codec/layers.js";
import { LogveilError } from "../errors.js";
import type { SecretReport } from "../types.js";
import { Accounts, type Evidence, type FindingOptions, NO_JOB } from "./accounts.js";
import type { RedactorStream } from "../live.js";
import { adminRoutes, type Check, runChecks } from "./admin.js";
import { type Access, apiRoutes } from "./api.js";
import { runCanary } from "./canary.js";
import { controlRoutes, type Reloading } from "./control.js";
import { Gate } from "./gate.js";
import { type Connection, serveRoutes, type ServerLimits } from "./http.js";
import { type JobLimits, Jobs, Refusal } from "./jobs.js";
import { exposition, type Gauges } from "./metrics.js";
import { gaugesOf, statusOf } from "./status.js";
import { type Bound, listenOn, type Where } from "./listen.js";
import { Upstream, type UpstreamOptions } from "./proxy.js";
import type { BodyRoute } from "./routes.js";
import { FairShare } from "./share.js";
import type { Backoff } from "./spool/delivery.js";
import { Spool } from "./spool/spool.js";
import { isName, Store, type StoreOptions } from "./store.js";
import { openSyslog, type Syslog, type SyslogOptions } from "./syslog.js";
import { type ListedToken, Tokens } from "./tokens.js";

/** What can change while the sidecar runs. */
export interface LiveOptions {
  readonly engine: Pick<EngineOptions, "secrets" | "rules">;
  readonly jobs: JobLimits;
  readonly onFinding: FindingOptions;
  /** Age from which on secrets are too old, in milliseconds. */
  readonly secretsTtlMs?: number;
}

/** See `SpoolOptions` and `SpoolContext`. */
export interface SpoolSetting {
  readonly folder: string;
  readonly maxBytes: number;
  readonly headers: readonly string[];
  readonly backoff?: Backoff;
}

export interface SidecarOptions extends LiveOptions {
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
  readonly upstream?: UpstreamOptions & {
    readonly routes: readonly BodyRoute[];
    readonly decode: Partial<DecodeLimits>;
    /** See {@link MaskContext}. */
    readonly maxHeldBytes: number;
    readonly spool?: SpoolSetting;
  };
  /** Absent: no syslog. */
  readonly syslog?: SyslogOptions;
  readonly engine: EngineOptions;
  readonly server: ServerLimits;
  /** Longest wait of a new stream, or of a request that is forwarded, for its turn, in milliseconds. */
  readonly turnMs: number;
  /** Absent: there is nothing to read again. */
  readonly reloading?: Reloading;
  /** Every request needs the token of its job, or a certificate that names it. */
  readonly tokensRequired: boolean;
  /** Tokens besides those that the control API issues. */
  readonly tokens?: readonly ListedToken[];
  readonly evidence: Evidence;
  /** Figures of the audit. */
  readonly audit?: () => Gauges["audit"];
  /** What an operator should know. Never holds bytes of a log. */
  readonly log: (level: "info" | "warn" | "error", message: string) => void;
}

export interface Sidecar {
  readonly listen: Bound;
  readonly admin: Bound | undefined;
  readonly socket: string | undefined;
  /** Rules in force, and the digest of the policy. */
  readonly rules: number;
  readonly policy: string;
  /** The log, behind the engine: no known secret gets into it. */
  readonly log: SidecarOptions["log"];
  /** Puts other options in force, those of the engine first: on an error nothing has changed. */
  apply(live: LiveOptions): Promise<void>;
  /** The secrets were read again and are the same. */
  refreshed(): void;
  /** Where the control API is over TCP. */
  readonly control: Bound | undefined;
  /** Where syslog comes in. */
  readonly syslog: Syslog["addresses"];
  /** Stops taking requests, waits for those under way for at most so many milliseconds. False if some had to be cut off. */
  close(graceMs: number): Promise<boolean>;
}

const CANARY_INTERVAL_MS = 60_000;
const PRUNE_INTERVAL_MS = 3_600_000;
const SWEEP_INTERVAL_MS = 60_000;
/** Streams that are opened at a time, and those of one job among them; most that wait. */
const OPENING = { slots: 32, slotsPerJob: 8, maxWaiting: 20_000 };

/** Starts a sidecar; resolves when it is ready. Throws `LV_CONFIG`, `LV_IO`, and what an engine throws. */
export async function startSidecar(options: SidecarOptions): Promise<Sidecar> {
  const { version } = options;
  const store = await Store.open(options.store);
  const engine = createEngine({ ...options.engine, onWarning: ({ message }) => queueMicrotask(() => log("warn", message)) });
  const state = { started: false, draining: false, closed: false };
  const log: SidecarOptions["log"] = (level, message) => {
    if (!state.closed) options.log(level, engine.redact(message, { name: "log" }));
  };
  const { evidence } = options;
  const gate = new Gate(engine);
  let live: LiveOptions = options;
  const accounts = new Accounts(
    evidence,
    gate,
    () => engine.policy,
    (message) => log("warn", message),
    live.onFinding,
  );
  tellSecrets(engine.reports, log);
  accounts.tellPolicy();
  gate.loaded(live.secretsTtlMs);
  gate.leaked = await runCanary(engine);
  const opening = new FairShare({ ...OPENING, waitMs: options.turnMs });
  const jobs = new Jobs(engine, store, accounts, opening, live.jobs);
  const tokens = new Tokens({ required: options.tokensRequired, listed: options.tokens ?? [], keepsLogs: options.upstream === undefined });
  const checks: Check[] = [
    { name: "accepting", run: async () => (state.draining ? "shutting down" : undefined) },
    { name: "canary", run: async () => gate.distrust },
    { name: "secrets", run: async () => gate.ignorance() },
    { name: "store", run: () => store.probe().then(() => undefined) },
    { name: "evidence", run: () => evidence.settled().then(() => undefined) },
  ];
  const spool = options.upstream?.spool && (await Spool.open({ ...options.upstream.spool, log }));
  if (spool !== undefined) checks.push({ name: "spool", run: () => spool.check() });
  let syslog: Syslog | undefined;
  if (options.syslog !== undefined) checks.push({ name: "syslog", run: async () => syslog?.problem() });
  const failed = (error: unknown): void => log("error", `a request failed: ${describe(error)}`);
  const access: Access = {
    check: ({ request, connection }, job) => tokens.check(request, connection, job),
    checkSome: ({ request, connection }) => tokens.checkSome(request, connection),
    may: ({ request, connection }, job) => tokens.may(request, connection, job),
  };
  const forwarding =
    options.upstream && new FairShare({ ...sharesOf(options.upstream.maxConnections), waitMs: options.turnMs, maxWaiting: OPENING.maxWaiting });
  const upstream =
    options.upstream &&
    new Upstream(options.upstream, options.upstream.routes, {
      holdBackMs: engine.limits.holdBackMs,
      decode: options.upstream.decode,
      maxHeldBytes: options.upstream.maxHeldBytes,
      open(job) {
        const account = accounts.openRequest(job);
        const source = job === undefined ? engine : jobs.scope(job);
        return { account, open: (kind) => source.stream({ ...kind, name: account.stream, onFinding: (finding) => account.found(finding) }) };
      },
      settled: () => evidence.settled(),
      ...(spool !== undefined && {
        spool: {
          ...options.upstream.spool!,
          spool,
          log,
          isTrusted: () => gate.distrust === undefined,
          isClean: (text, job) => isClean((job === undefined ? engine : jobs.scope(job)).stream(), text),
        },
      }),
    });
  const forward = async (request: IncomingMessage, response: ServerResponse, connection: Connection): Promise<void> => {
    // A certificate says it for a client that does not.
    const [named, ...others] = connection.jobs ?? [];
    if (typeof named === "string" && others.length === 0) request.headers["logveil-job"] ??= named;
    const job = request.headers["logveil-job"];
    if (typeof job === "string" && !isName(job)) throw new Refusal(400, "Logveil-Job: names of jobs have 1 to 100 bytes of UTF-8 without control characters");
    tokens.check(request, connection, typeof job === "string" ? job : NO_JOB);
    accounts.check(typeof job === "string" ? job : undefined);
    if (typeof job === "string") await jobs.check(job);
    const sharer = typeof job === "string" ? job : NO_JOB;
    const leave = forwarding!.enterNow(sharer) ?? (await turnOf(forwarding!, sharer, response));
    try {
      await upstream!.forward(request, response);
    } finally {
      leave();
    }
  };
  const served = { limits: options.server, failed };
  const counted = (port: "data" | "control") => (status: number | undefined) =>
    accounts.figures.count("requests", port, status === undefined ? "none" : `${Math.floor(status / 100)}xx`);
  const data = serveRoutes(upstream === undefined ? apiRoutes(jobs, access, (job) => accounts.check(job)) : [], {
    ...served,
    answered: counted("data"),
    tls: options.tls,
    ...(upstream !== undefined && { otherwise: forward }),
  });
  const started = Date.now();
  const reloaded = (): Reloading["last"] => options.reloading?.last ?? { at: started, ok: true, needsRestart: [] };
  const ready = (): boolean => state.started && !state.draining && gate.distrust === undefined && gate.ignorance() === undefined;
  const gauges = (): Gauges => {
    const audit = options.audit?.();
    const shares = forwarding === undefined ? [opening] : [opening, forwarding];
    return {
      version,
      ready: ready(),
      ...gaugesOf(engine, jobs, accounts, gate, shares, reloaded()),
      ...(audit && { audit }),
      ...(spool && { spool: spool.status }),
    };
  };
  const status = (): object => statusOf(gauges(), accounts.figures, engine.policy, reloaded());
  const controls = controlRoutes(jobs, tokens, status, options.reloading);
  const control = serveRoutes(controls, { ...served, answered: counted("control") });
  const remote = options.control && {
    door: serveRoutes(controls, { ...served, answered: counted("control"), tls: options.control.tls }),
    where: options.control.listen,
  };
  const admin = serveRoutes(
    adminRoutes(version, checks, () => state.started, exposition(accounts.figures, gauges)),
    served,
  );
  const timers = [
    setInterval(() => {
      runCanary(engine).then((leaked) => {
        if (leaked.length > 0) log("error", `the self-test failed: masking let ${leaked.join(", ")} through; nothing is taken any more`);
        gate.leaked = leaked;
      }, failed);
    }, CANARY_INTERVAL_MS),
    setInterval(() => accounts.sweep(), SWEEP_INTERVAL_MS),
    setInterval(() => void store.prune(Date.now(), (job) => jobs.isLive(job)).then((removed) => tokens.forget(removed), failed), PRUNE_INTERVAL_MS),
  ];
  for (const timer of timers) timer.unref();

  const doors = [data, admin, control, ...(remote ? [remote.door] : [])];
  let listen: Bound;
  let adminAddress: Bound | undefined;
  let remoteAddress: Bound | undefined;
  try {
    listen = await listenOn(data.server, options.listen, "listen");
    adminAddress = options.admin && (await listenOn(admin.server, options.admin, "admin.listen"));
    if (options.socket !== undefined) await listenOn(control.server, { path: options.socket }, "control.socket");
    remoteAddress = remote && (await listenOn(remote.door.server, remote.where, "control.tcp"));
    syslog = options.syslog && (await openSyslog(options.syslog, { jobs, accounts, limits: options.server, holdBackMs: engine.limits.holdBackMs, log }));
  } catch (error) {
    await Promise.all(doors.map((door) => door.stop(0)));
    throw error;
  }
  state.started = true;
  for (const [name, result] of Object.entries(await runChecks(checks))) if (result !== "ok") log("error", `not ready: ${name}: ${result}`);
  return {
    listen,
    admin: adminAddress,
    socket: options.socket,
    syslog: syslog?.addresses ?? {},
    control: remoteAddress,
    get rules() {
      return engine.stats().rules;
    },
    get policy() {
      return engine.policy;
    },
    log,
    async apply(next) {
      tellSecrets(await engine.replace(next.engine), log);
      live = next;
      accounts.apply(next.onFinding);
      jobs.limits = next.jobs;
      accounts.tellPolicy();
      gate.loaded(next.secretsTtlMs);
    },
    refreshed: () => gate.loaded(live.secretsTtlMs),
    async close(graceMs) {
      const until = performance.now() + graceMs;
      state.draining = true;
      for (const timer of timers) clearInterval(timer);
      const ending = doors.filter((door) => door !== admin).map((door) => door.stop(graceMs));
      const whole = (await Promise.all([...ending, syslog?.close(graceMs) ?? true])).every(Boolean);
      await jobs.close();
      await upstream?.close();
      await accounts.close(Math.max(0, until - performance.now()));
      await admin.stop(0);
      if (!whole) log("warn", `requests that took longer than ${graceMs} ms were cut off; what they had not been told is kept is to be sent again`);
      state.closed = true;
      engine.close();
      return whole;
    },
  };
}

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

/** Secrets that are not masked, or only with care. */
function tellSecrets(reports: readonly SecretReport[], log: SidecarOptions["log"]): void {
  for (const { kind, name, reason } of reports)
    if (kind !== "duplicate") log("warn", `secret ${name} ${kind === "refused" ? "is NOT masked" : "is masked with care"}: ${reason}`);
}

/** A job does not get all connections to the upstream while there are several. */
const sharesOf = (connections: number): { slots: number; slotsPerJob: number } => ({
  slots: connections,
  slotsPerJob: Math.max(1, Math.floor(connections * 0.75)),
});

/** Whether a text goes through a stream as it is. */
function isClean(stream: RedactorStream, text: string): boolean {
  const bytes = Buffer.from(text, "latin1");
  return Buffer.concat([...stream.push(bytes), ...stream.end()]).equals(bytes);
}

/** Code and name of what failed: never a text that could hold input. */
function describe(error: unknown): string {
  if (error instanceof LogveilError) return `${error.code}: ${error.message}`;
  const { code, name } = error as NodeJS.ErrnoException;
  return code ?? name ?? "unknown";
}
