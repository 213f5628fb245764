/** Syslog with real connections and real peers: masked into the store, or on to a server; rude clients; nothing lost, nothing raw. */
import { execFileSync, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { deflateSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { createEngine } from "../../src/index.js";
import type { Sidecar } from "../../src/sidecar/serve.js";
import type { SyslogOptions } from "../../src/sidecar/syslog.js";
import { readTls } from "../../src/sidecar/tls.js";
import { certificate, HAVE_GTLS, HAVE_LOGGER, HAVE_OPENSSL, HAVE_RSYSLOG, rsyslogd } from "../support/rsyslog.js";
import { call, copyOfStore, jobFolders, start, temporary } from "../support/sidecar.js";

const SECRET = "global-secret-0123456789";
const MASK = "[REDACTED:GLOBAL]";
const LOCAL = { host: "127.0.0.1", port: 0 };
const WAIT = { timeout: 60_000, interval: 20 };
const LISTENING: SyslogOptions = { tcp: LOCAL, udp: LOCAL, framing: "auto", job: "syslog", maxMessageBytes: 1 << 16 };

const tcp = (sidecar: Sidecar): number => sidecar.syslog.tcp!.port;

/** A connection that is gone with the test. */
async function client(sidecar: Sidecar, localAddress = "127.0.0.1"): Promise<Socket> {
  const socket = connect({ port: tcp(sidecar), host: "127.0.0.1", localAddress });
  onTestFinished(() => void socket.destroy());
  socket.on("error", () => undefined);
  await once(socket, "connect");
  return socket;
}

/** Sends all of it, and waits until the sidecar has closed its side. */
async function say(sidecar: Sidecar, ...chunks: (string | Uint8Array)[]): Promise<void> {
  const socket = await client(sidecar);
  const closed = once(socket, "close");
  socket.resume();
  for (const chunk of chunks) await new Promise((resolve) => socket.write(chunk, resolve));
  socket.end();
  await closed;
}

const read = async (sidecar: Sidecar, stream: string): Promise<string> => (await call(sidecar, "GET", `/v1/jobs/syslog/streams/${stream}`)).body;
const holds = (sidecar: Sidecar, stream: string, text: unknown): Promise<void> =>
  vi.waitFor(async () => expect(await read(sidecar, stream)).toEqual(text), WAIT);

async function metric(sidecar: Sidecar, name: string): Promise<number> {
  const { body } = await call(sidecar.admin!, "GET", "/metrics");
  const line = body.split("\n").find((each) => each.startsWith(`logveil_${name} `));
  return Number(line?.split(" ")[1]);
}

async function datagrams(sidecar: Sidecar, ...messages: (string | Uint8Array)[]): Promise<void> {
  const socket = createSocket("udp4");
  for (const message of messages) await new Promise((resolve) => socket.send(message, sidecar.syslog.udp!.port, "127.0.0.1", resolve));
  socket.close();
}

function everyByte(folder: string): string {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => join(folder, name));
  return files.map((file) => (statSync(file).isFile() ? readFileSync(file, "latin1") : "")).join("\n");
}

describe("into the store", () => {
  test("a message is a line, in any framing and however it is cut", async () => {
    const { sidecar, folder, witness } = await start({ syslog: LISTENING });
    await say(sidecar, `<13>one ${SECRET.slice(0, 9)}`, `${SECRET.slice(9)}\n<13>tw`, "o\n<13>half ", SECRET.slice(0, 12));
    await holds(sidecar, "tcp-127.0.0.1", `<13>one ${MASK}\n<13>two\n<13>half ${MASK}\n`);
    await say(sidecar, "3", "0 <13>x ", SECRET, "8 <13>a\nb\n", "7 <13>end");
    await holds(sidecar, "tcp-127.0.0.1", expect.stringMatching(/half .*\n<13>x \[REDACTED:GLOBAL\]\n<13>a\nb\n<13>end\n$/));
    await datagrams(sidecar, `<13>u ${SECRET}`, "<13>own line end\n", "");
    await holds(sidecar, "udp-127.0.0.1", `<13>u ${MASK}\n<13>own line end\n\n`);
    expect(await metric(sidecar, 'syslog_messages_total{at="tcp"}')).toBe(6);
    expect(await metric(sidecar, 'syslog_messages_total{at="udp"}')).toBe(3);
    expect(witness.told).toContainEqual(expect.objectContaining({ job: "syslog", stream: "tcp-127.0.0.1", secret: "GLOBAL", line: 1, offset: 8, length: 24 }));
    expect(everyByte(join(folder, "logs"))).not.toContain("global-secret");
  });

  test("random messages come out as the engine masks them, at any chunking", async () => {
    const { sidecar } = await start({ syslog: LISTENING });
    const engine = createEngine({ secrets: [{ name: "GLOBAL", value: SECRET }] });
    onTestFinished(() => engine.close());
    const body = fc
      .array(fc.constantFrom(SECRET, SECRET.slice(0, 10), "text", "\n", " ", "é\x1b[1m", '[x k="v"]'), { maxLength: 5 })
      .map((parts) => parts.join(""));
    let expected = "";
    await fc.assert(
      fc.asyncProperty(fc.array(body, { minLength: 1, maxLength: 4 }), fc.array(fc.nat(200), { maxLength: 4 }), async (bodies, cuts) => {
        const messages = bodies.map((each) => `<13>1 - h a - - - ${each}`);
        const raw = Buffer.from(messages.map((message) => `${Buffer.byteLength(message)} ${message}`).join(""));
        const at = [0, ...cuts.map((each) => each % raw.length).toSorted((a, b) => a - b), raw.length];
        await say(sidecar, ...at.slice(1).map((end, i) => raw.subarray(at[i], end)));
        // Behind the last message comes silence: a beginning of a secret at its end is masked as one.
        const lines = messages.map((message) => (message.endsWith("\n") ? message : `${message}\n`)).join("");
        expected += engine.redact(lines);
        expect(await read(sidecar, "tcp-127.0.0.1")).toBe(expected);
      }),
      { numRuns: 40 },
    );
  });

  test("senders that are there at a time have streams of their own; who comes later goes on in the first", async () => {
    const { sidecar } = await start({ syslog: LISTENING });
    const [first, second] = [await client(sidecar), await client(sidecar)];
    first.write("<13>first\n");
    await holds(sidecar, "tcp-127.0.0.1", "<13>first\n");
    second.write(`<13>second ${SECRET.slice(0, 10)}`);
    first.write(`<13>a ${SECRET.slice(0, 9)}`);
    second.write(`${SECRET.slice(10)}\n`);
    first.write(`${SECRET.slice(9)}\n`);
    await holds(sidecar, "tcp-127.0.0.1", `<13>first\n<13>a ${MASK}\n`);
    await holds(sidecar, "tcp-127.0.0.1-2", `<13>second ${MASK}\n`);
    for (const socket of [first, second]) {
      const closed = once(socket.resume(), "close");
      socket.end();
      await closed;
    }
    await say(sidecar, "<13>third\n");
    await holds(sidecar, "tcp-127.0.0.1", `<13>first\n<13>a ${MASK}\n<13>third\n`);
  });

  test("a job has no more streams than it may: those that no one writes to make room, and go on when their sender is back", async () => {
    const { sidecar } = await start({ syslog: LISTENING, jobs: { maxJobs: 10, maxStreams: 2, maxOpen: 100, graceMs: 100 } });
    for (const round of ["one", "two"]) {
      for (const address of ["127.0.0.1", "127.0.0.2", "127.0.0.3"]) {
        const socket = await client(sidecar, address);
        const closed = once(socket.resume(), "close");
        socket.end(`<13>${round}\n`);
        await closed;
      }
    }
    for (const address of ["127.0.0.1", "127.0.0.2", "127.0.0.3"]) await holds(sidecar, `tcp-${address}`, "<13>one\n<13>two\n");
    const [first, second] = [await client(sidecar, "127.0.0.1"), await client(sidecar, "127.0.0.2")];
    for (const socket of [first, second]) socket.write("<13>here\n");
    await holds(sidecar, "tcp-127.0.0.1", "<13>one\n<13>two\n<13>here\n");
    await holds(sidecar, "tcp-127.0.0.2", "<13>one\n<13>two\n<13>here\n");
    await say(sidecar, "<13>too many\n");
    expect(await metric(sidecar, 'syslog_refused_total{at="tcp"}')).toBe(1);
  });

  test("secrets of the job mask it; a job that was ended goes on", async () => {
    const { sidecar } = await start({ syslog: LISTENING });
    await say(sidecar, "<13>job-secret-4711 before\n");
    const added = await call({ socket: sidecar.socket! }, "POST", "/v1/jobs/syslog/secrets", "JOB=job-secret-4711");
    expect(added.status).toBe(200);
    expect(JSON.parse(added.body)).toMatchObject({ exposed: [{ stream: "tcp-127.0.0.1", secret: "JOB", offset: 4 }] });
    await say(sidecar, "<13>job-secret-4711 behind\n");
    await holds(sidecar, "tcp-127.0.0.1", "<13>job-secret-4711 before\n<13>[REDACTED:JOB] behind\n");
    expect((await call({ socket: sidecar.socket! }, "DELETE", "/v1/jobs/syslog")).status).toBe(200);
    await say(sidecar, "<13>more\n");
    await holds(sidecar, "tcp-127.0.0.1", "<13>job-secret-4711 before\n<13>[REDACTED:JOB] behind\n<13>more\n");
  });

  test("what was taken is kept, though the sidecar is lost", async () => {
    const { sidecar, folder } = await start({ syslog: LISTENING });
    // The end may begin a secret, the line before it a key; the client has seen the end of the connection.
    await say(sidecar, `<13>a\n<13>-----BEGIN RSA PRIVATE KEY-----\n<13>b ${SECRET.slice(0, 8)}\n`);
    const copy = copyOfStore(join(folder, "logs"));
    const seen = await read(sidecar, "tcp-127.0.0.1");
    expect(seen).toMatch(/^<13>a\n.*\n<13>.*\n$/);
    const { sidecar: again } = await start({ syslog: LISTENING, store: { folder: copy, maxFileBytes: 1 << 20, maxAgeMs: 1e9, compress: "none" } });
    await say(again, "<13>next\n");
    await holds(again, "tcp-127.0.0.1", `${seen}<13>next\n`);
  });

  test("at the end it takes what connections have sent, and ends them", async () => {
    const { sidecar, folder, witness } = await start({ syslog: LISTENING });
    const [silent, busy] = [await client(sidecar), await client(sidecar)];
    silent.resume();
    busy.resume();
    busy.write(`<13>last ${SECRET}\n<13>half ${SECRET.slice(0, 10)}`);
    await vi.waitFor(async () => expect(await metric(sidecar, 'syslog_messages_total{at="tcp"}')).toBe(1), WAIT);
    await datagrams(sidecar, "<13>udp");
    await vi.waitFor(async () => expect(await metric(sidecar, 'syslog_messages_total{at="udp"}')).toBe(1), WAIT);
    expect(await sidecar.close(20_000)).toBe(true);
    const { sidecar: again } = await start({ store: { folder: join(folder, "logs"), maxFileBytes: 1 << 20, maxAgeMs: 1e9, compress: "none" } });
    const streams = await Promise.all(["tcp-127.0.0.1", "tcp-127.0.0.1-2"].map((stream) => read(again, stream)));
    expect(streams.join("")).toContain(`<13>last ${MASK}\n<13>half ${MASK}\n`);
    expect(await read(again, "udp-127.0.0.1")).toBe("<13>udp\n");
    expect(witness.told.filter((told) => (told as { kind?: string }).kind === "masked").length).toBe(1);
  });

  test("without evidence nothing is taken: connections are closed, datagrams dropped; it says so, and goes on when there is evidence again", async () => {
    const { sidecar, witness } = await start({ syslog: LISTENING });
    const socket = await client(sidecar);
    const closed = once(socket.resume(), "close");
    socket.write("<13>before\n");
    await holds(sidecar, "tcp-127.0.0.1", "<13>before\n");
    witness.failure = new Error("disk full");
    socket.write("<13>lost\n");
    await closed;
    await say(sidecar, "<13>not taken\n");
    await datagrams(sidecar, "<13>not taken");
    await vi.waitFor(async () => expect(await metric(sidecar, 'syslog_dropped_total{at="udp"}')).toBe(1), WAIT);
    await vi.waitFor(async () => expect(await metric(sidecar, 'syslog_refused_total{at="tcp"}')).toBe(2), WAIT);
    expect((await call(sidecar.admin!, "GET", "/readyz")).status).toBe(503);
    witness.failure = undefined;
    await say(sidecar, "<13>after\n");
    await vi.waitFor(async () => expect(await read(sidecar, "tcp-127.0.0.1")).toMatch(/^<13>before\n(<13>lost\n)?<13>after\n$/), WAIT);
    await vi.waitFor(async () => {
      await datagrams(sidecar, "<13>after");
      expect(await read(sidecar, "udp-127.0.0.1")).toContain("<13>after\n");
    }, WAIT);
  });

  test("while secrets of the job are missing that a process before was given, nothing is taken", async () => {
    const { sidecar, folder } = await start({ syslog: LISTENING });
    const tell = (to: Sidecar): Promise<unknown> => call({ socket: to.socket! }, "POST", "/v1/jobs/syslog/secrets", "JOB=job-secret-4711");
    await tell(sidecar);
    await say(sidecar, "<13>job-secret-4711 one\n");
    await sidecar.close(1000);
    const store = { folder: join(folder, "logs"), maxFileBytes: 1 << 20, maxAgeMs: 1e9, compress: "none" } as const;
    const { sidecar: again, logs } = await start({ syslog: LISTENING, store });
    await say(again, "<13>job-secret-4711 not taken\n");
    expect(logs.join("\n")).toContain("1 secret of this job was lost");
    await tell(again);
    await say(again, "<13>job-secret-4711 two\n");
    await holds(again, "tcp-127.0.0.1", "<13>[REDACTED:JOB] one\n<13>[REDACTED:JOB] two\n");
  });
});

describe("rude clients", () => {
  test("a count that is none ends the connection, and takes nothing from others", async () => {
    const { sidecar, logs } = await start({ syslog: LISTENING });
    await say(sidecar, `37 <13>whole ${SECRET}!!!012 <13>after`);
    await holds(sidecar, "tcp-127.0.0.1", `<13>whole ${MASK}!!!\n`);
    await say(sidecar, `${SECRET} is no count\n`);
    for (const raw of ["99999999999 x", "1x", "70000 <13>long", `5 <13>a5${SECRET}`]) await say(sidecar, raw);
    await say(sidecar, "<13>fine\n");
    await holds(sidecar, "tcp-127.0.0.1", `<13>whole ${MASK}!!!\n${MASK} is no count\n<13>a\n<13>fine\n`);
    expect(await metric(sidecar, 'syslog_refused_total{at="tcp"}')).toBe(5);
    expect(logs.join("\n")).toContain("warn: syslog: tcp: a connection was closed: a message of more than 65536 bytes; raise syslog.maxMessage to take it");
    expect(logs.join("\n")).not.toContain("global-secret");
  });

  test("silence within a message ends it; silence between messages does not", async () => {
    const { sidecar } = await start({ syslog: LISTENING, server: { headersTimeoutMs: 5000, idleTimeoutMs: 150, maxConnections: 1000 } });
    const patient = await client(sidecar);
    patient.write("<13>one\n");
    await holds(sidecar, "tcp-127.0.0.1", "<13>one\n");
    const slow = await client(sidecar);
    const closed = once(slow.resume(), "close");
    slow.write("100 <13>never whole");
    await closed;
    await holds(sidecar, "tcp-127.0.0.1-2", "<13>never whole\n");
    patient.write("<13>two\n");
    await holds(sidecar, "tcp-127.0.0.1", "<13>one\n<13>two\n");
    expect(patient.destroyed).toBe(false);
  });

  test("a connection that breaks leaves half a message, masked", async () => {
    const { sidecar } = await start({ syslog: LISTENING });
    const socket = await client(sidecar);
    socket.write(`<13>whole\n<13>half ${SECRET.slice(0, 20)}`);
    await vi.waitFor(async () => expect(await read(sidecar, "tcp-127.0.0.1")).toContain("whole"), WAIT);
    socket.resetAndDestroy();
    await holds(sidecar, "tcp-127.0.0.1", `<13>whole\n<13>half ${MASK}\n`);
  });

  test("there are no more connections than there may be", async () => {
    const { sidecar } = await start({ syslog: LISTENING, server: { headersTimeoutMs: 5000, idleTimeoutMs: 10_000, maxConnections: 1 } });
    const first = await client(sidecar);
    first.write("<13>first\n");
    await holds(sidecar, "tcp-127.0.0.1", "<13>first\n");
    await say(sidecar, "<13>second\n");
    await vi.waitFor(async () => expect(await metric(sidecar, 'syslog_refused_total{at="tcp"}')).toBe(1), WAIT);
    first.write("<13>still\n");
    await holds(sidecar, "tcp-127.0.0.1", "<13>first\n<13>still\n");
  });
});

describe.skipIf(!HAVE_LOGGER)("logger", () => {
  const logger = (...args: string[]): void => void execFileSync("logger", args);

  test("sends in every way it knows", async () => {
    const folder = temporary();
    const unix = join(folder, "run", "log.sock");
    const { sidecar } = await start({ syslog: { ...LISTENING, unix } });
    const over = (port: number): string[] => ["-n", "127.0.0.1", "-P", String(port), "-t", "build"];
    logger(...over(tcp(sidecar)), "-T", "--octet-count", `octets ${SECRET}`);
    logger(...over(tcp(sidecar)), "-T", `newline ${SECRET}`);
    logger(...over(tcp(sidecar)), "-T", "--rfc3164", `old ${SECRET}`);
    logger(...over(sidecar.syslog.udp!.port), "-d", `datagram ${SECRET}`);
    logger(...over(sidecar.syslog.udp!.port), "-d", "--rfc5424", "--sd-id", "x@1", "--sd-param", `k="${SECRET}"`, "data");
    logger("-u", unix, "-t", "build", `unix ${SECRET}`);
    const all = async (name: string): Promise<string> => {
      const { streams } = JSON.parse((await call(sidecar, "GET", "/v1/jobs/syslog")).body) as { streams: string[] };
      return (await Promise.all(streams.filter((each) => each.startsWith(name)).map((each) => read(sidecar, each)))).join("");
    };
    await vi.waitFor(async () => {
      const [connections, packets, local] = [await all("tcp"), await all("udp"), await all("unix")];
      for (const what of ["octets", "newline"])
        expect(connections).toMatch(new RegExp(`^<13>1 \\S+ \\S+ build - - \\[timeQuality .*\\] ${what} \\[REDACTED:GLOBAL\\]$`, "m"));
      expect(connections).toMatch(/^<13>\w+ .* build: old \[REDACTED:GLOBAL\]$/m);
      expect(packets).toMatch(/build - - \[timeQuality .*\] datagram \[REDACTED:GLOBAL\]$/m);
      expect(packets).toMatch(/\[x@1 k="\[REDACTED:GLOBAL\\\]"\] data$/m);
      expect(local).toMatch(/^<13>.* build: unix \[REDACTED:GLOBAL\]$/m);
    }, WAIT);
  });
});

test("a Unix socket is its owner's, takes the place of one that was left, and of nothing else", async () => {
  const folder = temporary();
  const unix = join(folder, "run", "log.sock");
  const { sidecar } = await start({ syslog: { ...LISTENING, unix } });
  expect([statSync(unix).mode & 0o777, statSync(join(folder, "run")).mode & 0o777]).toEqual([0o600, 0o700]);
  const socket = connect(unix);
  socket.end(`2024-01-01 a line ${SECRET}\nhalf`);
  await holds(sidecar, "unix", `2024-01-01 a line ${MASK}\nhalf\n`);
  await expect(start({ syslog: { ...LISTENING, unix } })).rejects.toMatchObject({
    code: "LV_CONFIG",
    message: expect.stringContaining("set syslog.unix to another path"),
  });
  await sidecar.close(0);
  expect(existsSync(unix)).toBe(false);

  // One whose process was killed.
  const left = spawn(process.execPath, ["-e", `require("net").createServer().listen(${JSON.stringify(unix)}, () => console.log("listening"))`]);
  await once(left.stdout, "data");
  left.kill("SIGKILL");
  await once(left, "exit");
  expect(existsSync(unix)).toBe(true);
  await start({ syslog: { ...LISTENING, unix } });

  const file = join(folder, "file");
  writeFileSync(file, "precious");
  await expect(start({ syslog: { ...LISTENING, unix: file } })).rejects.toMatchObject({
    message: `${file}: something other than a socket is there; set syslog.unix to another path`,
  });
  expect(readFileSync(file, "utf8")).toBe("precious");
});

/** A server that keeps what it is told. */
async function listener(
  port = 0,
): Promise<{ readonly port: number; readonly told: () => string; readonly sockets: Socket[]; readonly close: () => Promise<void> }> {
  let told = "";
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => undefined);
    socket.setEncoding("latin1").on("data", (text: string) => (told += text));
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  };
  onTestFinished(close);
  return { port: (server.address() as AddressInfo).port, told: () => told, sockets, close };
}

