/** Live and durable: what an open request sends is readable at once and soon on disk, and no offset is promised before it is. With real processes and kill -9. */
import { type ClientRequest, request as send } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { end, serveProcess, type Serving } from "../support/serving.js";
import { call, temporary, until } from "../support/sidecar.js";

const LOG = "/v1/jobs/build/streams/make";
const ENV = { BUILD_TOKEN: "build-token-0123456789" };

/** Starts a sidecar in a folder, as often as it is called. */
async function serve(home: string, env: Record<string, string> = {}): Promise<Serving> {
  const serving = await serveProcess(home, { env: { ...ENV, ...env } });
  onTestFinished(() => end(serving.child, "SIGKILL"));
  return serving;
}

/** A request that stays open, such as `make | curl -T-` sends. */
function openRequest({ port }: Serving, headers: Record<string, string> = {}): ClientRequest {
  const request = send({ host: "127.0.0.1", port, method: "POST", path: LOG, headers, agent: false });
  request.on("error", () => undefined);
  onTestFinished(() => void request.destroy());
  return request;
}

const head = async (serving: Serving): Promise<number> => Number((await call(serving, "HEAD", LOG)).headers["logveil-offset"]);

/** Follows the stream; `seen` grows. */
function follow({ port }: Serving): { seen: string } {
  const follower = { seen: "" };
  const request = send({ host: "127.0.0.1", port, path: `${LOG}?follow=1`, agent: false }, (response) => {
    response.setEncoding("utf8").on("data", (text: string) => (follower.seen += text));
    response.on("error", () => undefined);
  });
  request.on("error", () => undefined).end();
  onTestFinished(() => void request.destroy());
  return follower;
}

test("HEAD: what it promises is there after kill -9", async () => {
  const home = temporary();
  const serving = await serve(home);
  const request = openRequest(serving);
  let sent = "";
  let promised = 0;
  for (let line = 0; line < 60; line++) {
    const text = `line ${line} token=build-token-0123456789\n`;
    request.write(text);
    sent += text;
    if (line % 10 === 9) {
      await sleep(20);
      promised = Math.max(promised, (await call(serving, "HEAD", LOG).then(({ headers }) => Number(headers["logveil-offset"] ?? 0))) || 0);
    }
  }
  await end(serving.child, "SIGKILL");
  const again = await serve(home);
  // Where nothing had been promised there may be no stream.
  const offset = (await head(again)) || 0;
  expect(offset).toBeGreaterThanOrEqual(promised);
  expect(offset).toBeLessThanOrEqual(sent.length);
  await call(again, "POST", LOG, sent.slice(offset), { "logveil-offset": String(offset) });
  await call(again, "POST", `${LOG}/end`);
  expect((await call(again, "GET", LOG)).body).toBe(sent.replaceAll("build-token-0123456789", "[REDACTED:BUILD_TOKEN]"));
});

test("an open request: its lines are read by followers at once, on disk within the flush interval, and there after kill -9", async () => {
  const home = temporary();
  const serving = await serve(home, { LOGVEIL_STORE_FLUSH_INTERVAL: "200ms" });
  const request = openRequest(serving);
  request.write("first\n");
  await until(async () => expect((await call(serving, "HEAD", LOG)).status).toBe(200));
  const follower = follow(serving);
  await until(() => expect(follower.seen).toBe("first\n"));
  request.write("second build-token-0123456789\n");
  await until(() => expect(follower.seen).toBe("first\nsecond [REDACTED:BUILD_TOKEN]\n"));
  // Nothing more is sent, and the request does not end.
  await until(async () => expect(await head(serving)).toBe(36));
  await end(serving.child, "SIGKILL");
  const again = await serve(home);
  expect(await head(again)).toBe(36);
  expect((await call(again, "GET", LOG)).body).toBe("first\nsecond [REDACTED:BUILD_TOKEN]\n");
});

test("a long flush interval: followers still read at once, and nothing is promised before its time", async () => {
  const serving = await serve(temporary(), { LOGVEIL_STORE_FLUSH_INTERVAL: "60s" });
  const request = openRequest(serving);
  request.write("first\n");
  await until(async () => expect((await call(serving, "HEAD", LOG)).status).toBe(200));
  const follower = follow(serving);
  await until(() => expect(follower.seen).toBe("first\n"));
  expect((await call(serving, "HEAD", LOG)).headers).toMatchObject({ "logveil-offset": "0", "logveil-received": "6" });
});

test("who goes on where HEAD says sends what was taken already once more, and it is kept once", async () => {
  const serving = await serve(temporary(), { LOGVEIL_STORE_FLUSH_INTERVAL: "60s" });
  const lost = openRequest(serving);
  lost.write("first\nsecond build-tok");
  await until(async () => expect((await call(serving, "HEAD", LOG)).headers["logveil-received"]).toBe("22"));
  const offset = await head(serving);
  expect(offset).toBe(0);
  const sent = "first\nsecond build-token-0123456789\nthird\n";
  const answer = await call(serving, "POST", LOG, [sent.slice(0, 3), sent.slice(3, 30), sent.slice(30)], { "logveil-offset": "0" });
  expect([answer.status, JSON.parse(answer.body)]).toEqual([200, { offset: sent.length, received: sent.length }]);
  const tooFar = await call(serving, "POST", LOG, "x", { "logveil-offset": String(sent.length + 1) });
  expect(tooFar).toMatchObject({ status: 409, headers: { "logveil-offset": String(sent.length) } });
  await call(serving, "POST", `${LOG}/end`);
  const { body } = await call(serving, "GET", LOG);
  expect(body).toMatch(/^first\nsecond (\[REDACTED:BUILD_TOKEN\])+\nthird\n$/);
});
