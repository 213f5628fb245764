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
  // A client that has sent everything may say so, and is answered; @types/node does not know the property.
  Object.assign(server, { httpAllowHalfOpen: true });
  // A client that asks before it sends its body is told of a refusal first: see leave().
  for (const event of ["request", "checkContinue"])
    server.on(event, (request: IncomingMessage, response: ServerResponse) => {
      latest.set(request.socket, response);
      void answer(routes, otherwise, request, response, failed);
    });
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    const refused = (): void => refuseRaw(socket, error.code === "ERR_HTTP_REQUEST_TIMEOUT" ? "408 Request Timeout" : "400 Bad Request");
    const before = latest.get(socket);
    const isInBody = before !== undefined && !before.writableFinished && !before.req.complete;
    if (isInBody && before.headersSent) socket.destroy();
    else if (isInBody) {
      // Who reads the body must know at once.
      socket.once("finish", () => socket.destroy());
      refused();
    } else if (before === undefined || before.writableFinished) refused();
    // What is wrong stands behind a whole request, which is answered first; behind one that closes the connection nothing counts (RFC 9112 §9.6).
    else if (error.code !== "HPE_CLOSED_CONNECTION") before.once("close", refused);
  });
  for (const event of ["upgrade", "connect"]) server.on(event, (_: IncomingMessage, socket: Duplex) => refuseRaw(socket, "501 Not Implemented"));
  return server;
}

/** The answer to the last request of a connection. */
const latest = new WeakMap<Duplex, ServerResponse>();

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
    const url = new URL(`http://sidecar${request.url}`);
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

/** Longest request target and header field, in bytes, and most fields: what widespread servers take. */
const MAX_TARGET_BYTES = 4094;
const MAX_FIELD_BYTES = 8190;
const MAX_FIELDS = 100;
/** Fields of which there is one. */
const SINGLE = ["host", "content-length", "transfer-encoding", "content-type", "content-encoding", "authorization", "logveil-offset", "logveil-job"];

/** Of a request whose end, or the beginning of the next one, servers may see in different places. */
class FramingRefusal extends Refusal {
  constructor(message: string) {
    super(400, message);
  }
}

/** What the parser lets pass and no proxy should: anything about which the server behind it might think otherwise. */
function checkFraming({ headers, rawHeaders, httpVersion, url = "" }: IncomingMessage): void {
  if (httpVersion !== "1.1" && httpVersion !== "1.0") throw new FramingRefusal("expected HTTP/1.1 or HTTP/1.0");
  if (!url.startsWith("/") || url.length > MAX_TARGET_BYTES) throw new FramingRefusal(`expected a path of at most ${MAX_TARGET_BYTES} bytes`);
  const names = rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
  if (names.length > MAX_FIELDS) throw new FramingRefusal(`more than ${MAX_FIELDS} header fields`);
  for (const [index, name] of names.entries()) {
    if (name.length + rawHeaders[2 * index + 1]!.length + 4 > MAX_FIELD_BYTES) throw new FramingRefusal(`a header field of more than ${MAX_FIELD_BYTES} bytes`);
    // Some servers read `_` as `-`.
    if (name.includes("_") && SINGLE.includes(name.replaceAll("_", "-"))) throw new FramingRefusal("a header field that looks like another");
    if (SINGLE.includes(name) && names.indexOf(name) !== index) throw new FramingRefusal(`more than one ${name}`);
  }
  if (headers.host !== undefined && !HOST.test(headers.host)) throw new FramingRefusal("Host: expected a name or address, and perhaps a port");
  if (headers["transfer-encoding"] === undefined) return;
  if (headers["content-length"] !== undefined) throw new FramingRefusal("Content-Length and Transfer-Encoding together");
  if (httpVersion === "1.0" || headers["transfer-encoding"].toLowerCase() !== "chunked")
    throw new FramingRefusal("Transfer-Encoding: expected chunked, and HTTP/1.1");
}

const HOST = /^(?:[\w.-]*|\[[\da-fA-F:.]+\])(?::\d{0,5})?$/;

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

/** The requests whose client waits for `100 Continue`, until it has been sent. */
const asking = (request: IncomingMessage): boolean => request.headers.expect?.toLowerCase() === "100-continue";
const told = new WeakSet<IncomingMessage>();

/** Lets a client send the body for which it has asked leave. Called when nothing speaks against the request, before its body is read. */
export function leave(request: IncomingMessage, response: ServerResponse): void {
  if (!asking(request) || told.has(request)) return;
  told.add(request);
  response.writeContinue();
}

/** How long a client that was answered may go on sending, in milliseconds. */
const LINGER_MS = 5000;

/**
 * Called before an answer that may come early: what the client still sends behind it is taken and dropped. Were the connection closed on it at once, the client might never
 * read the answer.
 */
export function linger(request: IncomingMessage, response: ServerResponse): void {
  if (request.complete || request.httpVersion !== "1.1") return;
  const isLast = !response.shouldKeepAlive;
  response.shouldKeepAlive = true;
  response.once("finish", () => {
    const { socket } = request;
    const timer = setTimeout(() => request.destroy(), LINGER_MS).unref();
    request.once("close", () => {
      clearTimeout(timer);
      if (isLast) socket.destroySoon();
    });
    const drop = (): void => {
      while (request.read() !== null);
    };
    request.on("error", () => undefined).on("readable", drop);
    drop();
  });
}

/** Answers an error. Behind a body that was not asked for, or one whose end is in doubt, nothing more is read. */
function refuse(request: IncomingMessage, response: ServerResponse, error: unknown, failed: (error: unknown) => void): void {
  if (response.headersSent || response.destroyed) {
    if (!(error instanceof Refusal)) failed(error);
    request.destroy();
    return;
  }
  const isClosing = error instanceof FramingRefusal || (asking(request) && !told.has(request));
  if (!isClosing) linger(request, response);
  else if (!request.complete) response.setHeader("connection", "close");
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