const forwardTo = (protocol: "tcp" | "udp" | "tls", port: number, ca?: string): SyslogOptions => ({
  ...LISTENING,
  forward: { protocol, host: "127.0.0.1", port, connectTimeoutMs: 5000, ...(ca !== undefined && { ca }) },
});

const counted = (message: string): string => `${Buffer.byteLength(message)} ${message}`;

describe("passed on", () => {
  test("with counts that fit what is masked, line ends within messages, and nothing in the store", async () => {
    const server = await listener();
    const { sidecar, folder, witness } = await start({ syslog: forwardTo("tcp", server.port) });
    await say(sidecar, counted(`<13>a ${SECRET}\nb`), counted("<13>own end\n"), counted("x"));
    await say(sidecar, `<13>line ${SECRET}\n\n<13>${"y".repeat(70_000)}\n`);
    await datagrams(sidecar, `<13>udp ${SECRET}`);
    const rest = "y".repeat(70_000 - (1 << 16) + 4);
    const expected = [`<13>a ${MASK}\nb`, "<13>own end\n", "x", `<13>line ${MASK}`, `<13>${"y".repeat((1 << 16) - 4)}`, rest, `<13>udp ${MASK}`]
      .map(counted)
      .join("");
    await vi.waitFor(() => expect(server.told().length).toBe(expected.length), WAIT);
    expect(server.told()).toBe(expected);
    expect(jobFolders(join(folder, "logs"))).toEqual([]);
    expect(witness.told).toContainEqual(expect.objectContaining({ job: "syslog", stream: "udp-127.0.0.1", secret: "GLOBAL" }));
  });

  test("in datagrams", async () => {
    const server = createSocket("udp4");
    onTestFinished(() => void server.close());
    const told: string[] = [];
    server.on("message", (message) => told.push(message.toString()));
    await new Promise<void>((resolve) => server.bind(0, "127.0.0.1", resolve));
    const { sidecar } = await start({ syslog: { ...forwardTo("udp", server.address().port), maxMessageBytes: 1 << 20 } });
    await say(sidecar, counted(`<13>a ${SECRET}`), counted(`<13>${"z".repeat(70_000)}`), counted("<13>b"));
    await vi.waitFor(() => expect(told).toEqual([`<13>a ${MASK}`, "<13>b"]), WAIT);
    expect(await metric(sidecar, 'syslog_dropped_total{at="forward"}')).toBe(1);
  });

  test("to a server that does not read: senders wait; then nothing is missing", { timeout: 60_000 }, async () => {
    const server = await listener();
    const { sidecar } = await start({ syslog: forwardTo("tcp", server.port) });
    await vi.waitFor(() => expect(server.sockets.length).toBe(1), WAIT);
    server.sockets[0]!.pause();
    const socket = await client(sidecar);
    const lines = Array.from({ length: 400 }, (_, i) => `<13>${i} ${"x".repeat(60_000)}`);
    socket.write(`${lines.join("\n")}\n`);
    // It is stuck when nothing moves any more, long before the end.
    let before = -1;
    await vi.waitFor(
      async () => {
        const now = socket.bytesWritten - socket.writableLength + (await metric(sidecar, 'syslog_messages_total{at="tcp"}'));
        const isStuck = now === before;
        before = now;
        expect(isStuck && (await metric(sidecar, 'syslog_messages_total{at="tcp"}')) > 0).toBe(true);
      },
      { timeout: 20_000, interval: 500 },
    );
    const taken = await metric(sidecar, 'syslog_messages_total{at="tcp"}');
    expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThan(400);
    server.sockets[0]!.resume();
    const expected = lines.map(counted).join("");
    await vi.waitFor(() => expect(server.told().length).toBe(expected.length), { timeout: 40_000, interval: 50 });
    expect(server.told() === expected).toBe(true);
  });

  test("to a server that comes later, goes and comes back; it is said when there is none", async () => {
    const first = await listener();
    await first.close();
    const { sidecar, logs } = await start({ syslog: forwardTo("tcp", first.port) });
    const ready = async (): Promise<unknown> => JSON.parse((await call(sidecar.admin!, "GET", "/readyz")).body);
    await vi.waitFor(async () => expect(await ready()).toMatchObject({ checks: { syslog: "the syslog server does not answer" } }), WAIT);
    await say(sidecar, `<13>one ${SECRET}\n`);
    const second = await listener(first.port);
    await vi.waitFor(() => expect(second.told()).toBe(counted(`<13>one ${MASK}`)), WAIT);
    expect(await ready()).toMatchObject({ checks: { syslog: "ok" } });
    await second.close();
    await vi.waitFor(async () => expect(await ready()).toMatchObject({ checks: { syslog: "the syslog server does not answer" } }), WAIT);
    await say(sidecar, "<13>two\n");
    const third = await listener(first.port);
    await vi.waitFor(() => expect(third.told()).toBe(counted("<13>two")), WAIT);
    expect(logs.filter((line) => line === "warn: syslog: syslog.forward: ECONNREFUSED").length).toBe(1);
  });

  test("not before what was found is on record", async () => {
    const server = await listener();
    const { sidecar, witness } = await start({ syslog: forwardTo("tcp", server.port) });
    await say(sidecar, "<13>before\n");
    const socket = await client(sidecar);
    const closed = once(socket.resume(), "close");
    witness.failure = new Error("disk full");
    socket.write(`<13>found ${SECRET}\n`);
    await closed;
    witness.failure = undefined;
    await say(sidecar, "<13>after\n");
    await vi.waitFor(() => expect(server.told()).toBe(counted("<13>before") + counted("<13>after")), WAIT);
  });

  test("at the end what was taken is passed on; what no one takes is given up after the grace", async () => {
    const server = await listener();
    const { sidecar } = await start({ syslog: forwardTo("tcp", server.port) });
    const socket = await client(sidecar);
    socket.resume();
    socket.write(`<13>whole\n<13>half ${SECRET.slice(0, 10)}`);
    await vi.waitFor(() => expect(server.told()).toContain("whole"), WAIT);
    expect(await sidecar.close(20_000)).toBe(true);
    await vi.waitFor(() => expect(server.told()).toBe(counted("<13>whole") + counted(`<13>half ${MASK}`)), WAIT);
    await server.close();
    const { sidecar: other } = await start({ syslog: forwardTo("tcp", server.port) });
    await say(other, "<13>nobody\n");
    expect(await other.close(100)).toBe(false);
  });
});

