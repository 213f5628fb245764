/** The shells: the same bytes through Node, web and iterator streams, silence and abort. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { createEngine, type Finding } from "../../src/index.js";

const SECRET = "hunter2-hunter2-xQ";
const CHUNKS = ["a hun", `${SECRET.slice(3)} b ${SECRET.slice(0, 7)}`, `${SECRET.slice(7)} c\n`];
const WANT = "a [REDACTED:S] b [REDACTED:S] c\n";
const make = (): ReturnType<typeof createEngine> => createEngine({ secrets: [{ name: "S", value: SECRET }], limits: { holdBackMs: 30 } });

async function collect(source: AsyncIterable<Uint8Array>): Promise<string> {
  const out: Uint8Array[] = [];
  for await (const chunk of source) out.push(chunk);
  return Buffer.concat(out).toString();
}

test("transform, transformWeb and iterate give the same", async () => {
  const engine = make();
  const node = engine.transform();
  for (const chunk of CHUNKS) node.write(chunk);
  node.end();
  expect(await collect(node)).toBe(WANT);

  const web = engine.transformWeb();
  const writer = web.writable.getWriter();
  const writing = (async () => {
    for (const chunk of CHUNKS) await writer.write(Buffer.from(chunk));
    await writer.close();
  })();
  expect(await collect(web.readable)).toBe(WANT);
  await writing;

  expect(await collect(engine.iterate(CHUNKS))).toBe(WANT);
  engine.close();
});

test("silence lets an undecided start go, in every shell", async () => {
  const engine = make();
  async function* slow(): AsyncGenerator<string> {
    yield "user h";
    await sleep(150);
    yield "\n";
  }
  const pieces: string[] = [];
  for await (const piece of engine.iterate(slow())) pieces.push(piece.toString());
  expect(pieces).toEqual(["user ", "h", "\n"]);
  const node = engine.transform();
  const seen: string[] = [];
  node.on("data", (chunk: Buffer) => seen.push(chunk.toString()));
  node.write("user h");
  await sleep(150);
  expect(seen.join("")).toBe("user h");
  node.end();
  engine.close();
});

test("an abort ends the stream with its code and releases nothing that was held", async () => {
  const engine = make();
  const controller = new AbortController();
  const node = engine.transform({ signal: controller.signal });
  const failed = new Promise<Error>((resolve) => node.on("error", resolve));
  node.write(`x ${SECRET.slice(0, 9)}`);
  controller.abort();
  expect(await failed).toMatchObject({ code: "LV_ABORTED" });
  await expect(collect(engine.iterate(CHUNKS, { signal: controller.signal }))).rejects.toMatchObject({ code: "LV_ABORTED" });
  engine.close();
});

test("findings come by iterator until the engine is closed; a closed engine says so", async () => {
  const engine = make();
  const found: Finding[] = [];
  const reading = (async () => {
    for await (const finding of engine.findings()) found.push(finding);
  })();
  engine.redact(`one\ntwo ${SECRET}\n`, { name: "job" });
  engine.close();
  await reading;
  expect(found).toMatchObject([{ kind: "masked", secret: "S", variant: "plain", stream: "job", line: 2, offset: 8, length: SECRET.length }]);
  expect(() => engine.redact("x")).toThrowError(expect.objectContaining({ code: "LV_CLOSED" }) as Error);
});
