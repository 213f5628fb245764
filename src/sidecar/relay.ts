/**
 * Masked messages on their way to a syslog server: octet counting over TCP (RFC 6587) or TLS (RFC 5425), a datagram each over UDP (RFC 5426). Plain syslog acknowledges
 * nothing: what the system has taken when a connection breaks may be lost; what it has not is sent again on the next one, perhaps a second time.
 */
import { createSocket } from "node:dgram";
import { isIPv6, connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { readAuthorities } from "./tls.js";

export interface ForwardOptions {
  readonly protocol: "tcp" | "udp" | "tls";
  /** A name or an address. */
  readonly host: string;
  readonly port: number;
  /** Path of the authorities of its certificate (PEM); absent: those of Node. */
  readonly ca?: string;
  /** Longest wait for a connection, in milliseconds. */
  readonly connectTimeoutMs: number;
}

export interface Relay {
  /** Takes messages; resolves when more may come. Rejects after `close`. */
  send(messages: readonly Buffer[]): Promise<void>;
  /** What is wrong; undefined: nothing. */
  readonly problem: string | undefined;
  /** Resolves when everything that was taken has been handed to the system. */
  drained(): Promise<void>;
  /** Gives up what still waits. */
  close(): void;
}

/** Who hears of what goes wrong. */
export interface RelayWatch {
  /** A connection could not be made, or broke. */
  failed(error: unknown): void;
  /** There is a connection again, or a message went out again, after so many milliseconds and failures. */
  recovered(ms: number, failures: number): void;
  /** A message could not be sent and is gone. */
  dropped(): void;
}

/** Throws `LV_CONFIG` for authorities that cannot be read. */
export const openRelay = (options: ForwardOptions, watch: RelayWatch): Relay =>
  options.protocol === "udp" ? new DatagramRelay(options, watch) : new StreamRelay(options, watch);

/** Bytes that may wait for the server before senders wait too. */
const MAX_WAITING_BYTES = 1 << 20;
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5000;
const KEEP_ALIVE_MS = 60_000;

class StreamRelay implements Relay {
  private waiting: Buffer[] = [];
  private waitingBytes = 0;
  private socket: Socket | undefined;
  private isConnected = false;
  private hasFailed = false;
  private isClosed = false;
  /** Called when something has changed that someone may wait for. */
  private readonly watchers = new Set<() => void>();
  private readonly authorities: Buffer | undefined;
  private readonly trouble: Trouble;

  constructor(
    private readonly options: ForwardOptions,
    watch: RelayWatch,
  ) {
    this.trouble = new Trouble(watch);
    if (options.ca !== undefined) this.authorities = readAuthorities(options.ca, "syslog.forwardCa");
    void this.run();
  }

  get problem(): string | undefined {
    return this.isConnected || !this.hasFailed ? undefined : "the syslog server does not answer";
  }

  async send(messages: readonly Buffer[]): Promise<void> {
    for (const message of messages) {
      const count = Buffer.from(`${message.length} `);
      this.waiting.push(count, message);
      this.waitingBytes += count.length + message.length;
    }
    this.changed();
    while (this.waitingBytes > MAX_WAITING_BYTES && !this.isClosed) await this.change();
    if (this.isClosed) throw new Error("the relay was closed");
  }

  async drained(): Promise<void> {
    while (this.waitingBytes > 0 && !this.isClosed) await this.change();
  }

  close(): void {
    this.isClosed = true;
    const { socket } = this;
    if (this.waitingBytes === 0) socket?.end(() => socket.destroy());
    else socket?.destroy();
    this.changed();
  }

  private change(): Promise<void> {
    return new Promise((resolve) => this.watchers.add(resolve));
  }

  private changed(): void {
    for (const watcher of this.watchers) watcher();
    this.watchers.clear();
  }

  /** Connects, sends until the connection breaks, and begins anew. */
  private async run(): Promise<void> {
    let delay = FIRST_RETRY_MS;
    while (!this.isClosed) {
      try {
        await this.connect();
        this.trouble.over();
        delay = FIRST_RETRY_MS;
        await this.sendAll();
      } catch (error) {
        if (!this.isClosed) this.trouble.failed(error);
      }
      this.isConnected = false;
      this.hasFailed = true;
      this.socket?.destroy();
      if (this.isClosed) return;
      await new Promise((resolve) => setTimeout(resolve, delay).unref());
      delay = Math.min(2 * delay, LAST_RETRY_MS);
    }
  }

  private async connect(): Promise<void> {
    const { protocol, host, port, connectTimeoutMs } = this.options;
    const socket =
      protocol === "tls"
        ? connectTls({ host, port, ...(this.authorities !== undefined && { ca: this.authorities }), minVersion: "TLSv1.2" })
        : connect({ host, port });
    this.socket = socket;
    await new Promise<void>((resolve, reject) => {
      socket.once(protocol === "tls" ? "secureConnect" : "connect", resolve);
      socket.once("error", reject);
      socket.once("close", () => reject(codeError("ECONNRESET")));
      socket.setTimeout(connectTimeoutMs, () => reject(codeError("ETIMEDOUT")));
    });
    socket.setTimeout(0);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    // It has nothing to say; that it is gone is noticed only while its end is read.
    socket.resume();
    socket.on("error", () => undefined);
    for (const event of ["end", "close"]) socket.once(event, () => this.lost(socket));
    this.isConnected = !socket.destroyed;
  }

  private lost(socket: Socket): void {
    socket.destroy();
    if (this.socket !== socket) return;
    this.isConnected = false;
    this.changed();
  }

  private async sendAll(): Promise<void> {
    while (this.isConnected && !this.isClosed) {
      if (this.waiting.length === 0) {
        await this.change();
        continue;
      }
      const { length } = this.waiting;
      const bytes = Buffer.concat(this.waiting);
      const socket = this.socket!;
      await new Promise<void>((resolve, reject) => socket.write(bytes, (error) => (error == null ? resolve() : reject(error))));
      // More may have come in between.
      this.waiting = this.waiting.slice(length);
      this.waitingBytes -= bytes.length;
      this.changed();
    }
    if (!this.isClosed) throw codeError("ECONNRESET");
  }
}

class DatagramRelay implements Relay {
  readonly problem = undefined;
  private readonly socket;
  private working: Promise<void> = Promise.resolve();
  private readonly trouble: Trouble;

  constructor(
    private readonly options: ForwardOptions,
    private readonly watch: RelayWatch,
  ) {
    this.trouble = new Trouble(watch);
    this.socket = createSocket(isIPv6(options.host) ? "udp6" : "udp4");
    this.socket.on("error", (error) => watch.failed(error));
    this.socket.unref();
  }

  send(messages: readonly Buffer[]): Promise<void> {
    this.working = this.working.then(async () => {
      for (const message of messages) await this.sendOne(message);
    });
    return this.working;
  }

  private sendOne(message: Buffer): Promise<void> {
    return new Promise((resolve) => {
      this.socket.send(message, this.options.port, this.options.host, (error) => {
        if (error === null) this.trouble.over();
        else {
          this.watch.dropped();
          // A message that is too long says nothing of the server.
          if ((error as NodeJS.ErrnoException).code === "EMSGSIZE") this.watch.failed(error);
          else this.trouble.failed(error);
        }
        resolve();
      });
    });
  }

  drained(): Promise<void> {
    return this.working;
  }

  close(): void {
    this.socket.close();
  }
}

/** What fails until it does not, for {@link RelayWatch}. */
class Trouble {
  private since = 0;
  private failures = 0;

  constructor(private readonly watch: RelayWatch) {}

  failed(error: unknown): void {
    if (this.failures++ === 0) this.since = performance.now();
    this.watch.failed(error);
  }

  over(): void {
    if (this.failures === 0) return;
    this.watch.recovered(performance.now() - this.since, this.failures);
    this.failures = 0;
  }
}

const codeError = (code: string): Error => Object.assign(new Error(code), { code });
