/** The composition root of the sidecar: engine, store, jobs, and the servers around them. */
import type { TlsOptions } from "node:tls";
import type { DecodeLimits } from "../codec/layers.js";
import { createEngine, type Engine, type EngineOptions } from "../engine.js";
import { LogveilError } from "../errors.js";
import { reportLine } from "../secrets/report.js";
import type { SecretReport } from "../types.js";
import { Accounts, type Evidence, type FindingOptions } from "./accounts.js";
import { adminRoutes, type Check, runChecks } from "./admin.js";
import type { Observer } from "./answers.js";
import { type Access, apiRoutes } from "./api.js";
import { runCanary } from "./canary.js";
import { checkIsNoJob, controlRoutes, type Reloading } from "./control.js";
import type { Door } from "./door.js";
import type { Forwarding, ForwardingOptions } from "./forwarding.js";
import type { Fields } from "./fields.js";
import { Gate } from "./gate.js";
import { serveRoutes, type ServerLimits } from "./http.js";
import { type JobLimits, Jobs } from "./jobs.js";
import { exposition, type Gauges } from "./metrics.js";
import { Refused } from "./refused.js";
import { gaugesOf, statusOf } from "./status.js";
import { type Bound, listenOn, type Where } from "./listen.js";
import { FairShare } from "./share.js";
import { Store, type StoreOptions } from "./store.js";
import { openSyslog, type Syslog, type SyslogOptions } from "./syslog.js";
import { type ListedToken, Tokens } from "./tokens.js";

/** What can change while the sidecar runs. */
export interface LiveOptions {
  readonly engine: Pick<EngineOptions, "secrets" | "rules">;
  readonly jobs: JobLimits;
  readonly onFinding: FindingOptions;
  /** Age from which on secrets are too old, in milliseconds. */
  readonly secretsTtlMs?: number;
  /** Of the data port, and of syslog; absent: cleartext. With authorities of clients, each needs a certificate. There is TLS from the start on or never. */
  readonly tls?: TlsOptions;
  /** Of the control API over TCP, for clients with certificates. */
  readonly controlTls?: TlsOptions;
  /** Tokens besides those that the control API issues. */
  readonly tokens?: readonly ListedToken[];
  /** Names of hosts that requests over loopback may be for, besides those of this machine: in lower case, without ports. */
  readonly hosts?: readonly string[];
  /** Header fields of every request that is forwarded, in the place of the client's of the same names. */
  readonly upstreamHeaders?: Fields;
}

