/** `logveil serve`: the sidecar as a process: configuration, signals, its own log. */
import type { TlsOptions } from "node:tls";
import { openAudit } from "../audit/audit.js";
import type { AuditOptions } from "../audit/options.js";
import { checkRules, type Config, fieldsFromOptions, loadConfig, type LoadOptions, printAddress, printServer } from "../config/index.js";
import type { EngineOptions } from "../engine.js";
import { LogveilError } from "../errors.js";
import { hardenProcess } from "../native/loader.js";
import { fromEnvironment, fromFiles, fromLists } from "../providers/sources.js";
import { loadRules } from "../rules/load.js";
import { installationKey } from "../secrets/fingerprint.js";
import { auditEvidence } from "../sidecar/evidence.js";
import { credentialsOf, readFields } from "../sidecar/credentials.js";
import { type Bound, inheritedSockets } from "../sidecar/listen.js";
import { openLog } from "../sidecar/log.js";
import { type LiveOptions, type SidecarOptions, startSidecar } from "../sidecar/serve.js";
import { readTls } from "../sidecar/tls.js";
import { readTokens } from "../sidecar/tokens.js";
import type { WebhookOptions } from "../sidecar/webhook.js";
import type { SecretInput } from "../types.js";
import { startSmall } from "./memory.js";
import { EXIT } from "./options.js";
import { type Loaded, Reloader } from "./reload.js";
import { LIKELY_NAMES, remember } from "./secrets.js";

export async function serve(version: string, options: Readonly<Record<string, unknown>>): Promise<number> {
  const stopped = stopSignal();
  const hardened = hardenProcess();
  const started = startSmall();
  const { config: file, ...flags } = options;
  const load = (): Loaded => loadAll({ flags: fieldsFromOptions(flags), ...(typeof file === "string" ? { file } : {}) });
  const loaded = load();
  let { config } = loaded;
  const own = openLog({ ...config.log, write: (line) => void process.stderr.write(line), isTerminal: process.stderr.isTTY });
  const reloader = new Reloader(loaded, {
    load,
    known: knownOf,
    changed(next) {
      config = next;
      own.setLevel(next.log.level);
    },
  });
  process.on("SIGHUP", () => void reloader.run().catch(() => undefined));
  // Told once there is an engine, through which all that is told goes.
  const early: Parameters<SidecarOptions["log"]>[] = [];
  let tell: SidecarOptions["log"] = (...line) => void early.push(line);
  let ruin: string | undefined;
  const audit = await openAudit({
    ...auditOptions(config),
    ...auditNews(
      (...line) => tell(...line),
      (code) => (ruin = code),
    ),
  });
  const evidence = auditEvidence(audit, { waitMs: config.limits.queueTimeout });
  const sidecar = await startSidecar({
    ...optionsOf(config, version, loaded.live),
    ...loaded.live,
    engine: { ...engineOf(config), ...loaded.live.engine },
    reloading: reloader,
    evidence,
    audit: () => audit.stats,
    ruin: () => ruin,
    log: own.tell,
  });
  started();
  tell = sidecar.log;
  for (const line of early) tell(...line);
  if (!hardened)
    sidecar.log(
      "warn",
      "this process could not be kept out of core dumps and debuggers: keep others off this machine, or run it on Linux with the native engine",
    );
  for (const warning of loaded.warnings) sidecar.log("warn", warning);
  reloader.attach(sidecar);
  // The guard sees to it that nothing comes of it; somebody who tries may be worth knowing.
  process.once("SIGUSR1", () => sidecar.log("warn", "SIGUSR1 came, by which Node would open its debugger: ignored"));
  const scheme = config.tls.cert === undefined ? "http" : "https";
  const { listen, admin, control } = sidecar;
  sidecar.log("info", `listening on ${urlOf(listen, scheme)}`);
  if (admin !== undefined) sidecar.log("info", `health and metrics are at ${urlOf(admin, "http")}`);
  if (control !== undefined) sidecar.log("info", `the control API is at https://${control.address}, too`);
  const { syslog } = config;
  const lines = (["tcp", "tls", "udp", "unix"] as const).flatMap((name) => (syslog[name] === "off" ? [] : [`${name} ${printAddress(syslog[name])}`]));
  if (lines.length > 0) {
    const kept = syslog.forward === "off" ? `kept as job ${syslog.job}` : `passed on to ${printServer(syslog.forward)}`;
    sidecar.log("info", `syslog over ${lines.join(", ")}; messages are ${kept}`);
  }
  const where =
    config.upstream.url === undefined
      ? `logs are kept in ${config.store.dir}`
      : `requests are forwarded to ${config.upstream.url}${config.spool.enabled ? `, and wait in ${config.spool.dir} while it is down` : ""}`;
  sidecar.log("info", `${where}, the audit is in ${config.audit.dir}; secrets that are known: ${loaded.live.engine.secrets!.length}`);
  const signal = await stopped;
  sidecar.log("info", `${signal}: taking no more requests, ending those under way`);
  reloader.close();
  const whole = await sidecar.close(config.shutdown.grace);
  evidence.close();
  await audit.close();
  return whole ? EXIT.OK : EXIT.PARTIAL;
}

