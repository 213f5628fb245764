/** The embedded store: what is durable is there after any crash, offsets go on, segments follow one another. */
import { appendFileSync, cpSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { expect, test } from "vitest";
import { Store } from "../../src/sidecar/store.js";
import type { StoredStream } from "../../src/sidecar/stored.js";
import { copyOfStore, temporary } from "../support/sidecar.js";
import { allOf, openStreams, type StreamsOptions } from "../support/store.js";

const LIMITS = { maxFileBytes: 100, compress: "none" } as const;
/** What is committed goes into the stream's own files at once. */
const DIRECT = { journal: { settleBytes: 0 } } as const;

const commit = (stream: StoredStream): Promise<void> => stream.commit(stream.mark);

/** The stream `s` of a folder. */
const open = async (folder: string, options: StreamsOptions = {}): Promise<StoredStream> => (await openStreams(folder, options)).open("s");

test("store: what was committed is kept, in order, over reopening and segments", async () => {
  const steps = fc.array(
    fc.oneof(
      fc.nat(120).map((bytes) => ({ bytes })),
      fc.constantFrom("commit" as const, "reopen" as const, "crash" as const),
    ),
    { maxLength: 40 },
  );
  await fc.assert(
    fc.asyncProperty(steps, fc.constantFrom("none" as const, "zstd" as const), fc.constantFrom(0, 150, 1 << 16), async (plan, compress, settleBytes) => {
      let folder = temporary();
      const options = { limits: { maxFileBytes: 100, compress }, journal: { settleBytes } };
      let stream = await open(folder, options);
      let [text, durable, input] = ["", 0, 0];
      let durableInput = 0;
      for (const step of plan) {
        if (typeof step === "object") {
          const piece = String.fromCharCode(97 + (text.length % 26)).repeat(step.bytes);
          text += piece;
          input += step.bytes * 2;
          stream.append([Buffer.from(piece)], { input, output: text.length });
        } else if (step === "commit") {
          await commit(stream);
          [durable, durableInput] = [text.length, input];
        } else {
          if (step === "crash") {
            // Another process finds the files as they are now.
            const copy = temporary();
            cpSync(folder, copy, { recursive: true });
            folder = copy;
          } else await stream.close();
          stream = await open(folder, options);
          [text, input] = [text.slice(0, durable), durableInput];
        }
        expect(stream.position).toEqual({ output: durable, input: durableInput });
        expect(await allOf(stream)).toBe(text);
        expect(await allOf(stream, 57)).toBe(text.slice(57));
      }
      await stream.close();
    }),
    { numRuns: 60 },
  );
});

test("store: what an unfinished commit left is cut off, wherever it broke", async () => {
  const folder = temporary();
  const stream = await open(folder, { ...DIRECT, limits: { maxFileBytes: 1e6, compress: "none" } });
  let output = 0;
  for (const [index, line] of ["first\n", "second\n", "third\n"].entries()) {
    output += line.length;
    stream.append([Buffer.from(line)], { input: (index + 1) * 10, output });
    await commit(stream);
  }
  await stream.close();
  const [commits, log] = readdirSync(join(folder, "s"))
    .toSorted()
    .map((name) => join(folder, "s", name)) as [string, string];
  const records = readFileSync(commits);
  expect(records.length).toBe(96);
  for (let cut = 0; cut <= 96; cut++) {
    writeFileSync(commits, records.subarray(0, cut));
    writeFileSync(log, "first\nsecond\nthird\ntorn");
    const again = await open(folder);
    const whole = Math.floor(cut / 32);
    expect(await allOf(again)).toBe(["", "first\n", "first\nsecond\n", "first\nsecond\nthird\n"][whole]);
    expect(again.position.input).toBe(whole * 10);
    await again.close();
  }
  // A damaged record counts as none, and so do those behind it.
  const damaged = Buffer.from(records);
  damaged[64]! ^= 1;
  writeFileSync(commits, damaged);
  writeFileSync(log, "first\nsecond\nthird\n");
  const again = await open(folder);
  expect(await allOf(again)).toBe("first\nsecond\n");
  await again.close();
});

test("store: a segment that has no commit yet gives way to the one before it", async () => {
  const folder = temporary();
  const stream = await open(folder, DIRECT);
  stream.append([Buffer.alloc(150, "a")], { input: 300, output: 150 });
  await commit(stream);
  await stream.close();
  for (const end of ["log", "commits"]) appendFileSync(join(folder, "s", `0000000000000150.${end}`), "");
  const again = await open(folder, DIRECT);
  expect(again.position).toEqual({ output: 150, input: 300 });
  again.append([Buffer.from("b")], { input: 301, output: 151 });
  await commit(again);
  expect(await allOf(again)).toBe(`${"a".repeat(150)}b`);
  await again.close();
});

test.each([0, 35, 1 << 16])("store: what stands behind the place where one may go on is read, and cut off by a crash (settle %i)", async (settleBytes) => {
  const folder = temporary();
  const stream = await open(folder, { journal: { settleBytes } });
  for (let index = 1; index <= 40; index++) {
    stream.append([Buffer.from("0123456789")], { input: Math.max(0, index - 15) * 20, output: Math.max(0, index - 15) * 10 });
    await commit(stream);
    expect(await allOf(stream)).toBe("0123456789".repeat(index));
    const copy = temporary();
    cpSync(folder, copy, { recursive: true });
    const again = await open(copy);
    expect(again.position).toEqual(stream.position);
    expect(await allOf(again)).toBe("0123456789".repeat(Math.max(0, index - 15)));
    await again.close();
  }
  await stream.close();
  if (settleBytes === 0) expect(readdirSync(join(folder, "s")).filter((name) => name.endsWith(".log")).length).toBeGreaterThan(2);
});

test("store: a failure is told, nothing is kept from then on, and the stream goes on where the disk has it when there is room again", async () => {
  const folder = temporary();
  const streams = await openStreams(folder, { journal: { settleBytes: 20 } });
  const stream = await streams.open("s");
  stream.append([Buffer.from("kept\n")], { input: 5, output: 5 });
  await commit(stream);
  renameSync(join(folder, "s"), join(folder, "away"));
  writeFileSync(join(folder, "s"), "");
  stream.append([Buffer.from("lost, and longer than a tail may be\n")], { input: 41, output: 41 });
  await expect(commit(stream)).rejects.toThrow("ENOTDIR");
  expect(stream.failed).toBe(true);
  expect(() => stream.append([Buffer.from("x")], { input: 42, output: 42 })).toThrow("ENOTDIR");
  // What the journal has cannot go into its files yet: it stays, and can be read.
  await expect(stream.close()).rejects.toThrow("ENOTDIR");
  expect(await allOf(stream)).toBe("kept\n");
  expect(stream.position).toEqual({ input: 5, output: 5 });
  writeFileSync(join(folder, "s"), "");
  renameSync(join(folder, "s"), join(folder, "gone"));
  renameSync(join(folder, "away"), join(folder, "s"));
  await stream.close();
  const again = await streams.open("s");
  expect([await allOf(again), again.position]).toEqual(["kept\n", { input: 5, output: 5 }]);
  await again.close();
});

test("store: nothing that was appended after the mark is committed", async () => {
  const stream = await open(temporary());
  stream.append([Buffer.from("found and on record\n")], { input: 20, output: 20 });
  const { mark } = stream;
  stream.append([Buffer.from("found and not on record\n")], { input: 44, output: 44 });
  await stream.commit(mark);
  expect(stream.position).toEqual({ input: 20, output: 20 });
  expect(await allOf(stream)).toBe("found and on record\nfound and not on record\n");
  await commit(stream);
  expect(stream.position).toEqual({ input: 44, output: 44 });
  await stream.close();
});

test("store: a follower that does not read holds nothing, and gets all in the end", async () => {
  const stream = await open(temporary(), { limits: { maxFileBytes: 1 << 20, compress: "none" } });
  const follower = stream.read(0, true);
  let [sent, seen] = [0, 0];
  const line = Buffer.alloc(1000, "a line that is long\n");
  for (let index = 0; index < 2000; index++) {
    sent += line.length;
    stream.append([line], { input: sent, output: sent });
    if (index === 0) seen += (await follower.next()).value!.length;
    if (index % 20 === 19) await commit(stream);
    // What is in memory is what waits, and the tail.
    expect(stream.length - stream.settledBytes).toBeLessThan(100_000);
  }
  await stream.end(stream.mark);
  for await (const piece of follower) seen += piece.length;
  expect(seen).toBe(sent);
  await stream.close();
});

test("store: streams that are opened together are of one job, also for the next process", async () => {
  const folder = join(temporary(), "logs");
  const names = Array.from({ length: 20 }, (_, index) => `s${index}`);
  const store = await Store.open({ ...LIMITS, folder, maxAgeMs: 1000 });
  const streams = await Promise.all(names.map((name) => store.stream("j", name)));
  for (const stream of streams) stream.append([Buffer.from("a line\n")], { input: 7, output: 7 });
  await Promise.all(streams.map(commit));
  expect(new Set(streams.map(({ name }) => name.started)).size).toBe(1);
  const again = await Store.open({ ...LIMITS, folder: copyOfStore(folder), maxAgeMs: 1000 });
  for (const name of names) expect((await again.stream("j", name)).position).toEqual({ input: 7, output: 7 });
  await Promise.all([store.close(), again.close()]);
});

test("store.maxBytes: the jobs that ended first go, never one that goes on, and what is left can be read", async () => {
  const folder = join(temporary(), "logs");
  const logs: string[] = [];
  const store = await Store.open({ ...LIMITS, folder, maxAgeMs: 1e12, maxBytes: 5000, log: (level, message) => logs.push(`${level}: ${message}`) });
  const write = async (job: string, bytes: number): Promise<StoredStream> => {
    const stream = await store.stream(job, "s");
    stream.append([Buffer.alloc(bytes, "x")], { input: bytes, output: bytes });
    await stream.end(stream.mark);
    return stream;
  };
  for (const job of ["second", "first", "third", "begun"]) await (await write(job, 1000)).close();
  for (const job of ["first", "second", "third"]) {
    await store.end(job);
    await sleep(5);
  }
  const live = await write("live", 800);
  expect(store.isFilling).toBe(true);
  live.checkRoom();
  const isLive = (job: string): boolean => job === "live";
  expect(await store.prune(Date.now(), isLive)).toEqual(["first"]);
  expect(store.isFilling).toBe(false);
  // One that no one ended, and that may go on, is not removed; one that was abandoned is.
  await write("live2", 3500);
  expect(() => live.checkRoom()).toThrow(expect.objectContaining({ status: 503, message: expect.stringContaining("store.maxBytes") }));
  expect(() => live.checkRoom()).toThrow();
  expect(await store.prune(Date.now(), isLive)).toEqual(["second", "third"]);
  expect(() => live.checkRoom()).toThrow();
  expect((await store.jobs()).map(({ job }) => job).toSorted()).toEqual(["begun", "live", "live2"]);
  const pieces: Buffer[] = [];
  for await (const piece of (await store.read("begun", "s", 0))!) pieces.push(piece);
  expect(Buffer.concat(pieces).toString()).toBe("x".repeat(1000));
  expect(await store.prune(Date.now() + 25 * 3600 * 1000, (job) => job !== "begun")).toEqual(["begun"]);
  live.checkRoom();
  expect(logs).toEqual([expect.stringMatching(/^error: the store is full \(store\.maxBytes\)/), "info: the store has room again"]);
  await store.close();
});

test("store: a job that was being removed when the sidecar died is not there by half", async () => {
  const folder = join(temporary(), "logs");
  const store = await Store.open({ ...LIMITS, folder, maxAgeMs: 1000 });
  await store.begin("gone");
  await store.close();
  renameSync(join(folder, "gone"), join(folder, ".removed-0d7c9a1e-0000-4000-8000-000000000000"));
  const again = await Store.open({ ...LIMITS, folder, maxAgeMs: 1000 });
  expect(await again.jobs()).toEqual([]);
  expect(readdirSync(folder).toSorted()).toEqual([".format.json", ".journal", ".lock"]);
  await again.close();
});

test("store: two processes do not write one store", async () => {
  const folder = join(temporary(), "logs");
  const store = await Store.open({ ...LIMITS, folder, maxAgeMs: 1000 });
  await expect(Store.open({ ...LIMITS, folder, maxAgeMs: 1000 })).rejects.toMatchObject({ code: "LV_CONFIG", message: expect.stringContaining("store.dir") });
  await store.close();
  await (await Store.open({ ...LIMITS, folder, maxAgeMs: 1000 })).close();
});

test("store: probes do not get in one another's way", async () => {
  const store = await Store.open({ ...LIMITS, folder: join(temporary(), "logs"), maxAgeMs: 1000 });
  await Promise.all(Array.from({ length: 20 }, () => store.probe()));
  expect(await store.jobs()).toEqual([]);
});

test("store: names of any kind are safe, and old jobs go", async () => {
  const folder = join(temporary(), "logs");
  const store = await Store.open({ ...LIMITS, folder, maxAgeMs: 1e6 });
  const names = ["..", ".", "a/b", "*", "ü", "x y", "%2e"];
  for (const name of names) {
    const stream = await store.stream(name, name);
    stream.append([Buffer.from(name)], { input: 1, output: Buffer.byteLength(name) });
    await stream.end(stream.mark);
    await stream.close();
  }
  expect((await store.jobs()).map(({ job }) => job).toSorted()).toEqual(names.toSorted());
  expect(
    readdirSync(folder)
      .filter((name) => name.startsWith("."))
      .toSorted(),
  ).toEqual([".format.json", ".journal", ".lock"]);
  for (const name of names) {
    const pieces: Buffer[] = [];
    for await (const piece of (await store.read(name, name, 0))!) pieces.push(piece);
    expect(Buffer.concat(pieces).toString()).toBe(name);
  }
  expect(await store.read("..", "nope", 0)).toBeUndefined();
  expect(await store.prune(Date.now() + 5e5, () => false)).toEqual([]);
  expect((await store.prune(Date.now() + 5e6, (job) => job === "ü")).toSorted()).toEqual(names.filter((name) => name !== "ü").toSorted());
  expect((await store.jobs()).map(({ job }) => job)).toEqual(["ü"]);
});
