/** Content codings of bodies: there and back at any chunking, alive while they stream, and everything that must be refused. */
import { randomBytes } from "node:crypto";
import zlib from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compress, Compressor } from "zstd-napi";
import { CONTENT_CODINGS, codingOf, contentCodings } from "../../src/codec/content.js";
import { openDecoder, openEncoder } from "../../src/codec/layers.js";
import type { Stage } from "../../src/codec/stage.js";
import { bytewise, cut } from "../support/redactor.js";

async function all(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
  const out: Buffer[] = [];
  for await (const piece of pieces) out.push(piece);
  return Buffer.concat(out);
}

async function through(stage: Stage, chunks: readonly Buffer[]): Promise<Buffer> {
  const out: Buffer[] = [];
  for (const chunk of chunks) out.push(await all(stage.push(chunk)));
  out.push(await all(stage.end()));
  return Buffer.concat(out);
}

const fault = (reason: string): Error => expect.objectContaining({ code: "LV_DECODE", facts: expect.objectContaining({ reason }) as unknown }) as Error;
const text = Buffer.from("a line of a log, number 4711\n".repeat(500));
const FAST = { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } };
const CODED: readonly (readonly [string, (plain: Buffer) => Buffer])[] = [
  ["gzip", (plain) => zlib.gzipSync(plain)],
  ["x-gzip", (plain) => zlib.gzipSync(plain)],
  ["deflate", (plain) => zlib.deflateSync(plain)],
  ["br", (plain) => zlib.brotliCompressSync(plain, FAST)],
  ["zstd", (plain) => compress(plain)],
];