const auditOptions = ({ audit }: Config): AuditOptions => ({
  folder: audit.dir,
  checkpointRecords: audit.checkpointEvery,
  checkpointMs: audit.checkpointInterval,
  maxFileBytes: audit.maxFileSize,
  ...(audit.maxAge !== "off" && { maxAgeMs: audit.maxAge }),
  ...(audit.maxBytes !== "off" && { maxBytes: audit.maxBytes }),
});

/** What the operator is told of the audit; `lost` is called when only another start mends it. */
function auditNews(tell: SidecarOptions["log"], lost: (code: string) => void): Pick<AuditOptions, "onFailure" | "onRecovery" | "onPruned"> {
  return {
    onFailure({ code, message }) {
      // Whoever writes the folder now is another process: this one cannot go on.
      const isLost = code === "LV_AUDIT_LOCKED";
      if (isLost) lost(code);
      const then = isLost ? "nothing is acknowledged any more: restart required" : "nothing is acknowledged until it can be; it is retried every second";
      tell("error", `${message}; ${then}`);
    },
    onRecovery(ms) {
      const seconds = Math.ceil(ms / 1000);
      tell("warn", `the audit can be written again, after ${seconds} s; what waited is being recorded, behind a gap record that says what happened`);
    },
    onPruned(files, seq) {
      tell("info", `the audit's oldest ${files === 1 ? "file was" : `${files} files were`} deleted, up to record ${seq} (audit.maxAge, audit.maxBytes)`);
    },
  };
}

/** Resolves with the first signal to stop, also one that comes while it starts; a second one ends the process at once. */
function stopSignal(): Promise<string> {
  return new Promise((resolve) => {
    let isAsked = false;
    for (const each of ["SIGTERM", "SIGINT"] as const)
      process.on(each, () => {
        if (isAsked) process.exit(EXIT.INTERNAL);
        isAsked = true;
        resolve(each);
      });
  });
}

const urlOf = ({ address, port }: Bound, scheme: string): string => (port === 0 ? `${address} for ${scheme}` : `${scheme}://${address}`);

/** Reads the configuration and what it names, and checks all of it. Throws `LV_CONFIG`, `LV_RULES`, `LV_IO`. */
function loadAll(from: LoadOptions): Loaded {
  const read = loadConfig(from);
  const { config } = read;
  const warnings = [...read.warnings, ...checkRules(read)];
  return { config, warnings, live: liveOf(config) };
}

/** What is known beforehand: variables, lists, and what the configuration itself holds. */
function secretsOf({ secrets, onFinding }: Config): SecretInput[] {
  const { env } = secrets;
  const names = env === "auto" ? LIKELY_NAMES : env === "off" ? [] : env;
  const hook = webhookOf(onFinding.webhook);
  const own =
    hook === undefined
      ? []
      : [
          { name: "onFinding.webhook.url", value: hook.url },
          { name: "onFinding.webhook.secretFile", value: hook.key },
        ];
  const found = [...fromEnvironment(names, process.env), ...fromLists(secrets.files, "secrets.files"), ...own];
  // An error that is told without the engine is masked by them.
  return remember([...new Map(found.map((secret) => [secret.name, secret])).values()]);
}

/** Fewest bytes of a key that messages are signed with. */
const LEAST_KEY_BYTES = 16;

function webhookOf({ url, secretFile: file }: Config["onFinding"]["webhook"]): WebhookOptions | undefined {
  if (url === undefined || file === undefined) return undefined;
  const [secret] = fromFiles([`key=${file}`], "onFinding.webhook.secretFile");
  const key = secret!.value.toString();
  if (Buffer.byteLength(key) >= LEAST_KEY_BYTES) return { url, key };
  throw new LogveilError("LV_CONFIG", `onFinding.webhook.secretFile: ${file}: expected a key of ${LEAST_KEY_BYTES} bytes or more`);
}

/** What a reload can change. */
function liveOf(config: Config): LiveOptions {
  const { limits, onFinding, jobs, auth } = config;
  const { secrets, upstreamHeaders } = knownOf(config);
  const { files, disable, minConfidence, learn, policy } = config.rules;
  const webhook = webhookOf(onFinding.webhook);
  const tls = tlsOf(config.tls, "tls");
  const controlTls = tlsOf(config.control.tls, "control.tls");
  return {
    ...(tls && { tls }),
    ...(controlTls && { controlTls }),
    ...(auth.tokenFile !== undefined && { tokens: readTokens(auth.tokenFile, "auth.tokenFile") }),
    hosts: auth.hosts,
    upstreamHeaders,
    engine: {
      secrets,
      rules: { ...(files.length > 0 && { extra: loadRules(files) }), disable, minConfidence, learn, policy },
    },
    jobs: { maxJobs: jobs.maxJobs, maxStreams: limits.maxStreamsPerJob, maxOpen: limits.maxStreams, graceMs: jobs.grace },
    onFinding: { actions: onFinding.actions, ...(webhook && { webhook }) },
    // What was read from the environment does not age.
    ...(config.secrets.ttl !== "off" && config.secrets.files.length > 0 && { secretsTtlMs: config.secrets.ttl }),
  };
}

