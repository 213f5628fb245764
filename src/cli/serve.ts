/** `logveil serve`: the sidecar as a process: configuration, signals, its own log. */
import { fromEnvironment, fromLists } from "../providers/sources.js";
import { openAudit } from "../audit/audit.js";
import { type Config, fieldsFromOptions, loadConfig, printAddress, printServer } from "../config/index.js";
import { LogveilError } from "../errors.js";
import { hardenProcess } from "../native/loader.js";
import type { RuleSource } from "../rules/schema.js";
import { installationKey } from "../secrets/fingerprint.js";
import { auditEvidence } from "../sidecar/evidence.js";
import { type SidecarOptions, startSidecar } from "../sidecar/serve.js";
import type { SecretInput } from "../types.js";
import { EXIT } from "./options.js";

/** Names of variables that look like secrets. */
const SECRET_NAMES = ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "APIKEY", "API_KEY", "ACCESS_KEY", "PRIVATE_KEY", "CREDENTIAL"].map(
  (word) => `*${word}*`,
);

export async function serve(version: string, options: Readonly<Record<string, unknown>>): Promise<number> {
  hardenProcess();
  const { config: file, ...flags } = options;
  const { config, warnings } = loadConfig({ flags: fieldsFromOptions(flags), ...(typeof file === "string" ? { file } : {}) });
  const log = logger(config.log.level);
  for (const warning of warnings) log("warn", warning);
  refuseUnserved(config);
  const secrets = secretsOf(config);
  const audit = await openAudit({
    folder: config.audit.dir,
    checkpointRecords: config.audit.checkpointEvery,
    checkpointMs: config.audit.checkpointInterval,
    maxFileBytes: config.audit.maxFileSize,
    onFailure: (error) => log("error", `${error.message}; nothing is acknowledged any more`),
  });
  const extra = config.rules.files.length === 0 ? [] : (await import("../rules/load.js")).loadRules(config.rules.files);
  const sidecar = await startSidecar({ ...optionsOf(config, version, secrets, extra), evidence: auditEvidence(audit), log });
  log("info", `listening on http://${sidecar.listen.host}:${sidecar.listen.port}`);
  const { syslog } = config;
  const lines = (["tcp", "tls", "udp", "unix"] as const).flatMap((name) => (syslog[name] === "off" ? [] : [`${name} ${printAddress(syslog[name])}`]));
  if (lines.length > 0) {
    const kept = syslog.forward === "off" ? `kept as job ${syslog.job}` : `passed on to ${printServer(syslog.forward)}`;
    log("info", `syslog over ${lines.join(", ")}; messages are ${kept}`);
  }
  const where = config.upstream.url === undefined ? `logs are kept in ${config.store.dir}` : `requests are forwarded to ${config.upstream.url}`;
  log("info", `${where}, the audit is in ${config.audit.dir}; secrets that are known: ${secrets.length}`);
  const signal = await new Promise<string>((resolve) => {
    for (const each of ["SIGTERM", "SIGINT"] as const) process.once(each, () => resolve(each));
  });
  // A second signal ends it at once.
  for (const each of ["SIGTERM", "SIGINT"] as const) process.once(each, () => process.exit(EXIT.INTERNAL));
  log("info", `${signal}: taking no more requests, ending those under way`);
  const whole = await sidecar.close(config.shutdown.grace);
  await audit.close();
  if (!whole) log("warn", `requests that took longer than ${config.shutdown.grace} ms were cut off; what they had not been told is kept is to be sent again`);
  return whole ? EXIT.OK : EXIT.FINDINGS;
}

type Log = SidecarOptions["log"];

const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"];

/** Lines on stderr: a time, a level, a message. Messages never hold bytes of a log. */
function logger(least: string): Log {
  return (level, message) => {
    if (LEVELS.indexOf(level) >= LEVELS.indexOf(least)) process.stderr.write(`${new Date().toISOString()} ${level} ${message}\n`);
  };
}