test.each(["kept", "passed on"])("what is %s is accounted for like what comes in otherwise, and nothing is taken of a job that has failed", async (where) => {
  const server = await listener();
  const onFinding = { actions: { certain: ["fail-job"] } } as const;
  const { sidecar, witness, logs } = await start({ syslog: where === "kept" ? LISTENING : forwardTo("tcp", server.port), onFinding });
  const raw = `<13>clean\n<13>found ${SECRET}\n`;
  await say(sidecar, raw);
  await say(sidecar, "<13>not taken\n");
  const sum = { input: raw.length, output: raw.replace(SECRET, MASK) };
  expect(witness.sums.get("syslog/tcp-127.0.0.1")).toMatchObject(sum);
  expect(await metric(sidecar, "input_bytes_total")).toBe(raw.length);
  expect(await metric(sidecar, "failed_jobs")).toBe(1);
  expect(logs.join("\n")).toContain("a connection was closed: secret GLOBAL was found in this job");
  expect((await call({ socket: sidecar.socket! }, "DELETE", "/v1/jobs/syslog")).status).toBe(200);
  await say(sidecar, "<13>more\n");
  if (where === "kept") await holds(sidecar, "tcp-127.0.0.1", `${sum.output}<13>more\n`);
  else await vi.waitFor(() => expect(server.told()).toBe([`<13>clean`, `<13>found ${MASK}`, "<13>more"].map(counted).join("")), WAIT);
});

