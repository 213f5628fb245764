/**
 * How connections come in: HTTP/1.1 and HTTP/2 on one port, told apart by ALPN over TLS and else by their first bytes (RFC 9113 §3.3). Counts them and cuts off those on which
 * nothing comes. What requests say and what becomes of them: http.ts.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createHttp2, type Http2Server, type ServerHttp2Session } from "node:http2";
import { createServer as createTls } from "node:https";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Server as TlsServer, type TLSSocket, type TlsOptions } from "node:tls";
import { cut, isGone, isHttp2, isWhole, LINGER_MS, type Observer, refuse, refuseRaw, streamOf } from "./answers.js";
import { isLoopback } from "./hosts.js";
import { Refusal } from "./refusal.js";
import { type JobName, jobsOf } from "./tls.js";

export interface ServerLimits {
  /** For all header fields to arrive, for a TLS handshake, and for the bytes that tell HTTP/1.1 from HTTP/2, in milliseconds each. */
  readonly headersTimeoutMs: number;
  /** Of a client on which one waits: for a request, for more of its body, or for it to read. One that waits for us may do so as long as it likes. */
  readonly idleTimeoutMs: number;
  /** From the head of a request to that of its answer; absent: as long as it takes. */
  readonly requestTimeoutMs?: number;
  /** Connections, and requests on them, at a time. Further ones are told so. */
  readonly maxConnections: number;
}

/** What is known of a connection besides what its requests say. */
export interface Connection {
  /** It came when there were {@link ServerLimits.maxConnections}: its requests are refused. */
  readonly isSurplus: boolean;
  /** The jobs that the client's certificate names; undefined: none is asked for. */
  readonly jobs: readonly JobName[] | undefined;
  /** It came to an address that only this machine has. */
  readonly isLocal: boolean;
}

type Handler = (request: IncomingMessage, response: ServerResponse, connection: Connection) => Promise<void>;

/** What every HTTP/2 connection begins with. */
const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
/** Connections beyond the limit that are told so; more are closed at once. */
const MAX_SURPLUS = 10_000;
/** After so much silence the system asks whether the other side is still there, in milliseconds. */
const KEEP_ALIVE_MS = 60_000;
/** Requests of an HTTP/1.1 connection that may wait for the answer to the one before. */
const MAX_PIPELINED = 32;
/** Most often that heads which take too long are looked for, in milliseconds. */
const CHECK_INTERVAL_MS = 5000;

/** Limits of one HTTP/2 connection. Streams that are opened and reset in rapid succession (CVE-2023-44487) end it: that limit is nghttp2's own. */
const HTTP2 = {
  settings: { maxConcurrentStreams: 100, initialWindowSize: 1 << 18, maxHeaderListSize: 1 << 15 },
  maxHeaderListPairs: 110,
  maxOutstandingPings: 10,
  maxSettings: 32,
  maxSessionInvalidFrames: 100,
  maxSessionRejectedStreams: 100,
};

/** Connections of HTTP/1.1 that answer one request after the other. */
interface Turns {
  waiting: number;
  last: Promise<void>;
}

export class Door {
  /** Listens; ended by {@link stop}, not by its own `close`. */
  readonly server: Server;
  private readonly http2: Http2Server;
  private readonly sockets = new Set<Socket>();
  /** Those that have not said enough to tell the version of HTTP. */
  private readonly undecided = new Set<Socket>();
  private readonly sessions = new Set<ServerHttp2Session>();
  private readonly turns = new WeakMap<Socket, Turns>();
  /** The answer to the last request of a connection. */
  private readonly latest = new WeakMap<Duplex, ServerResponse>();
  private connections = 0;
  private requests = 0;
  private isClosing = false;

  constructor(
    private readonly limits: ServerLimits,
    tls: TlsOptions | undefined,
    private readonly handle: Handler,
    private readonly observer: Observer,
  ) {
    const options = {
      headersTimeout: limits.headersTimeoutMs,
      requestTimeout: 0,
      keepAliveTimeout: limits.idleTimeoutMs,
      connectionsCheckingInterval: Math.min(CHECK_INTERVAL_MS, Math.ceil(limits.headersTimeoutMs / 4)),
      joinDuplicateHeaders: false,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_MS,
    };
    this.server =
      tls === undefined
        ? createServer(options)
        : createTls({ ...options, ...tls, ALPNProtocols: ["h2", "http/1.1"], handshakeTimeout: limits.headersTimeoutMs });
    this.http2 = createHttp2(HTTP2);
    this.listenToConnections(tls);
    this.listenToRequests();
  }

