/** Real peers of the syslog listeners: rsyslogd with a configuration of a test, `logger`, certificates. Tests on those that are missing are passed over with a notice. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";

const has = (command: string, ...args: string[]): boolean => {
  const found = spawnSync(command, args).error === undefined;
  if (!found) console.warn(`${command} is missing: tests with it are passed over; .ci/run installs it`);
  return found;
};

export const HAVE_LOGGER = has("logger", "--version");
export const HAVE_OPENSSL = has("openssl", "version");
export const HAVE_RSYSLOG = has("rsyslogd", "-v");

const moduleFolders = [
  ...(process.env["RSYSLOG_MODDIR"] ?? "").split(":").filter((folder) => folder !== ""),
  "/usr/lib/rsyslog",
  ...(existsSync("/usr/lib") ? readdirSync("/usr/lib").map((name) => `/usr/lib/${name}/rsyslog`) : []),
].filter((folder) => existsSync(folder));

/** Whether rsyslogd can do TLS. */
export const HAVE_GTLS = HAVE_RSYSLOG && moduleFolders.some((folder) => existsSync(join(folder, "lmnsd_gtls.so")));
if (HAVE_RSYSLOG && !HAVE_GTLS) console.warn("rsyslog-gnutls is missing: tests of rsyslogd over TLS are passed over; .ci/run installs it");

/** Runs rsyslogd in the foreground with `configuration`, until the test is over. */
export function rsyslogd(folder: string, configuration: string): { readonly told: () => string } {
  const file = join(folder, "rsyslog.conf");
  writeFileSync(file, `global(workDirectory="${folder}")\n${configuration}`);
  const args = ["-n", "-f", file, "-i", join(folder, "rsyslogd.pid"), "-M", moduleFolders.join(":")];
  const child = spawn("rsyslogd", args, { stdio: ["ignore", "ignore", "pipe"] });
  let told = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (told += text));
  onTestFinished(async () => {
    const ended = child.exitCode !== null || child.signalCode !== null || new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  });
  return { told: () => told };
}

export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** Files of a certificate of 127.0.0.1 that vouches for itself. */
export function certificate(folder: string, name: string): Certificate {
  const [cert, key] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)];
  const subject = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1"];
  execFileSync(
    "openssl",
    ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", ...subject, "-keyout", key, "-out", cert],
    {
      stdio: "ignore",
    },
  );
  return { cert, key };
}
