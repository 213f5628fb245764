/** A sidecar for tests: on free ports, with a store of its own. */
import { once } from "node:events";
import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { request as send, type IncomingHttpHeaders } from "node:http";
import { type AddressInfo, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { onTestFinished, vi } from "vitest";
import type { Evidence, StreamRecord } from "../../src/sidecar/accounts.js";
import type { ForwardingOptions } from "../../src/sidecar/forwarding.js";
import { startSidecar, type Sidecar, type SidecarOptions } from "../../src/sidecar/serve.js";

export const temporary = (): string => {
  const folder = mkdtempSync(join(tmpdir(), "logveil-sidecar-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
};

/** A store as it is on disk now, for another process. */
export function copyOfStore(folder: string): string {
  const copy = temporary();
  // The lock names this process, which lives.
  cpSync(folder, copy, { recursive: true, filter: (path) => basename(path) !== ".lock" });
  return copy;
}

/** Folders of the jobs in a store. */
export const jobFolders = (folder: string): string[] =>
  readdirSync(folder)
    .filter((name) => !name.startsWith("."))
    .toSorted();

/** Keeps what it is told. */
export class Witness implements Evidence {
  readonly told: unknown[] = [];
  failure: Error | undefined;
  /** What streams came to, by their names. */
  readonly sums = new Map<string, { input: number; output: string; ended: boolean }>();
  record(job: string, stream: string, offset: number): StreamRecord {
    const sum = { input: offset, output: "", ended: false };
    this.sums.set(`${job}/${stream}`, sum);
    return {
      input: ({ length }) => void (sum.input += length),
      output: (piece) => void (sum.output += Buffer.from(piece).toString("latin1")),
      finding: (finding) => void this.told.push({ job, ...finding }),
      end: () => void (sum.ended = true),
      room: () => undefined,
      settled: () => this.settled(),
    };
  }
  policy(): void {
    // Its digest is told by the audit.
  }
  event(type: string, job: string): void {
    this.told.push({ type, job });
  }
  async settled(): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
  }
  problem(): string | undefined {
    return this.failure?.message;
  }
}

export async function start(change: Partial<SidecarOptions> = {}): Promise<{ sidecar: Sidecar; folder: string; witness: Witness; logs: string[] }> {
  const folder = temporary();
  const witness = new Witness();
  const logs: string[] = [];
  const sidecar = await startSidecar({
    version: "0.0.0",
    listen: { host: "127.0.0.1", port: 0 },
    admin: { host: "127.0.0.1", port: 0 },
    socket: join(folder, "run", "control.sock"),
    store: { folder: join(folder, "logs"), maxFileBytes: 1 << 20, maxAgeMs: 1e9, compress: "none" },
    engine: { secrets: [{ name: "GLOBAL", value: "global-secret-0123456789" }], limits: { holdBackMs: 50 } },
    server: { headersTimeoutMs: 5000, idleTimeoutMs: 10_000, maxConnections: 1000 },
    jobs: { maxJobs: 100, maxStreams: 100, maxOpen: 1000, graceMs: 100 },
    onFinding: { actions: {} },
    // As requests name them that tests write by hand.
    hosts: ["a", "x", "y", "example"],
    turnMs: 5000,
    tokensRequired: false,
    evidence: witness,
    log: (level, message) => logs.push(`${level}: ${message}`),
    ...change,
  });
  onTestFinished(() => sidecar.close(0).then(() => undefined));
  return { sidecar, folder, witness, logs };
}

/** First and number of the ports that are given out: none of those that the system gives to connections going out, or for port 0. */
const PORTS = { first: 20_000, count: 12_000 };

/** A port where nobody listens. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = PORTS.first + Math.floor(Math.random() * PORTS.count);
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => server.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => resolve(true)));
    if (!free) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

/** Options of an upstream that listens on a port. */
export const upstreamAt = (port: number, change: Partial<ForwardingOptions> = {}): ForwardingOptions => ({
  url: `http://127.0.0.1:${port}`,
  connectTimeoutMs: 1000,
  headersTimeoutMs: 60_000,
  bodyTimeoutMs: 60_000,
  maxConnections: 200,
  routes: [],
  decode: {},
  maxHeldBytes: 1 << 20,
  ...change,
});

/** Listens on a port, and waits for one that is taken: connections going out have it for a while. Resolves to the port. */
export async function listenOn(server: Server, port = 0): Promise<number> {
  for (;;) {
    server.listen(port, "127.0.0.1");
    try {
      await once(server, "listening");
      return (server.address() as AddressInfo).port;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
      await setTimeout(50);
    }
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** A request to the data port, or by `socket` to the control socket. */
export function call(
  to: Sidecar | { port: number } | { socket: string },
  method: string,
  path: string,
  body?: string | Uint8Array | readonly (string | Uint8Array)[],
  headers: Record<string, string> = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const where = "listen" in to ? { host: to.listen.host, port: to.listen.port } : "port" in to ? { port: to.port } : { socketPath: to.socket };
    const request = send({ ...where, method, path, headers, agent: false }, (response) => {
      const pieces: Buffer[] = [];
      response.on("data", (piece: Buffer) => pieces.push(piece));
      response.on("end", () => resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(pieces).toString() }));
      response.on("error", reject);
    });
    request.on("error", reject);
    for (const piece of Array.isArray(body) ? body : body === undefined ? [] : [body]) request.write(piece);
    request.end();
  });
}

/** Waits until what `check` expects is so, however busy the machine is. */
export const until = (check: () => unknown): Promise<unknown> => vi.waitFor(check, { timeout: 60_000, interval: 20 });
