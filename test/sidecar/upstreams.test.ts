/** Upstreams that misbehave, by hand: what a client is told, and that nothing counts as kept which the upstream did not take whole. Each by both ways of sending. */
import { request as send } from "node:http";
import { connect, type Socket } from "node:net";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { Sidecar } from "../../src/sidecar/serve.js";
import { proxied, rude, SECRET, speak } from "../support/proxy.js";
import { type Answer, call } from "../support/sidecar.js";

/** Gathers what comes; `react` sees all of it each time. */
const hear = (socket: Socket, react: (heard: string) => void): void => {
  let heard = "";
  socket.on("data", (piece: Buffer) => react((heard += piece.toString("latin1"))));
};
const isWhole = (heard: string): boolean => heard.includes("\r\n0\r\n") || /content-length: (\d+)\r\n[^]*\r\n\r\n/.test(heard);
const answer = (status: string, body = "", headers = ""): string => `HTTP/1.1 ${status}\r\n${headers}Content-Length: ${body.length}\r\n\r\n${body}`;

/** A request in chunks whose body goes on until it is answered. */
function endless(sidecar: Sidecar, headers: Record<string, string>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const client = send({ host: sidecar.listen.host, port: sidecar.listen.port, method: "POST", path: "/x", headers, agent: false }, (response) => {
      const pieces: Buffer[] = [];
      response.on("data", (piece: Buffer) => pieces.push(piece));
      response.on("end", () => {
        resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(pieces).toString() });
        client.destroy();
      });
    });
    client.on("error", reject);
    onTestFinished(() => void client.destroy());
    const more = (): void => {
      while (!client.destroyed && client.write("line after line\n".repeat(100)));
    };
    client.on("drain", more);
    more();
  });
}

