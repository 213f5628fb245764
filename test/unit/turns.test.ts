/** Turns and slices: who may work when, on a clock of the test; and that nothing of it shows in what comes out. */
import fc from "fast-check";
import { setImmediate as turned, setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { createEngine, type RedactorStream } from "../../src/index.js";
import { iterate } from "../../src/stream/iterate.js";
import { transform } from "../../src/stream/node.js";
import { Slices } from "../../src/stream/slices.js";
import { type Clock, SLICE_MS, TURN_MS, Turns } from "../../src/turns.js";
import { transformWeb } from "../../src/stream/web.js";
import { ENGINES } from "../support/engines.js";

/** A clock on which only work takes time, and an event loop that turns when the test says so. */
class TestClock implements Clock {
  ms = 0;
  /** Longest time between two turns of the loop. */
  longestMs = 0;
  private readonly calls: (() => void)[] = [];
  private turnedAt = 0;

  readonly now = (): number => this.ms;
  /** Time in which the process had no processor. */
  stolenMs = 0;
  readonly cpu = (): number => this.ms - this.stolenMs;
  readonly afterTurn = (call: () => void): void => void this.calls.push(call);

  /** Lets the loop turn until nothing waits; answers how often it did. */
  async turn(): Promise<number> {
    let times = 0;
    for (; this.calls.length > 0; times++) {
      this.measure();
      for (const call of this.calls.splice(0)) call();
      this.measure();
      await turned();
    }
    return times;
  }

  private measure(): void {
    this.longestMs = Math.max(this.longestMs, this.ms - this.turnedAt);
    this.turnedAt = this.ms;
  }
}

/** Masks nothing, at a cost per byte, and notes what it was given. */
const costly =
  (clock: TestClock, given: number[], msPerByte: (at: number) => number) =>
  (piece: Uint8Array): Uint8Array[] => {
    const at = given.reduce((sum, bytes) => sum + bytes, 0);
    given.push(piece.length);
    clock.ms += piece.length * msPerByte(at);
    return [piece];
  };

test("turns: cheap work is done at once, without a promise", () => {
  const clock = new TestClock();
  const slices = new Slices("job", new Turns(clock));
  const given: number[] = [];
  for (let i = 0; i < 100; i++)
    expect(
      slices.chunk(
        Buffer.alloc(64 * 1024),
        costly(clock, given, () => 1e-9),
      ),
    ).toBeInstanceOf(Array);
  // The first chunk is cut: nothing is known of the stream.
  expect(given.slice(3)).toEqual(Array.from({ length: 99 }, () => 64 * 1024));
});

test.each([2_000, 10_000, 100_000])("slices: the event loop turns in time while %i bytes a millisecond are masked", async (bytesPerMs) => {
  const clock = new TestClock();
  const slices = new Slices("job", new Turns(clock));
  const given: number[] = [];
  const chunk = Buffer.alloc(64 * 1024, "x");
  for (let i = 0; i < 4; i++) {
    const masking = slices.chunk(
      chunk,
      costly(clock, given, () => 1 / bytesPerMs),
    );
    await clock.turn();
    expect(Buffer.concat(await masking).equals(chunk)).toBe(true);
  }
  // The first piece of all cannot know.
  expect(given.slice(1).every((bytes) => bytes / bytesPerMs <= 1.01 * SLICE_MS || bytes <= 512)).toBe(true);
  expect(clock.longestMs).toBeLessThan(Math.max(given[0]! / bytesPerMs, TURN_MS) + SLICE_MS);
});

test("slices: a stream that begins harmlessly surprises three times at most, whatever streams come", async () => {
  const clock = new TestClock();
  const turns = new Turns(clock);
  const surprising: number[] = [];
  for (let stream = 0; stream < 20; stream++) {
    const slices = new Slices(`job ${stream}`, turns);
    const given: number[] = [];
    for (let i = 0; i < 4; i++) {
      const at = given.length;
      const masking = slices.chunk(
        Buffer.alloc(64 * 1024),
        costly(clock, given, (from) => (from < 128 * 1024 ? 1e-6 : 1 / 2000)),
      );
      await clock.turn();
      await masking;
      if (i === 2) surprising.push(given[at]!);
    }
  }
  expect(surprising.filter((bytes) => bytes > 16 * 1024)).toHaveLength(3);
});

test("slices: a machine that is busy with other things makes nothing slow to mask", async () => {
  const clock = new TestClock();
  const turns = new Turns(clock);
  const slices = new Slices("job", turns);
  const given: number[] = [];
  for (let i = 0; i < 20; i++) {
    const masking = slices.chunk(Buffer.alloc(64 * 1024), (piece) => {
      // Every other piece is interrupted.
      clock.stolenMs += (given.length % 2) * 30;
      clock.ms += 0.6 + (given.length % 2) * 30;
      given.push(piece.length);
      return [piece];
    });
    await clock.turn();
    await masking;
  }
  expect(given.at(-1)).toBe(64 * 1024);
  // The first time it is not known yet.
  expect(given.filter((bytes) => bytes < 16 * 1024).length).toBeLessThan(10);
});

test("slices: after something slow a stream's pieces grow again", async () => {
  const clock = new TestClock();
  const slices = new Slices("job", new Turns(clock));
  const given: number[] = [];
  for (let i = 0; i < 12; i++) {
    const masking = slices.chunk(
      Buffer.alloc(64 * 1024),
      costly(clock, given, (at) => (at < 64 * 1024 ? 1 / 1000 : 1e-6)),
    );
    await clock.turn();
    await masking;
  }
  expect(Math.min(...given)).toBeLessThanOrEqual(2000);
  expect(given.at(-1)).toBe(64 * 1024);
});

test("turns: go round over jobs first, then over the streams of a job", async () => {
  const clock = new TestClock();
  const turns = new Turns(clock);
  const order: string[] = [];
  const work = async (job: string, name: string, slices: number, ms: number): Promise<void> => {
    let left = slices;
    await turns.run(job, () => {
      order.push(name);
      clock.ms += ms;
      return --left === 0;
    });
  };
  // Uses the time up: all others wait.
  void work("z", "z", 1, TURN_MS);
  const done = [work("a", "a1", 3, SLICE_MS), work("a", "a2", 3, SLICE_MS), work("b", "b", 2, SLICE_MS), work("c", "c", 1, 0.01)];
  expect(order).toEqual(["z"]);
  await clock.turn();
  await Promise.all(done);
  expect(order).toEqual(["z", "a1", "b", "c", "a2", "b", "a1", "a2", "a1", "a2"]);
  expect(turns.waiting).toBe(0);
});

test("turns: many cheap streams of a job are served together", async () => {
  const clock = new TestClock();
  const turns = new Turns(clock);
  const order: string[] = [];
  const work = async (job: string, slices: number, ms: number): Promise<void> => {
    let left = slices;
    await turns.run(job, () => {
      order.push(job);
      clock.ms += ms;
      return --left === 0;
    });
  };
  void work("noisy", 1, TURN_MS);
  const done = [work("noisy", 50, SLICE_MS), ...Array.from({ length: 100 }, () => work("quiet", 1, 0.01))];
  await clock.turn();
  await Promise.all(done);
  // One slice of the noisy job, then all lines of the other.
  expect(order.lastIndexOf("quiet")).toBe(101);
});

test("turns: an error ends the work that threw it, and no other", async () => {
  const clock = new TestClock();
  const turns = new Turns(clock);
  void turns.run("z", () => {
    clock.ms += TURN_MS;
    return true;
  });
  const failing = turns.run("a", () => {
    throw new Error("broken");
  })!;
  const sound = turns.run("b", () => true)!;
  const failed = expect(failing).rejects.toThrow("broken");
  await clock.turn();
  await failed;
  await sound;
  expect(() =>
    new Turns(clock).run("a", () => {
      throw new Error("at once");
    }),
  ).toThrow("at once");
});

test("slices: calls are worked off in order, and memory that is used again is copied", async () => {
  const clock = new TestClock();
  const slices = new Slices("job", new Turns(clock));
  const reused = Buffer.alloc(4);
  let count = 0;
  const mask = (piece: Uint8Array): Uint8Array[] => {
    clock.ms += piece.length / 1000;
    reused.writeUInt32BE(count++);
    return [reused];
  };
  const first = slices.chunk(Buffer.alloc(100_000), mask);
  const second = slices.whole(() => mask(Buffer.alloc(1)));
  await clock.turn();
  const numbers = [...(await first), ...(await second)].map((piece) => Buffer.from(piece).readUInt32BE());
  expect(numbers.length).toBeGreaterThan(2);
  // The last piece of a call lasts until the next one.
  expect(numbers.slice(0, -2)).toEqual(Array.from({ length: numbers.length - 2 }, (_, i) => i));
});

test.each(ENGINES)("slices: output and findings do not depend on the cost of pieces ($engine)", async (factory) => {
  const engine = createEngine({ engine: factory.engine, secrets: [{ name: "S", value: "hunter2-hunter2-xQ" }] });
  const word = fc.constantFrom("hunter2-hunter2-xQ", "hunter2-", "\x1b[31m", "password=", "AKIAIOSFODNN7EXAMPLF ", "line\n", "aHVudGVyMi1odW50ZXIyLXhR", " ");
  await fc.assert(
    fc.asyncProperty(fc.array(word, { minLength: 1, maxLength: 400 }), fc.array(fc.integer({ min: 1, max: 4000 }), { minLength: 1 }), async (words, rates) => {
      const text = Buffer.from(words.join("").repeat(8));
      const found: unknown[] = [];
      const stream = engine.stream({ name: "s", onFinding: (finding) => found.push(finding) });
      const clock = new TestClock();
      const slices = new Slices("job", new Turns(clock));
      let calls = 0;
      const masking = slices.chunk(text, (piece) => {
        clock.ms += piece.length / rates[calls++ % rates.length]!;
        return stream.push(piece);
      });
      const ending = slices.whole(() => stream.end());
      await clock.turn();
      const sliced = Buffer.concat([...(await masking), ...(await ending)]);
      const wanted: unknown[] = [];
      const whole = engine.redact(text, { name: "s", onFinding: (finding) => wanted.push(finding) });
      expect(sliced.equals(whole)).toBe(true);
      expect(found).toEqual(wanted);
    }),
    { numRuns: 60 },
  );
  engine.close();
});

/** A machine that takes so long for each piece that every chunk waits for a turn. */
function slow(machine: RedactorStream, ms = 5): RedactorStream & { readonly pieces: number } {
  let pieces = 0;
  const busy = (): void => {
    pieces++;
    for (const until = performance.now() + ms; performance.now() < until;);
  };
  return {
    name: machine.name,
    get offset() {
      return machine.offset;
    },
    get heldBytes() {
      return machine.heldBytes;
    },
    get work() {
      return machine.work;
    },
    get settled() {
      return machine.settled;
    },
    get pieces() {
      return pieces;
    },
    push(chunk) {
      busy();
      return machine.push(chunk);
    },
    idle: () => machine.idle(),
    end() {
      busy();
      return machine.end();
    },
    close: () => machine.close(),
  };
}

const LINE = "an ordinary line with hunter2-hunter2-xQ in it\n";
const CHUNKS = Array.from({ length: 6 }, () => Buffer.from(LINE.repeat(200)));
const WANT = LINE.replace("hunter2-hunter2-xQ", "[REDACTED:S]").repeat(1200);
const make = (): ReturnType<typeof createEngine> => createEngine({ secrets: [{ name: "S", value: "hunter2-hunter2-xQ" }], rules: false });

/** Other streams that keep the event loop busy while `work` goes on. */
async function besideOthers<T>(work: () => Promise<T>): Promise<T> {
  const engine = make();
  const state = { isOver: false };
  const others = ["x", "y"].map(async (job) => {
    const slices = new Slices(job);
    const machine = slow(engine.stream());
    while (!state.isOver) await slices.chunk(Buffer.from(LINE), (piece) => machine.push(piece));
    machine.close();
  });
  try {
    return await work();
  } finally {
    state.isOver = true;
    await Promise.all(others);
    engine.close();
  }
}

test("shells: a slow stream comes out whole, a write for a write, and timers run meanwhile", async () => {
  const engine = make();
  await besideOthers(async () => {
    let ticks = 0;
    const ticking = setInterval(() => ticks++, 1);
    const node = transform(slow(engine.stream()), 500, undefined, "a");
    const writes: Buffer[] = [];
    node.on("data", (chunk: Buffer) => writes.push(chunk));
    for (const chunk of CHUNKS) node.write(chunk);
    node.end();
    const web = transformWeb(slow(engine.stream()), 500, undefined, "b");
    const writer = web.writable.getWriter();
    const writing = (async () => {
      for (const chunk of CHUNKS) await writer.write(chunk);
      await writer.close();
    })();
    const fromWeb: Uint8Array[] = [];
    for await (const chunk of web.readable) fromWeb.push(chunk);
    await writing;
    const fromIterator: Buffer[] = [];
    for await (const chunk of iterate(slow(engine.stream()), CHUNKS, 500, undefined, "c")) fromIterator.push(chunk);
    if (!node.readableEnded) await new Promise((resolve) => node.once("end", resolve));
    clearInterval(ticking);
    for (const out of [writes, fromWeb, fromIterator]) {
      expect(Buffer.concat(out).toString()).toBe(WANT);
      // One more at the end, at most.
      expect(out.length).toBeLessThanOrEqual(CHUNKS.length + 1);
    }
    expect(ticks).toBeGreaterThan(10);
  });
  engine.close();
});

test("shells: an abort in the middle of a chunk releases nothing any more", async () => {
  const engine = make();
  await besideOthers(async () => {
    for (const shell of ["node", "web", "iterator"] as const) {
      const controller = new AbortController();
      const { signal } = controller;
      const machine = slow(engine.stream(), 10);
      const out: Uint8Array[] = [];
      const chunk = Buffer.from(LINE.repeat(3000));
      let outcome: Promise<unknown>;
      if (shell === "node") {
        const node = transform(machine, 500, signal, "a");
        outcome = new Promise((_, reject) => node.once("error", reject));
        node.on("data", (piece: Buffer) => out.push(piece));
        node.write(chunk);
      } else if (shell === "web") {
        const web = transformWeb(machine, 500, signal, "a");
        web.writable
          .getWriter()
          .write(chunk)
          .catch(() => undefined);
        outcome = (async () => {
          for await (const piece of web.readable) out.push(piece);
        })();
      } else {
        outcome = (async () => {
          for await (const piece of iterate(machine, [chunk], 500, signal, "a")) out.push(piece);
        })();
      }
      const aborted = expect(outcome, shell).rejects.toMatchObject({ code: "LV_ABORTED" });
      while (machine.pieces < 2) await sleep(1);
      controller.abort();
      await aborted;
      const { pieces } = machine;
      await sleep(30);
      expect(out, shell).toEqual([]);
      expect(machine.pieces - pieces, shell).toBeLessThanOrEqual(1);
    }
  });
  engine.close();
});
