/** A stream of a job: what comes in is masked in turns with all other streams, and appended to the store. */
import type { RedactorStream } from "../live.js";
import { join } from "../stream/join.js";
import { type Pieces, Slices } from "../stream/slices.js";
import type { Finding } from "../types.js";
import type { Account } from "./accounts.js";
import type { Flusher } from "./flusher.js";
import { LineStarts } from "./lines.js";
import { Refusal } from "./refusal.js";
import type { Position } from "./segment.js";
import type { StoredStream } from "./stored.js";

/** A request that writes to a stream: the offset of the next byte that it sends. */
export interface Writer {
  next: number;
}

/** A stream that is written to. Its input is masked in order; one request writes at a time. */
export class JobStream {
  private writer: Writer | undefined;
  private idleTimer: NodeJS.Timeout | undefined;
  private working: Promise<unknown> = Promise.resolve();
  private ending: Promise<void> | undefined;
  /** The last bytes, and the account of all: once, whatever fails behind them. */
  private lastWords: Promise<void> | undefined;
  /** Bytes of input that the stream went on behind when it was opened. */
  private readonly base: number;
  private readonly lines: LineStarts;
  private readonly slices: Slices;

  constructor(
    job: string,
    private readonly stored: StoredStream,
    private readonly redactor: RedactorStream,
    private readonly account: Account,
    private readonly holdBackMs: number,
    private readonly flusher: Flusher,
    /** Called once, when nothing more comes and its files are closed. */
    private readonly closed: (stream: JobStream) => void,
  ) {
    this.base = stored.position.input;
    this.lines = new LineStarts(stored.position);
    this.slices = new Slices(job);
  }

  /** Offset of the next byte that is expected. */
  get received(): number {
    return this.base + this.redactor.offset;
  }

  /** Bytes that are held back. */
  get heldBytes(): number {
    return this.redactor.heldBytes;
  }

  /** Where the stream goes on after a crash: everything before it may be forgotten by who sent it. */
  get position(): Position {
    return this.stored.position;
  }

  get ended(): boolean {
    return this.stored.ended;
  }

  /** See {@link StoredStream.failed}. */
  get failed(): boolean {
    return this.stored.failed;
  }

  /** What a request gets that cannot go on: only what is kept is promised. */
  private refusal(message: string): Refusal {
    return new Refusal(409, message, { "logveil-offset": String(this.position.input) });
  }

  /** Throws a 409 with the offset that is kept unless the stream goes on at `offset`, if that is said: from `least` to what was received. */
  expect(offset: number | undefined, least = this.received): void {
    if (offset === undefined || (offset >= least && offset <= this.received)) return;
    const places = least === this.received ? `offset ${this.received}` : `an offset from ${least} to ${this.received}`;
    throw this.refusal(`the stream goes on at ${places}, not at ${offset}: send what follows, or leave Logveil-Offset out`);
  }

  /** Claims the stream for a request that goes on at `offset`, if it says so: anywhere from what is kept to what was received. Throws a 409. */
  claim(offset: number | undefined): Writer {
    if (this.ended || this.lastWords !== undefined) throw this.refusal("the stream has ended");
    this.expect(offset, this.position.input);
    if (this.writer !== undefined && offset === undefined)
      throw this.refusal("another request is writing to this stream: wait for its answer, or say by Logveil-Offset where you go on");
    // Who knows the offset goes on for a request whose connection is gone.
    return (this.writer = { next: offset ?? this.received });
  }

  /** Told of what was found in it, at offsets of the whole stream. */
  found(finding: Finding): void {
    this.lines.takeFinding(finding);
  }

  release(writer: Writer): void {
    if (this.writer === writer) this.writer = undefined;
  }

  /** Masks and keeps a chunk of the request that holds the claim; resolves when more may come. Throws where no more may be taken: what came so far is kept then. */
  async write(writer: Writer, chunk: Uint8Array): Promise<void> {
    this.checkWriter(writer);
    this.stored.checkRoom();
    clearTimeout(this.idleTimer);
    await this.keep(() => this.masked(this.fresh(writer, chunk), () => this.writer === writer));
    if (this.stored.isBehind) await this.commit();
    // What fails then is told to the next request.
    if (this.redactor.heldBytes > 0) this.idleTimer = setTimeout(() => void this.flush().catch(() => undefined), this.holdBackMs).unref();
    await this.account.room();
    this.checkWriter(writer);
    try {
      this.account.check();
    } catch (error) {
      await this.commit();
      throw error;
    }
  }

  private checkWriter(writer: Writer): void {
    if (this.writer !== writer) throw this.refusal("another request has taken this stream over");
  }

  /** What of a chunk was not received before: who goes on where the stream is kept sends the rest once more. */
  private fresh(writer: Writer, chunk: Uint8Array): Uint8Array {
    const known = Math.min(chunk.length, Math.max(0, this.received - writer.next));
    writer.next += chunk.length;
    return chunk.subarray(known);
  }

  /** Masks a chunk in turns. Who takes the stream over goes on where it is then: from there on the rest of the chunk is not looked at. */
  private masked(chunk: Uint8Array, isWanted: () => boolean): Pieces | Promise<Pieces> {
    return this.slices.chunk(chunk, (piece) => {
      if (!isWanted()) return [];
      this.lines.takeInput(piece);
      this.account.input(piece);
      return this.redactor.push(piece);
    });
  }

  /** There was silence: what is undecided is kept as well. Resolves when it is durable, and on record. */
  async flush(): Promise<void> {
    clearTimeout(this.idleTimer);
    await this.keep(() => this.slices.whole(() => this.redactor.idle()));
    await this.commit();
  }

  /** Masks, and appends what the redactor lets go, in order. */
  private keep(mask: () => Pieces | Promise<Pieces>, isEnd = false): Promise<void> {
    const next = this.working.then(async () => {
      const masked = join(await mask());
      const pieces = masked === undefined ? [] : [masked];
      this.lines.takeOutput(pieces);
      this.account.output(pieces);
      this.stored.append(pieces, isEnd ? this.lines.end : this.lines.before(this.base + this.redactor.settled));
      this.flusher.add(this);
    });
    this.working = next.catch(() => undefined);
    return next;
  }

  /** Resolves when everything that was let go is durable, and on record. */
  async commit(): Promise<void> {
    await this.working;
    // What is appended while its findings are put on record may have others: that is not committed.
    const { mark } = this.stored;
    await this.account.settled();
    await this.stored.commit(mark);
  }

  /** The end: everything is kept. Rejects while it cannot be; it can be called again then. */
  end(): Promise<void> {
    return (this.ending ??= this.finish().catch((error: unknown) => {
      this.ending = undefined;
      throw error;
    }));
  }

  private async finish(): Promise<void> {
    clearTimeout(this.idleTimer);
    this.lastWords ??= this.keep(() => this.slices.whole(() => this.redactor.end()), true).then(() => this.account.end());
    await this.lastWords;
    const { mark } = this.stored;
    await this.account.settled();
    await this.stored.end(mark);
    await this.stop();
  }

  /** Gives the stream up where it is: what is held back was not acknowledged. */
  async close(): Promise<void> {
    clearTimeout(this.idleTimer);
    this.redactor.close();
    await this.commit().catch(() => undefined);
    await this.stop();
  }

  private async stop(): Promise<void> {
    this.flusher.delete(this);
    try {
      await this.stored.close();
    } finally {
      this.closed(this);
    }
  }

  /** See {@link StoredStream.read}. */
  read(from: number, follow: boolean, signal: AbortSignal): AsyncGenerator<Buffer, void, void> {
    return this.stored.read(from, follow, signal);
  }
}