/** What the configuration can say and this sidecar does not do: refused, lest someone rely on it. */
function refuseUnserved(config: Config): void {
  const unserved: readonly (readonly [string, boolean])[] = [
    ["routes: maskResponses", config.routes.some(({ maskResponses }) => maskResponses)],
    ["control.tcp", config.control.tcp !== "off"],
    ["tls", config.tls.cert !== undefined],
    ["auth.tokenFile", config.auth.tokenFile !== undefined],
    ["spool.enabled", config.spool.enabled],
    ["secrets.ttl", config.secrets.ttl !== "off"],
    ["onFinding.actions", Object.keys(config.onFinding.actions).length > 0],
    ["limits.requestTimeout", config.limits.requestTimeout !== "off"],
  ];
  for (const [field, isSet] of unserved) if (isSet) throw new LogveilError("LV_CONFIG", `${field}: this version does not do that; leave it out`);
}

function secretsOf({ secrets }: Config): SecretInput[] {
  const { env } = secrets;
  const names = env === "auto" ? SECRET_NAMES : env === "off" ? [] : env;
  const found = [...fromEnvironment(names, process.env), ...fromLists([...secrets.files])];
  return [...new Map(found.map((secret) => [secret.name, secret])).values()];
}

function optionsOf(config: Config, version: string, secrets: readonly SecretInput[], extra: readonly RuleSource[]): Omit<SidecarOptions, "evidence" | "log"> {
  const { limits, rules, mask } = config;
  if (config.listen.kind !== "tcp") throw new LogveilError("LV_CONFIG", `listen: ${printAddress(config.listen)}: this version listens on TCP only`);
  if (config.admin.listen.kind !== "tcp")
    throw new LogveilError("LV_CONFIG", `admin.listen: ${printAddress(config.admin.listen)}: this version listens on TCP only`);
  return {
    version,
    listen: config.listen,
    admin: config.admin.listen,
    socket: config.control.socket,
    tokensRequired: false,
    store: { folder: config.store.dir, maxFileBytes: config.store.maxFileSize, maxAgeMs: config.store.maxAge, compress: config.store.compress },
    ...(config.upstream.url !== undefined && {
      upstream: {
        url: config.upstream.url,
        connectTimeoutMs: config.upstream.connectTimeout,
        headersTimeoutMs: config.upstream.headersTimeout,
        bodyTimeoutMs: config.upstream.bodyTimeout,
        maxConnections: config.upstream.maxConnections,
        routes: config.routes,
        decode: { maxLayers: limits.maxCodings, maxDecodedBytes: limits.maxDecodedBytes, maxRatio: limits.maxRatio },
      },
    }),
    engine: {
      secrets,
      mask: { style: mask.style, ...(mask.text === undefined ? {} : { text: mask.text }) },
      limits: { holdBackMs: limits.holdBack },
      fingerprintKey: installationKey(),
      rules: {
        extra,
        disable: rules.disable,
        minConfidence: rules.minConfidence,
        learn: rules.learn,
        policy: rules.policy,
      },
    },
    ...syslogOf(config),
    server: { headersTimeoutMs: limits.headerTimeout, idleTimeoutMs: limits.idleTimeout, maxConnections: limits.maxConnections },
    jobs: { maxJobs: config.jobs.maxJobs, maxStreams: limits.maxStreamsPerJob, graceMs: config.jobs.grace },
  };
}

/** Nothing if no listener is on. */
function syslogOf({ syslog, tls: { cert, key, clientCa }, upstream }: Config): Pick<SidecarOptions, "syslog"> {
  const { tcp, udp, tls, unix, forward, forwardCa } = syslog;
  if ([tcp, udp, tls, unix].every((address) => address === "off")) return {};
  return {
    syslog: {
      ...(tcp !== "off" && tcp.kind === "tcp" && { tcp }),
      ...(udp !== "off" && udp.kind === "tcp" && { udp }),
      ...(tls !== "off" && tls.kind === "tcp" && { tls: { ...tls, files: { cert: cert!, key: key!, ...(clientCa !== undefined && { clientCa }) } } }),
      ...(unix !== "off" && unix.kind === "unix" && { unix: unix.path }),
      framing: syslog.framing,
      job: syslog.job,
      maxMessageBytes: syslog.maxMessage,
      ...(forward !== "off" && { forward: { ...forward, ...(forwardCa !== undefined && { ca: forwardCa }), connectTimeoutMs: upstream.connectTimeout } }),
    },
  };
}
