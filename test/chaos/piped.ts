/**
 * A run with slow pipes: requests that stay open and send some ten lines a second each, as `make | curl -T-` does, are read along and asked for what is kept, while the sidecar
 * is killed. No byte that was promised may be gone.
 */
import { type ClientRequest, request as send } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { call } from "../support/sidecar.js";
import { Secrets } from "./log.js";
import { must } from "./must.js";
import { Random } from "./random.js";
import { World } from "./world.js";

const MASK = "[REDACTED:BUILD_TOKEN]";
/** Between two lines, in milliseconds. */
const PAUSE_MS = { least: 50, most: 150 };
const PIPES = 6;
const KILLS = 5;
/** Between two kills, in milliseconds. */
const LIFE_MS = { least: 100, most: 2500 };

class Pipe {
  /** All lines so far, and what they are masked. */
  private sent = "";
  private masked = "";
  private lines = 0;
  /** The most that an answer promised to be kept. */
  private promised = 0;
  private request: ClientRequest | undefined;
  private isOver = false;

  constructor(
    private readonly world: World,
    private readonly path: string,
    private readonly random: Random,
  ) {}

  /** Writes lines until it is told to stop. */
  async run(): Promise<void> {
    while (!this.isOver) {
      const mark = this.random.chance(0.3) ? ` token=${this.world.secrets.env} ` : " ";
      const line = `[${this.lines++}] cc -c src/file.c${mark}- ok\n`;
      this.sent += line;
      this.masked += line.replace(this.world.secrets.env, MASK);
      this.request?.write(line);
      if (this.random.chance(0.3)) await this.ask().catch(() => undefined);
      await sleep(this.random.int(PAUSE_MS.least, PAUSE_MS.most));
    }
  }

  /** Asks what is kept. Rejects where nobody answers. */
  private async ask(): Promise<number> {
    const { port } = await this.world.now();
    const { status, headers } = await call({ port }, "HEAD", this.path);
    must(status === 200 || status === 404, `HEAD is answered with ${status}`);
    const offset = status === 404 ? 0 : Number(headers["logveil-offset"]);
    must(offset <= this.sent.length, `promised ${offset} bytes of ${this.sent.length}`);
    this.promised = Math.max(this.promised, offset);
    return offset;
  }

  /** After a start: nothing promised is lost, what is kept is the masked log, and the pipe goes on from there. */
  async goOn(): Promise<void> {
    const { port } = await this.world.now();
    const before = this.promised;
    const offset = await this.ask();
    must(offset >= before, `${this.path}: ${before} bytes were promised, ${offset} are kept: ${before - offset} are lost`);
    if (offset > 0) {
      const { body } = await call({ port }, "GET", this.path);
      const expected = this.sent.slice(0, offset).replaceAll(this.world.secrets.env, MASK);
      must(body === expected, `${this.path}: what is kept up to ${offset} is not the masked log`);
    }
    const headers = { "logveil-offset": String(offset) };
    this.request = send({ port, host: "127.0.0.1", method: "POST", path: this.path, headers, agent: false }).on("error", () => undefined);
    this.request.write(this.sent.slice(offset));
  }

  /** Its request is cut off. */
  drop(): void {
    this.request?.destroy();
    this.request = undefined;
  }

  /** No more lines come: their request is answered, and everything is kept. */
  async finish(): Promise<void> {
    this.isOver = true;
    const { port } = await this.world.now();
    const request = this.request!;
    const status = new Promise((resolve, reject) => request.once("response", (response) => resolve(response.resume().statusCode)).once("error", reject));
    request.end();
    must((await status) === 200, `a pipe is answered with ${String(await status)}`);
    const end = await call({ port }, "POST", `${this.path}/end`, "", { "logveil-offset": String(this.sent.length) });
    must(end.status === 200, `an end is answered with ${end.status}`);
    must((await call({ port }, "GET", this.path)).body === this.masked, `${this.path} is not the masked log`);
  }
}

/** Throws what broke a promise. Answers how often each fault was done. */
export async function runPiped(random: Random): Promise<Record<string, number>> {
  const world = World.open(new Secrets(random), { LOGVEIL_RULES_LEARN: "false", LOGVEIL_STORE_FLUSH_INTERVAL: random.pick(["50ms", "300ms", "1s"]) }, "any");
  try {
    const pipes = Array.from({ length: PIPES }, (_, index) => new Pipe(world, `/v1/jobs/chaos/streams/p${index}`, new Random(random.int(0, 1e9))));
    await Promise.all(pipes.map((pipe) => pipe.goOn()));
    const running = Promise.all(pipes.map((pipe) => pipe.run()));
    running.catch(() => undefined);
    for (let kill = 0; kill < KILLS; kill++) {
      await sleep(random.int(LIFE_MS.least, LIFE_MS.most));
      await world.kill();
      for (const pipe of pipes) pipe.drop();
      await Promise.all(pipes.map((pipe) => pipe.goOn()));
    }
    await Promise.all(pipes.map((pipe) => pipe.finish()));
    await running;
    await world.finish();
    return world.faults;
  } finally {
    await world.close();
  }
}
