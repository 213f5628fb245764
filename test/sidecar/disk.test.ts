/**
 * Nothing raw leaves the process: a sidecar runs under strace while clients send secrets in every way they come, and every byte that it wrote, to files, sockets and
 * pipes, is searched for them; so is every file it left. That the search would find something is shown by a value that no one told it of.
 */
import { execFile, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chownSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { expect, onTestFinished, test } from "vitest";
import { verifyAudit } from "../../src/audit/verify.js";
import { COMMAND, end, filesIn, serveProcess, type Serving, type ServeOptions } from "../support/serving.js";
import { searchFor } from "../support/raw.js";
import { call, temporary } from "../support/sidecar.js";
import { HAVE_STRACE, readTrace, type Trace, tracing, UNNOTED } from "../support/tracer.js";

const hasCurl = spawnSync("curl", ["--version"]).status === 0;
if (!hasCurl) console.warn("no curl here: the tests send all logs by themselves");

const random = (): string => randomBytes(16).toString("base64url").replaceAll(/[-_]/g, "x");
const GLOBAL = `g/${random()}+"$&`;
const JOB = `j-${random()}`;
const LATE = `l-${random()}`;
const TOKEN = random().slice(0, 20);
const SECRETS = [
  { name: "GLOBAL", value: GLOBAL },
  { name: "JOB", value: JOB },
  { name: "LATE", value: LATE },
  { name: "TOKEN", value: TOKEN },
];
/** A value that looks like nothing and that no one told of: it must come out, and the search must see it. */
const PUBLIC = { name: "PUBLIC", value: "of no concern to anybody" };

/** A log with a secret in many spellings. */
function logOf(secret: string): string {
  const bytes = Buffer.from(secret);
  return [
    `plain ${secret}.`,
    `base64 ${bytes.toString("base64")} ${Buffer.concat([Buffer.from("a"), bytes]).toString("base64")} ${Buffer.concat([Buffer.from("ab"), bytes]).toString("base64url")}`,
    `hex ${bytes.toString("hex")} ${bytes.toString("hex").toUpperCase()}`,
    `url ${encodeURIComponent(secret)} json ${JSON.stringify(secret)}`,
    `colour ${secret.slice(0, 7)}\x1b[31m${secret.slice(7)}\x1b[0m`,
    `wrapped ${secret.slice(0, 9)}\r\n${secret.slice(9)}`,
    `utf16 ${Buffer.from(secret, "utf16le").toString("latin1")}`,
    PUBLIC.value,
    "",
  ].join("\n");
}

/** Starts a sidecar that is watched. */
function watched(home: string, options: ServeOptions = {}): Promise<Serving> {
  return serveProcess(home, { ...options, under: tracing(join(home, "trace")), env: { BUILD_TOKEN: GLOBAL, ...options.env } });
}

async function tellSecrets({ socket }: Serving, job: string, secrets: Readonly<Record<string, string>>): Promise<void> {
  const batch = Object.entries(secrets).map(([name, value]) => JSON.stringify({ name, value }));
  expect((await call({ socket }, "POST", `/v1/jobs/${job}/secrets`, batch.join("\n"))).status).toBe(200);
}

/** Ends it in order, and reads what it wrote. */
async function traceOf({ child, pid }: Serving, home: string): Promise<Trace> {
  const gone = once(child, "exit");
  process.kill(pid, "SIGTERM");
  expect(await gone).toEqual([0, null]);
  return readTrace(readFileSync(join(home, "trace"), "latin1"));
}

/** Nothing raw was written, whichever way there is, nor is in a file; and what is public was, to a `place`. */
function expectClean({ written, named, calls }: Trace, home: string, place: RegExp): void {
  const search = searchFor(SECRETS);
  for (const [where, bytes] of written) expect(search(bytes), where).toEqual([]);
  expect(search(named), "names of files").toEqual([]);
  for (const file of filesIn(home).filter((path) => path !== join(home, "trace"))) expect(search(readFileSync(file)), file).toEqual([]);
  const withPublic = [...written].filter(([, bytes]) => searchFor([PUBLIC])(bytes).length > 0).map(([where]) => where);
  expect(withPublic).toContainEqual(expect.stringMatching(place));
  // Ways past the calls that are watched: none is taken.
  expect(calls.filter(({ name, result }) => UNNOTED.includes(name) && !result.startsWith("-"))).toEqual([]);
  expect(
    calls.filter(({ name, args }) => name === "mmap" && args.includes("PROT_WRITE") && args.includes("MAP_SHARED") && !args.includes("MAP_ANONYMOUS")),
  ).toEqual([]);
}

test.runIf(HAVE_STRACE)("the search finds what a process writes, however it writes it", () => {
  const home = temporary();
  const script = `const fs = require("node:fs"), { execFileSync } = require("node:child_process");
    const file = fs.openSync(${JSON.stringify(join(home, "a"))}, "w");
    fs.writeSync(file, "x ${GLOBAL.slice(0, 5)}"); fs.writeSync(file, ${JSON.stringify(GLOBAL.slice(5))});
    fs.writevSync(file, [Buffer.from("-"), Buffer.from(${JSON.stringify(JOB)}).toString("hex")].map((part) => Buffer.from(part)), 100);
    fs.unlinkSync(${JSON.stringify(join(home, "a"))});
    fs.promises.writeFile(${JSON.stringify(join(home, LATE))}, Buffer.from(${JSON.stringify(TOKEN)}).toString("base64"));`;
  expect(spawnSync("env", [...tracing(join(home, "trace")), process.execPath, "-e", script]).status).toBe(0);
  const { written, named } = readTrace(readFileSync(join(home, "trace"), "latin1"));
  const search = searchFor(SECRETS);
  expect(search(written.get(join(home, "a"))!)).toEqual(
    expect.arrayContaining([expect.stringMatching(/^GLOBAL \(plain\)/), expect.stringMatching(/^JOB \(hex\)/)]),
  );
  expect(search(written.get(join(home, LATE))!)).toEqual([expect.stringMatching(/^TOKEN \(base64\)/)]);
  expect(search(named)).toContainEqual(expect.stringMatching(/^LATE \(plain\)/));
});

test.runIf(HAVE_STRACE)("nothing raw is written to the store, the audit, or anywhere", { timeout: 120_000 }, async () => {
  const home = temporary();
  const serving = await watched(home, { env: { LOGVEIL_LIMITS_HOLD_BACK: "50ms", LOGVEIL_STORE_MAX_FILE_SIZE: "64KiB", LOGVEIL_STORE_COMPRESS: "zstd" } });
  const path = "/v1/jobs/j/streams";
  await tellSecrets(serving, "j", { JOB });
  const log = `${logOf(GLOBAL)}${logOf(JOB)}Authorization: token glpat-${TOKEN}\n`;
  // In one piece, in pieces cut everywhere, and until a file is full and compressed.
  expect((await call(serving, "POST", `${path}/whole`, log.repeat(200))).status).toBe(200);
  expect((await call(serving, "POST", `${path}/whole`, log)).status).toBe(200);
  for (const size of [1, 13]) {
    const pieces = Array.from({ length: Math.ceil(log.length / size) }, (_, index) => log.slice(index * size, (index + 1) * size));
    expect((await call(serving, "POST", `${path}/cut-${size}`, pieces)).status).toBe(200);
  }
  // One that comes late, in the middle of a request; and one that is cut by silence.
  await call(serving, "POST", `${path}/late`, "nothing yet\n");
  await tellSecrets(serving, "j", { LATE });
  await call(serving, "POST", `${path}/late`, `${logOf(LATE)}and ${LATE.slice(0, 11)}`);
  await expect.poll(async () => (await call(serving, "GET", `${path}/late`)).body).toMatch(/and \[REDACTED:LATE\]$/);
  await call(serving, "POST", `${path}/late`, `${LATE.slice(11)} was it\n`);
  if (hasCurl) {
    const curl = promisify(execFile)("curl", ["-sSfT-", "-X", "POST", `http://127.0.0.1:${serving.port}${path}/curl`]);
    curl.child.stdin!.end(log);
    await curl;
  }
  expect((await call(serving, "POST", `${path}/cut-1/end`)).status).toBe(200);
  // What is refused is told without a byte of it.
  await call(serving, "POST", `/v1/jobs/j/streams/bad`, log, { "content-encoding": "rot13" });
  await call({ socket: serving.socket }, "POST", "/v1/jobs/j/secrets", `{"name": "X", "value": "${JOB}" nonsense`);
  expect((await call({ socket: serving.socket }, "DELETE", "/v1/jobs/j")).status).toBe(200);
  const trace = await traceOf(serving, home);
  expectClean(trace, home, /\/logs\/j\/whole\/\d+\.log$/);
  expect([...trace.written.keys()]).toContainEqual(expect.stringMatching(/\.zst\.part$/));
  expect(await verifyAudit(join(home, "state", "logveil", "audit"))).toMatchObject({ ok: true });
});

test.runIf(HAVE_STRACE)("nothing raw is passed on to an upstream", { timeout: 120_000 }, async () => {
  const home = temporary();
  const upstream = createServer((request, response) => void request.resume().on("end", () => response.writeHead(201).end()));
  await once(upstream.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => upstream.close().closeAllConnections());
  const serving = await watched(home, { args: ["--upstream", `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`] });
  await tellSecrets(serving, "j", { JOB, LATE });
  const log = `${logOf(GLOBAL)}${logOf(JOB)}glpat-${TOKEN}\n`;
  const job = { "logveil-job": "j" };
  for (const [type, body] of [
    ["text/plain", log],
    ["application/json", JSON.stringify({ log, [LATE]: [1, LATE] })],
    ["application/x-ndjson", `${JSON.stringify({ log })}\n{"late":${JSON.stringify(LATE)}}\n`],
    ["application/x-www-form-urlencoded", new URLSearchParams({ log, LATE }).toString()],
  ] as const) {
    const pieces = [...body].map((character) => Buffer.from(character));
    expect((await call(serving, "POST", "/x", body, { ...job, "content-type": type })).status).toBe(201);
    expect((await call(serving, "POST", "/x", pieces, { ...job, "content-type": type })).status).toBe(201);
    expect((await call(serving, "POST", "/x", gzipSync(body), { ...job, "content-type": type, "content-encoding": "gzip" })).status).toBe(201);
  }
  // Gone wrong in the middle.
  expect((await call(serving, "POST", "/x", `{"log": ${JSON.stringify(log)} nonsense`, { ...job, "content-type": "application/json" })).status).toBe(400);
  expect((await call(serving, "POST", "/x", gzipSync(log).subarray(0, 200), { ...job, "content-type": "text/plain", "content-encoding": "gzip" })).status).toBe(
    400,
  );
  expectClean(await traceOf(serving, home), home, /^socket:/);
});

const NOBODY = 65534;
/** Who runs the sidecar whose memory another process of the same user tries to read: not root, who may do anything. */
const asNobody = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
const canRunAsNobody = process.platform === "linux" && spawnSync(process.execPath, [COMMAND, "--version"], asNobody).status === 0;
if (!canRunAsNobody) console.warn("another user cannot run logveil from here: the test of who can read its memory is passed over");

test.runIf(canRunAsNobody)("another process of the same user can read neither its memory nor its environment, and no core is dumped", async () => {
  const home = temporary();
  mkdirSync(join(home, "run"), { mode: 0o700 });
  for (const folder of [home, join(home, "run")]) if (asNobody.uid !== undefined) chownSync(folder, NOBODY, NOBODY);
  const { child, pid } = await serveProcess(home, { env: { BUILD_TOKEN: GLOBAL }, spawn: asNobody });
  onTestFinished(() => end(child, "SIGKILL"));
  const read = (of: number, what: string): number | null => spawnSync("head", ["-c", "1", `/proc/${of}/${what}`], asNobody).status;
  // An ordinary process can be read by those of its user.
  const ordinary = spawn("sleep", ["60"], { ...asNobody, stdio: "ignore" });
  onTestFinished(() => void ordinary.kill());
  await expect.poll(() => read(ordinary.pid!, "environ")).toBe(0);
  for (const what of ["environ", "mem", "maps", "fd/0"]) expect(read(pid, what), what).not.toBe(0);
  expect(statSync(`/proc/${pid}/environ`).uid).toBe(0);
  expect(readFileSync(`/proc/${pid}/limits`, "latin1")).toMatch(/^Max core file size +0 +0 /m);
});