export interface SidecarOptions extends LiveOptions {
  readonly version: string;
  readonly listen: Where;
  /** Absent: no health and no figures. */
  readonly admin?: Where;
  /** Path of the control socket; absent: no control API on it. */
  readonly socket?: string;
  /** Where the control API is over TCP; needs `controlTls`. */
  readonly control?: Where;
  readonly store: StoreOptions;
  /** Absent: logs are kept in the store. Else everything is masked and forwarded, and nothing kept. */
  readonly upstream?: ForwardingOptions;
  /** Absent: no syslog. */
  readonly syslog?: SyslogOptions;
  /** Limits of decoding logs that come in a content coding into the store. */
  readonly decode?: Partial<DecodeLimits>;
  readonly engine: EngineOptions;
  readonly server: ServerLimits;
  /** Longest wait of a new stream, or of a request that is forwarded, for its turn, in milliseconds. */
  readonly turnMs: number;
  /** Absent: there is nothing to read again. */
  readonly reloading?: Reloading;
  /** Every request needs the token of its job, or a certificate that names it. */
  readonly tokensRequired: boolean;
  readonly evidence: Evidence;
  /** What only another start mends, such as an audit whose folder another process has taken over: it is alive no more. */
  readonly ruin?: () => string | undefined;
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
/** How often it is looked whether the store fills. */
const FILLING_INTERVAL_MS = 5_000;
const SWEEP_INTERVAL_MS = 60_000;
/** Streams that are opened at a time, and those of one job among them; most that wait. */
const OPENING = { slots: 32, slotsPerJob: 8, maxWaiting: 20_000 };

type Log = SidecarOptions["log"];

/** What a sidecar consists of. */
interface Parts {
  readonly options: SidecarOptions;
  readonly store: Store;
  readonly engine: Engine;
  readonly log: Log;
  readonly gate: Gate;
  readonly accounts: Accounts;
  readonly refused: Refused;
  /** Turns of streams that are opened. */
  readonly opening: FairShare;
  readonly jobs: Jobs;
  readonly tokens: Tokens;
  readonly forwarding: Forwarding | undefined;
  /** Once it listens. */
  syslog?: Syslog;
  isStarted: boolean;
  isDraining: boolean;
  live: LiveOptions;
  /** When it began to start, in milliseconds since the epoch. */
  readonly since: number;
}

interface Doors {
  readonly data: Door;
  readonly control: Door;
  readonly admin: Door;
  readonly remote: Door | undefined;
}

/** Starts a sidecar; resolves when it is ready. Throws `LV_CONFIG`, `LV_IO`, and what an engine throws. */
export async function startSidecar(options: SidecarOptions): Promise<Sidecar> {
  const { engine, log, mute } = openEngine(options);
  // Secrets are built in a thread of their own meanwhile.
  const [reports, store, modules] = await Promise.all([
    engine.addSecrets(options.engine.secrets ?? []),
    Store.open({ ...options.store, log }),
    options.upstream && import("./forwarding.js"),
  ]);
  engine.checkMask();
  tellSecrets(reports, log);
  const gate = new Gate(engine);
  const accounts = new Accounts(
    options.evidence,
    gate,
    () => engine.policy,
    (message) => log("warn", message),
    options.onFinding,
  );
  accounts.tellPolicy();
  gate.loaded(options.secretsTtlMs);
  gate.leaked = await runCanary(engine);
  const refused = new Refused(accounts.figures, (message) => log("warn", message));
  const opening = new FairShare({ ...OPENING, waitMs: options.turnMs });
  const jobs = new Jobs(engine, store, accounts, opening, options.jobs);
  const known = { required: options.tokensRequired, listed: options.tokens ?? [], keepsLogs: options.upstream === undefined };
  const tokens = await Tokens.open(known, store);
  const { turnMs } = options;
  const { maxWaiting } = OPENING;
  const forwarding =
    options.upstream &&
    (await modules!.openForwarding(options.upstream, options.upstreamHeaders ?? [], { engine, jobs, accounts, gate, tokens, turnMs, maxWaiting, log }));
  const state = { isStarted: false, isDraining: false, live: options, since: Date.now() };
  const parts: Parts = { options, store, engine, log, gate, accounts, refused, opening, jobs, tokens, forwarding, ...state };
  const checks = checksOf(parts);
  const doors = makeDoors(parts, checks);
  const timers = startTimers(parts);
  const bound = await listen(parts, doors);
  parts.isStarted = true;
  for (const [name, result] of Object.entries(await runChecks(checks.filter(({ isAdvice }) => isAdvice !== true))))
    if (result !== "ok") log("error", `not ready: ${name}: ${result}`);
  return {
    ...bound,
    socket: options.socket,
    syslog: parts.syslog?.addresses ?? {},
    get rules() {
      return engine.stats().rules;
    },
    get policy() {
      return engine.policy;
    },
    log,
    async apply(next) {
      tellSecrets(await engine.replace(next.engine), log);
      parts.live = next;
      accounts.apply(next.onFinding);
      jobs.limits = next.jobs;
      accounts.tellPolicy();
      gate.loaded(next.secretsTtlMs);
      tokens.list(next.tokens ?? []);
      forwarding?.setHeaders(next.upstreamHeaders ?? []);
      doors.data.renew(next.tls);
      doors.remote?.renew(next.controlTls);
      parts.syslog?.renew(next.tls);
    },
    refreshed: () => gate.loaded(parts.live.secretsTtlMs),
    async close(graceMs) {
      for (const timer of timers) clearInterval(timer);
      const isWhole = await closeParts(parts, doors, graceMs);
      mute();
      engine.close();
      return isWhole;
    },
  };
}

/** The engine, without secrets yet, and the log behind it: nothing is told once it is mute. */
function openEngine(options: SidecarOptions): { engine: Engine; log: Log; mute: () => void } {
  let isMute = false;
  const engine = createEngine({ ...options.engine, secrets: [], onWarning: ({ message }) => queueMicrotask(() => log("warn", message)) });
  const log: Log = (level, message) => {
    if (!isMute) options.log(level, engine.redact(message, { name: "log" }));
  };
  return { engine, log, mute: () => (isMute = true) };
}

function checksOf(parts: Parts): Check[] {
  const { options, gate, store, forwarding } = parts;
  const checks: Check[] = [
    { name: "accepting", run: async () => (parts.isDraining ? "shutting down" : undefined) },
    { name: "canary", run: async () => gate.distrust },
    { name: "secrets", run: async () => gate.ignorance() },
    { name: "store", run: () => store.probe().then(() => undefined) },
    { name: "evidence", run: async () => options.evidence.problem() },
  ];
  const spool = forwarding?.spool;
  if (spool !== undefined) checks.push({ name: "spool", run: () => spool.check() });
  if (forwarding !== undefined) checks.push({ name: "upstream", isAdvice: options.upstream?.readiness !== "require", run: () => forwarding.health.check() });
  if (options.syslog !== undefined) checks.push({ name: "syslog", run: async () => parts.syslog?.problem() });
  return checks;
}

function makeDoors(parts: Parts, checks: readonly Check[]): Doors {
  const { options, log, accounts, refused, jobs, tokens, forwarding } = parts;
  const { version } = options;
  const observer: Observer = {
    failed: (error) => log("error", `a request failed: ${describe(error)}`),
    refused: (reason, request) => refused.request(reason, request),
  };
  const served = { limits: options.server, observer, hosts: () => parts.live.hosts ?? [] };
  const counted = (port: "data" | "control") => (status: number | undefined) =>
    accounts.figures.count("requests", port, status === undefined ? "none" : `${Math.floor(status / 100)}xx`);
  const access: Access = {
    check: ({ request, connection }, job) => tokens.check(request, connection, job),
    checkSome: ({ request, connection }) => tokens.checkSome(request, connection),
    may: ({ request, connection }, job) => tokens.may(request, connection, job),
  };
  const data = serveRoutes(forwarding === undefined ? apiRoutes(jobs, access, (job) => accounts.check(job), options.decode) : [], {
    ...served,
    answered: counted("data"),
    tls: options.tls,
    ...(forwarding !== undefined && { otherwise: forwarding.forward }),
  });
  const reloading = options.reloading && maskedReloading(options.reloading, parts.engine);
  const reloaded = (): Reloading["last"] => reloading?.last ?? { at: parts.since, ok: true, needsRestart: [] };
  const gauges = (): Gauges => gaugesNow(parts, reloaded());
  const status = (): object => statusOf(gauges(), accounts.figures, parts.engine.policy, reloaded());
  // Who may issue tokens needs none to read.
  const owner: Access = { check: ({ connection }) => checkIsNoJob(connection), checkSome: ({ connection }) => checkIsNoJob(connection), may: () => true };
  const reading = forwarding === undefined ? apiRoutes(jobs, owner, () => undefined).filter(({ method }) => method === "GET" || method === "HEAD") : [];
  const controls = [...controlRoutes(jobs, tokens, status, reloading), ...reading];
  const control = serveRoutes(controls, { ...served, answered: counted("control") });
  // Never in cleartext.
  const remote = options.control && options.controlTls && serveRoutes(controls, { ...served, answered: counted("control"), tls: options.controlTls });
  const admin = serveRoutes(
    adminRoutes(version, { checks, isStarted: () => parts.isStarted, ruin: () => options.ruin?.() }, exposition(accounts.figures, gauges)),
    served,
  );
  return { data, control, admin, remote };
}

/** Errors of a reload name paths and fields, which may hold a secret: whoever asked for it gets them masked. */
function maskedReloading(reloading: Reloading, engine: Engine): Reloading {
  const masked = (text: string): string => engine.redact(text, { name: "log" });
  return {
    get last() {
      const { error, ...rest } = reloading.last;
      return { ...rest, ...(error !== undefined && { error: masked(error) }) };
    },
    run: () =>
      reloading.run().catch((error: unknown) => {
        if (!(error instanceof LogveilError)) throw error;
        const { code, message, facts } = error;
        const problems = (facts["problems"] as readonly string[] | undefined)?.map(masked);
        throw new LogveilError(code, masked(message), { cause: error, facts: { ...facts, ...(problems && { problems }) } });
      }),
  };
}

function gaugesNow({ options, engine, jobs, accounts, gate, opening, forwarding, isStarted, isDraining }: Parts, reloaded: Reloading["last"]): Gauges {
  const audit = options.audit?.();
  const shares = forwarding === undefined ? [opening] : [opening, forwarding.share];
  return {
    version: options.version,
    ready: isStarted && !isDraining && gate.distrust === undefined && gate.ignorance() === undefined && options.evidence.problem() === undefined,
    ...gaugesOf(engine, jobs, accounts, gate, shares, reloaded),
    ...(audit && { audit }),
    ...(forwarding?.spool && { spool: forwarding.spool.status }),
  };
}

function startTimers({ options, engine, store, jobs, accounts, refused, tokens, gate, log }: Parts): NodeJS.Timeout[] {
  const failed = (error: unknown): void => log("error", `a task failed: ${describe(error)}`);
  const testItself = async (): Promise<void> => {
    const leaked = await runCanary(engine);
    if (leaked.length > 0) log("error", `the self-test failed: masking let ${leaked.join(", ")} through; nothing is taken any more`);
    gate.leaked = leaked;
  };
  const prune = async (): Promise<void> => tokens.forget(await store.prune(Date.now(), (job) => jobs.isLive(job)));
  // How much there is from before is not known yet.
  if (options.store.maxBytes !== undefined) void prune().catch(failed);
  const timers = [
    setInterval(() => void testItself().catch(failed), CANARY_INTERVAL_MS),
    setInterval(() => accounts.sweep(), SWEEP_INTERVAL_MS),
    setInterval(() => refused.sweep(), SWEEP_INTERVAL_MS),
    setInterval(() => void prune().catch(failed), PRUNE_INTERVAL_MS),
    setInterval(() => void (store.isFilling && prune().catch(failed)), FILLING_INTERVAL_MS),
  ];
  for (const timer of timers) timer.unref();
  return timers;
}

/** All doors, or none. */
async function listen(parts: Parts, { data, admin, control, remote }: Doors): Promise<Pick<Sidecar, "listen" | "admin" | "control">> {
  const { options, jobs, accounts, engine, log } = parts;
  try {
    const bound = {
      listen: await listenOn(data.server, options.listen, "listen"),
      admin: options.admin && (await listenOn(admin.server, options.admin, "admin.listen")),
    };
    if (options.socket !== undefined) await listenOn(control.server, { path: options.socket }, "control.socket");
    const far = remote && (await listenOn(remote.server, options.control!, "control.tcp"));
    if (options.syslog !== undefined)
      parts.syslog = await openSyslog(options.syslog, { jobs, accounts, limits: options.server, holdBackMs: engine.limits.holdBackMs, log });
    return { ...bound, control: far };
  } catch (error) {
    await Promise.all([data, admin, control, ...(remote === undefined ? [] : [remote])].map((door) => door.stop(0)));
    throw error;
  }
}

/** Ends it in order: the ways in first. False if something had to be cut off. */
async function closeParts(parts: Parts, { data, control, remote, admin }: Doors, graceMs: number): Promise<boolean> {
  const until = performance.now() + graceMs;
  parts.isDraining = true;
  const ending = [data, control, remote].map((door) => door?.stop(graceMs) ?? true);
  const isWhole = (await Promise.all([...ending, parts.syslog?.close(graceMs) ?? true])).every(Boolean);
  await parts.jobs.close();
  await parts.forwarding?.close();
  await parts.store.close();
  parts.refused.sweep(0);
  await parts.accounts.close(Math.max(0, until - performance.now()));
  await admin.stop(0);
  if (!isWhole) parts.log("warn", `requests that took longer than ${graceMs} ms were cut off; what they had not been told is kept is to be sent again`);
  return isWhole;
}

/** Secrets that are not masked, or only in part. */
function tellSecrets(reports: readonly SecretReport[], log: SidecarOptions["log"]): void {
  for (const report of reports) if (report.kind !== "duplicate") log("warn", reportLine(report));
}

/** Code and name of what failed: never a text that could hold input. */
function describe(error: unknown): string {
  if (error instanceof LogveilError) return `${error.code}: ${error.message}`;
  const { code, name } = error as NodeJS.ErrnoException;
  return code ?? name ?? "unknown";
}
