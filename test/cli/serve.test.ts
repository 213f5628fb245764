/** `logveil serve` as a process: useful without configuration, ends in order, loses nothing that it acknowledged, keeps nothing raw. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { logveil, SECRET, serve } from "../support/process.js";
import { COMMAND, filesIn, serveProcess } from "../support/serving.js";
import { call, freePort, temporary } from "../support/sidecar.js";

test("is useful at once: masks, keeps, gives back, ends in order", { timeout: 60_000 }, async () => {
  const home = temporary();
  const { child, port, env, lines } = await serve(home);
  const path = "/v1/jobs/42/streams/make";
  expect((await call({ port }, "POST", path, `hello ${SECRET}\n`)).status).toBe(200);
  const added = logveil(env, ["secrets", "add", "--job", "42"], "OTHER=job-secret-13579");
  expect([added.status, added.stderr]).toEqual([0, ""]);
  expect((await call({ port }, "POST", path, "and job-secret-13579\n")).status).toBe(200);
  expect(logveil(env, ["secrets", "add", "--job", "42"])).toMatchObject({ status: 2, stderr: expect.stringContaining("nothing came on stdin") });
  const late = logveil(env, ["secrets", "add", "--job", "42"], "LATE=hello");
  expect([late.status, late.stderr]).toEqual([1, expect.stringContaining("secret LATE had left already: stream make, offset 0, 5 bytes\n")]);
  expect(logveil(env, ["job", "end", "42"]).status).toBe(0);
  const server = `http://127.0.0.1:${port}`;
  expect(logveil(env, ["logs", "42", "--server", server]).stdout).toBe("hello [REDACTED:BUILD_TOKEN]\nand [REDACTED:OTHER]\n");
  expect(logveil(env, ["logs", "--server", server]).stdout).toMatch(/^42 {2}\S+ {2}ended {2}make\n$/);
  expect(JSON.parse(logveil(env, ["status"]).stdout)).toMatchObject({ ready: true, jobs: 1, streams: 0, findings: { "masked registered": 2 } });
  child.kill("SIGTERM");
  expect(await once(child, "exit")).toEqual([0, null]);
  expect(lines()).toEqual([
    expect.stringMatching(/^info listening on http:/),
    expect.stringMatching(/^info health and metrics are at http:/),
    expect.stringMatching(/^info logs are kept in /),
    expect.stringMatching(/^info SIGTERM: /),
  ]);
  const verified = logveil(env, ["audit", "verify", join(home, "state", "logveil", "audit")]);
  expect([verified.status, verified.stdout]).toEqual([0, expect.stringMatching(/^ok /)]);
  for (const file of filesIn(home)) {
    const bytes = readFileSync(file, "latin1");
    for (const raw of [SECRET, "job-secret-13579"]) expect(bytes.includes(raw), file).toBe(false);
  }
  for (const args of [["status"], ["logs", "42", "--server", server]]) {
    const gone = logveil(env, args);
    expect([gone.status, gone.stderr]).toEqual([2, expect.stringMatching(/^logveil: no sidecar answers at .*; start one with logveil serve/)]);
  }
});

test("killed at any moment, it has what it acknowledged, and goes on there", { timeout: 120_000 }, async () => {
  const home = temporary();
  const path = "/v1/jobs/j/streams/s";
  const line = (index: number): string => `line ${index} ${SECRET} of the log\n`;
  const whole = Array.from({ length: 3000 }, (_, index) => line(index)).join("");
  const masked = whole.replaceAll(SECRET, "[REDACTED:BUILD_TOKEN]");
  let sent = 0;
  let acknowledged = 0;
  for (const delay of [15, 40, 90]) {
    const { child, port } = await serve(home);
    // Where does it go on? Never behind what was acknowledged.
    const head = await call({ port }, "HEAD", path);
    sent = head.status === 404 ? 0 : Number(head.headers["logveil-offset"]);
    expect(sent).toBeGreaterThanOrEqual(acknowledged);
    const killLater = (): NodeJS.Timeout => setTimeout(() => child.kill("SIGKILL"), delay);
    // The last time not before something was acknowledged, however slow the machine is.
    let kill = delay < 90 ? killLater() : undefined;
    try {
      for (;;) {
        const piece = whole.slice(sent, sent + 777);
        const { status, body } = await call({ port }, "POST", path, piece, { "logveil-offset": String(sent) });
        expect(status).toBe(200);
        const { offset } = JSON.parse(body) as { offset: number };
        acknowledged = offset;
        sent += piece.length;
        if (acknowledged > 0) kill ??= killLater();
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code?.startsWith("E") !== true) throw error;
    }
    clearTimeout(kill);
    for (const file of filesIn(home)) expect(readFileSync(file, "latin1").includes(SECRET), file).toBe(false);
  }
  const { port } = await serve(home);
  sent = Number((await call({ port }, "HEAD", path)).headers["logveil-offset"]);
  expect(sent).toBeGreaterThanOrEqual(acknowledged);
  expect(acknowledged).toBeGreaterThan(0);
  await call({ port }, "POST", path, whole.slice(sent), { "logveil-offset": String(sent) });
  await call({ port }, "POST", `${path}/end`);
  expect((await call({ port }, "GET", path)).body).toBe(masked);
});

test("refuses what it cannot do, by name", { timeout: 60_000 }, async () => {
  const home = temporary();
  const { port, admin, env } = await serve(home);
  const run = (...args: string[]): { status: number | null; stderr: string } => logveil(env, ["serve", ...args]);
  expect(run("--listen", `127.0.0.1:${port}`, "--admin-listen", "127.0.0.1:1")).toMatchObject({ status: 2 });
  expect(run("--listen", "example.org:80").stderr).toMatch(/--listen/);
  const other = { ...env, XDG_STATE_HOME: join(home, "other") };
  const taken = logveil(other, ["serve", "--listen", `127.0.0.1:${port}`, "--admin-listen", `127.0.0.1:${admin}`]);
  expect([taken.status, taken.stderr]).toEqual([
    2,
    expect.stringContaining(`listen: cannot listen on 127.0.0.1:${port}: another process listens there; choose another address`),
  ]);
  const nowhere = logveil({ ...other, LOGVEIL_SYSLOG_UDP: "127.0.0.1:5514" }, ["serve", "--upstream", "https://logs.example.com"]);
  expect([nowhere.status, nowhere.stderr]).toEqual([2, expect.stringContaining("messages have nowhere to go: set syslog.forward to a syslog server")]);
  const server = createServer().listen(0, "127.0.0.1");
  onTestFinished(() => void server.close());
  await once(server, "listening");
  const held = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const syslog = logveil({ ...other, XDG_RUNTIME_DIR: join(home, "other"), LOGVEIL_SYSLOG_TCP: held }, [
    "serve",
    "--listen",
    "127.0.0.1:0",
    "--admin-listen",
    "127.0.0.1:0",
  ]);
  expect([syslog.status, syslog.stderr]).toEqual([
    2,
    expect.stringContaining(`syslog.tcp: cannot listen on ${held}: another process listens there; choose another address`),
  ]);
});

test("takes syslog, keeps what it took when it is killed, and says where it is", { timeout: 60_000 }, async () => {
  const home = temporary();
  const tcp = await freePort();
  const syslog = { LOGVEIL_SYSLOG_TCP: `127.0.0.1:${tcp}`, LOGVEIL_SYSLOG_UNIX: `unix:${join(home, "run", "log.sock")}` };
  const { child, lines } = await serve(home, [], syslog);
  const socket = connect(tcp, "127.0.0.1");
  const closed = once(socket.resume(), "close");
  socket.end(`<13>first ${SECRET}\n<13>second\n`);
  // The sidecar closes its side when all is kept.
  await closed;
  const path = "/v1/jobs/syslog/streams/tcp-127.0.0.1";
  const expected = "<13>first [REDACTED:BUILD_TOKEN]\n<13>second\n";
  child.kill("SIGKILL");
  await once(child, "exit");
  expect(lines()).toContain(`info syslog over tcp 127.0.0.1:${tcp}, unix unix:${join(home, "run", "log.sock")}; messages are kept as job syslog`);
  for (const file of filesIn(home)) expect(readFileSync(file, "latin1").includes(SECRET), file).toBe(false);
  const again = await serve(home, [], syslog);
  const next = connect(tcp, "127.0.0.1");
  next.end("<13>third\n");
  await vi.waitFor(async () => expect((await call({ port: again.port }, "GET", path)).body).toBe(`${expected}<13>third\n`), { timeout: 20_000, interval: 20 });
  again.child.kill("SIGTERM");
  expect(await once(again.child, "exit")).toEqual([0, null]);
  expect(logveil(again.env, ["audit", "verify", join(home, "state", "logveil", "audit")]).status).toBe(0);
});

test("a signal to stop that comes while it starts is not lost", { timeout: 60_000 }, async () => {
  const home = temporary();
  const child = spawn(process.execPath, [COMMAND, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"], {
    env: { PATH: process.env["PATH"], HOME: home, XDG_STATE_HOME: join(home, "state"), XDG_RUNTIME_DIR: join(home, "run") },
    stdio: ["ignore", "ignore", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  child.stderr.resume();
  const gone = once(child, "exit");
  // It opens its audit before it listens.
  await vi.waitFor(() => expect(existsSync(join(home, "state", "logveil", "audit", "audit.lock"))).toBe(true), { timeout: 30_000, interval: 5 });
  child.kill("SIGTERM");
  expect(await gone).toEqual([0, null]);
});

test.runIf(process.platform === "linux")(
  "an audit that cannot be written closes everything, and opens again by itself when there is room",
  { timeout: 60_000 },
  async () => {
    const home = temporary();
    const { child, pid, port, admin, told } = await serveProcess(home, { env: { BUILD_TOKEN: SECRET } });
    onTestFinished(() => void child.kill("SIGKILL"));
    // Longer files are an error then, as on a full disk.
    const limit = (bytes: string): void => expect(spawnSync("prlimit", ["--pid", String(pid), `--fsize=${bytes}:unlimited`]).status).toBe(0);
    limit(String(16 << 10));
    const body = `${SECRET}\n`;
    const kept: string[] = [];
    const refused: string[] = [];
    for (let i = 0; refused.length < 3 && i < 200; i++) {
      const { status, body: said } = await call({ port }, "POST", `/v1/jobs/j/streams/s${i}`, body);
      if (status === 200) kept.push(`s${i}`);
      else refused.push(`${status} ${said}`);
    }
    expect(kept.length).toBeGreaterThan(3);
    const why = /audit\/audit-[^ ]*\.jsonl: the audit cannot be written: .*\(EFBIG\)/;
    // The first may be the one whose record was being written.
    for (const said of refused.slice(1)) expect(said).toMatch(new RegExp(`^503 .*${why.source}`));
    // It is alive, but not ready.
    expect((await call({ port: admin }, "GET", "/livez")).status).toBe(200);
    const ready = await call({ port: admin }, "GET", "/readyz");
    expect([ready.status, (JSON.parse(ready.body) as { checks: { evidence: string } }).checks.evidence]).toEqual([503, expect.stringMatching(why)]);
    expect(told()).toContain("nothing is acknowledged until it can be");
    limit("unlimited");
    await vi.waitFor(async () => expect((await call({ port: admin }, "GET", "/readyz")).status).toBe(200), { timeout: 20_000, interval: 50 });
    expect((await call({ port }, "POST", "/v1/jobs/j/streams/after", body)).status).toBe(200);
    expect((await call({ socket: join(home, "run", "logveil", "control.sock") }, "DELETE", "/v1/jobs/j")).status).toBe(200);
    expect(told()).toContain("the audit can be written again");
    child.kill("SIGTERM");
    expect(await once(child, "exit")).toEqual([0, null]);
    const audit = join(home, "state", "logveil", "audit");
    const verified = spawnSync(process.execPath, [COMMAND, "audit", "verify", audit], { encoding: "utf8" });
    expect([verified.status, verified.stdout]).toEqual([0, expect.stringMatching(/\ngap {5}the audit could not be written from .* until .* \(EFBIG/)]);
    const records = filesIn(audit)
      .filter((file) => file.endsWith(".jsonl"))
      .flatMap((file) => readFileSync(file, "utf8").trim().split("\n"))
      .map((line) => JSON.parse(line) as { type: string; stream?: string });
    // Nothing that was acknowledged is missing, and nothing that was not is lost.
    for (const stream of [...kept, "after"]) {
      const ofStream = records.filter((record) => record.stream === stream).map(({ type }) => type);
      expect(ofStream, stream).toEqual(expect.arrayContaining(["finding", "summary"]));
    }
  },
);
