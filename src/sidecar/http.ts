/** HTTP servers of the sidecar: a table of routes, answers in JSON, time limits, refusals. No body byte is ever told or logged. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { LogveilError } from "../errors.js";
import { Refusal } from "./jobs.js";

export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** By the names in the route's path. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
}

export interface Route {
  readonly method: string;
  /** Parts beginning with `:` stand for any one part. */
  readonly path: string;
  handle(call: Call): Promise<void> | void;
}

export interface ServerLimits {
  /** For all header fields to arrive, in milliseconds. */
  readonly headersTimeoutMs: number;
  /** Of a connection on which nothing happens. */
  readonly idleTimeoutMs: number;
  readonly maxConnections: number;
}

/** A server that answers by a table of routes, and what is in none by `otherwise`; `failed` hears of what went wrong within. */
export function serveRoutes(
  routes: readonly Route[],
  limits: ServerLimits,
  failed: (error: unknown) => void,
  otherwise?: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
): Server {
  const server = createServer({
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: 0,
    keepAliveTimeout: limits.idleTimeoutMs,
    joinDuplicateHeaders: false,
  });
  server.maxConnections = limits.maxConnections;
  server.timeout = limits.idleTimeoutMs;
  server.on("request", (request, response) => void answer(routes, otherwise, request, response, failed));
  server.on("clientError", (error: NodeJS.ErrnoException, socket) =>
    refuseRaw(socket, error.code === "ERR_HTTP_REQUEST_TIMEOUT" ? "408 Request Timeout" : "400 Bad Request"),
  );
  for (const event of ["upgrade", "connect"]) server.on(event, (_: IncomingMessage, socket: Duplex) => refuseRaw(socket, "501 Not Implemented"));
  return server;
}

function refuseRaw(socket: Duplex, status: string): void {
  if (socket.writable) socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  else socket.destroy();
}

async function answer(
  routes: readonly Route[],
  otherwise: ((request: IncomingMessage, response: ServerResponse) => Promise<void>) | undefined,
  request: IncomingMessage,
  response: ServerResponse,
  failed: (error: unknown) => void,
): Promise<void> {
  try {
    checkFraming(request);
    const url = new URL(request.url ?? "/", "http://sidecar");
    const parts = url.pathname.split("/").slice(1).map(decodePart);
    const here = routes.flatMap((route) => {
      const params = match(route.path, parts);
      return params === undefined ? [] : [{ route, params }];
    });
    const found = here.find(({ route }) => route.method === request.method);
    if (found === undefined) {
      if (here.length === 0 && otherwise !== undefined) return await otherwise(request, response);
      if (here.length === 0) throw new Refusal(404, "there is nothing here");
      return json(response, 405, { error: "LV_USAGE", message: `expected ${here.map(({ route }) => route.method).join(" or ")}` });
    }
    await found.route.handle({ request, response, params: found.params, query: url.searchParams });
  } catch (error) {
    refuse(request, response, error, failed);
  }
}

/** What llhttp lets pass and no proxy should: two ways to tell where a body ends. */
function checkFraming({ headers, rawHeaders }: IncomingMessage): void {
  const count = (name: string): number => rawHeaders.filter((field, index) => index % 2 === 0 && field.toLowerCase() === name).length;
  if (headers["transfer-encoding"] !== undefined && headers["content-length"] !== undefined)
    throw new Refusal(400, "Content-Length and Transfer-Encoding together");
  for (const name of ["host", "content-length", "transfer-encoding", "logveil-offset"]) if (count(name) > 1) throw new Refusal(400, `more than one ${name}`);
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new Refusal(400, "the path is not percent-encoded UTF-8");
  }
}

function match(path: string, parts: readonly string[]): Record<string, string> | undefined {
  const wanted = path.split("/").slice(1);
  if (wanted.length !== parts.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, part] of wanted.entries()) {
    if (part.startsWith(":")) params[part.slice(1)] = parts[index]!;
    else if (part !== parts[index]) return undefined;
  }
  return params;
}

/** Answers an error. A request whose body was not read to its end is cut off: what follows on its connection would be read as another. */
function refuse(request: IncomingMessage, response: ServerResponse, error: unknown, failed: (error: unknown) => void): void {
  if (response.headersSent || response.destroyed) {
    if (!(error instanceof Refusal)) failed(error);
    request.destroy();
    return;
  }
  if (!request.complete) response.setHeader("connection", "close");
  if (error instanceof Refusal) {
    for (const [name, value] of Object.entries(error.headers)) response.setHeader(name, value);
    json(response, error.status, { error: "LV_REFUSED", message: error.message });
  } else {
    failed(error);
    response.setHeader("retry-after", "10");
    json(response, 503, { error: error instanceof LogveilError ? error.code : "LV_IO", message: "not kept: try again later" });
  }
}

export function json(response: ServerResponse, status: number, body: object, headers: Readonly<Record<string, string>> = {}): void {
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text), ...headers }).end(text);
}
