/** The embedded store: what is durable is there after any crash, offsets go on, segments follow one another. */
import { appendFileSync, cpSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { Store } from "../../src/sidecar/store.js";
import { StoredStream } from "../../src/sidecar/stored.js";
import { temporary } from "../support/sidecar.js";

const LIMITS = { maxFileBytes: 100, compress: "none" } as const;

async function all(stream: StoredStream, from = 0): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of stream.read(from, false)) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

test("keeps what was committed, in order, over reopening and segments", async () => {
  const steps = fc.array(
    fc.oneof(
      fc.nat(120).map((bytes) => ({ bytes })),
      fc.constantFrom("commit" as const, "reopen" as const, "crash" as const),
    ),
    { maxLength: 40 },
  );
  await fc.assert(
    fc.asyncProperty(steps, fc.constantFrom("none" as const, "zstd" as const), async (plan, compress) => {
      const folder = temporary();
      const limits = { ...LIMITS, compress };
      let stream = await StoredStream.open(folder, limits);
      let [text, durable, input] = ["", 0, 0];
      let durableInput = 0;
      for (const step of plan) {
        if (typeof step === "object") {
          const piece = String.fromCharCode(97 + (text.length % 26)).repeat(step.bytes);
          text += piece;
          input += step.bytes * 2;
          await stream.append([Buffer.from(piece)], { input, output: text.length });
        } else {
          if (step === "crash") {
            // Another process finds the files as they are now.
            const copy = temporary();
            cpSync(stream.folder, copy, { recursive: true });
            await stream.close();
            stream = await StoredStream.open(copy, limits);
            [text, input] = [text.slice(0, durable), durableInput];
          } else {
            await (step === "commit" ? stream.commit() : stream.close());
            if (step === "reopen") stream = await StoredStream.open(stream.folder, limits);
            [durable, durableInput] = [text.length, input];
          }
        }
        expect(stream.position).toEqual({ output: durable, input: durableInput });
        expect(await all(stream)).toBe(text.slice(0, durable));
        expect(await all(stream, 57)).toBe(text.slice(57, durable));
      }
      await stream.close();
    }),
    { numRuns: 40 },
  );
});

test("cuts off what an unfinished commit left, wherever it broke", async () => {
  const folder = temporary();
  const stream = await StoredStream.open(folder, { ...LIMITS, maxFileBytes: 1e6 });
  let output = 0;
  for (const [index, line] of ["first\n", "second\n", "third\n"].entries()) {
    output += line.length;
    await stream.append([Buffer.from(line)], { input: (index + 1) * 10, output });
    await stream.commit();
  }
  await stream.close();
  const [commits, log] = readdirSync(folder)
    .toSorted()
    .map((name) => join(folder, name)) as [string, string];
  const records = readFileSync(commits);
  expect(records.length).toBe(96);
  for (let cut = 0; cut <= 96; cut++) {
    writeFileSync(commits, records.subarray(0, cut));
    writeFileSync(log, "first\nsecond\nthird\ntorn");
    const again = await StoredStream.open(folder, LIMITS);
    const whole = Math.floor(cut / 32);
    expect(await all(again)).toBe(["", "first\n", "first\nsecond\n", "first\nsecond\nthird\n"][whole]);
    expect(again.position.input).toBe(whole * 10);
    await again.close();
  }
  // A damaged record counts as none, and so do those behind it.
  const damaged = Buffer.from(records);
  damaged[64]! ^= 1;
  writeFileSync(commits, damaged);
  writeFileSync(log, "first\nsecond\nthird\n");
  const again = await StoredStream.open(folder, LIMITS);
  expect(await all(again)).toBe("first\nsecond\n");
  await again.close();
});

test("a segment that has no commit yet gives way to the one before it", async () => {
  const folder = temporary();
  const stream = await StoredStream.open(folder, LIMITS);
  await stream.append([Buffer.alloc(150, "a")], { input: 300, output: 150 });
  await stream.close();
  for (const end of ["log", "commits"]) appendFileSync(join(folder, `0000000000000150.${end}`), "");
  const again = await StoredStream.open(folder, LIMITS);
  expect(again.position).toEqual({ output: 150, input: 300 });
  await again.append([Buffer.from("b")], { input: 301, output: 151 });
  await again.commit();
  expect(await all(again)).toBe(`${"a".repeat(150)}b`);
  await again.close();
});

test("what stands behind the place where one may go on is read, and cut off by a crash", async () => {
  const folder = temporary();
  const stream = await StoredStream.open(folder, LIMITS);
  for (let index = 1; index <= 40; index++) {
    await stream.append([Buffer.from("0123456789")], { input: Math.max(0, index - 15) * 20, output: Math.max(0, index - 15) * 10 });
    await stream.commit();
    expect(await all(stream)).toBe("0123456789".repeat(index));
    const copy = temporary();
    cpSync(folder, copy, { recursive: true });
    const again = await StoredStream.open(copy, LIMITS);
    expect(again.position).toEqual(stream.position);
    expect(await all(again)).toBe("0123456789".repeat(Math.max(0, index - 15)));
    await again.close();
  }
  expect(readdirSync(folder).filter((name) => name.endsWith(".log")).length).toBeGreaterThan(2);
  await stream.close();
});

test("a failure is told, and nothing is kept from then on", async () => {
  const folder = temporary();
  const stream = await StoredStream.open(folder, LIMITS);
  await stream.append([Buffer.from("kept\n")], { input: 5, output: 5 });
  await stream.commit();
  // A descriptor that is gone fails as a full disk does.
  await (stream as unknown as { segment: { close(): Promise<void> } }).segment.close();
  await stream.append([Buffer.from("lost\n")], { input: 10, output: 10 });
  await expect(stream.commit()).rejects.toThrow();
  await expect(stream.append([Buffer.from("x")], { input: 11, output: 11 })).rejects.toThrow();
  truncateSync(join(folder, "0000000000000000.log"), 5);
  expect(await all(await StoredStream.open(folder, LIMITS))).toBe("kept\n");
});

test("probes do not get in one another's way", async () => {
  const store = await Store.open({ ...LIMITS, folder: join(temporary(), "logs"), maxAgeMs: 1000 });
  await Promise.all(Array.from({ length: 20 }, () => store.probe()));
  expect(await store.jobs()).toEqual([]);
});

test("names of any kind are safe, and old jobs go", async () => {
  const folder = join(temporary(), "logs");
  const store = await Store.open({ ...LIMITS, folder, maxAgeMs: 1e6 });
  const names = ["..", ".", "a/b", "*", "ü", "x y", "%2e"];
  for (const name of names) {
    const stream = await store.stream(name, name);
    await stream.append([Buffer.from(name)], { input: 1, output: Buffer.byteLength(name) });
    await stream.close();
  }
  expect((await store.jobs()).map(({ job }) => job).toSorted()).toEqual(names.toSorted());
  expect(readdirSync(folder).every((name) => !name.startsWith("."))).toBe(true);
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