  /** Takes the place of node:http's own listener, which serves every connection as HTTP/1.1. */
  private listenToConnections(tls: TlsOptions | undefined): void {
    const isTls = tls !== undefined;
    const event = isTls ? "secureConnection" : "connection";
    const [serveHttp1] = this.server.listeners(event) as [(socket: Socket) => void];
    const http1 = (socket: Socket, connection: Connection): void => {
      known.set(socket, connection);
      serveHttp1.call(this.server, socket);
    };
    this.server.removeAllListeners(event);
    this.server.maxConnections = this.limits.maxConnections + MAX_SURPLUS;
    this.server.timeout = this.limits.idleTimeoutMs;
    this.server.on("connection", (socket: Socket) => {
      this.sockets.add(socket);
      socket.on("error", () => undefined);
      socket.once("close", () => this.sockets.delete(socket));
    });
    this.server.on(event, (socket: Socket) => {
      const connection = this.admit(socket, tls?.requestCert === true ? jobsOf(socket as TLSSocket) : undefined);
      if (isTls) return (socket as TLSSocket).alpnProtocol === "h2" ? this.serveHttp2(socket, connection) : http1(socket, connection);
      const late = connection.isSurplus ? "503 Service Unavailable\r\nRetry-After: 5" : "408 Request Timeout";
      this.undecided.add(socket);
      socket.once("close", () => this.undecided.delete(socket));
      peek(socket, { timeoutMs: this.limits.headersTimeoutMs, late }, (version) => {
        this.undecided.delete(socket);
        if (version === 2) this.serveHttp2(socket, connection);
        else http1(socket, connection);
        // node:http2 has taken what was put back by then; it is told of the end by the socket only.
        process.nextTick(() => socket.resume());
      });
    });
    // A handshake that fails has no one to be told by HTTP.
    this.server.removeAllListeners("tlsClientError").on("tlsClientError", (_: Error, socket: Socket) => socket.destroy());
  }

  private admit(socket: Socket, jobs: readonly JobName[] | undefined): Connection {
    socket.on("error", () => undefined);
    const isSurplus = this.connections >= this.limits.maxConnections;
    if (!isSurplus) {
      this.connections++;
      socket.once("close", () => this.connections--);
    }
    return { isSurplus, jobs, isLocal: isLoopback(socket.localAddress) };
  }

  /** A connection on which no stream is open is given up after a while, whatever else comes. */
  private serveHttp2(socket: Socket, connection: Connection): void {
    const begun = (session: ServerHttp2Session): void => {
      this.sessions.add(session);
      known.set(session, connection);
      let streams = 0;
      let timer = setTimeout(() => socket.destroy(), this.limits.headersTimeoutMs);
      session.on("stream", (stream) => {
        streams++;
        clearTimeout(timer);
        stream.once("close", () => {
          if (--streams > 0 || socket.destroyed) return;
          if (connection.isSurplus) session.close();
          timer = setTimeout(() => socket.destroy(), connection.isSurplus ? LINGER_MS : this.limits.idleTimeoutMs);
        });
      });
      session.once("close", () => {
        clearTimeout(timer);
        this.sessions.delete(session);
      });
    };
    socket.allowHalfOpen = false;
    // The event comes while the connection is handed over, or never.
    this.http2.once("session", begun).emit("connection", socket);
    this.http2.off("session", begun);
  }

  private listenToRequests(): void {
    // A client that has sent everything may say so, and is answered; @types/node does not know the property.
    Object.assign(this.server, { httpAllowHalfOpen: true });
    // A client that asks before it sends its body is told of a refusal first: see leave().
    for (const event of ["request", "checkContinue"]) {
      this.server.on(event, (request: IncomingMessage, response: ServerResponse) => this.inTurn(request, response));
      this.http2.on(event, (request: IncomingMessage, response: ServerResponse) => {
        request.on("error", () => undefined);
        // Of the types that node:http has, node:http2's have all that is used here.
        this.take(request, response);
      });
    }
    this.http2.on("connect", (request: IncomingMessage, response: ServerResponse) => {
      this.observer.refused("upgrade", request);
      response.writeHead(501).end();
    });
    this.server.on("clientError", (error: NodeJS.ErrnoException, socket: Duplex) => this.refuseRest(error, socket));
    // Without a listener for upgrades they are requests like others (RFC 9110 §7.8): http.ts says which are refused.
    this.server.on("connect", (request: IncomingMessage, socket: Duplex) => {
      this.observer.refused("upgrade", request);
      refuseRaw(socket, "501 Not Implemented");
    });
  }

  /** Refuses what is no request: behind one that is being read, behind one that is whole, or by itself. */
  private refuseRest(error: NodeJS.ErrnoException, socket: Duplex): void {
    const isLate = error.code === "ERR_HTTP_REQUEST_TIMEOUT";
    const refused = (): void => {
      // A client that ends in the middle of a request is gone.
      if (!isGone(error) && error.code !== "HPE_INVALID_EOF_STATE") this.observer.refused(isLate ? "timeout" : "request");
      refuseRaw(socket, isLate ? "408 Request Timeout" : "400 Bad Request");
    };
    const before = this.latest.get(socket);
    const isInBody = before !== undefined && !before.writableFinished && !before.req.complete;
    if (isInBody && before.headersSent) socket.destroy();
    else if (isInBody) {
      // Who reads the body must know at once.
      socket.once("finish", () => socket.destroy());
      refused();
    } else if (before === undefined || before.writableFinished) refused();
    // Behind a whole request that closes the connection nothing counts (RFC 9112 §9.6).
    else if (error.code !== "HPE_CLOSED_CONNECTION") before.once("close", refused);
  }

