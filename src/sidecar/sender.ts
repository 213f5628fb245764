/** A connection on which syslog messages come in: they are read no faster than they can be kept. */
import type { Socket } from "node:net";
import { type MessageFraming, MessageReader } from "../codec/messages.js";
import { LogveilError } from "../errors.js";
import type { OpenOutlet, Outlet } from "./outlets.js";

export interface SenderContext {
  readonly framing: MessageFraming;
  readonly maxMessageBytes: number;
  /** Longest silence within a message. */
  readonly idleTimeoutMs: number;
  readonly open: OpenOutlet;
  /** Throws where nothing may be taken. */
  check(): void;
  /** So many messages were taken. */
  taken(messages: number): void;
  /** The connection was closed for what came, or because it cannot be kept. */
  refused(error: unknown): void;
}

/** At the end a connection is read until it is silent for so many milliseconds: what was under way is taken. */
const LAST_SILENCE_MS = 250;

export class Sender {
  /** Resolves when all that came is kept, and the connection is closed. */
  readonly done: Promise<void>;
  private readonly reader: MessageReader;
  /** Whether nothing but the client keeps us waiting. */
  private isWaiting = false;
  private isEnding = false;
  private failure: unknown;

  constructor(
    private readonly socket: Socket,
    name: string,
    private readonly context: SenderContext,
  ) {
    this.reader = new MessageReader(context.framing, context.maxMessageBytes);
    // Told where it is read.
    socket.on("error", () => undefined);
    socket.setTimeout(context.idleTimeoutMs);
    socket.on("timeout", () => this.silent());
    this.done = this.serve(name);
  }

  /** No more is wanted: what is under way is taken. */
  end(): void {
    this.isEnding = true;
    this.socket.end();
    this.socket.setTimeout(LAST_SILENCE_MS);
  }

  destroy(): void {
    this.socket.destroy();
  }

  private silent(): void {
    if (!this.isWaiting) return;
    if (this.isEnding) this.socket.destroy();
    else if (this.reader.isInside) this.fail(new LogveilError("LV_IO", "silence within a message for longer than limits.idleTimeout"));
  }

  private fail(error: unknown): void {
    this.failure ??= error;
    this.socket.destroy();
  }

  private async serve(name: string): Promise<void> {
    let outlet: Outlet | undefined;
    try {
      this.context.check();
      outlet = await this.context.open(name, (error) => this.fail(error));
      await this.receive(outlet);
      await this.write(outlet, this.reader.end());
      this.failure ??= this.reader.fault;
      await outlet.finish();
    } catch (error) {
      this.failure ??= error;
      await outlet?.abandon();
    }
    if (this.failure !== undefined) this.context.refused(this.failure);
    this.socket.destroy();
  }

  /** Reads until the client has no more, or sends what is no message: what came before that counts. */
  private async receive(outlet: Outlet): Promise<void> {
    // The client sees the end of the connection when what it sent is kept, not before.
    const chunks = this.socket.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
    for (;;) {
      this.isWaiting = true;
      if (this.isEnding) this.socket.setTimeout(LAST_SILENCE_MS);
      // A connection that breaks has ended.
      const next = await chunks.next().catch(() => undefined);
      this.isWaiting = false;
      if (next === undefined || next.done === true) return;
      this.context.check();
      try {
        await this.write(outlet, this.reader.read(next.value));
        this.failure ??= this.reader.fault;
        if (this.failure !== undefined) return;
      } catch (error) {
        if (!(error instanceof LogveilError) || error.code !== "LV_FRAMING") throw error;
        this.failure ??= error;
        return;
      }
    }
  }

  private async write(outlet: Outlet, text: ReturnType<MessageReader["read"]>): Promise<void> {
    await outlet.write(text);
    this.context.taken(this.reader.takeCount());
  }
}