test("there and back, one in the other, at any chunking", async () => {
  const names = fc.array(fc.constantFrom("gzip", "X-Gzip", "deflate", "br", "zstd", "identity"), { maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(names, fc.uint8Array({ maxLength: 2000 }), fc.array(fc.nat(2000), { maxLength: 4 }), async (layers, bytes, cuts) => {
      const plain = Buffer.from(bytes);
      const field = layers.join(" , ");
      const some = (whole: Buffer): Buffer[] =>
        cut(
          whole,
          cuts.map((at) => at % (whole.length + 1)),
        );
      const coded = await through(openEncoder(field), some(plain));
      expect((await through(openDecoder(field), some(coded))).equals(plain)).toBe(true);
    }),
    { numRuns: 100 },
  );
});

describe.each(CODED)("%s", (name, encode) => {
  const coded = encode(text);

  test("byte by byte", async () => {
    expect((await through(openDecoder(name), bytewise(coded))).equals(text)).toBe(true);
  });

  test("cut off anywhere is an error, and nothing is made up", async () => {
    for (let length = 0; length < coded.length; length++) {
      const cutOff = through(openDecoder(name), [coded.subarray(0, length)]);
      await expect(cutOff, `cut to ${length} bytes`).rejects.toEqual(fault("cut"));
    }
  });

  test("what follows the data is an error, in the same chunk or later", async () => {
    for (const tail of [Buffer.alloc(5), Buffer.from("trailing garbage"), Buffer.alloc(1)]) {
      for (const chunks of [[Buffer.concat([coded, tail])], [coded, tail], bytewise(Buffer.concat([coded, tail]))]) {
        await expect(through(openDecoder(name), chunks), `${tail.length} bytes in ${chunks.length} chunks`).rejects.toMatchObject({ code: "LV_DECODE" });
      }
    }
  });

  test("damage is an error that holds no bytes", async () => {
    const damaged = Buffer.from(coded);
    damaged.fill(0xff, 0, 12);
    const failed = through(openDecoder(name), [damaged]);
    await expect(failed).rejects.toMatchObject({ code: "LV_DECODE" });
  });

  test("a flush makes all readable that went in", async () => {
    const [encoder, decoder] = [openEncoder(name), openDecoder(name)];
    for (const line of ["first line\n", "second\n", "third\n"]) {
      const out = Buffer.concat([await all(encoder.push(Buffer.from(line))), await all(encoder.flush())]);
      expect((await all(decoder.push(out))).toString()).toBe(line);
    }
    encoder.destroy();
    decoder.destroy();
  });

  test("a bomb is stopped by its ratio and by its size", async () => {
    const bomb = encode(Buffer.alloc(8 << 20));
    await expect(through(openDecoder(name, { maxRatio: 100 }), [bomb])).rejects.toEqual(fault("ratio"));
    await expect(through(openDecoder(name, { maxDecodedBytes: 1 << 20, maxRatio: 1e9 }), [bomb])).rejects.toEqual(fault("size"));
    // Below a MiB the ratio does not count.
    expect((await through(openDecoder(name, { maxRatio: 1 }), [encode(Buffer.alloc(1 << 20))])).length).toBe(1 << 20);
  });

  test("nothing is decoded ahead of who reads, and who stops frees it", async () => {
    const decoder = openDecoder(name, { maxRatio: 1e9 });
    let made = 0;
    for await (const piece of decoder.push(encode(Buffer.alloc(32 << 20)))) {
      made += piece.length;
      break;
    }
    expect(made).toBeLessThan(1 << 20);
    await expect(through(decoder, [coded])).rejects.toMatchObject({ code: "LV_CLOSED" });
  });
});

test("the usual limits: 1024 times beyond a MiB, over all layers", async () => {
  const bomb = zlib.brotliCompressSync(Buffer.alloc(16 << 20), FAST);
  await expect(through(openDecoder("br"), [bomb])).rejects.toEqual(fault("ratio"));
  await expect(through(openDecoder("br, gzip"), [zlib.gzipSync(bomb)])).rejects.toEqual(fault("ratio"));
  const honest = Buffer.from(randomBytes(40_000).toString("hex").repeat(40));
  expect((await through(openDecoder("gzip, zstd"), [compress(zlib.gzipSync(honest))])).equals(honest)).toBe(true);
});

test("flushes go through all layers", async () => {
  const [encoder, decoder] = [openEncoder("gzip, br, deflate"), openDecoder("gzip, br, deflate")];
  const out = Buffer.concat([await all(encoder.push(Buffer.from("alive"))), await all(encoder.flush())]);
  expect((await all(decoder.push(out))).toString()).toBe("alive");
  encoder.destroy();
  decoder.destroy();
});

test("gzip of several members and zstd of several frames are one body", async () => {
  for (const chunking of [(whole: Buffer) => [whole], bytewise]) {
    const members = Buffer.concat([zlib.gzipSync("one "), zlib.gzipSync("two "), zlib.gzipSync("three")]);
    expect((await through(openDecoder("gzip"), chunking(members))).toString()).toBe("one two three");
    const frames = Buffer.concat([compress(Buffer.from("one ")), compress(Buffer.from("two"))]);
    expect((await through(openDecoder("zstd"), chunking(frames))).toString()).toBe("one two");
  }
});

test("deflate without the head of zlib is tolerated; what comes out has it", async () => {
  const raw = zlib.deflateRawSync(text);
  expect((await through(openDecoder("deflate"), [raw])).equals(text)).toBe(true);
  expect((await through(openDecoder("deflate"), bytewise(raw))).equals(text)).toBe(true);
  await expect(through(openDecoder("deflate"), [raw.subarray(0, -1)])).rejects.toEqual(fault("cut"));
  expect(zlib.inflateSync(await through(openEncoder("deflate"), [text])).equals(text)).toBe(true);
});

test("a zstd window of more than 8 MiB, or than the limit, is refused", async () => {
  const compressor = new Compressor();
  compressor.setParameters({ windowLog: 24, enableLongDistanceMatching: true });
  const wide = compressor.compress(randomBytes(17 << 20));
  await expect(through(openDecoder("zstd"), [wide])).rejects.toEqual(fault("window"));
  await through(openDecoder("zstd", { zstdWindowBytes: 16 << 20 }), [wide]);
});

test("codings that are not known, and too many of them", () => {
  expect(contentCodings(undefined)).toEqual([]);
  expect(contentCodings("identity")).toEqual([]);
  expect(() => openDecoder("gzip, compress")).toThrow(fault("unknown"));
  expect(() => openEncoder("exi")).toThrow(fault("unknown"));
  expect(() => openDecoder("gzip,gzip,gzip,gzip")).toThrow(fault("layers"));
  expect(() => openDecoder("gzip,identity,gzip,gzip")).not.toThrow();
});

test("files tell gzip and zstd by their first bytes, and nothing else", () => {
  for (const [head, name] of [
    [[0x1f, 0x8b, 8], "gzip"],
    [[0x28, 0xb5, 0x2f, 0xfd], "zstd"],
    [[0x78, 0x9c], "identity"],
    [[], "identity"],
  ] as const)
    expect(codingOf(Uint8Array.from(head)).name).toBe(name);
  expect(new Set(CONTENT_CODINGS.flatMap(({ tokens }) => tokens)).size).toBe(CONTENT_CODINGS.flatMap(({ tokens }) => tokens).length);
});
