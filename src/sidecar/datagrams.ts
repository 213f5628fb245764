/** Syslog over UDP: a datagram is a message. Those of one address are masked in one stream, in the order in which they come; what cannot wait is dropped and counted. */
import type { Socket } from "node:dgram";
import { FORMAT_HEAD_BYTES, formatOf } from "../codec/formats.js";
import { formatFault, MessageReader } from "../codec/messages.js";
import { LogveilError } from "../errors.js";
import type { OpenOutlet, Outlet } from "./outlets.js";

export interface DatagramContext {
  /** Name of the sender at an address. */
  name(address: string): string;
  readonly open: OpenOutlet;
  /** Throws where nothing may be taken. */
  check(): void;
  taken(messages: number): void;
  dropped(messages: number, error: unknown): void;
  /** A message of a sender was dropped, for it is not text. */
  refused(name: string, error: LogveilError): void;
}

/** Bytes of all messages that wait; what comes then is dropped. */
const MAX_WAITING_BYTES = 4 << 20;
/** Addresses with a stream of their own: addresses are easily made up. */
const MAX_ADDRESSES = 64;
/** After an error a sender is not listened to for so many milliseconds. */
const PAUSE_MS = 1000;

export class Datagrams {
  private readonly queues = new Map<string, Queue>();
  private readonly bytes = { waiting: 0 };

  constructor(
    private readonly socket: Socket,
    private readonly context: DatagramContext,
  ) {
    socket.on("message", (message, { address }) => this.take(message, address));
    socket.on("error", (error) => context.dropped(0, error));
  }

  private take(message: Buffer, address: string): void {
    try {
      this.context.check();
    } catch (error) {
      return this.context.dropped(1, error);
    }
    const format = formatOf(message.subarray(0, FORMAT_HEAD_BYTES), true);
    if (format !== undefined && format !== "more") return this.context.refused(this.context.name(address), formatFault(format.name, format.advice));
    if (this.bytes.waiting + message.length > MAX_WAITING_BYTES) return this.context.dropped(1, trouble("they come faster than they can be kept"));
    let name = this.context.name(address);
    if (!this.queues.has(name) && this.queues.size >= MAX_ADDRESSES) name = this.context.name("other");
    let queue = this.queues.get(name);
    if (queue === undefined) this.queues.set(name, (queue = new Queue(name, this.context, this.bytes)));
    queue.push(message);
  }

  /** Takes no more; resolves when what waits is kept. */
  async close(): Promise<void> {
    this.socket.close();
    await Promise.all([...this.queues.values()].map((queue) => queue.finish()));
  }
}

const trouble = (message: string): LogveilError => new LogveilError("LV_IO", message);

/** Messages of one sender. */
class Queue {
  private readonly reader = new MessageReader("octet-counting", Infinity);
  private messages: Buffer[] = [];
  private outlet: Outlet | undefined;
  private working: Promise<void> | undefined;
  private failure: { readonly error: unknown; readonly until: number } | undefined;

  constructor(
    private readonly name: string,
    private readonly context: DatagramContext,
    private readonly bytes: { waiting: number },
  ) {}

  push(message: Buffer): void {
    if (this.failure !== undefined && Date.now() < this.failure.until) return this.context.dropped(1, this.failure.error);
    this.messages.push(message);
    this.bytes.waiting += message.length;
    this.start();
  }

  private start(): void {
    this.working ??= this.work().finally(() => {
      this.working = undefined;
      if (this.messages.length > 0) this.start();
    });
  }

  private async work(): Promise<void> {
    let batch: Buffer[] = [];
    try {
      this.failure = undefined;
      this.outlet ??= await this.context.open(this.name, (error) => this.fail(error));
      while (this.messages.length > 0 && this.failure === undefined) {
        batch = this.takeAll();
        await this.outlet.write(this.reader.readWhole(batch));
        this.context.taken(this.reader.takeCount());
      }
    } catch (error) {
      this.fail(error);
      this.context.dropped(batch.length, error);
    }
    if (this.failure === undefined) return;
    this.context.dropped(this.takeAll().length, this.failure.error);
    await this.outlet?.abandon();
    this.outlet = undefined;
  }

  private takeAll(): Buffer[] {
    const { messages } = this;
    this.messages = [];
    for (const { length } of messages) this.bytes.waiting -= length;
    return messages;
  }

  private fail(error: unknown): void {
    this.failure = { error, until: Date.now() + PAUSE_MS };
  }

  async finish(): Promise<void> {
    while (this.working !== undefined) await this.working;
    try {
      await this.outlet?.finish();
    } catch (error) {
      this.context.dropped(0, error);
    }
  }
}
