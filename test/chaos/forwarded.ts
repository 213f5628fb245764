/** A run against an upstream: requests are sent until each was acknowledged, while the sidecar and the upstream are disturbed. */
import { createServer, request as send, type ClientRequest, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { brotliCompressSync, constants, gunzipSync, gzipSync, brotliDecompressSync } from "node:zlib";
import { makeLog, mustMatch, openOracle, pickKind, Secrets } from "./log.js";
import { must } from "./must.js";
import type { Random } from "./random.js";
import { World } from "./world.js";

const CODINGS = {
  identity: { encode: (log: Buffer) => log, decode: (body: Buffer) => body },
  gzip: { encode: gzipSync, decode: (body: Buffer) => gunzipSync(body, { finishFlush: constants.Z_SYNC_FLUSH }) },
  br: { encode: brotliCompressSync, decode: (body: Buffer) => brotliDecompressSync(body, { finishFlush: constants.BROTLI_OPERATION_FLUSH }) },
} as const;
type Coding = keyof typeof CODINGS;

/** How the upstream behaves towards requests that begin now. */
type Mood = "well" | "resets" | "stalls" | "refuses";

/** A log storage that commits a request when its body is whole, and notes every byte that reaches it. */
class Storage {
  readonly commits = new Map<string, Buffer[]>();
  mood: Mood = "well";
  private readonly wires: Buffer[][] = [];
  private readonly partial: { readonly coding: Coding; readonly body: Buffer }[] = [];
  private readonly sockets = new Set<Socket>();
  private readonly server: Server;

  constructor() {
    this.server = createServer((request, response) => void this.take(request, response));
    this.server.on("connection", (socket: Socket) => {
      const wire: Buffer[] = [];
      this.wires.push(wire);
      this.sockets.add(socket);
      socket.on("data", (piece: Buffer) => wire.push(piece)).on("close", () => this.sockets.delete(socket));
    });
  }

  async open(): Promise<number> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return (this.server.address() as AddressInfo).port;
  }

  private async take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { mood } = this;
    const coding = (request.headers["content-encoding"] ?? "identity") as Coding;
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece)).on("error", () => undefined);
    if (mood === "resets") setTimeout(() => request.socket.resetAndDestroy(), 3);
    if (mood === "refuses") return void response.writeHead(503, { connection: "close" }).end("busy");
    if (mood === "stalls") {
      request.pause();
      setTimeout(() => request.resume(), 100);
    }
    request.on("close", () => this.partial.push({ coding, body: Buffer.concat(pieces) }));
    request.on("end", () => {
      const body = Buffer.concat(pieces);
      this.commits.set(request.url!, [...(this.commits.get(request.url!) ?? []), CODINGS[coding].decode(body)]);
      response.writeHead(201).end("kept");
    });
  }

  reset(): void {
    for (const socket of this.sockets) socket.resetAndDestroy();
  }

  /** Everything that has come, as it was on the wire and decoded. */
  *received(): Generator<Buffer> {
    for (const wire of this.wires) yield Buffer.concat(wire);
    for (const { coding, body } of this.partial) {
      try {
        yield CODINGS[coding].decode(body);
      } catch {
        yield body;
      }
    }
  }

  close(): void {
    this.server.close();
    this.reset();
  }
}

/** Sends logs, one request each, until each was acknowledged. */
class Sender {
  private request: ClientRequest | undefined;
  private knowsLate = false;

  constructor(
    private readonly world: World,
    private readonly random: Random,
  ) {}

  reset(): void {
    this.request?.socket?.resetAndDestroy();
  }

  async deliver(path: string, log: Buffer, coding: Coding): Promise<void> {
    for (;;) {
      this.knowsLate ||= await this.world.tellLate();
      const status = this.knowsLate ? await this.put(path, CODINGS[coding].encode(log), coding) : undefined;
      if (status === 201) return;
      must(status === undefined || [502, 503, 504].includes(status), `answered ${status}`);
      // One that was started anew does not know what was handed over before.
      if (status !== undefined) this.knowsLate = false;
      await sleep(this.random.int(1, 20));
    }
  }

  private async put(path: string, body: Buffer, coding: Coding): Promise<number | undefined> {
    const { port } = await this.world.now();
    const headers = { "content-type": "text/plain", "logveil-job": "chaos", ...(coding === "identity" ? {} : { "content-encoding": coding }) };
    const replied = new Promise<number | undefined>((resolve) => {
      this.request = send({ port, host: "127.0.0.1", method: "PUT", path, headers, agent: false }, (response) => {
        response.resume().on("error", () => resolve(undefined));
        response.on("end", () => resolve(response.statusCode));
      }).on("error", () => resolve(undefined));
    });
    const request = this.request!;
    for (let at = 0; at < body.length;) {
      const piece = body.subarray(at, (at += this.random.int(1, 8000)));
      request.write(piece);
      if (this.random.chance(0.2)) await sleep(this.random.int(1, 30));
    }
    request.end();
    return replied;
  }
}

async function storm(world: World, storage: Storage, sender: Sender, random: Random, isDone: () => boolean): Promise<void> {
  const moody = async (mood: Mood): Promise<void> => {
    storage.mood = mood;
    await sleep(random.int(10, 150));
    storage.mood = "well";
  };
  const faults: readonly (() => Promise<void> | void)[] = [
    () => world.kill(),
    () => world.restart(),
    () => world.freeze(random),
    () => world.note("reset", () => sender.reset()),
    () => world.note("upstream reset", () => storage.reset()),
    ...(["resets", "stalls", "refuses"] as const).map((mood) => () => world.note(`upstream ${mood}`, () => moody(mood))),
  ];
  for (let count = random.int(2, 5); count > 0; count--) {
    await sleep(random.int(1, 100));
    if (isDone()) return;
    await random.pick(faults)();
  }
}

/** Throws what broke a promise. Answers how often each fault was done. */
export async function runForwarded(random: Random): Promise<Record<string, number>> {
  const secrets = new Secrets(random);
  const kind = pickKind(random);
  const storage = new Storage();
  const port = await storage.open();
  const world = World.open(secrets, { ...kind.env, LOGVEIL_UPSTREAM_URL: `http://127.0.0.1:${port}/base` }, "any");
  const oracle = openOracle(secrets);
  try {
    const sender = new Sender(world, random);
    const logs = Array.from({ length: random.int(4, 16) }, () => makeLog(secrets, random).bytes);
    let done = false;
    const sent = (async () => {
      for (const [index, log] of logs.entries()) await sender.deliver(`/logs/${index}`, log, random.pick(["identity", "gzip", "br"] as const));
    })().finally(() => (done = true));
    await Promise.all([sent, storm(world, storage, sender, random, () => done)]);
    await world.finish();
    for (const bytes of storage.received()) world.check(bytes, "what the upstream got");
    for (const [index, log] of logs.entries()) {
      const commits = storage.commits.get(`/base/logs/${index}`) ?? [];
      must(commits.length > 0, `request ${index} was acknowledged, but the upstream does not have it`);
      for (const commit of commits) mustMatch(kind, commit, oracle.mask(log), "what the upstream keeps");
    }
    return world.faults;
  } finally {
    storage.close();
    oracle.close();
    await world.close();
  }
}
