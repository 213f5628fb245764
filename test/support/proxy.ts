/** Sidecars that forward: to an upstream that remembers what it has seen, or to one that a test writes by hand. */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createNetServer, connect, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import type { Sidecar, SidecarOptions } from "../../src/sidecar/serve.js";
import { start, upstreamAt, type Witness } from "./sidecar.js";

export const SECRET = "global-secret-0123456789";
export const MASK = "[REDACTED:GLOBAL]";

export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly trailers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** Whether the request came to its end: only then would a storage keep it. */
  readonly whole: boolean;
}

export interface Proxied {
  readonly sidecar: Sidecar;
  readonly witness: Witness;
  readonly logs: readonly string[];
}

/** A sidecar in front of what listens on a port. */
export async function inFrontOf(port: number, change: object = {}, options: Partial<SidecarOptions> = {}): Promise<Proxied> {
  return start({
    ...options,
    upstream: upstreamAt(port, {
      url: `http://127.0.0.1:${port}/base`,
      headersTimeoutMs: 2000,
      bodyTimeoutMs: 2000,
      maxConnections: 10,
      routes: [{ path: "/raw", contentTypes: [], framing: "octet-stream", maskResponses: false }],
      decode: { maxDecodedBytes: 1 << 22 },
      ...change,
    }),
  });
}

const took: RequestListener = (request: IncomingMessage, response: ServerResponse) =>
  request.on("end", () => response.writeHead(201, { "x-upstream": "yes", connection: "x-private", "x-private": "1" }).end(`took it, and ${SECRET}`));

/** A sidecar in front of an upstream that keeps what it gets; `handle` answers. */
export async function proxied(change: object = {}, handle: RequestListener = took): Promise<Proxied & { seen: Seen[]; port: number }> {
  const seen: Seen[] = [];
  const upstream = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece)).on("error", () => undefined);
    request.on("close", () => {
      const { method, url, headers, rawHeaders, trailers, complete } = request;
      seen.push({ method: method!, url: url!, headers, rawHeaders, trailers, body: Buffer.concat(pieces), whole: complete });
    });
    handle(request, response);
  });
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => upstream.close().closeAllConnections());
  const { port } = upstream.address() as AddressInfo;
  return { ...(await inFrontOf(port, change)), seen, port };
}

/** A sidecar in front of an upstream that speaks by hand. */
export async function rude(talk: (socket: Socket) => void, change: object = {}): Promise<Proxied & { sockets: Set<Socket> }> {
  const sockets = new Set<Socket>();
  const upstream = createNetServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined).once("close", () => sockets.delete(socket));
    talk(socket);
  });
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    upstream.close();
    for (const socket of sockets) socket.destroy();
  });
  return { ...(await inFrontOf((upstream.address() as AddressInfo).port, change)), sockets };
}

/** Sends bytes by hand; resolves with all that came when the connection has ended, or when `isEnough`. */
export function speak(to: Sidecar, raw: string | Buffer, isEnough: (answer: string) => boolean = () => false): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect(to.listen.port, to.listen.host, () => socket.write(raw));
    socket.setEncoding("latin1").on("data", (piece: string) => {
      answer += piece;
      if (isEnough(answer)) socket.destroy();
    });
    socket.on("error", () => undefined).once("close", () => resolve(answer));
    onTestFinished(() => void socket.destroy());
  });
}