describe.skipIf(!HAVE_OPENSSL)("over TLS", () => {
  test("with the certificates of the configuration, and a client's if they are demanded", async () => {
    const folder = temporary();
    const [server, good, bad] = ["server", "good", "bad"].map((name) => certificate(folder, name));
    const files = { cert: server!.cert, key: server!.key, clientCa: good!.cert };
    const { sidecar, logs } = await start({ syslog: { ...LISTENING, tls: { listen: LOCAL, tls: readTls(files, "tls") } } });
    const talk = (own: typeof good): Promise<void> =>
      new Promise((resolve) => {
        const socket = connectTls({
          host: "127.0.0.1",
          port: sidecar.syslog.tls!.port,
          ca: readFileSync(server!.cert),
          ...(own && { cert: readFileSync(own.cert), key: readFileSync(own.key) }),
        });
        socket.on("error", () => undefined).on("close", () => resolve());
        socket.resume().end(counted(`<13>${own === good ? "good" : "bad"} ${SECRET}`));
      });
    await talk(good);
    await holds(sidecar, "tls-127.0.0.1", `<13>good ${MASK}\n`);
    await talk(bad);
    await talk(undefined);
    const plain = connect(sidecar.syslog.tls!.port, "127.0.0.1");
    plain.on("error", () => undefined).resume();
    plain.write(counted("<13>plain"));
    await once(plain, "close");
    await vi.waitFor(async () => expect(await metric(sidecar, 'syslog_refused_total{at="tls"}')).toBe(3), WAIT);
    expect(await read(sidecar, "tls-127.0.0.1")).toBe(`<13>good ${MASK}\n`);
    expect(logs.join("\n")).toMatch(/warn: syslog: tls: a client without TLS, or without a certificate that is accepted: [A-Z_0-9]+/);
    expect(await metric(sidecar, 'syslog_messages_total{at="tls"}')).toBe(1);
  });

  test("a forwarding server is checked", async () => {
    const folder = temporary();
    const [right, wrong] = [certificate(folder, "right"), certificate(folder, "wrong")];
    const { sidecar: behind } = await start({ syslog: { ...LISTENING, tls: { listen: LOCAL, tls: readTls(right, "tls") } } });
    const { sidecar } = await start({ syslog: forwardTo("tls", behind.syslog.tls!.port, right.cert) });
    await say(sidecar, `<13>over ${SECRET}\n`);
    await holds(behind, "tls-127.0.0.1", `<13>over ${MASK}\n`);
    const { logs } = await start({ syslog: forwardTo("tls", behind.syslog.tls!.port, wrong.cert) });
    await vi.waitFor(
      () => expect(logs.join("\n")).toMatch(/syslog\.forward: (DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE)/),
      WAIT,
    );
  });
});

