/** What is answered: in JSON, in HTTP/1.1 and HTTP/2 alike. No body byte is ever told or logged. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest } from "node:http2";
import type { Duplex } from "node:stream";
import { LogveilError } from "../errors.js";
import { type Reason, Refusal } from "./refusal.js";
import { replyTo, type Said } from "./replies.js";

/** How long a client that was refused may take to end its connection, in milliseconds. */
export const LINGER_MS = 2000;

/** Whether a request came over HTTP/2. Its class is node:http2's, whose interface is that of node:http but for what is asked here. */
export const isHttp2 = ({ httpVersionMajor }: IncomingMessage): boolean => httpVersionMajor === 2;

/** The HTTP/2 stream of a request; undefined once it is closed. */
export const streamOf = (request: IncomingMessage): Http2ServerRequest["stream"] | undefined => (request as unknown as Http2ServerRequest).stream;

/** Whether a body follows the head of a request. HTTP/2 tells without a header field. */
export const hasBody = (request: IncomingMessage): boolean =>
  isHttp2(request)
    ? streamOf(request)?.endAfterHeaders === false
    : request.headers["transfer-encoding"] !== undefined || (request.headers["content-length"] ?? "0") !== "0";

/** Whether all of a request has come in. */
export const isWhole = (request: IncomingMessage): boolean => request.complete || (isHttp2(request) && streamOf(request)?.endAfterHeaders === true);

export function json(response: ServerResponse, status: number, body: object, headers: Readonly<Record<string, string>> = {}): void {
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text), ...headers }).end(text);
}

/** Begins an answer with header fields as they stand: name, value, name, value. Fields of one name stay apart and in order. */
export function writeFields(request: IncomingMessage, response: ServerResponse, status: number, fields: readonly string[]): void {
  if (!isHttp2(request)) return void response.writeHead(status, [...fields]);
  const byName = new Map<string, string[]>();
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    byName.set(name, [...(byName.get(name) ?? []), fields[i + 1]!]);
  }
  response.writeHead(status, Object.fromEntries([...byName].map(([name, values]) => [name, values.length === 1 ? values[0]! : values])));
}

/** The requests whose client has been told to go on. */
const told = new WeakSet<IncomingMessage>();

/** Lets a client send the body for which it has asked leave (`Expect: 100-continue`). Called when nothing speaks against the request, before its body is read. */
export function leave(request: IncomingMessage, response: ServerResponse): void {
  if (request.headers.expect?.toLowerCase() !== "100-continue" || told.has(request)) return;
  told.add(request);
  response.writeContinue();
}

/** Whether an error says no more than that the client is gone. */
export const isGone = (error: unknown): boolean =>
  ["ECONNRESET", "EPIPE", "ERR_STREAM_PREMATURE_CLOSE", "ERR_STREAM_DESTROYED", "ERR_HTTP2_INVALID_STREAM"].includes(
    (error as NodeJS.ErrnoException).code ?? "",
  );

/** Who hears of requests that come to nothing. */
export interface Observer {
  /** Something went wrong within. */
  failed(this: void, error: unknown): void;
  /** A request was refused; without one, what came was no request. */
  refused(this: void, reason: Reason, request?: IncomingMessage): void;
}

/**
 * Answers an error; the observer hears of it. A request whose body was not read to its end is cut off behind the answer: what follows on its connection would be
 * read as another.
 */
export function refuse(request: IncomingMessage, response: ServerResponse, error: unknown, observer: Observer): void {
  const isOver = response.headersSent || response.destroyed || (isHttp2(request) && streamOf(request)?.destroyed !== false);
  // It was answered, for it took too long: what it came to is of no interest.
  if (response.writableEnded) return;
  if (!(isOver && isGone(error))) {
    if (!(error instanceof Refusal)) observer.failed(error);
    observer.refused(error instanceof Refusal ? error.reason : "store", request);
  }
  if (isOver) return cut(request);
  if (!isWhole(request)) cutBehind(request, response);
  const { headers, ...said } = sayingOf(error);
  const reply = replyTo(request, said);
  for (const [name, value] of Object.entries({ ...headers, ...reply.headers })) response.setHeader(name, value);
  response.statusCode = reply.status;
  // Ends with the head where there is no body: gRPC wants it so.
  if (reply.body.length === 0) response.end();
  else response.end(reply.body);
}

function sayingOf(error: unknown): Said & { readonly headers: Readonly<Record<string, string>> } {
  if (error instanceof Refusal) return { code: "LV_REFUSED", status: error.status, message: error.message, headers: error.headers };
  const code = error instanceof LogveilError ? error.code : "LV_IO";
  // Which path cannot be written helps whoever can mend it.
  const why = error instanceof LogveilError && error.code === "LV_AUDIT_WRITE" ? `${error.message}; ` : "";
  return { code, status: 503, message: `${why}not kept: try again later`, headers: { "retry-after": "10" } };
}

/** Ends a request and what is left of its answer: the client sees a reset. */
export function cut(request: IncomingMessage): void {
  if (isHttp2(request)) streamOf(request)?.close(RST_CANCEL);
  else request.destroy();
}

const RST_NO_ERROR = 0;
const RST_CANCEL = 8;

/** Has nothing more be read of a request once it is answered. */
export function cutBehind(request: IncomingMessage, response: ServerResponse): void {
  if (isHttp2(request)) {
    const stream = streamOf(request)!;
    stream.once("finish", () => stream.close(RST_NO_ERROR));
  } else {
    response.setHeader("connection", "close");
    const { socket } = response;
    if (socket === null) return;
    // node:http does not tell who still reads the body.
    socket.once("close", () => request.destroy());
    socket.destroySoon = () => {
      socket.end();
      linger(socket);
    };
  }
}

/**
 * Has a connection end so that its client reads the answer: one that is closed while more comes in is reset, and what it was told is lost on the way. So what comes is
 * dropped for a while.
 */
function linger(socket: Duplex): void {
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once("end", () => socket.destroy()).once("close", () => clearTimeout(timer));
  socket.removeAllListeners("data").on("data", () => undefined);
  socket.resume();
}

/** Answers where there is no request to answer to, and ends the connection. */
export function refuseRaw(socket: Duplex, status: string): void {
  if (!socket.writable) return void socket.destroy();
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  linger(socket);
}
