/**
 * What can be configured: every field with its form, default and meaning, once. Names of variables and flags, the JSON schema, docs/configuration.md and
 * the errors grow from here. What no field alone can tell is checked in check.ts.
 */
import { z } from "zod";
import { CONFIDENCES } from "../rules/compile.js";
import {
  address,
  age,
  ageOrOff,
  choice,
  count,
  field,
  group,
  list,
  optional,
  path,
  portOrOff,
  serverOrOff,
  size,
  sizeOrOff,
  socketOrOff,
  socketPath,
} from "./forms.js";
import { FORMS, table, text, time, timeOrOff, url, word, yesNo } from "./forms.js";
import type { Environment } from "./forms.js";

/** A folder of the user's, as the XDG base directory specification has it; relative ones do not count. */
const folder = (env: Environment, name: string, atHome?: string): string | undefined => {
  const own = env[name];
  if (own?.startsWith("/") === true) return own;
  return atHome !== undefined && env["HOME"]?.startsWith("/") === true ? `${env["HOME"]}/${atHome}` : undefined;
};

/** Folders in which `logveil.yaml` is looked for, the first one first. */
export const configFolders = (env: Environment): string[] => {
  const own = folder(env, "XDG_CONFIG_HOME", ".config");
  return [...(own === undefined ? [] : [`${own}/logveil`]), "/etc/logveil"];
};

const state = (name: string) => ({
  from: (env: Environment): string | undefined => {
    const home = folder(env, "XDG_STATE_HOME", ".local/state");
    return home === undefined ? undefined : `${home}/logveil/${name}`;
  },
});
const stateTold = (name: string): string =>
  `Default: \`$XDG_STATE_HOME/logveil/${name}\`, else \`~/.local/state/logveil/${name}\`, else \`/var/lib/logveil/${name}\``;

const ruleId = word(/^[a-z0-9]+(-[a-z0-9]+)*$/, "the id of a rule, or a confidence: low, medium, high, certain");

const jobName = word(/^[!-~]{1,100}$/, "the name of a job: 1 to 100 letters, digits or signs of ASCII");
FORMS.add(jobName, { form: "name" });

