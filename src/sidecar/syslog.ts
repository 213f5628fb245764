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
  readonly log: (level: "warn", message: string) => void;
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
type Listener = "tcp" | "tls" | "udp" | "unix";

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
/** A connection that is silent for so many milliseconds is asked whether it is still there. */
const KEEP_ALIVE_MS = 60_000;

/** Starts the listeners. Throws `LV_CONFIG` and `LV_IO` for what cannot be listened on. */
export async function openSyslog(options: SyslogOptions, context: SyslogContext): Promise<Syslog> {
  const listeners = new Listeners(options, context);
  try {
    await listeners.start();
  } catch (error) {
    await listeners.close(0);
    throw error;
  }
  return listeners;
}

class Listeners implements Syslog {
  readonly addresses: { tcp?: TcpAddress; tls?: TcpAddress; udp?: TcpAddress } = {};
  private readonly counted: SyslogCounts = { messages: {}, dropped: {}, refused: {} };
  private readonly relay: Relay | undefined;
  private readonly open: OpenOutlet;
  private readonly servers: Server[] = [];
  private readonly senders = new Set<Sender>();
  /** Of all connections, also those that say no message yet: they have not agreed on TLS. */
  private readonly sockets = new Set<Socket>();
  private datagrams: Datagrams | undefined;
  private broken: string | undefined;
  private touching: NodeJS.Timeout | undefined;
  private ending: Promise<boolean> | undefined;
  /** When a trouble was told last. */
  private readonly told = new Map<string, number>();

  constructor(
    private readonly options: SyslogOptions,
    private readonly context: SyslogContext,
  ) {
    this.relay = options.forward && openRelay(options.forward, (error) => this.tell(`syslog.forward: ${nameOf(error)}`));
    const open = outletsOf(options, context, this.relay);
    this.open = async (...sender) => {
      await context.settled();
      return open(...sender);
    };
  }

  async start(): Promise<void> {
    const { tcp, tls, udp, unix, framing, job } = this.options;
    const { context } = this;
    const connections = { allowHalfOpen: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS };
    if (tcp !== undefined) this.addresses.tcp = await context.listen(this.serve(createServer(connections), "tcp", framing), tcp, "syslog.tcp");
    if (tls !== undefined) {
      const server = createTlsServer({ ...readTls(tls.files), ...connections, handshakeTimeout: context.limits.headersTimeoutMs });
      this.addresses.tls = await context.listen(this.serve(server, "tls", framing), tls, "syslog.tls");
    }
    if (unix !== undefined) await listenUnix(this.serve(createServer({ allowHalfOpen: true }), "unix", "newline"), unix, "syslog.unix");
    if (udp !== undefined) this.addresses.udp = await this.receive(udp);
    for (const server of this.servers) server.on("error", (error) => (this.broken = nameOf(error)));
    context.jobs.scope(job);
    this.touching = setInterval(() => context.jobs.scope(job), TOUCH_INTERVAL_MS).unref();
  }

  problem(): string | undefined {
    return this.broken ?? this.relay?.problem;
  }

  counts(): SyslogCounts {
    const { counted, relay } = this;
    return relay === undefined ? counted : { ...counted, dropped: { ...counted.dropped, forward: relay.dropped } };
  }

  close(graceMs: number): Promise<boolean> {
    return (this.ending ??= this.end(graceMs));
  }

  private async end(graceMs: number): Promise<boolean> {
    clearInterval(this.touching);
    const stopped = this.servers.map(stop);
    let isWhole = true;
    const timer = setTimeout(() => {
      isWhole = false;
      this.relay?.close();
      for (const sender of this.senders) sender.destroy();
    }, graceMs);
    for (const sender of this.senders) sender.end();
    await Promise.all([...[...this.senders].map(({ done }) => done), this.datagrams?.close()]);
    await this.relay?.drained();
    clearTimeout(timer);
    this.relay?.close();
    for (const socket of this.sockets) socket.destroy();
    await Promise.all(stopped);
    return isWhole;
  }

  /** Takes the connections of a server. */
  private serve(server: Server, listener: Listener, framing: MessageFraming): Server {
    const { counted, context, options } = this;
    counted.messages[listener] = counted.refused[listener] = 0;
    const refused = (why: string): void => {
      counted.refused[listener]!++;
      this.tell(`${listener}: ${why}`);
    };
    server.maxConnections = context.limits.maxConnections;
    server.on("drop", () => refused(`${server.maxConnections} connections, the most there may be, so no more are taken; raise limits.maxConnections`));
    server.on("tlsClientError", (error, socket: Socket) => {
      socket.destroy();
      refused(`a client without TLS, or without a certificate that is accepted: ${nameOf(error)}`);
    });
    server.on("connection", (socket) => {
      this.sockets.add(socket);
      socket.once("close", () => this.sockets.delete(socket));
    });
    server.on(listener === "tls" ? "secureConnection" : "connection", (socket: Socket) => {
      const sender = new Sender(socket, nameOfSender(listener, socket.remoteAddress), {
        framing,
        maxMessageBytes: options.maxMessageBytes,
        idleTimeoutMs: context.limits.idleTimeoutMs,
        open: this.open,
        isTrusted: () => context.isTrusted(),
        taken: (messages) => (counted.messages[listener]! += messages),
        refused: (error) => refused(`a connection was closed: ${nameOf(error)}`),
      });
      this.senders.add(sender);
      void sender.done.finally(() => this.senders.delete(sender));
    });
    this.servers.push(server);
    return server;
  }

  /** Takes datagrams. */
  private async receive(address: TcpAddress): Promise<TcpAddress> {
    const { counted, context } = this;
    const socket = createSocket(isIPv6(address.host) ? "udp6" : "udp4");
    const bound = await bind(socket, address);
    counted.messages["udp"] = counted.dropped["udp"] = 0;
    this.datagrams = new Datagrams(socket, {
      name: (host) => nameOfSender("udp", host),
      open: this.open,
      isTrusted: () => context.isTrusted(),
      taken: (messages) => (counted.messages["udp"]! += messages),
      dropped: (messages, error) => {
        counted.dropped["udp"]! += messages;
        this.tell(`udp: messages are dropped: ${nameOf(error)}`);
      },
    });
    return bound;
  }

  private tell(message: string): void {
    if (Date.now() - (this.told.get(message) ?? -Infinity) < TELL_INTERVAL_MS) return;
    this.told.set(message, Date.now());
    this.context.log("warn", `syslog: ${message}`);
  }
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
