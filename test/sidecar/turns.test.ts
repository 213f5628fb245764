/** Streams of jobs that are masked in turns: what reaches them in the middle of a chunk. */
import { setTimeout as sleep } from "node:timers/promises";
import { onTestFinished, expect, test } from "vitest";
import { createEngine } from "../../src/index.js";
import type { Account } from "../../src/sidecar/accounts.js";
import { JobStream } from "../../src/sidecar/job-stream.js";
import { Flusher } from "../../src/sidecar/flusher.js";
import { temporary } from "../support/sidecar.js";
import { openStreams } from "../support/store.js";

const SECRET = "hunter2-hunter2-xQ";
const LINE = `a line with ${SECRET} in it\n`;
const MASKED = LINE.replace(SECRET, "[REDACTED:S]");
/** Longer than any slice: masked in several. */
const CHUNK = Buffer.from(LINE.repeat(4000));

/** A stream whose masker takes 5 ms for each piece, so that other things happen in between. */
async function open() {
  const streams = await openStreams(temporary());
  const stored = await streams.open("s");
  const engine = createEngine({ secrets: [{ name: "S", value: SECRET }], rules: false });
  const machine = engine.stream();
  const pieces: number[] = [];
  const inner = machine.push.bind(machine);
  machine.push = (chunk) => {
    pieces.push(chunk.length);
    for (const until = performance.now() + 5; performance.now() < until;);
    return inner(chunk);
  };
  const counted = { input: 0, output: 0 };
  const account = {
    job: "job",
    input: (chunk: Uint8Array) => void (counted.input += chunk.length),
    output: (out: readonly Uint8Array[]) => out.forEach(({ length }) => (counted.output += length)),
    check: () => undefined,
    end: () => undefined,
    room: () => undefined,
    settled: async () => undefined,
  } as unknown as Account;
  const stream = new JobStream("job", stored, machine, account, 50, new Flusher(1000), () => undefined);
  onTestFinished(async () => {
    await stream.close();
    engine.close();
  });
  const kept = async (): Promise<string> => {
    const out: Buffer[] = [];
    for await (const piece of stored.read(0, false)) out.push(piece);
    return Buffer.concat(out).toString();
  };
  return { stream, pieces, counted, kept };
}

test("job stream: who takes it over in the middle of a chunk goes on where it is", async () => {
  const { stream, pieces, counted, kept } = await open();
  const first = stream.claim(undefined);
  const refused = expect(stream.write(first, CHUNK)).rejects.toMatchObject({ status: 409 });
  while (pieces.length < 2) await sleep(1);
  const at = stream.received;
  expect(at).toBeGreaterThan(0);
  expect(at).toBeLessThan(CHUNK.length);
  const second = stream.claim(at);
  await stream.write(second, CHUNK.subarray(at));
  await refused;
  await stream.end();
  expect(await kept()).toBe(MASKED.repeat(4000));
  expect(stream.received).toBe(CHUNK.length);
  expect(counted.input).toBe(CHUNK.length);
});

test("job stream: its end waits for the chunk that is being masked, and so does silence", async () => {
  const { stream, pieces, counted, kept } = await open();
  const writer = stream.claim(undefined);
  const writing = stream.write(writer, Buffer.concat([CHUNK, Buffer.from(SECRET.slice(0, 9))]));
  while (pieces.length < 2) await sleep(1);
  await Promise.all([stream.flush(), stream.end(), writing]);
  // The beginning of the secret is masked as a fragment, at the end of everything.
  expect(await kept()).toBe(`${MASKED.repeat(4000)}[REDACTED:S]`);
  expect(stream.position).toEqual({ input: CHUNK.length + 9, output: counted.output });
});

test("job stream: one that is closed in the middle of a chunk keeps nothing more", async () => {
  const { stream, pieces, kept } = await open();
  const writer = stream.claim(undefined);
  const failed = expect(stream.write(writer, CHUNK)).rejects.toMatchObject({ code: "LV_CLOSED" });
  while (pieces.length < 2) await sleep(1);
  await stream.close();
  await failed;
  expect(await kept()).toBe("");
});