describe("what is not syslog", () => {
  const text = Buffer.from(`<13>1 2024-01-01T00:00:00Z h app - - - ${SECRET} ${"and more of it ".repeat(10)}`);
  const levels = [1, 5, 6, 9] as const;
  const z = Buffer.from("z");
  const chunked = Buffer.concat([Buffer.from([0x1e, 0x0f]), Buffer.alloc(8, "id"), Buffer.from([0, 2]), gzipSync(text)]);
  const forward = Buffer.concat([
    Buffer.from([0x93, 0xa3]),
    Buffer.from("tag"),
    Buffer.from([0xce, 0, 0, 0, 1, 0x81, 0xa3]),
    Buffer.from("log"),
    Buffer.from([0xd9, text.length]),
    text,
  ]);
  const random = Buffer.from(Array.from({ length: 300 }, (_, i) => (i === 0 ? 0x80 : (i * 197 + ((i * i) % 251)) & 0xff)));
  const messages: [string, Buffer, string][] = [
    ...levels.map((level): [string, Buffer, string] => [`z and zlib, level ${level}`, Buffer.concat([z, deflateSync(text, { level })]), "compressed syslog"]),
    ...levels.map((level): [string, Buffer, string] => [`zlib, level ${level}`, deflateSync(text, { level }), "zlib"]),
    ["gzip", gzipSync(text), "gzip"],
    ["GELF in chunks", chunked, "GELF in chunks"],
    ["Fluent forward", forward, "Fluent forward"],
    ["TLS", Buffer.from([0x16, 3, 1, 0, 200, 1, 0, 0]), "TLS"],
    ["other binary data", random, "binary data"],
  ];

  test.each(messages)("%s: refused over TCP in any framing and however it is cut, and over UDP", async (_, message, name) => {
    const { sidecar, logs, folder } = await start({ syslog: LISTENING });
    const before = Buffer.from("<13>before\n");
    const bytewise = (bytes: Buffer): Buffer[] => [...bytes.subarray(0, 100)].map((byte) => Buffer.from([byte]));
    const octets = Buffer.concat([Buffer.from(`11 ${before.toString()}${message.length} `), message]);
    for (const sent of [[message], bytewise(message), [before, message], [Buffer.concat([before, message])], [octets], bytewise(octets)])
      await say(sidecar, ...sent);
    await datagrams(sidecar, message, "<13>text");
    await holds(sidecar, "udp-127.0.0.1", "<13>text\n");
    const kept = await read(sidecar, "tcp-127.0.0.1");
    // Of what has no name a part was taken for text before it was known; it was masked.
    if (name !== "binary data") expect(kept.replaceAll("<13>before\n", "")).toBe("");
    expect(kept.match(/<13>before\n/g)).toHaveLength(4);
    expect(logs.every((line) => line.startsWith("warn: syslog: "))).toBe(true);
    expect(logs.filter((line) => line.includes(`tcp-127.0.0.1: a connection was closed: ${name}`))).toHaveLength(1);
    expect(logs.filter((line) => line.includes(`udp-127.0.0.1: messages are dropped: ${name}`))).toHaveLength(1);
    expect([await metric(sidecar, 'syslog_refused_total{at="tcp"}'), await metric(sidecar, 'refused_total{reason="syslog_format"}')]).toEqual([6, 7]);
    expect(everyByte(join(folder, "logs"))).not.toContain(SECRET);
  });

  test("a counted message that is compressed among lines is known", async () => {
    const { sidecar, logs } = await start({ syslog: LISTENING });
    const message = Buffer.concat([z, deflateSync(text)]);
    await say(sidecar, "<13>one\n", `${message.length} `, message);
    await holds(sidecar, "tcp-127.0.0.1", "<13>one\n");
    expect(logs).toEqual([expect.stringContaining("compressed syslog")]);
  });

  test.each([
    ["x^2 + y^2 = z^2, and so on", "as zlib begins"],
    ["zx^2", "as a compressed message begins"],
    ["x\u0680 and x\u0681", "with letters of two bytes"],
    ["(\u00b5/\u00fd) BZh9 1W 2W", "with signs"],
    ["42", "digits"],
    ["7 zebras", "a digit and a word"],
    ["\x1b[1mbold\x1b[0m\x07\b", "control sequences"],
  ])("%j is text, though it begins %s", async (line) => {
    const { sidecar } = await start({ syslog: { ...LISTENING, framing: "newline" } });
    const bytes = Buffer.from(`${line}\n`);
    await say(sidecar, bytes);
    await say(sidecar, ...[...bytes].map((byte) => Buffer.from([byte])));
    await say(sidecar, line);
    await holds(sidecar, "tcp-127.0.0.1", `${line}\n`.repeat(3));
    await datagrams(sidecar, line);
    await holds(sidecar, "udp-127.0.0.1", `${line}\n`);
    expect(await metric(sidecar, 'syslog_refused_total{at="tcp"}')).toBe(0);
  });

  test("UTF-16, GBK and Latin-1 are text", async () => {
    const { sidecar } = await start({ syslog: LISTENING });
    await datagrams(
      sidecar,
      Buffer.from("a line of text", "utf16le"),
      Buffer.from("c4e3bac3a3accac0bde7c4e3bac3a3accac0bde7", "hex"),
      Buffer.from("caf\xe9 \x92quote\x92", "latin1"),
    );
    await vi.waitFor(async () => expect(await metric(sidecar, 'syslog_messages_total{at="udp"}')).toBe(3), WAIT);
  });
});

