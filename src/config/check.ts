/** What no field alone can tell: which values go together, whether addresses are free of each other, who may read the files of keys and tokens, which rules there are. */
import { statSync } from "node:fs";
import { checkMask } from "../core/mask.js";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import type { Config } from "./schema.js";
import { type Address, printAddress } from "./units.js";

/** Something that is wrong with a field in the light of others. */
export interface Finding {
  readonly path: string;
  readonly message: string;
}

/** Whether a field was given a value other than by default. */
type IsSet = (path: string) => boolean;

/** A check answers what it finds. One row each. */
type Check = (config: Config, isSet: IsSet) => readonly Finding[];

const when = (wrong: boolean, path: string, message: string): Finding[] => (wrong ? [{ path, message }] : []);

/** Where certificates are configured, and whether a client's is demanded. */
const TLS = [
  ["tls", (config: Config) => config.tls],
  ["control.tls", (config: Config) => config.control.tls],
] as const;

const CHECKS: readonly Check[] = [
  function oneDestination({ upstream }, isSet) {
    const store = ["dir", "maxFileSize", "maxAge", "compress"].map((key) => `store.${key}`).find(isSet);
    return when(
      upstream.url !== undefined && store !== undefined,
      "upstream.url",
      `masked logs go to the upstream or into the store, not both: leave out upstream.url or ${store}`,
    );
  },
  ({ spool, upstream }) =>
    when(spool.enabled && upstream.url === undefined, "spool.enabled", "there is nothing to wait for without upstream.url: set it, or leave the spool off"),
  (config) =>
    TLS.flatMap(([path, of]) => {
      const { cert, key, clientCa } = of(config);
      return [
        ...when(cert !== undefined && key === undefined, `${path}.cert`, `a certificate needs its key: set ${path}.key`),
        ...when(key !== undefined && cert === undefined, `${path}.key`, `a key needs its certificate: set ${path}.cert`),
        ...when(
          clientCa !== undefined && cert === undefined && key === undefined,
          `${path}.clientCa`,
          `certificates of clients need TLS: set ${path}.cert and ${path}.key`,
        ),
      ];
    }),
  function controlOverTcp({ control: { tcp, tls } }) {
    const missing = (["cert", "key", "clientCa"] as const).filter((key) => tls[key] === undefined).map((key) => `control.tls.${key}`);
    return when(tcp !== "off" && missing.length > 0, "control.tcp", `the control API over TCP needs certificates of both sides: set ${missing.join(", ")}`);
  },
  ({ syslog, tls }) =>
    when(
      syslog.tls !== "off" && (tls.cert === undefined || tls.key === undefined),
      "syslog.tls",
      "syslog over TLS needs a certificate: set tls.cert and tls.key",
    ),
  function syslogDestination({ syslog, upstream }) {
    const { tcp, udp, tls, unix, forward, forwardCa } = syslog;
    const on = Object.entries({ tcp, udp, tls, unix }).find(([, address]) => address !== "off")?.[0];
    const own = (["tcp", "udp", "tls"] as const).find((name) => {
      const address = syslog[name];
      if (forward === "off" || address === "off" || address.kind !== "tcp" || (name === "udp") !== (forward.protocol === "udp")) return false;
      return collide(address, { kind: "tcp", host: forward.host, port: forward.port });
    });
    return [
      ...when(
        on !== undefined && forward === "off" && upstream.url !== undefined,
        `syslog.${on}`,
        "requests go to upstream.url and nothing is kept here, so messages have nowhere to go: set syslog.forward to a syslog server",
      ),
      ...when(on === undefined && forward !== "off", "syslog.forward", "there is nothing to pass on: set syslog.tcp, syslog.udp, syslog.tls or syslog.unix"),
      ...when(own !== undefined, "syslog.forward", `that is syslog.${own} itself: name another server`),
      ...when(
        forwardCa !== undefined && (forward === "off" || forward.protocol !== "tls"),
        "syslog.forwardCa",
        "authorities need a server with a certificate: set syslog.forward to tls://",
      ),
    ];
  },
  function webhook({ onFinding }) {
    const used = Object.values(onFinding.actions).some((actions) => actions.includes("webhook"));
    const { url, secretFile } = onFinding.webhook;
    return [
      ...when(used && url === undefined, "onFinding.actions", "the action webhook needs onFinding.webhook.url"),
      ...when(url !== undefined && secretFile === undefined, "onFinding.webhook.url", "messages are signed: set onFinding.webhook.secretFile"),
    ];
  },
  function mask({ mask: { style, text } }) {
    try {
      checkMask({ style, ...(text === undefined ? {} : { text }) });
      return [];
    } catch (error) {
      if (!(error instanceof LogveilError)) throw error;
      return [{ path: text === undefined ? "mask.style" : "mask.text", message: error.message }];
    }
  },
  function routes({ routes: all }) {
    const seen = new Map<string, number>();
    return all.flatMap(({ path, contentTypes }, index) =>
      (contentTypes.length === 0 ? ["any content type"] : contentTypes).flatMap((type) => {
        const key = `${path} ${type}`;
        const before = seen.get(key);
        if (before === undefined) seen.set(key, index);
        return when(before !== undefined, "routes", `routes[${index}] is never used: routes[${before}] takes the same path and ${type}`);
      }),
    );
  },
  function addresses(config) {
    const all = listeners(config);
    return all.flatMap(([path, address], index) => {
      const before = all.slice(0, index).find(([other, taken]) => (path === "syslog.udp") === (other === "syslog.udp") && collide(address, taken));
      return when(before !== undefined, path, `the address ${printAddress(address)} is taken by ${before?.[0]}`);
    });
  },
  function folders({ store, spool, audit }) {
    const dirs: [string, string][] = [
      ["store.dir", store.dir],
      ["spool.dir", spool.dir],
      ["audit.dir", audit.dir],
    ];
    return dirs.flatMap(([path, dir], index) => {
      const before = dirs.slice(0, index).find(([, other]) => trimmed(other) === trimmed(dir));
      return when(before !== undefined, path, `the folder is that of ${before?.[0]}: each needs one of its own`);
    });
  },
];

