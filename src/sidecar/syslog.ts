/**
 * Syslog in: listeners over TCP (RFC 6587), TLS (RFC 5425), UDP (RFC 5426) and a Unix socket. Each connection, and each address over UDP, is a sender with an outlet of its
 * own (outlets.ts). Nobody is told that a message was taken: who sends too fast over a connection is not read from, over UDP it is dropped and counted.
 */
import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import { createServer, isIPv6, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type Server as TlsServer, type TlsOptions } from "node:tls";
import type { MessageFraming } from "../codec/messages.js";
import { LogveilError } from "../errors.js";
import type { Accounts } from "./accounts.js";
import { Datagrams } from "./datagrams.js";
import type { ServerLimits } from "./http.js";
import type { Jobs } from "./jobs.js";
import { Refusal } from "./refusal.js";
import { listenOn, type TcpAddress } from "./listen.js";
import { attempts, lasted } from "./outage.js";
import { type OpenOutlet, RelayOutlet, StoreOutlets } from "./outlets.js";
import { type ForwardOptions, openRelay, type Relay } from "./relay.js";
import { Sender } from "./sender.js";

export interface SyslogOptions {
  readonly tcp?: TcpAddress;
  readonly udp?: TcpAddress;
  readonly tls?: { readonly listen: TcpAddress; readonly tls: TlsOptions };
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
  readonly accounts: Accounts;
  readonly limits: ServerLimits;
  readonly holdBackMs: number;
  readonly log: (level: "info" | "warn", message: string) => void;
}

/** Names of listeners, in metrics and in the names of streams. */
type Listener = "tcp" | "tls" | "udp" | "unix";

export interface Syslog {
  readonly addresses: Readonly<Partial<Record<"tcp" | "tls" | "udp", TcpAddress>>>;
  /** What is wrong; undefined: nothing. */
  problem(): string | undefined;
  /** New connections get another certificate. */
  renew(tls: TlsOptions | undefined): void;
  /** Stops listening, takes what connections have sent, and ends. False if something was cut off. */
  close(graceMs: number): Promise<boolean>;
}