describe.skipIf(!HAVE_RSYSLOG || !HAVE_LOGGER)("rsyslogd", () => {
  /** Tells it messages over a socket of its own. */
  async function tell(socket: string, ...messages: string[]): Promise<void> {
    await vi.waitFor(() => expect(existsSync(socket)).toBe(true), WAIT);
    for (const message of messages) execFileSync("logger", ["-u", socket, "-t", "build", message]);
  }
  const input = (socket: string): string => `module(load="imuxsock" SysSock.Use="off")\ninput(type="imuxsock" Socket="${socket}" CreatePath="on")\n`;
  const messages = [`first ${SECRET}`, `second with "quotes" and ${SECRET}`, "third"];
  const lines = messages.map((message) => expect.stringMatching(new RegExp(`build: ?${message.replaceAll(SECRET, "\\[REDACTED:GLOBAL\\]")}$`)));
  const linesOf = async (sidecar: Sidecar, stream: string): Promise<string[]> => (await read(sidecar, stream)).trimEnd().split("\n");

  test.each(["traditional", "octet-counted"])("sends over TCP, framing %s", async (framing) => {
    const folder = temporary();
    const { sidecar } = await start({ syslog: LISTENING });
    const socket = join(folder, "in.sock");
    rsyslogd(folder, `${input(socket)}action(type="omfwd" target="127.0.0.1" port="${tcp(sidecar)}" protocol="tcp" TCP_Framing="${framing}")\n`);
    await tell(socket, ...messages);
    await vi.waitFor(async () => expect(await linesOf(sidecar, "tcp-127.0.0.1")).toEqual(lines), WAIT);
  });

  test.skipIf(!HAVE_GTLS || !HAVE_OPENSSL).each(["traditional", "octet-counted"])("sends over TLS, framing %s", async (framing) => {
    const folder = temporary();
    const own = certificate(folder, "sidecar");
    const { sidecar } = await start({ syslog: { ...LISTENING, tls: { listen: LOCAL, tls: readTls(own, "tls") } } });
    const socket = join(folder, "in.sock");
    const driver = 'StreamDriver="gtls" StreamDriverMode="1" StreamDriverAuthMode="anon"';
    rsyslogd(
      folder,
      `global(defaultNetstreamDriverCAFile="${own.cert}")\n${input(socket)}action(type="omfwd" target="127.0.0.1" port="${sidecar.syslog.tls!.port}" protocol="tcp" TCP_Framing="${framing}" ${driver})\n`,
    );
    await tell(socket, ...messages);
    await vi.waitFor(async () => expect(await linesOf(sidecar, "tls-127.0.0.1")).toEqual(lines), WAIT);
  });

  test("sends over UDP", async () => {
    const folder = temporary();
    const { sidecar } = await start({ syslog: LISTENING });
    const socket = join(folder, "in.sock");
    rsyslogd(folder, `${input(socket)}action(type="omfwd" target="127.0.0.1" port="${sidecar.syslog.udp!.port}" protocol="udp")\n`);
    await tell(socket, ...messages);
    await vi.waitFor(async () => expect(await linesOf(sidecar, "udp-127.0.0.1")).toEqual(lines), WAIT);
  });

  test.each(["single", "stream:always"])("that compresses (%s) over TCP is refused, by name; nothing of it is kept", async (mode) => {
    const folder = temporary();
    const { sidecar, logs } = await start({ syslog: LISTENING });
    const socket = join(folder, "in.sock");
    rsyslogd(
      folder,
      `${input(socket)}action(type="omfwd" target="127.0.0.1" port="${tcp(sidecar)}" protocol="tcp" compression.mode="${mode}" ziplevel="9"${mode === "single" ? "" : ' compression.stream.flushOnTXEnd="on"'})\n`,
    );
    await tell(socket, `${"long enough to be worth it ".repeat(20)}${SECRET}`);
    await vi.waitFor(() => expect(logs.join("\n")).toContain("syslog: tcp-127.0.0.1: a connection was closed: "), WAIT);
    expect(logs.filter((line) => line.includes("cannot be masked; ") && line.includes('set compression.mode="none" in omfwd of rsyslog'))).toHaveLength(1);
    expect(await metric(sidecar, 'refused_total{reason="syslog_format"}')).toBeGreaterThan(0);
    expect(await read(sidecar, "tcp-127.0.0.1")).not.toMatch(/[^\n -~]/);
  });

  test("that compresses over UDP is refused, by name", async () => {
    const folder = temporary();
    const { sidecar, logs } = await start({ syslog: LISTENING });
    const socket = join(folder, "in.sock");
    rsyslogd(
      folder,
      `${input(socket)}action(type="omfwd" target="127.0.0.1" port="${sidecar.syslog.udp!.port}" protocol="udp" compression.mode="single" ziplevel="9")\n`,
    );
    await tell(socket, `${"long enough to be worth it ".repeat(20)}${SECRET}`);
    await vi.waitFor(
      () => expect(logs).toEqual([expect.stringMatching(/^warn: syslog: udp-127\.0\.0\.1: messages are dropped: compressed syslog \(z and zlib/)]),
      WAIT,
    );
    expect(await metric(sidecar, 'syslog_dropped_total{at="udp"}')).toBe(1);
  });

  test("is what messages are passed on to", async () => {
    const folder = temporary();
    const [port, kept] = [join(folder, "port"), join(folder, "kept.log")];
    const format =
      'template(name="data" type="list") { property(name="app-name") constant(value="|") property(name="structured-data") constant(value="|") property(name="msg" controlcharacters="escape") constant(value="\\n") }\n';
    rsyslogd(
      folder,
      `module(load="imtcp")\ninput(type="imtcp" port="0" address="127.0.0.1" listenPortFileName="${port}")\n${format}action(type="omfile" file="${kept}" template="data")\n`,
    );
    await vi.waitFor(() => expect(Number(readFileSync(port, "utf8"))).toBeGreaterThan(0), WAIT);
    const { sidecar } = await start({ syslog: forwardTo("tcp", Number(readFileSync(port, "utf8"))) });
    await say(
      sidecar,
      counted(`<13>1 2024-01-01T00:00:00Z h app - - [x@1 a="${SECRET}" b="c\\]d"] one ${SECRET}`),
      counted(`<13>1 2024-01-01T00:00:00Z h app - - - two\nlines ${SECRET}`),
    );
    await say(sidecar, `<13>Jan  1 00:00:00 h old: three ${SECRET}\n`);
    await vi.waitFor(() => expect(readFileSync(kept, "utf8").split("\n").length).toBe(4), WAIT);
    expect(readFileSync(kept, "utf8")).toBe(`app|[x@1 a="[REDACTED:GLOBAL\\]" b="c\\]d"]|one ${MASK}\napp|-|two#012lines ${MASK}\nold|-| three ${MASK}\n`);
  });
});