/** What is read again by itself: secrets, and header fields, whose credentials are secrets too. */
function knownOf(config: Config): { secrets: SecretInput[]; upstreamHeaders: string[] } {
  const { headersFile } = config.upstream;
  const upstreamHeaders = headersFile === undefined ? [] : readFields(headersFile);
  return { secrets: [...secretsOf(config), ...credentialsOf(upstreamHeaders)], upstreamHeaders };
}

const engineOf = ({ mask, limits }: Config): Omit<EngineOptions, "secrets" | "rules"> => ({
  mask: { style: mask.style, ...(mask.text === undefined ? {} : { text: mask.text }) },
  limits: { holdBackMs: limits.holdBack, maxNeedleBytes: limits.maxNeedleBytes },
  fingerprintKey: installationKey(),
});

function optionsOf(config: Config, version: string, { tls }: LiveOptions): Omit<SidecarOptions, "evidence" | "log" | keyof LiveOptions> {
  const { limits, auth, control, store } = config;
  const decode = { maxLayers: limits.maxCodings, maxDecodedBytes: limits.maxDecodedBytes, maxRatio: limits.maxRatio, zstdWindowBytes: limits.zstdWindow };
  const inherited = inheritedSockets(process.env, process.pid);
  return {
    version,
    listen: inherited.data ?? config.listen,
    admin: inherited.admin ?? config.admin.listen,
    socket: control.socket,
    ...(control.tcp !== "off" && { control: control.tcp }),
    tokensRequired: auth.tokenFile !== undefined,
    store: {
      folder: store.dir,
      maxFileBytes: store.maxFileSize,
      maxAgeMs: store.maxAge,
      ...(store.maxBytes !== "off" && { maxBytes: store.maxBytes }),
      compress: store.compress,
      flushIntervalMs: store.flushInterval,
    },
    ...(config.upstream.url !== undefined && {
      upstream: {
        url: config.upstream.url,
        connectTimeoutMs: config.upstream.connectTimeout,
        headersTimeoutMs: config.upstream.headersTimeout,
        bodyTimeoutMs: config.upstream.bodyTimeout,
        maxConnections: config.upstream.maxConnections,
        retries: config.upstream.retries,
        readiness: config.upstream.readiness,
        ...(config.spool.enabled && { spool: { folder: config.spool.dir, maxBytes: config.spool.maxBytes, headers: config.spool.headers } }),
        routes: config.routes,
        decode,
        maxHeldBytes: limits.maxHeld,
      },
    }),
    server: {
      headersTimeoutMs: limits.headerTimeout,
      idleTimeoutMs: limits.idleTimeout,
      ...(limits.requestTimeout !== "off" && { requestTimeoutMs: limits.requestTimeout }),
      maxConnections: limits.maxConnections,
    },
    ...syslogOf(config, tls),
    decode,
    turnMs: limits.queueTimeout,
  };
}

/** What TLS of a port needs; undefined: it is cleartext. Throws `LV_CONFIG`. */
const tlsOf = ({ cert, key, clientCa }: Config["tls"], field: string): TlsOptions | undefined =>
  cert === undefined || key === undefined ? undefined : readTls({ cert, key, clientCa }, field);

/** Nothing if no listener is on. */
function syslogOf({ syslog, upstream }: Config, certificate: TlsOptions | undefined): Pick<SidecarOptions, "syslog"> {
  const { tcp, udp, tls, unix, forward, forwardCa } = syslog;
  if ([tcp, udp, tls, unix].every((address) => address === "off")) return {};
  return {
    syslog: {
      ...(tcp !== "off" && tcp.kind === "tcp" && { tcp }),
      ...(udp !== "off" && udp.kind === "tcp" && { udp }),
      ...(tls !== "off" && tls.kind === "tcp" && { tls: { listen: tls, tls: certificate! } }),
      ...(unix !== "off" && unix.kind === "unix" && { unix: unix.path }),
      framing: syslog.framing,
      job: syslog.job,
      maxMessageBytes: syslog.maxMessage,
      ...(forward !== "off" && { forward: { ...forward, ...(forwardCa !== undefined && { ca: forwardCa }), connectTimeoutMs: upstream.connectTimeout } }),
    },
  };
}