const trimmed = (dir: string): string => dir.replace(/\/+$/, "");

/** Whether only one can listen. UDP has ports of its own; port 0 is a free one each time. */
function collide(a: Address, b: Address): boolean {
  if (a.kind === "unix" || b.kind === "unix") return printAddress(a) === printAddress(b);
  const everywhere = [a.host, b.host].some((host) => host === "::" || host === "0.0.0.0");
  return a.port === b.port && a.port !== 0 && (a.host === b.host || everywhere);
}

function listeners({ listen, admin, control, syslog }: Config): [string, Address][] {
  const all: [string, Address | "off"][] = [
    ["listen", listen],
    ["admin.listen", admin.listen],
    ["control.socket", { kind: "unix", path: control.socket }],
    ["control.tcp", control.tcp],
    ["syslog.tcp", syslog.tcp],
    ["syslog.udp", syslog.udp],
    ["syslog.tls", syslog.tls],
    ["syslog.unix", syslog.unix],
  ];
  return all.filter((row): row is [string, Address] => row[1] !== "off");
}

/** Everything that does not go together. */
export const checkAll = (config: Config, isSet: IsSet): Finding[] => CHECKS.flatMap((check) => check(config, isSet));

/** Files of keys, tokens and secrets that are not there, or that every user may read. */
export function checkSecretFiles({ auth, tls, control, upstream, onFinding, secrets }: Config): Finding[] {
  const files: [string, string | undefined][] = [
    ["auth.tokenFile", auth.tokenFile],
    ["tls.key", tls.key],
    ["control.tls.key", control.tls.key],
    ["upstream.headersFile", upstream.headersFile],
    ["onFinding.webhook.secretFile", onFinding.webhook.secretFile],
    ...secrets.files.map((file): [string, string] => ["secrets.files", file]),
  ];
  return files.flatMap(([path, file]) => (file === undefined ? [] : fileFinding(path, file)));
}

/** Whether a file of this mode can be read by every user. */
export const isOpenToAll = (mode: number): boolean => (mode & 0o004) !== 0;

function fileFinding(path: string, file: string): Finding[] {
  try {
    const status = statSync(file);
    if (status.isDirectory()) return [{ path, message: `${file}: expected a file, not a folder` }];
    const mode = (status.mode & 0o777).toString(8).padStart(4, "0");
    return when(isOpenToAll(status.mode), path, `${file} can be read by every user (mode ${mode}): chmod o-rwx it`);
  } catch (error) {
    return [{ path, message: `${file}: cannot be read: ${reasonAndCure(error)}` }];
  }
}

/** What is allowed but hardly meant. */
export function warningsOf({ listen, admin, auth, tls, syslog }: Config): Finding[] {
  return [
    ...when(
      isExposed(listen) && auth.tokenFile === undefined && tls.clientCa === undefined,
      "listen",
      "other hosts can send logs: neither auth.tokenFile nor tls.clientCa keeps them out",
    ),
    ...when(isExposed(listen) && tls.cert === undefined, "listen", "unmasked logs and tokens come in as cleartext from other hosts: set tls.cert and tls.key"),
    ...when(isExposed(admin.listen), "admin.listen", "other hosts can read health and metrics"),
    ...(["tcp", "udp"] as const).flatMap((name) => {
      const address = syslog[name];
      return when(
        address !== "off" && isExposed(address),
        `syslog.${name}`,
        "unmasked messages come in as cleartext from other hosts: have them use syslog.tls",
      );
    }),
    ...when(
      syslog.tls !== "off" && isExposed(syslog.tls) && tls.clientCa === undefined,
      "syslog.tls",
      "other hosts can send messages: set tls.clientCa to keep them out",
    ),
  ];
}

/** Whether other hosts reach an address. */
const isExposed = (address: Address): boolean => address.kind === "tcp" && !address.host.startsWith("127.") && address.host !== "::1";
