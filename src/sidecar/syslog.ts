/**
 * Syslog in: listeners over TCP (RFC 6587), TLS (RFC 5425), UDP (RFC 5426) and a Unix socket. Each connection, and each address over UDP, is a sender with an outlet of its
 * own (outlets.ts). Nobody is told that a message was taken: who sends too fast over a connection is not read from, over UDP it is dropped and counted.
 */
import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import { createServer, isIPv6, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import type { MessageFraming } from "../codec/messages.js";
import { LogveilError } from "../errors.js";
import type { RedactorStream } from "../live.js";
import { listenUnix } from "./control.js";
import { Datagrams } from "./datagrams.js";
import type { ServerLimits } from "./http.js";
import type { Jobs } from "./jobs.js";
import { type OpenOutlet, RelayOutlet, StoreOutlets } from "./outlets.js";
import { type ForwardOptions, openRelay, type Relay } from "./relay.js";
import { Sender } from "./sender.js";
import { readTls, type TlsFiles } from "./tls.js";

interface TcpAddress {
  readonly host: string;
  readonly port: number;
}

export interface SyslogOptions {
  readonly tcp?: TcpAddress;
  readonly udp?: TcpAddress;
  /** With the files of its certificate. */
  readonly tls?: TcpAddress & { readonly files: TlsFiles };
  /** Path of a socket on which lines come in. */
  readonly unix?: string;
  /** Of connections over TCP and TLS. */
  readonly framing: MessageFraming;
  /** Whose secrets mask what comes in, and whose streams in the store it becomes. */
  readonly job: string;
  readonly maxMessageBytes: number;
  /** Absent: into the store. */
  readonly forward?: ForwardOptions;
}

/** What listeners ask of their surroundings. */
export interface SyslogContext {
  readonly jobs: Jobs;
  readonly limits: ServerLimits;
  readonly holdBackMs: number;
  readonly log: (level: "info" | "warn" | "error", message: string) => void;
  /** Whether masking can be trusted: nothing is taken otherwise. */
  isTrusted(): boolean;
  /** A stream that masks what a sender of a job says. */
  open(job: string, sender: string): RedactorStream;
  /** Resolves when everything that was found so far is on record; rejects if it cannot be. */
  settled(): Promise<void>;
  /** Listens on an address, which the field `field` names; answers which it became. */
  listen(server: Server, address: TcpAddress, field: string): Promise<TcpAddress>;
}

/** Names of listeners, in metrics and in the names of streams. */
const LISTENERS = ["tcp", "tls", "udp", "unix"] as const;
export type Listener = (typeof LISTENERS)[number];

export interface SyslogCounts {
  /** Messages that were taken. */
  readonly messages: Record<string, number>;
  /** Messages that were not kept or not passed on, though they came whole. */
  readonly dropped: Record<string, number>;
  /** Connections that were not taken, or closed for what they sent. */
  readonly refused: Record<string, number>;
}

export interface Syslog {
  readonly addresses: Readonly<Partial<Record<"tcp" | "tls" | "udp", TcpAddress>>>;
  /** What is wrong; undefined: nothing. */
  problem(): string | undefined;
  counts(): SyslogCounts;
  /** Stops listening, takes what connections have sent, and ends. False if something was cut off. */
  close(graceMs: number): Promise<boolean>;
}

/** A job that is written to is not abandoned: told this often, in milliseconds. */
const TOUCH_INTERVAL_MS = 3_600_000;
/** The same trouble is told once in so many milliseconds. */
const TELL_INTERVAL_MS = 60_000;

/** Starts the listeners. Throws `LV_CONFIG` and `LV_IO` for what cannot be listened on. */
export async function openSyslog(options: SyslogOptions, context: SyslogContext): Promise<Syslog> {
  const { jobs } = context;
  const told = new Map<string, number>();
  const tell = (level: "warn" | "error", message: string): void => {
    if (Date.now() - (told.get(message) ?? -Infinity) < TELL_INTERVAL_MS) return;
    told.set(message, Date.now());
    context.log(level, `syslog: ${message}`);
  };
  const counts: SyslogCounts = { messages: {}, dropped: {}, refused: {} };
  const relay = options.forward && openRelay(options.forward, (error) => tell("warn", `syslog.forward: ${nameOf(error)}`));
  const openOutlet = outletsOf(options, context, relay);
  const open: OpenOutlet = async (...sender) => {
    await context.settled();
    return openOutlet(...sender);
  };

  const senders = new Set<Sender>();
  const servers: Server[] = [];
  /** Of all connections, also those that say no message yet: they have not agreed on TLS. */
  const sockets = new Set<Socket>();
  const serve = (server: Server, listener: Listener, framing: MessageFraming): Server => {
    counts.messages[listener] = counts.refused[listener] = 0;
    server.maxConnections = context.limits.maxConnections;
    server.on("drop", () => {
      counts.refused[listener]!++;
      tell("warn", `${listener}: ${context.limits.maxConnections} connections, the most there may be, so no more are taken; raise limits.maxConnections`);
    });
    server.on("connection", (socket) => {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
    });
    server.on("tlsClientError", (error, socket: Socket) => {
      socket.destroy();
      counts.refused[listener]!++;
      tell("warn", `${listener}: a client without TLS, or without a certificate that is accepted: ${nameOf(error)}`);
    });
    server.on(listener === "tls" ? "secureConnection" : "connection", (socket: Socket) => {
      const sender = new Sender(socket, nameOfSender(listener, socket.remoteAddress), {
        framing,
        maxMessageBytes: options.maxMessageBytes,
        idleTimeoutMs: context.limits.idleTimeoutMs,
        open,
        isTrusted: () => context.isTrusted(),
        taken: (messages) => (counts.messages[listener]! += messages),
        refused(error) {
          counts.refused[listener]!++;
          tell("warn", `${listener}: a connection was closed: ${nameOf(error)}`);
        },
      });
      senders.add(sender);
      void sender.done.finally(() => senders.delete(sender));
    });
    servers.push(server);
    return server;
  };
  const tcpOptions = { allowHalfOpen: true, keepAlive: true, keepAliveInitialDelay: TELL_INTERVAL_MS };

  const addresses: { tcp?: TcpAddress; tls?: TcpAddress; udp?: TcpAddress } = {};
  const { tcp, tls, udp, unix } = options;
  let datagrams: Datagrams | undefined;
  let broken: string | undefined;
  try {
    if (tcp !== undefined) addresses.tcp = await context.listen(serve(createServer(tcpOptions), "tcp", options.framing), tcp, "syslog.tcp");
    if (tls !== undefined) {
      const server = createTlsServer({ ...readTls(tls.files), ...tcpOptions, handshakeTimeout: context.limits.headersTimeoutMs });
      addresses.tls = await context.listen(serve(server, "tls", options.framing), tls, "syslog.tls");
    }
    if (unix !== undefined) await listenUnix(serve(createServer({ allowHalfOpen: true }), "unix", "newline"), unix, "syslog.unix");
    if (udp !== undefined) {
      const socket = createSocket(isIPv6(udp.host) ? "udp6" : "udp4");
      addresses.udp = await bind(socket, udp);
      counts.messages["udp"] = counts.dropped["udp"] = 0;
      datagrams = new Datagrams(socket, {
        name: (address) => nameOfSender("udp", address),
        open,
        isTrusted: () => context.isTrusted(),
        taken: (messages) => (counts.messages["udp"]! += messages),
        dropped(messages, error) {
          counts.dropped["udp"]! += messages;
          tell("warn", `udp: messages are dropped: ${nameOf(error)}`);
        },
      });
    }
  } catch (error) {
    await Promise.all(servers.map(stop));
    relay?.close();
    throw error;
  }
  for (const server of servers) server.on("error", (error) => (broken = nameOf(error)));
  jobs.scope(options.job);
  const touch = setInterval(() => jobs.scope(options.job), TOUCH_INTERVAL_MS).unref();

  let ending: Promise<boolean> | undefined;
  const end = async (graceMs: number): Promise<boolean> => {
    clearInterval(touch);
    const stopped = servers.map(stop);
    let isWhole = true;
    const timer = setTimeout(() => {
      isWhole = false;
      relay?.close();
      for (const sender of senders) sender.destroy();
    }, graceMs);
    for (const sender of senders) sender.end();
    await Promise.all([...[...senders].map(({ done }) => done), datagrams?.close()]);
    await relay?.drained();
    clearTimeout(timer);
    relay?.close();
    for (const socket of sockets) socket.destroy();
    await Promise.all(stopped);
    return isWhole;
  };
  return {
    addresses,
    problem: () => broken ?? relay?.problem,
    counts: () => (relay === undefined ? counts : { ...counts, dropped: { ...counts.dropped, forward: relay.dropped } }),
    close: (graceMs) => (ending ??= end(graceMs)),
  };
}

function outletsOf({ job, maxMessageBytes }: SyslogOptions, context: SyslogContext, relay: Relay | undefined): OpenOutlet {
  if (relay === undefined) return new StoreOutlets(context.jobs, job, maxMessageBytes).open;
  const relayed = {
    relay,
    maxMessageBytes,
    holdBackMs: context.holdBackMs,
    open: (sender: string) => context.open(job, sender),
    settled: () => context.settled(),
  };
  return async (sender, failed) => new RelayOutlet(sender, relayed, failed);
}

/** `tcp-192.0.2.1`; a Unix socket tells no address. */
function nameOfSender(listener: Listener, address: string | undefined): string {
  if (listener === "unix") return "unix";
  return `${listener}-${(address ?? "unknown").replace(/^::ffff:/, "")}`;
}

/** What an error is, without bytes of input: our own say it, those of others have a code. */
function nameOf(error: unknown): string {
  if (error instanceof LogveilError) return error.message;
  const { code, name } = error as NodeJS.ErrnoException;
  return code ?? name;
}

async function bind(socket: DatagramSocket, { host, port }: TcpAddress): Promise<TcpAddress> {
  try {
    await new Promise<void>((resolve, reject) => socket.once("error", reject).bind(port, host, resolve));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === "EADDRINUSE" ? "another process listens there" : code;
    throw new LogveilError("LV_CONFIG", `syslog.udp: cannot listen on ${host}:${port}: ${why}; choose another address`, { cause: error });
  }
  const { address, port: bound } = socket.address();
  return { host: address, port: bound };
}

const stop = (server: Server): Promise<void> => new Promise((resolve) => server.close(() => resolve()));
