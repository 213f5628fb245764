/** The journal of the store: on a disk that loses what was not synced, and that fails, nothing that was acknowledged is lost. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { readJournal } from "../../src/sidecar/entries.js";
import { JOURNAL_LIMITS } from "../../src/sidecar/journal.js";
import type { StoredStream } from "../../src/sidecar/stored.js";
import { MemoryDisk } from "../support/disk.js";
import { allOf, openStreams, type Streams } from "../support/store.js";

const NAMES = ["a", "b", "c"];
/** So small that everything happens: tails that are settled, files that follow one another. */
const SMALL = { maxFileBytes: 700, keepBytes: 60, maxTailBytes: 400, settleBytes: 90 };

/** What a stream has at an offset, whichever process wrote it: as if its client had sent the same again. */
const textOf = (name: string, from: number, to: number): string =>
  Array.from({ length: to - from }, (_, index) => String.fromCharCode(33 + (((((from + index) * 7) ^ ((from + index) >> 5)) + name.charCodeAt(0)) % 90))).join(
    "",
  );

/** Streams over a disk, and what they were promised. */
class World {
  disk = new MemoryDisk();
  streams!: Streams;
  open = new Map<string, StoredStream>();
  /** Offsets of the output that were acknowledged. */
  readonly kept = new Map<string, number>();
  /** Ends of what was appended. */
  readonly ends = new Map<string, number>();

  async start(): Promise<void> {
    this.disk.fault = () => undefined;
    this.streams = await openStreams("/store", { disk: this.disk, journal: SMALL });
    this.open.clear();
  }

  /** Streams are opened when they are asked for. */
  async get(name: string): Promise<StoredStream> {
    const open = this.open.get(name);
    if (open !== undefined) return open;
    this.disk.fault = () => undefined;
    return this.reopen(name);
  }

  async reopen(name: string): Promise<StoredStream> {
    const stream = await this.streams.open(name);
    const { output, input } = stream.position;
    expect(output).toBeGreaterThanOrEqual(this.kept.get(name) ?? 0);
    expect(input).toBe(output * 2);
    expect(await allOf(stream)).toBe(textOf(name, 0, output));
    this.open.set(name, stream);
    this.ends.set(name, output);
    return stream;
  }

  /** Appends so many bytes; one may go on `lag` bytes before their end. */
  async append(name: string, bytes: number, lag: number): Promise<void> {
    const stream = await this.get(name);
    const [from, to] = [this.ends.get(name)!, this.ends.get(name)! + bytes];
    const output = Math.max(stream.position.output, Math.max(0, from - lag));
    stream.append([Buffer.from(textOf(name, from, to), "latin1")], { output, input: output * 2 });
    this.ends.set(name, to);
  }

  /** Commits; a stream that fails is closed, as often as that takes, and opened again. */
  async commit(name: string): Promise<void> {
    const stream = await this.get(name);
    try {
      await stream.commit(stream.mark);
      this.kept.set(name, Math.max(this.kept.get(name) ?? 0, stream.position.output));
    } catch {
      expect(stream.position.output).toBeGreaterThanOrEqual(this.kept.get(name) ?? 0);
      await stream.close().catch(() => undefined);
      this.disk.fault = () => undefined;
      await stream.close();
      await this.reopen(name);
    }
  }
}

const name = fc.constantFrom(...NAMES);
const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant("append" as const), name, bytes: fc.constantFrom(0, 1, 7, 30, 60), lag: fc.constantFrom(0, 0, 0, 10, 70) }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("commit" as const), names: fc.uniqueArray(name, { minLength: 1 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("reopen" as const), name }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("idle" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("fail" as const), after: fc.nat(12), times: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("crash" as const), seed: fc.nat() }) },
);

test("journal: what was acknowledged is there after crashes and failures of the disk, at any point", { timeout: 240_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 200, size: "max" }), async (plan) => {
      const world = new World();
      await world.start();
      for (const each of plan) {
        if (each.kind === "append") await world.append(each.name, each.bytes, each.lag);
        else if (each.kind === "commit") await Promise.all(each.names.map((one) => world.commit(one)));
        else if (each.kind === "idle") await world.streams.journal.settleLeft();
        else if (each.kind === "reopen") {
          const stream = await world.get(each.name);
          await stream.close().catch(() => undefined);
          world.disk.fault = () => undefined;
          await stream.close();
          await world.reopen(each.name);
        } else if (each.kind === "fail") {
          let calls = 0;
          world.disk.fault = () => {
            calls++;
            if (calls > each.after && calls <= each.after + each.times) throw Object.assign(new Error("full"), { code: "ENOSPC" });
          };
        } else {
          let state = each.seed;
          world.disk = world.disk.crashed((bound) => (state = (Math.imul(state, 1103515245) + 12345) >>> 1) % bound);
          await world.start();
        }
      }
      world.disk.fault = () => undefined;
      for (const one of NAMES) await world.commit(one);
      world.disk = world.disk.crashed(() => 0);
      await world.start();
      for (const one of NAMES) await world.get(one);
    }),
    { numRuns: Number(process.env["LOGVEIL_JOURNAL_RUNS"] ?? 300) },
  );
});