const hostName = word(/^(?:[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?|[0-9a-f:.]+)$/, "the name or address of a host, in lower case, without port and brackets");

/** What is done with findings. */
export const ACTIONS = ["count", "warn", "fail-job", "webhook"] as const;
type Action = (typeof ACTIONS)[number];

const action = z.enum(ACTIONS);
const actions = z.codec(
  z.union([action, z.array(action).min(1)], { error: `expected one of ${ACTIONS.join(", ")}, or a list of them` }),
  z.custom<readonly Action[]>(),
  { decode: (written) => (typeof written === "string" ? [written] : written), encode: (value) => (value.length === 1 ? value[0]! : [...value]) },
);

const route = z.strictObject(
  {
    path: word(/^\/[^\s?#\p{Cc}]*$/u, "the beginning of a path, such as /api/logs").describe("Requests whose path begins so, at whole segments"),
    contentTypes: z
      .array(word(/^[a-z0-9.+-]+\/([a-z0-9.+-]+|\*)$/, "a content type such as application/json or text/*, in lower case"))
      .default([])
      .describe("Only bodies of these types; none: of any type"),
    framing: z.enum(["text", "json", "ndjson", "form", "octet-stream"]).describe("Where in a body the text is"),
    maskResponses: z.boolean().default(false).describe("Whether the bodies of responses are masked too"),
  },
  { error: ({ code }) => (code === "invalid_type" ? "expected a mapping with path, contentTypes, framing, maskResponses" : undefined) },
);
const routes = z.array(route, { error: "expected a list of routes, each a mapping" });
FORMS.add(routes, { form: "list of {path, contentTypes, framing, maskResponses}" });

const environment = z.union([z.enum(["auto", "off"]), z.array(word(/^[A-Za-z_*][A-Za-z0-9_*]*$/, "the name of a variable")).min(1)], {
  error: "expected auto, off or a list of names of variables, in which * stands for any characters",
});
FORMS.add(environment, { form: "`auto` `off` or list of names" });

const tls = (what: string) => ({
  cert: optional(path(), `File of the certificate chain of ${what} (PEM)`),
  key: optional(path(), `File of its private key (PEM)`),
  clientCa: optional(path(), "File of the authorities whose client certificates are accepted (PEM); given, a client without such a certificate is refused"),
});

export const schema = z.strictObject({
  listen: field(address(), "Where logs come in: HTTP/1.1, HTTP/2 and the API of jobs. A socket that systemd hands over goes before it", "127.0.0.1:4180"),
  admin: group("Health and metrics, apart from the logs", {
    listen: field(address(), "Where `/livez`, `/readyz`, `/startupz`, `/metrics` and `/version` answer", "127.0.0.1:4181"),
  }),
  control: group("Who may hand over secrets, end jobs and reload", {
    socket: field(
      socketPath(),
      "Unix socket of the control API, for its owner only. Default: `$XDG_RUNTIME_DIR/logveil/control.sock`, else `/run/logveil/control.sock`",
      "/run/logveil/control.sock",
      {
        from: (env) => {
          const home = folder(env, "XDG_RUNTIME_DIR");
          return home === undefined ? undefined : `${home}/logveil/control.sock`;
        },
      },
    ),
    tcp: field(portOrOff(), "The control API over TCP too, with client certificates only: needs all of `control.tls`", "off"),
    tls: group("Certificates of the control API over TCP", tls("the control API")),
  }),
  tls: group(
    "Certificates of `listen` and `syslog.tls`; none: `listen` is cleartext. A client's certificate says by URIs in its subjectAltName which jobs it may write and read: `logveil:job:NAME`, percent-encoded, or `logveil:job:*` for any; one without needs the token of the job",
    tls("the port"),
  ),
  auth: group("Who may send logs", {
    hosts: field(
      list(hostName, "names of hosts"),
      "Names besides `localhost` and addresses of this machine by which requests over loopback may call the sidecar, and whose web pages may send requests: in lower case, without port, as `host.docker.internal`. Others get 421 and 403, so that no page on the web can read logs by a name that leads here",
      [],
    ),
    tokenFile: optional(
      path(),
      "File of the tokens of jobs, one of which every request must bear besides those that `logveil job token` makes; absent: no token is asked for. Lines of `JOB TOKEN`, or `JOB sha256:HEX` with the digest of the token; `*` is any job, `#` begins a comment. No one else may read it",
    ),
  }),
  store: group("The embedded store, which keeps masked logs where there is no upstream", {
    dir: field(path(), `Folder of the masked logs. ${stateTold("logs")}`, "/var/lib/logveil/logs", state("logs")),
    maxFileSize: field(size({ min: "64KiB" }), "A file that reaches this size is followed by a new one", "256MiB"),
    maxAge: field(age(), "Jobs to which nothing was written for so long are deleted", "30d"),
    maxBytes: field(
      sizeOrOff({ min: "1MiB" }),
      "Most bytes of the folder; beyond it the jobs that ended first are deleted, never one that goes on. If those that go on have as much, requests get 503. off: no bound",
      "off",
    ),
    flushInterval: field(
      time({ min: "10ms", max: "60s" }),
      "Longest time from a line's coming in to its being on disk, also while its request goes on. Followers read it at once",
      "1s",
    ),
    compress: field(choice(["none", "zstd"]), "How files are kept that are written no more", "none"),
  }),
  upstream: group("The log storage that masked logs are forwarded to", {
    url: optional(url("no query"), "Where requests go; absent: into the embedded store", { flag: "upstream" }),
    connectTimeout: field(time(), "Longest wait for a connection, TLS included", "5s"),
    headersTimeout: field(time(), "Longest wait for a response after the request has been sent", "30s"),
    bodyTimeout: field(time(), "Longest silence within the body of a response", "60s"),
    maxConnections: field(count(1, 65_535), "Most connections at a time", 256),
    readiness: field(
      choice(["report", "require"]),
      "Whether a log storage that fails makes the sidecar not ready: `/readyz` has it as a check of its own, which decides with `require` only",
      "report",
    ),
    retries: field(
      count(0, 100),
      "How often a request is tried again before a byte of its body was sent, while its client waits. What is in the spool is tried again until it is delivered",
      2,
    ),
    headersFile: optional(
      path(),
      "File of header fields, `Name: value` in each line, that every request gets in the place of the client's. Each value is taken for a secret itself. No one else may read it",
    ),
  }),
  routes: field(routes, "What is in the bodies of requests, where their content type does not tell; the longest `path` that fits counts", []),
  secrets: group("Which secrets are known beforehand", {
    env: field(environment, "Variables whose values are masked: by name, or `auto`: those whose names look like secrets", "auto"),
    files: field(list(path(), "paths"), "Files of secrets: JSON Lines or NAME=value", []),
    ttl: field(
      timeOrOff({ min: "1s" }),
      "How old may be what was read from files before requests are refused; the files are read again twice within that time. off: any age",
      "off",
    ),
  }),
  rules: group("Secrets that no one told of", {
    files: field(list(path(), "paths"), "Rules of your own besides the built-in ones: TOML files or folders of them", []),
    disable: field(list(ruleId, "rule ids"), "Rules that are left out", []),
    minConfidence: field(choice(CONFIDENCES), "Rules of less confidence are left out", "medium"),
    learn: field(yesNo(), "Whether what sure rules find is looked for in other spellings from then on", true),
    policy: field(
      table(ruleId, z.enum(["mask", "mask+count", "count"]), "mapping of rule ids or confidences to mask, mask+count or count"),
      "What is done with findings; the id of a rule goes before its confidence",
      {},
    ),
  }),
  mask: group("What stands in the output instead of a secret", {
    style: field(
      choice(["label", "fixed", "length", "keyed"]),
      "`label` is `[REDACTED:NAME]`, `fixed` is `***`, `length` is `*` per byte, `keyed` is a label with the fingerprint",
      "label",
    ),
    text: optional(text(), "Text of a fixed mask, character of a length mask"),
  }),
  limits: group("What one client may take, and how long", {
    holdBack: field(time({ max: "1h" }), "Silence after which undecided bytes leave", "500ms"),
    maxNeedleBytes: field(
      size({ min: "1KiB", max: "1GiB" }),
      "Most bytes that one secret is looked for as, in all its spellings and parts; the least important ones beyond it are left out, which a warning names. Each takes three bytes of memory",
      "16MiB",
    ),
    maxConnections: field(count(1, 1_000_000), "Most connections, and requests on them, at a time; further ones get 503", 12_000),
    maxStreamsPerJob: field(count(1, 1_000_000), "Most streams of one job that are open at a time", 256),
    maxStreams: field(count(1, 1_000_000), "Most streams of all jobs that are open at a time; further ones get 503", 12_000),
    queueTimeout: field(time(), "Longest wait of a new stream, or of a request that is forwarded, for its turn among the jobs; then it gets 503", "10s"),
    maxDecodedBytes: field(size({ min: "1MiB" }), "Most bytes of one request after decoding", "1GiB"),
    maxRatio: field(count(1, 1_000_000), "Most bytes that one byte of a compressed body may become, beyond the first MiB", 1024),
    maxCodings: field(count(0, 16), "Most content codings of one body", 3),
    zstdWindow: field(size({ min: "1KiB", max: "128MiB" }), "Largest window of a zstd body; of a size between two powers of 2 the lower one counts", "8MiB"),
    maxHeld: field(
      size({ min: "64KiB", max: "256MiB" }),
      "Most bytes of a body that is held until it is whole, because a header carries its digest; larger ones get 413, and 503 those that would make it 16 times as much together",
      "8MiB",
    ),
    headerTimeout: field(time(), "Longest wait for the head of a request, for a TLS handshake, and for the first bytes of a connection", "10s"),
    idleTimeout: field(
      time(),
      "Longest silence of a client that is waited for: to go on with a body, to read, to send another request. Who follows a log may be silent",
      "10m",
    ),
    requestTimeout: field(timeOrOff(), "Longest time from the head of a request to that of its answer; off: as long as its job takes", "off"),
  }),
  jobs: group("Jobs", {
    grace: field(time(), "How long the secrets of a job stay known after its end", "10m"),
    maxJobs: field(count(1, 1_000_000), "Most jobs at a time; further ones get 503", 10_000),
  }),
  spool: group("Where masked logs wait while the upstream is down", {
    enabled: field(yesNo(), "Whether they do; else clients wait, then get 503. Needs `upstream.url`", false),
    dir: field(path(), `Folder of the spool. ${stateTold("spool")}`, "/var/lib/logveil/spool", state("spool")),
    maxBytes: field(size({ min: "1MiB" }), "Most bytes that wait; beyond it clients get 503", "1GiB"),
    headers: field(
      list(word(/^[a-z0-9-]+$/, "the name of a header field in lower case"), "names of header fields"),
      "Header fields that hold no credential, and so may wait on disk, besides those that are known not to; requests with others are refused",
      [],
    ),
  }),
  syslog: group("Syslog and plain lines", {
    tcp: field(portOrOff(), "Where syslog over TCP comes in (RFC 6587)", "off"),
    udp: field(portOrOff(), "Where syslog over UDP comes in (RFC 5426)", "off"),
    tls: field(portOrOff(), "Where syslog over TLS comes in (RFC 5425): needs `tls.cert` and `tls.key`", "off"),
    unix: field(socketOrOff(), "Unix socket on which lines come in, for its owner only", "off"),
    framing: field(
      choice(["auto", "octet-counting", "newline"]),
      "How messages of a connection over TCP or TLS are told apart; `auto`: by its first byte, a digit begins the count of octet counting",
      "auto",
    ),
    maxMessage: field(
      size({ min: "2KiB", max: "16MiB" }),
      "Largest message that octet counting may announce; longer lines go on as several messages to `syslog.forward`",
      "64KiB",
    ),
    job: field(jobName, "Whose secrets mask the messages, and whose streams in the store they become: one for each sender", "syslog"),
    forward: field(
      serverOrOff(),
      "The syslog server that masked messages are passed on to, instead of the store: over `tcp` and `tls` with octet counting",
      "off",
    ),
    forwardCa: optional(path(), "File of the authorities of that server's certificate (PEM); absent: those that Node knows"),
  }),
  audit: group("The record of findings and jobs, without bytes of logs", {
    dir: field(path(), `Folder of the record and its key. ${stateTold("audit")}`, "/var/lib/logveil/audit", state("audit")),
    checkpointEvery: field(count(1, 1_000_000), "Records after which a signed checkpoint is written", 1000),
    checkpointInterval: field(time({ min: "1s" }), "Longest time between a record and the next checkpoint", "60s"),
    maxFileSize: field(size({ min: "64KiB" }), "A file that reaches this size, or a quarter of `audit.maxBytes`, is followed by a new one", "64MiB"),
    maxAge: field(
      ageOrOff(),
      "Files whose last record is older than this are deleted, whole and the oldest first; a signed record says so, and what is left verifies. `off`: none is",
      "off",
    ),
    maxBytes: field(
      sizeOrOff({ min: "1MiB" }),
      "The oldest files are deleted while all together are larger than this, as for `audit.maxAge`. `off`: they may grow until the disk is full",
      "off",
    ),
  }),
  onFinding: group("What happens when a secret is found, besides its being masked", {
    actions: field(
      table(ruleId, actions, "mapping of rule ids or confidences to actions"),
      "`count` in the metrics only, `warn` in the log, `fail-job`: requests of the job are answered 422 from then on, `webhook`; the id of a rule goes before its confidence; a registered secret counts as `certain`. Others are counted",
      {},
    ),
    webhook: group("Who is told of findings", {
      url: optional(url("query"), "Where findings are sent, signed and without bytes of the log. Taken for a secret itself", { secret: true }),
      secretFile: optional(path(), "File of the key that messages are signed with. No one else may read it"),
    }),
  }),
  shutdown: group("The end", {
    grace: field(time(), "How long requests may still take after SIGTERM", "10s"),
  }),
  log: group("The sidecar's own log, on stderr", {
    level: field(choice(["trace", "debug", "info", "warn", "error", "fatal", "silent"]), "The least that is told", "info"),
    format: field(
      choice(["auto", "json", "text"]),
      "`json`: a line of JSON for each event, `text`: for people, `auto`: text if stderr is a terminal, else JSON",
      "auto",
    ),
  }),
});

type Deep<T> = T extends object ? { readonly [K in keyof T]: Deep<T[K]> } : T;

/** The effective configuration: sizes in bytes, times in milliseconds, addresses taken apart. Frozen. */
export type Config = Deep<z.output<typeof schema>>;

/** Some fields by their paths, each as it is written in a file. */
export type Written = z.input<typeof schema>;
