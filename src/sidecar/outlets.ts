/** Where the messages of a sender go: each sender has an outlet, which masks them in a stream of its own and keeps them, or passes them on. */
import type { MessageText } from "../codec/messages.js";
import { MessageSplitter } from "../codec/messages.js";
import { StructuredDataMasker } from "../codec/structured.js";
import type { RedactorStream } from "../live.js";
import { Slices } from "../stream/slices.js";
import type { Account } from "./accounts.js";
import type { JobStream, Writer } from "./job-stream.js";
import type { Jobs } from "./jobs.js";
import { Refusal } from "./refusal.js";
import type { Relay } from "./relay.js";

export interface Outlet {
  /** Takes text of messages; resolves when more may come. Rejects when it cannot be kept: nothing more may be written then. */
  write(message: MessageText): Promise<void>;
  /** The sender is gone: what is undecided leaves. Rejects like `write`. */
  finish(): Promise<void>;
  /** Instead of `finish` after an error. */
  abandon(): Promise<void>;
}

/** Opens an outlet for a sender. `failed` is called when what was written cannot be kept. */
export type OpenOutlet = (sender: string, failed: (error: unknown) => void) => Promise<Outlet>;

/** Around what masks a sender's messages: structured data keeps its syntax, and what has left is final, for no one sends it again after a crash. */
function overMessages(masking: RedactorStream, maxMessageBytes: number): RedactorStream {
  const masker = new StructuredDataMasker(masking, maxMessageBytes);
  return {
    name: masking.name,
    get offset() {
      return masking.offset;
    },
    get heldBytes() {
      return masking.heldBytes + masker.heldBytes;
    },
    get work() {
      return masking.work;
    },
    get settled() {
      return masking.offset - masking.heldBytes;
    },
    push: (chunk) => masker.push(chunk),
    idle: () => masker.idle(),
    end: () => masker.end(),
    close: () => masker.close(),
  };
}

/**
 * Streams of one job in the store. Each sender that is there has one to itself, so that what it sends is masked as it comes, without messages of others in between: the
 * first one of an address `tcp-192.0.2.1`, another at the same time `tcp-192.0.2.1-2`. Streams stay open for who comes next, until the job has as many as it may.
 */
export class StoreOutlets {
  private readonly taken = new Set<string>();
  /** Open, and no one writes; the one that waits longest is first. */
  private readonly free = new Set<string>();
  /** Being closed to make room: who comes back waits for that. */
  private readonly retiring = new Map<string, Promise<void>>();

  constructor(
    private readonly jobs: Jobs,
    private readonly job: string,
    private readonly maxMessageBytes: number,
  ) {}

  readonly open: OpenOutlet = async (sender, failed) => {
    let name = sender;
    for (let n = 2; this.taken.has(name); n++) name = `${sender}-${n}`;
    this.taken.add(name);
    this.free.delete(name);
    try {
      const stream = await this.stream(name);
      const writer = stream.claim(undefined);
      const release = async (isSound: boolean): Promise<void> => {
        stream.release(writer);
        if (isSound) this.free.add(name);
        else await this.jobs.retire(this.job, name).catch(() => undefined);
        this.taken.delete(name);
      };
      return new StoreOutlet(stream, writer, release, failed);
    } catch (error) {
      this.taken.delete(name);
      throw error;
    }
  };

  private async stream(name: string): Promise<JobStream> {
    const open = (): Promise<JobStream> => this.jobs.stream(this.job, name, (masking) => overMessages(masking, this.maxMessageBytes));
    await this.retiring.get(name)?.catch(() => undefined);
    for (;;) {
      try {
        const stream = await open();
        if (!stream.ended) return stream;
        // Someone ended the job: its log goes on.
        await this.jobs.retire(this.job, name);
      } catch (error) {
        const [oldest] = this.free;
        if (!(error instanceof Refusal) || oldest === undefined) throw error;
        this.free.delete(oldest);
        const retiring = this.jobs.retire(this.job, oldest).finally(() => this.retiring.delete(oldest));
        this.retiring.set(oldest, retiring);
        await retiring;
      }
    }
  }
}

class StoreOutlet implements Outlet {
  private committing: Promise<void> | undefined;
  private isBehind = false;

  constructor(
    private readonly stream: JobStream,
    private readonly writer: Writer,
    private readonly release: (isSound: boolean) => Promise<void>,
    private readonly failed: (error: unknown) => void,
  ) {}

  async write({ text }: MessageText): Promise<void> {
    if (text.length === 0) return;
    await this.stream.write(this.writer, text);
    this.isBehind = true;
    this.committing ??= this.commit();
  }

  /** Makes durable what was written, and what is written meanwhile. */
  private async commit(): Promise<void> {
    try {
      while (this.isBehind) {
        this.isBehind = false;
        await this.stream.commit();
      }
    } catch (error) {
      this.failed(error);
    } finally {
      this.committing = undefined;
    }
  }

  async finish(): Promise<void> {
    await this.stream.flush();
    await this.release(true);
  }

  async abandon(): Promise<void> {
    await this.committing;
    await this.release(false);
  }
}

export interface RelayContext {
  readonly relay: Relay;
  readonly maxMessageBytes: number;
  readonly holdBackMs: number;
}

/** Masks messages and passes them on, at the pace of the server. */
export class RelayOutlet implements Outlet {
  private readonly masking: RedactorStream;
  private readonly splitter: MessageSplitter;
  private readonly slices: Slices;
  private working: Promise<void> = Promise.resolve();
  private silence: NodeJS.Timeout | undefined;

  constructor(
    masking: RedactorStream,
    private readonly account: Account,
    private readonly context: RelayContext,
    private readonly failed: (error: unknown) => void,
  ) {
    this.masking = overMessages(masking, context.maxMessageBytes);
    this.splitter = new MessageSplitter(context.maxMessageBytes);
    this.slices = new Slices(account.job);
  }

  async write({ text, marks }: MessageText): Promise<void> {
    clearTimeout(this.silence);
    this.splitter.expect(marks);
    const masked = await this.slices.chunk(text, (piece) => {
      this.account.input(piece);
      return this.masking.push(piece);
    });
    await this.pass(this.split(masked));
    if (this.masking.heldBytes > 0) this.silence = setTimeout(() => void this.idle().catch(this.failed), this.context.holdBackMs).unref();
    this.account.check();
  }

  private async idle(): Promise<void> {
    await this.pass(this.split(await this.slices.whole(() => this.masking.idle())));
  }

  private split(pieces: Uint8Array[]): Buffer[] {
    this.account.output(pieces);
    return this.splitter.split(pieces);
  }

  /** In order; not before what was found in them is on record. */
  private pass(messages: readonly Buffer[]): Promise<void> {
    if (messages.length === 0) return this.working;
    const next = this.working.then(async () => {
      await this.account.settled();
      await this.context.relay.send(messages);
    });
    this.working = next;
    next.catch(() => undefined);
    return next;
  }

  async finish(): Promise<void> {
    clearTimeout(this.silence);
    const rest = this.split(await this.slices.whole(() => this.masking.end()));
    this.account.end();
    await this.pass([...rest, ...this.splitter.end()]);
  }

  async abandon(): Promise<void> {
    clearTimeout(this.silence);
    this.masking.close();
  }
}
