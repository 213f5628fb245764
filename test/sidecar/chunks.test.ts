/** A stream chunk by chunk: in order, no faster than it is read, and no end that is none. */
import { PassThrough, Readable } from "node:stream";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { Chunks } from "../../src/sidecar/chunks.js";

const text = (event: unknown): string => (event instanceof Buffer ? event.toString() : String(event));

test("all chunks in order, then the end, again and again", async () => {
  const chunks = new Chunks(Readable.from([Buffer.from("a"), Buffer.from("b")], { objectMode: false }), undefined);
  const told: string[] = [];
  for (let i = 0; i < 4; i++) told.push(text(await chunks.next()));
  expect(told.join("").replaceAll("end", "|")).toBe("ab||");
});

test("silence is told of once, until something comes", async () => {
  const source = new PassThrough();
  const chunks = new Chunks(source, 20);
  expect(await chunks.next()).toBe("silence");
  const next = Promise.resolve(chunks.next());
  expect(await Promise.race([next, sleep(80, "nothing")])).toBe("nothing");
  source.write("a");
  expect(text(await next)).toBe("a");
  expect(await chunks.next()).toBe("silence");
  source.end();
  expect(await chunks.next()).toBe("end");
});

test("takes little ahead of who reads, and all of it in the end", async () => {
  let made = 0;
  const source = new Readable({
    highWaterMark: 16_384,
    read() {
      this.push(made++ < 100 ? Buffer.alloc(16_384, made) : null);
    },
  });
  const chunks = new Chunks(source, undefined);
  let read = 0;
  for (;;) {
    const event = await chunks.next();
    if (event === "end") break;
    read += event.length;
    for (let i = 0; i < 5; i++) await turn();
    expect(made * 16_384 - read).toBeLessThan(220_000);
  }
  expect(read).toBe(100 * 16_384);
});

test("what came before an error is read first", async () => {
  const source = new PassThrough();
  const chunks = new Chunks(source, undefined);
  const first = chunks.next();
  source.write("a");
  expect(text(await first)).toBe("a");
  source.write("b");
  await turn();
  source.destroy(new Error("broken"));
  await turn();
  expect(text(await chunks.next())).toBe("b");
  expect(() => chunks.next()).toThrow("broken");
});

test.each<[string, (source: PassThrough) => Promise<void> | void]>([
  ["closed without an end", (source) => void source.destroy()],
  [
    "over before it was read",
    async (source) => {
      source.end();
      source.resume();
      await turn();
    },
  ],
  [
    "reset, which node:http2 ends",
    (source) => {
      Object.assign(source, { aborted: true });
      source.end();
    },
  ],
])("is no whole stream: %s", async (_, disturb) => {
  const source = new PassThrough();
  await disturb(source);
  await turn();
  await expect(Promise.resolve().then(() => new Chunks(source, undefined).next())).rejects.toMatchObject({ code: "ERR_STREAM_PREMATURE_CLOSE" });
});

test("given up, it tells who waits, and takes no more", async () => {
  const source = new PassThrough();
  const chunks = new Chunks(source, undefined);
  const waiting = Promise.resolve(chunks.next());
  chunks.close();
  await expect(waiting).rejects.toThrow("no more is read");
  expect([source.listenerCount("data"), source.isPaused()]).toEqual([0, true]);
  chunks.close();
  expect(() => chunks.next()).toThrow("no more is read");
});
