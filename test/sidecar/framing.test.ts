/** Requests that others collected because servers disagree about them: what is marked invalid is refused, and nothing of it reaches the upstream. */
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { start } from "../support/sidecar.js";
import { fixture, HAVE_FIXTURES } from "../support/fixtures.js";

/**
 * Passed on all the same. The first two are whole requests with something invalid behind them, which goes nowhere. In the others LF stands where CR LF should: Node's parser
 * takes that, and what is passed on is written anew.
 */
const PASSED = ["connection/2", "connection/3", "invalid/36", "invalid/39", "invalid/47"];

test.runIf(HAVE_FIXTURES)("what is marked invalid goes nowhere", { timeout: 120_000 }, async () => {
  const arrived: string[] = [];
  const upstream = createServer((request, response) => {
    arrived.push(request.url!);
    request.resume().on("end", () => response.end("ok"));
  });
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => upstream.close().closeAllConnections());
  const { sidecar } = await start({
    upstream: {
      url: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`,
      connectTimeoutMs: 1000,
      headersTimeoutMs: 2000,
      bodyTimeoutMs: 2000,
      maxConnections: 10,
      routes: [{ path: "/", contentTypes: [], framing: "octet-stream", maskResponses: false }],
      decode: {},
      maxHeldBytes: 1 << 20,
    },
  });
  const wrong: string[] = [];
  for (const line of fixture("http/requests.jsonl").toString().trim().split("\n")) {
    const { source, name, verdict, raw } = JSON.parse(line) as { source: string; name: string; verdict: string; raw: string };
    if (verdict !== "invalid" || (source === "llhttp" && PASSED.includes(name))) continue;
    arrived.length = 0;
    const answer = await new Promise<string>((resolve) => {
      let text = "";
      const socket = connect(sidecar.listen.port, sidecar.listen.host, () => socket.end(Buffer.from(raw, "base64")));
      socket.setEncoding("latin1").on("data", (piece: string) => (text += piece));
      socket.on("close", () => resolve(text)).on("error", () => undefined);
    });
    if (arrived.length > 0 || /^HTTP\/1\.[01] [23]/m.test(answer))
      wrong.push(`${source} ${name}: ${answer.split("\r\n")[0]} ${arrived.join(" ").slice(0, 80)}`);
  }
  expect(wrong).toEqual([]);
});