  /** Requests that came one behind the other on one connection are taken so: each may rest on what the one before did. */
  private inTurn(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    this.latest.set(socket, response);
    const turns = this.turns.get(socket) ?? { waiting: 0, last: Promise.resolve() };
    this.turns.set(socket, turns);
    if (turns.waiting > MAX_PIPELINED) return void socket.destroy();
    const before = turns.waiting++ === 0 ? undefined : turns.last;
    turns.last = new Promise((resolve) => {
      response.once("close", () => {
        turns.waiting--;
        resolve();
      });
    });
    if (before === undefined) this.take(request, response);
    else
      void before.then(() => {
        // The answer before may have been the last.
        if (!socket.writableEnded) this.take(request, response);
      });
  }

  private take(request: IncomingMessage, response: ServerResponse): void {
    const connection = connectionOf(request);
    if (connection === undefined || response.destroyed) return cut(request);
    this.requests++;
    response.once("close", () => this.done());
    this.watch(request, response);
    // Node's parser drops what has come behind a request that asks for an upgrade: its client is to send that on another connection.
    if ((this.isClosing || connection.isSurplus || request.headers.upgrade !== undefined) && !isHttp2(request)) response.shouldKeepAlive = false;
    if (connection.isSurplus || this.requests > this.limits.maxConnections)
      return refuse(
        request,
        response,
        new Refusal(503, "too many connections or requests: try again later, or raise limits.maxConnections", { "retry-after": "5" }),
        this.observer,
      );
    void this.handle(request, response, connection);
  }

  private done(): void {
    this.requests--;
    // Its connection is idle when node:http has put it back.
    if (this.isClosing) setImmediate(() => this.server.closeIdleConnections());
  }

  /** Gives up a client on which one waits for too long. */
  private watch(request: IncomingMessage, response: ServerResponse): void {
    const late = (refusal: Refusal): void => {
      if (response.headersSent) return cut(request);
      refuse(request, response, refusal, this.observer);
      // Who reads the body is to know; over HTTP/1.1 by the end of the connection.
      if (isHttp2(request)) request.destroy(refusal);
    };
    const silent = (): void => {
      const unread = isHttp2(request) ? (streamOf(request)?.bufferSize ?? 0) : (response.socket?.writableLength ?? 0);
      if (unread > 0) return cut(request);
      if (isWhole(request)) return;
      response.once("finish", () => cut(request));
      late(new Refusal(408, "nothing came for too long: send the rest again"));
    };
    if (isHttp2(request)) streamOf(request)?.setTimeout(this.limits.idleTimeoutMs, silent);
    else response.on("timeout", silent);
    if (this.limits.requestTimeoutMs === undefined) return;
    const timer = setTimeout(() => {
      if (response.headersSent) return;
      late(
        isWhole(request) ? new Refusal(503, "it took too long: try again", { "retry-after": "5" }, "timeout") : new Refusal(408, "the request took too long"),
      );
    }, this.limits.requestTimeoutMs);
    response.once("close", () => clearTimeout(timer));
  }

  /** New connections get another certificate; there is TLS from the start on or never. */
  renew(tls: TlsOptions | undefined): void {
    if (tls !== undefined && this.server instanceof TlsServer) this.server.setSecureContext(tls);
  }

  /** Ends it: requests under way may finish within the time. False if some were cut off. */
  async stop(graceMs: number): Promise<boolean> {
    if (!this.server.listening) return true;
    this.isClosing = true;
    const ended = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.server.closeIdleConnections();
    for (const socket of this.undecided) socket.destroy();
    for (const session of this.sessions) session.close();
    let whole = true;
    const timer = setTimeout(() => {
      whole = this.requests === 0;
      for (const socket of this.sockets) socket.destroy();
    }, graceMs);
    await ended;
    clearTimeout(timer);
    return whole;
  }
}

/** By socket or HTTP/2 session. */
const known = new WeakMap<object, Connection>();

/** What is known of the connection of a request; undefined: it is gone. */
function connectionOf(request: IncomingMessage): Connection | undefined {
  const key = isHttp2(request) ? streamOf(request)?.session : request.socket;
  return key === undefined || key === null ? undefined : known.get(key);
}

/** Tells the version of HTTP by the first bytes, which are put back. A client that does not say enough within the time is told so and cut off. */
function peek(socket: Socket, { timeoutMs, late }: { timeoutMs: number; late: string }, decided: (version: 1 | 2) => void): void {
  let head: Buffer = Buffer.alloc(0);
  const timer = setTimeout(() => refuseRaw(socket, late), timeoutMs);
  const gone = (): void => void socket.destroy();
  const take = (chunk: Buffer): void => {
    head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
    const length = Math.min(head.length, PREFACE.length);
    const isPreface = head.subarray(0, length).equals(PREFACE.subarray(0, length));
    if (isPreface && length < PREFACE.length) return;
    clearTimeout(timer);
    socket.off("data", take).off("end", gone).pause();
    socket.unshift(head);
    decided(isPreface ? 2 : 1);
  };
  socket
    .on("data", take)
    .once("end", gone)
    .once("close", () => clearTimeout(timer));
}