/** A job that is written to is not abandoned: told this often, in milliseconds. */
const TOUCH_INTERVAL_MS = 3_600_000;
/** The same trouble is told once in so many milliseconds. */
const TELL_INTERVAL_MS = 60_000;
/** Most troubles that are told in that time: addresses are easily made up. */
const MAX_TOLD = 100;
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
  private readonly relay: Relay | undefined;
  private readonly open: OpenOutlet;
  private readonly servers: Server[] = [];
  private secure: TlsServer | undefined;
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
    this.relay =
      options.forward &&
      openRelay(options.forward, {
        failed: (error) => this.tell(`syslog.forward: ${nameOf(error)}`),
        recovered: (ms, failures) =>
          context.log("info", `syslog: syslog.forward: the server takes messages again, after ${lasted(ms)} and ${attempts(failures)}`),
        dropped: () => this.count("syslogDropped", "forward"),
      });
    const open = outletsOf(options, context, this.relay);
    this.open = async (...sender) => {
      await context.accounts.evidence.settled(options.job);
      return open(...sender);
    };
  }

  async start(): Promise<void> {
    const { tcp, tls, udp, unix, framing, job } = this.options;
    const { context } = this;
    const connections = { allowHalfOpen: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS };
    if (tcp !== undefined) this.addresses.tcp = await listenOn(this.serve(createServer(connections), "tcp", framing), tcp, "syslog.tcp");
    if (tls !== undefined) {
      this.secure = createTlsServer({ ...tls.tls, ...connections, handshakeTimeout: context.limits.headersTimeoutMs });
      this.addresses.tls = await listenOn(this.serve(this.secure, "tls", framing), tls.listen, "syslog.tls");
    }
    if (unix !== undefined) await listenOn(this.serve(createServer({ allowHalfOpen: true }), "unix", "newline"), { path: unix }, "syslog.unix");
    if (udp !== undefined) this.addresses.udp = await this.receive(udp);
    for (const server of this.servers) server.on("error", (error) => (this.broken = nameOf(error)));
    context.jobs.scope(job);
    this.touching = setInterval(() => context.jobs.scope(job), TOUCH_INTERVAL_MS).unref();
  }

  renew(tls: TlsOptions | undefined): void {
    if (tls !== undefined) this.secure?.setSecureContext(tls);
  }

  problem(): string | undefined {
    return this.broken ?? this.relay?.problem;
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
    const { context, options } = this;
    for (const table of ["syslogMessages", "syslogRefused"] as const) this.count(table, listener, 0);
    const refused = (why: string, at: string = listener): void => {
      this.count("syslogRefused", listener);
      this.tell(`${at}: ${why}`);
    };
    server.maxConnections = context.limits.maxConnections;
    server.on("drop", () => refused(`${server.maxConnections} connections are open, the limit limits.maxConnections: no more are taken`));
    server.on("tlsClientError", (error, socket: Socket) => {
      socket.destroy();
      refused(`a client without TLS, or without a certificate that is accepted: ${nameOf(error)}`);
    });
    server.on("connection", (socket) => {
      this.sockets.add(socket);
      socket.once("close", () => this.sockets.delete(socket));
    });
    server.on(listener === "tls" ? "secureConnection" : "connection", (socket: Socket) => {
      const name = nameOfSender(listener, socket.remoteAddress);
      const sender = new Sender(socket, name, {
        framing,
        maxMessageBytes: options.maxMessageBytes,
        idleTimeoutMs: context.limits.idleTimeoutMs,
        open: this.open,
        check: () => context.accounts.check(options.job),
        taken: (messages) => this.count("syslogMessages", listener, messages),
        refused: (error) => {
          this.countReason(error);
          refused(`a connection was closed: ${nameOf(error)}`, isFormat(error) ? name : listener);
        },
      });
      this.senders.add(sender);
      void sender.done.finally(() => this.senders.delete(sender));
    });
    this.servers.push(server);
    return server;
  }

  /** Takes datagrams. */
  private async receive(address: TcpAddress): Promise<TcpAddress> {
    const { context, options } = this;
    const socket = createSocket(isIPv6(address.host) ? "udp6" : "udp4");
    const bound = await bind(socket, address);
    for (const table of ["syslogMessages", "syslogDropped"] as const) this.count(table, "udp", 0);
    this.datagrams = new Datagrams(socket, {
      name: (host) => nameOfSender("udp", host),
      open: this.open,
      check: () => context.accounts.check(options.job),
      taken: (messages) => this.count("syslogMessages", "udp", messages),
      dropped: (messages, error) => {
        this.count("syslogDropped", "udp", messages);
        this.tell(`udp: messages are dropped: ${nameOf(error)}`);
      },
      refused: (name, error) => {
        this.count("syslogDropped", "udp");
        this.countReason(error);
        this.tell(`${name}: messages are dropped: ${nameOf(error)}`);
      },
    });
    return bound;
  }

  private count(table: "syslogMessages" | "syslogDropped" | "syslogRefused", at: Listener | "forward", count = 1): void {
    this.context.accounts.figures.add(table, count, at);
  }

  private countReason(error: unknown): void {
    if (!(error instanceof LogveilError) || error.code !== "LV_FRAMING") return;
    this.context.accounts.figures.count("refusals", isFormat(error) ? "syslog_format" : "syslog_framing");
  }

  private tell(message: string): void {
    const now = Date.now();
    for (const [old, at] of this.told) if (now - at >= TELL_INTERVAL_MS) this.told.delete(old);
    if (this.told.has(message) || this.told.size >= MAX_TOLD) return;
    this.told.set(message, now);
    this.context.log("warn", `syslog: ${message}`);
  }
}

function outletsOf({ job, maxMessageBytes }: SyslogOptions, context: SyslogContext, relay: Relay | undefined): OpenOutlet {
  if (relay === undefined) return new StoreOutlets(context.jobs, job, maxMessageBytes).open;
  const relayed = {
    relay,
    maxMessageBytes,
    holdBackMs: context.holdBackMs,
  };
  return async (sender, failed) => {
    await context.jobs.check(job);
    const account = context.accounts.open(job, sender);
    const masking = context.jobs.scope(job).stream({ name: sender, onFinding: (finding) => account.found(finding) });
    return new RelayOutlet(masking, account, relayed, failed);
  };
}

/** Whether something was refused as it is not text. */
const isFormat = (error: unknown): boolean => error instanceof LogveilError && error.facts["format"] !== undefined;

/** `tcp-192.0.2.1`; a Unix socket tells no address. */
function nameOfSender(listener: Listener, address: string | undefined): string {
  if (listener === "unix") return "unix";
  return `${listener}-${(address ?? "unknown").replace(/^::ffff:/, "")}`;
}

/** What an error is, without bytes of input: our own say it, those of others have a code. */
function nameOf(error: unknown): string {
  if (error instanceof LogveilError || error instanceof Refusal) return error.message;
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