describe.each([
  ["undici", { "content-type": "text/plain" }],
  ["node:http", { "content-type": "text/plain", trailer: "X-Last" }],
] as readonly (readonly [string, Record<string, string>])[])("by %s", (_, headers) => {
  const post = (sidecar: Sidecar, body: string | readonly string[] = ["some\n", `${SECRET}\n`]): Promise<Answer> =>
    call(sidecar, "POST", "/x", body, { ...headers, "transfer-encoding": "chunked" });

  test("an early refusal reaches the client, whose body is still coming", async () => {
    const { sidecar, sockets } = await rude((socket) =>
      hear(socket, (heard) => heard.includes("line") && socket.writable && socket.end(answer("401 Unauthorized", "who are you?"))),
    );
    expect(await endless(sidecar, headers)).toMatchObject({ status: 401, body: "who are you?" });
    await vi.waitFor(() => expect(sockets.size).toBe(0));
  });

  test("an early refusal reaches a client that is silent and waits", async () => {
    const { sidecar } = await rude((socket) => hear(socket, (heard) => heard.includes("some") && socket.end(answer("413 Content Too Large", "enough"))));
    const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    const text = `POST /x HTTP/1.1\r\nHost: a\r\n${head.join("")}Transfer-Encoding: chunked\r\n\r\n5\r\nsome\n\r\n`;
    expect(await speak(sidecar, text, (got) => got.includes("enough"))).toMatch(/^HTTP\/1.1 413 /);
  });

  test("a success before the end of the body is none", async () => {
    const { sidecar } = await rude((socket) => hear(socket, (heard) => heard.includes("line") && socket.write(answer("200 OK", "got it"))));
    expect(await endless(sidecar, headers)).toMatchObject({ status: 502, headers: { "retry-after": "5" } });
  });

  test("a success that begins early and is reset is none", async () => {
    const { sidecar } = await rude((socket) => {
      socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"));
      hear(socket, (heard) => heard.length > 100_000 && socket.resetAndDestroy());
    });
    expect((await endless(sidecar, headers)).status).toBe(502);
  });

  test("who waits too long for a connection is told so, and nothing of it goes out later", async () => {
    let begun = 0;
    const { sidecar, seen } = await proxied({ maxConnections: 1, connectTimeoutMs: 300 }, (request, response) => {
      begun++;
      request.on("end", () => response.end("kept"));
    });
    const first = send({ host: sidecar.listen.host, port: sidecar.listen.port, method: "POST", path: "/first", headers, agent: false });
    onTestFinished(() => void first.destroy());
    const answered = new Promise<number>((resolve, reject) => {
      first.on("error", reject).once("response", (response) => resolve(response.statusCode!));
    });
    first.write("a line\n".repeat(1000));
    await vi.waitFor(() => expect(begun).toBe(1));
    expect(await post(sidecar)).toMatchObject({ status: 503, headers: { "retry-after": "5" } });
    first.end();
    expect(await answered).toBe(200);
    expect((await post(sidecar)).status).toBe(200);
    expect(seen.filter(({ whole }) => whole).map(({ url }) => url)).toEqual(["/base/first", "/base/x"]);
  });

  test("a success that begins early counts when the body has gone out", async () => {
    const { sidecar } = await rude((socket) => {
      socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"));
      hear(socket, (heard) => isWhole(heard) && socket.write("3\r\ntwo\r\n0\r\n\r\n"));
    });
    expect(await post(sidecar)).toMatchObject({ status: 200, body: "onetwo" });
  });

  test("a reset in the middle of the body, or before the answer, is a 502", async () => {
    const early = await rude((socket) => hear(socket, (heard) => heard.includes("line") && socket.resetAndDestroy()));
    expect(await endless(early.sidecar, headers)).toMatchObject({ status: 502, headers: { "retry-after": "5" } });
    const late = await rude((socket) => hear(socket, (heard) => isWhole(heard) && socket.resetAndDestroy()));
    expect((await post(late.sidecar)).status).toBe(502);
    const closed = await rude((socket) => hear(socket, (heard) => isWhole(heard) && socket.end()));
    expect((await post(closed.sidecar)).status).toBe(502);
  });

  test("a stall before the answer is a 504, and so is a body that is not taken", async () => {
    const times = { headersTimeoutMs: 300 };
    const silent = await rude((socket) => socket.resume(), times);
    expect(await post(silent.sidecar)).toMatchObject({ status: 504, headers: { "retry-after": "5" } });
    const deaf = await rude((socket) => socket.pause(), times);
    expect((await endless(deaf.sidecar, headers)).status).toBe(504);
  });

  test("a head that never ends is a 504; a body that comes slowly is passed on as it comes, one that stops is cut off", async () => {
    const times = { headersTimeoutMs: 300, bodyTimeoutMs: 300 };
    const trickle = (socket: Socket, piece: string, ms: number): void => {
      const timer = setInterval(() => socket.write(piece), ms);
      socket.once("close", () => clearInterval(timer));
    };
    const head = await rude((socket) => socket.once("data", () => (socket.write("HTTP/1.1 200 OK\r\nX: "), trickle(socket, "x", 20))), times);
    expect((await post(head.sidecar)).status).toBe(504);
    const slow = await rude(
      (socket) => hear(socket, (heard) => isWhole(heard) && (socket.write("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n"), trickle(socket, "x", 30))),
      { ...times, bodyTimeoutMs: 10_000 },
    );
    expect((await post(slow.sidecar)).body).toBe("x".repeat(20));
    const stopped = await rude((socket) => hear(socket, (heard) => isWhole(heard) && socket.write("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nxxx")), times);
    await expect(post(stopped.sidecar)).rejects.toMatchObject({ code: "ECONNRESET" });
  });

  test("redirects are passed on, not followed", async () => {
    const { sidecar, seen } = await proxied({}, (request, response) => {
      request.on("end", () => response.writeHead(307, { location: "/elsewhere" }).end());
    });
    expect(await post(sidecar)).toMatchObject({ status: 307, headers: { location: "/elsewhere" } });
    await vi.waitFor(() => expect(seen.map(({ url }) => url)).toEqual(["/base/x"]));
  });

  test("interim answers are not the answer", async () => {
    const { sidecar } = await rude((socket) => {
      socket.once("data", () => socket.write("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"));
      hear(socket, (heard) => isWhole(heard) && socket.write(answer("200 OK", "done")));
    });
    expect(await post(sidecar)).toMatchObject({ status: 200, body: "done" });
  });

  test.each([
    ["no HTTP", "hello there\r\n\r\n"],
    ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"],
    ["length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"],
    ["another protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"],
    ["a NUL in the head", "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n"],
  ])("an answer with %s is a 502", async (__, text) => {
    const { sidecar } = await rude((socket) => hear(socket, (heard) => isWhole(heard) && socket.end(text)));
    expect((await post(sidecar)).status).toBe(502);
  });

  test("an answer whose body is damaged or cut short is cut off", async () => {
    for (const text of ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"]) {
      const { sidecar } = await rude((socket) => hear(socket, (heard) => isWhole(heard) && socket.end(text)));
      await expect(post(sidecar)).rejects.toMatchObject({ code: "ECONNRESET" });
    }
  });

  test("a connection that is closed when it is used again costs one request", async () => {
    let connections = 0;
    const { sidecar } = await rude((socket) => {
      connections++;
      hear(socket, (heard) => {
        if (heard.split("POST ").length > 2) socket.destroy();
        else if (isWhole(heard)) socket.write(answer("200 OK", "ok"));
      });
    });
    expect([(await post(sidecar)).status, (await post(sidecar)).status, (await post(sidecar)).status]).toEqual([200, 502, 200]);
    expect(connections).toBe(2);
  });

  test("a connection that was closed meanwhile is not used again", async () => {
    const { sidecar, sockets } = await rude((socket) => hear(socket, (heard) => isWhole(heard) && socket.end(answer("200 OK", "ok"))));
    for (let i = 0; i < 3; i++) {
      expect((await post(sidecar)).status).toBe(200);
      await vi.waitFor(() => expect(sockets.size).toBe(0));
    }
  });

  test("what a client does not read is not fetched", async () => {
    let sent = 0;
    const { sidecar } = await rude((socket) => {
      hear(socket, (heard) => {
        if (!isWhole(heard)) return;
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        const more = (): void => {
          for (let room = true; room && !socket.destroyed; sent += 65_536) room = socket.write(Buffer.alloc(65_536, "x"));
        };
        socket.on("drain", more);
        more();
      });
    });
    const client = connect(sidecar.listen.port, sidecar.listen.host);
    onTestFinished(() => void client.destroy());
    const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    client.pause().write(`POST /x HTTP/1.1\r\nHost: a\r\n${head.join("")}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`);
    // Buffers of three sockets fill up, and then nothing moves any more.
    let before = -1;
    await vi.waitFor(
      () => {
        const isStill = sent > 0 && sent === before;
        before = sent;
        expect(isStill).toBe(true);
      },
      { timeout: 30_000, interval: 500 },
    );
    expect(sent).toBeLessThan(64 << 20);
    const reader = new Promise<void>((resolve) => {
      let got = 0;
      client.on("data", (piece) => (got += piece.length) > before && resolve());
    });
    client.resume();
    await reader;
  });
});

test("an upstream that cannot be reached is a 503", async () => {
  const { sidecar } = await proxied({ url: "http://127.0.0.1:9" });
  for (const headers of [{}, { trailer: "X-Last" }] as Record<string, string>[])
    expect(await call(sidecar, "POST", "/x", "text\n", { "content-type": "text/plain", "transfer-encoding": "chunked", ...headers })).toMatchObject({
      status: 503,
      headers: { "retry-after": "5" },
    });
});

test("a sidecar that forwards to itself says so", async () => {
  const first = await proxied();
  const second = await proxied({ url: `http://127.0.0.1:${first.sidecar.listen.port}` });
  expect((await call(second.sidecar, "GET", "/x")).status).toBe(201);
  const [{ headers }] = first.seen as [(typeof first.seen)[0]];
  expect(headers.via).toMatch(/^1\.1 logveil-[0-9a-f]{12}, 1\.1 logveil-[0-9a-f]{12}$/);
  const loop = await call(first.sidecar, "GET", "/x", undefined, { via: String(headers.via) });
  expect(loop).toMatchObject({ status: 508, body: expect.stringContaining("upstream.url leads back to this sidecar") as string });
});