test("journal: a few syncs make a line of each of a thousand streams durable", async () => {
  const disk = new MemoryDisk();
  let syncs = 0;
  disk.fault = (operation) => void (syncs += operation === "datasync" ? 1 : 0);
  const { open } = await openStreams("/store", { disk });
  const streams = await Promise.all(Array.from({ length: 1000 }, (_, index) => open(`s${index}`)));
  syncs = 0;
  for (const stream of streams) stream.append([Buffer.from("a line of a build log\n")], { input: 22, output: 22 });
  await Promise.all(streams.map((stream) => stream.commit(stream.mark)));
  // One of the new file, and one for each half a megabyte.
  expect(syncs).toBeLessThanOrEqual(3);
  for (const stream of streams) expect(stream.position.output).toBe(22);
});

test("journal: its files are bounded, and so is what is in them alone", async () => {
  const disk = new MemoryDisk();
  const { open, journal } = await openStreams("/store", { disk, journal: SMALL });
  const streams = await Promise.all(NAMES.map((each) => open(each)));
  let end = 0;
  for (let round = 0; round < 200; round++) {
    end += 20;
    for (const stream of streams) {
      stream.append([Buffer.from(textOf(stream.name.stream, end - 20, end), "latin1")], { input: end * 2, output: end });
      await stream.commit(stream.mark);
    }
    expect(journal.tailBytes).toBeLessThanOrEqual(SMALL.settleBytes * NAMES.length);
  }
  const files = [...disk.files].filter(([path]) => path.endsWith(".journal"));
  expect(files.length).toBeLessThanOrEqual(2);
  expect(files.reduce((sum, [, { length }]) => sum + length, 0)).toBeLessThan(3 * SMALL.maxFileBytes);
  await Promise.all(streams.map((stream) => stream.close()));
  await journal.close();
  expect([...disk.files].filter(([path]) => path.endsWith(".journal"))).toEqual([]);
});

test("journal: a newer one is refused, by its path, its format and what can be read", async () => {
  const disk = new MemoryDisk();
  const { open } = await openStreams("/store", { disk });
  const stream = await open("a");
  stream.append([Buffer.from("a line\n")], { input: 7, output: 7 });
  await stream.commit(stream.mark);
  const [path, bytes] = [...disk.files].find(([each]) => each.endsWith(".journal"))!;
  const key = /-([0-9a-f]{32})\./.exec(path)![1]!;
  expect(readJournal(bytes, key, path)).toMatchObject({ isWhole: true, damagedBytes: 0, runs: [{ stream: "a", start: 0, end: 7 }] });
  const { encodeFrame } = await import("../../src/sidecar/spool/frames.js");
  const newer = encodeFrame(key, [Buffer.from([0, 9])]);
  expect(() => readJournal(newer, key, path)).toThrow(
    expect.objectContaining({
      code: "LV_FORMAT",
      message: expect.stringMatching(/\.journal: the journal of the store has format 9, this logveil reads formats up to 1: /),
    }),
  );
});

test("journal: damage in the middle is told, and what is whole is kept", async () => {
  const disk = new MemoryDisk();
  const { open } = await openStreams("/store", { disk });
  const streams = await Promise.all(NAMES.map((each) => open(each)));
  for (const stream of streams) {
    stream.append([Buffer.from("a line\n")], { input: 7, output: 7 });
    await stream.commit(stream.mark);
  }
  const [path, bytes] = [...disk.files].find(([each]) => each.endsWith(".journal"))!;
  disk.damage(path, bytes.lastIndexOf("a line\n", bytes.lastIndexOf("a line\n") - 1));
  const told: string[] = [];
  const again = await openStreams("/store", { disk: disk.crashed(() => 0), log: (_, message) => told.push(message) });
  expect(told).toEqual([expect.stringMatching(/\.journal: \d+ bytes are damaged/)]);
  const kept = await Promise.all(NAMES.map(async (each) => allOf(await again.open(each))));
  expect(kept).toEqual(["a line\n", "", "a line\n"]);
});

test("journal: what was left by a process before is kept by the next one, however long it is, until someone asks for it", async () => {
  const disk = new MemoryDisk();
  const { open } = await openStreams("/store", { disk });
  const stream = await open("a");
  const piece = Buffer.alloc(50_000, "a line of a build log\n");
  for (let round = 1; round <= 10; round++) {
    stream.append([piece], { input: round * piece.length, output: round * piece.length });
    await stream.commit(stream.mark);
    // As a journal that got long has it do.
    await stream.settle();
  }
  stream.append([piece], { input: 11 * piece.length, output: 11 * piece.length });
  await stream.commit(stream.mark);
  let again = await openStreams("/store", { disk: disk.crashed(() => 0) });
  expect(again.journal.tailBytes).toBe(11 * piece.length);
  again = await openStreams("/store", { disk: (again.host.disk as MemoryDisk).crashed(() => 0) });
  await again.journal.wake("j", "b");
  expect(again.journal.tailBytes).toBe(11 * piece.length);
  expect(await allOf(await again.open("a"))).toBe(piece.toString().repeat(11));
  expect(again.journal.tailBytes).toBe(0);
});

test("journal: its limits go together", () => {
  expect(JOURNAL_LIMITS.keepBytes).toBeLessThan(JOURNAL_LIMITS.maxFileBytes);
  expect(JOURNAL_LIMITS.settleBytes).toBeLessThan(1 << 17);
});
