/** A run against the embedded store: streams of a job are sent by clients that go on as the documentation says, while the sidecar is disturbed. */
import { request as send, type ClientRequest, type IncomingHttpHeaders } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { call } from "../support/sidecar.js";
import { makeLog, mustMatch, openOracle, pickKind, Secrets } from "./log.js";
import { must } from "./must.js";
import type { Random } from "./random.js";
import { World } from "./world.js";

interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Sends one log to one stream. */
class Client {
  /** Everything before it was acknowledged as kept. */
  acknowledged = 0;
  private position = 0;
  /** Bytes that have been sent at least once. */
  private furthest = 0;
  private request: ClientRequest | undefined;
  private knowsLate = false;

  constructor(
    private readonly world: World,
    readonly path: string,
    readonly log: Buffer,
    private readonly lateFrom: number,
    private readonly random: Random,
  ) {}

  async run(): Promise<void> {
    while (!(await this.step())) await sleep(this.random.int(0, 4));
  }

  /** The connection is gone, without a farewell. */
  reset(): void {
    this.request?.socket?.resetAndDestroy();
  }

  /** Sends a piece, or the end; true when the end was acknowledged. */
  private async step(): Promise<boolean> {
    const size = this.random.chance(0.1) ? 1 << 16 : this.random.int(1, 4000);
    const piece = this.log.subarray(this.position, this.position + size);
    if (this.position + piece.length > this.lateFrom && !(this.knowsLate ||= await this.world.tellLate())) return false;
    const isEnd = piece.length === 0;
    this.furthest = Math.max(this.furthest, this.position + piece.length);
    const reply = await this.post(isEnd ? `${this.path}/end` : this.path, piece);
    if (reply?.status === 200) {
      const { offset, received } = JSON.parse(reply.body) as { offset: number; received: number };
      this.acknowledge(offset);
      must(received === this.position + piece.length, `took ${received} bytes, not the ${this.position + piece.length} that it was sent`);
      must(!isEnd || offset === this.log.length, "an end keeps everything");
      this.position = received;
      return isEnd;
    }
    must(reply === undefined || reply.status === 409 || reply.status === 503, `answered ${reply?.status}: ${reply?.body}`);
    // One that was started anew does not know what was handed over before.
    if (reply?.status === 503) this.knowsLate = false;
    if (reply?.status === 409) this.goTo(reply.headers["logveil-offset"]);
    else await this.locate();
    return false;
  }

  private acknowledge(offset: number): void {
    must(offset >= this.acknowledged, `acknowledged ${this.acknowledged} bytes, then ${offset}`);
    must(offset <= this.furthest, `acknowledged ${offset} bytes of ${this.furthest}`);
    this.acknowledged = offset;
  }

  private goTo(offset: unknown): void {
    const position = Number(offset);
    must(position >= this.acknowledged, `goes on at ${position}, but ${this.acknowledged} bytes were acknowledged`);
    must(position <= this.furthest, `goes on at ${position}, but only ${this.furthest} bytes were sent`);
    this.position = position;
  }

  /** Asks where the stream goes on until it is told. */
  private async locate(): Promise<void> {
    for (;;) {
      const { port } = await this.world.now();
      const reply = await call({ port }, "HEAD", this.path).catch(() => undefined);
      if (reply?.status === 404) return this.goTo(0);
      if (reply?.status === 200) return this.goTo(reply.headers["logveil-offset"]);
      await sleep(10);
    }
  }

  /** A request with a body in one piece, or in several with pauses between; undefined where the connection was lost. */
  private async post(path: string, body: Buffer): Promise<Reply | undefined> {
    const { port } = await this.world.now();
    const replied = new Promise<Reply | undefined>((resolve) => {
      const headers = { "logveil-offset": String(this.position) };
      this.request = send({ port, host: "127.0.0.1", method: "POST", path, headers, agent: false }, (response) => {
        const pieces: Buffer[] = [];
        response.on("data", (piece: Buffer) => pieces.push(piece)).on("error", () => resolve(undefined));
        response.on("end", () => resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(pieces).toString() }));
      }).on("error", () => resolve(undefined));
    });
    const request = this.request!;
    if (this.random.chance(0.3) && body.length > 1) {
      const cut = this.random.int(1, body.length - 1);
      request.write(body.subarray(0, cut));
      await sleep(this.random.int(1, 60));
      request.end(body.subarray(cut));
    } else request.end(body);
    return replied;
  }
}

/** Disturbs until nothing is left to disturb. */
async function storm(world: World, clients: readonly Client[], random: Random, canFill: boolean, isDone: () => boolean): Promise<void> {
  const faults: readonly (() => Promise<void> | void)[] = [
    () => world.kill(),
    () => world.kill(),
    () => world.restart(),
    () => world.freeze(random),
    () => world.note("reset", () => random.pick(clients).reset()),
    ...(canFill ? [() => world.fill(random), () => world.fill(random)] : []),
  ];
  for (let count = random.int(1, 4); count > 0; count--) {
    await sleep(random.int(1, 150));
    if (isDone()) return;
    await random.pick(faults)();
  }
}

/** Throws what broke a promise. Answers how often each fault was done. */
export async function runStored(random: Random): Promise<Record<string, number>> {
  const secrets = new Secrets(random);
  const canFill = random.chance(0.35);
  const kind = pickKind(random);
  const world = World.open(
    secrets,
    {
      ...kind.env,
      LOGVEIL_STORE_MAX_FILE_SIZE: "64KiB",
      LOGVEIL_STORE_COMPRESS: random.pick(["none", "zstd"]),
    },
    canFill ? "small" : "any",
  );
  const oracle = openOracle(secrets);
  try {
    const clients = Array.from({ length: random.int(1, 3) }, (_, index) => {
      const { bytes, lateFrom } = makeLog(secrets, random);
      return new Client(world, `/v1/jobs/chaos/streams/s${index}`, bytes, lateFrom, random);
    });
    let done = false;
    const sent = Promise.all(clients.map((client) => client.run())).finally(() => (done = true));
    await Promise.all([sent, storm(world, clients, random, canFill, () => done)]);
    const { port } = await world.now();
    for (const { path, log } of clients) mustMatch(kind, Buffer.from((await call({ port }, "GET", path)).body), oracle.mask(log), path);
    await world.finish();
    return world.faults;
  } finally {
    oracle.close();
    await world.close();
  }
}
