/** Logs that come to the API of jobs in a content coding: decoded as they come, offsets those of what they decode to; damaged ones are refused, and leave nothing raw. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { request as send } from "node:http";
import { brotliCompressSync, createGzip, deflateRawSync, deflateSync, gzipSync } from "node:zlib";
import { expect, onTestFinished, test } from "vitest";
import { compress } from "zstd-napi";
import { filesIn } from "../support/serving.js";
import { searchFor } from "../support/raw.js";
import { call, start, until } from "../support/sidecar.js";

const SECRET = "global-secret-0123456789";
const MASK = "[REDACTED:GLOBAL]";
const LOG = "/v1/jobs/j/streams/s";
const TEXT = `one ${SECRET}\n${"another line\n".repeat(500)}last ${SECRET}\n`;
const MASKED = TEXT.replaceAll(SECRET, MASK);

test.each([
  ["gzip", gzipSync],
  ["x-gzip", gzipSync],
  ["GZIP", gzipSync],
  ["zstd", (text: string) => compress(Buffer.from(text))],
  ["deflate", deflateSync],
  ["deflate", deflateRawSync],
  ["br", brotliCompressSync],
  ["identity", (text: string) => Buffer.from(text)],
  ["deflate, gzip", (text: string) => gzipSync(deflateSync(text))],
] as [string, (text: string) => Buffer][])("%s: taken, masked, and counted in decoded bytes", async (coding, encode) => {
  const { sidecar, folder } = await start();
  const headers = { "content-encoding": coding };
  const bytes = encode(TEXT);
  const half = Math.ceil(bytes.length / 2);
  const first = await call(sidecar, "POST", LOG, [bytes.subarray(0, half), bytes.subarray(half)], { ...headers, "logveil-offset": "0" });
  expect([first.status, JSON.parse(first.body)]).toEqual([200, { offset: TEXT.length, received: TEXT.length }]);
  // What follows may come in another coding, or none, from the offset of the decoded log.
  expect((await call(sidecar, "POST", LOG, encode("more\n"), { ...headers, "logveil-offset": String(bytes.length + 1) })).status).toBe(409);
  expect((await call(sidecar, "POST", LOG, encode("more\n"), { ...headers, "logveil-offset": String(TEXT.length) })).status).toBe(200);
  expect((await call(sidecar, "POST", `${LOG}/end`)).status).toBe(200);
  expect((await call(sidecar, "GET", LOG)).body).toBe(`${MASKED}more\n`);
  const search = searchFor([{ name: "GLOBAL", value: SECRET }]);
  expect(filesIn(folder).flatMap((file) => search(readFileSync(file)))).toEqual([]);
});

test("a log that is compressed while it is written is readable as it comes", async () => {
  const { sidecar } = await start();
  const gzip = createGzip();
  const request = send({ port: sidecar.listen.port, host: "127.0.0.1", method: "POST", path: LOG, headers: { "content-encoding": "gzip" }, agent: false });
  onTestFinished(() => void request.destroy());
  gzip.pipe(request);
  gzip.write(`one ${SECRET}\n${SECRET.slice(0, 10)}`);
  gzip.flush();
  await until(async () => expect((await call(sidecar, "GET", LOG)).body).toMatch(/^one \[REDACTED:GLOBAL\]\n/));
  const answered = new Promise<number>((resolve) => request.once("response", (response) => resolve(response.statusCode!)));
  gzip.end(`${SECRET.slice(10)}\n`);
  expect(await answered).toBe(200);
});

test("a damaged body is refused; what was decoded before stays, masked, and the stream goes on behind it", async () => {
  const { sidecar, folder } = await start();
  const whole = gzipSync(TEXT, { level: 0 });
  const headers = { "content-encoding": "gzip" };
  const damaged = Buffer.from(whole);
  damaged[damaged.length - 6]! ^= 0xff;
  for (const [body, why] of [
    [damaged, "damaged"],
    [whole.subarray(0, 2000), "cut off"],
    [Buffer.concat([whole, Buffer.from(SECRET)]), "damaged"],
    [Buffer.from(TEXT), "damaged"],
  ] as const) {
    const refused = await call(sidecar, "POST", LOG, body, headers);
    expect([refused.status, (JSON.parse(refused.body) as { message: string }).message]).toEqual([400, expect.stringContaining(why)]);
  }
  expect((await call(sidecar, "POST", LOG, gzipSync("more\n"), headers)).status).toBe(200);
  await call(sidecar, "POST", `${LOG}/end`);
  const { body } = await call(sidecar, "GET", LOG);
  expect(body).not.toContain("global-secret");
  expect(body.slice(-40)).toMatch(/more\n$/);
  const search = searchFor([{ name: "GLOBAL", value: SECRET }]);
  expect(filesIn(folder).flatMap((file) => search(readFileSync(file)))).toEqual([]);
});

test("what grows beyond the limits is refused with the field that raises them, an unknown coding with those that are accepted", async () => {
  const { sidecar, logs } = await start({ decode: { maxDecodedBytes: 1 << 20, maxRatio: 100, ratioFromBytes: 1 << 16, maxLayers: 1 } });
  const refused = async (body: Buffer, coding: string): Promise<[number, string]> => {
    const answer = await call(sidecar, "POST", LOG, body, { "content-encoding": coding });
    return [answer.status, (JSON.parse(answer.body) as { message: string }).message];
  };
  expect(await refused(gzipSync(Buffer.alloc(1 << 19)), "gzip")).toEqual([400, expect.stringContaining("limits.maxRatio")]);
  const noise = Buffer.from(randomBytes(1 << 20).toString("hex"));
  expect(await refused(gzipSync(noise), "gzip")).toEqual([400, expect.stringContaining("limits.maxDecodedBytes")]);
  expect(await refused(gzipSync(gzipSync("x")), "gzip, gzip")).toEqual([415, expect.stringContaining("limits.maxCodings")]);
  expect(await refused(Buffer.from("x"), "lz4")).toEqual([415, expect.stringMatching(/accepted: gzip, (zstd, )?deflate, br/)]);
  expect(logs.map((line) => /refused \((\w+)\).*route (\S+)$/.exec(line)?.slice(1))).toEqual([
    ["too_large", "/v1/jobs/:job/streams/:stream"],
    ["coding", "/v1/jobs/:job/streams/:stream"],
  ]);
});

test("a body of no bytes may call itself anything that is known", async () => {
  const { sidecar } = await start();
  expect((await call(sidecar, "POST", LOG, undefined, { "content-encoding": "gzip", "content-length": "0" })).status).toBe(200);
});
