/**
 * Bodies of requests: which can be masked, what must be held until it is whole, and what vouches for the bytes that leave. Nothing of a request whose body cannot be masked
 * goes out.
 */
import type { IncomingMessage } from "node:http";
import type { Framing } from "../codec/framing.js";
import { type BodyDigests, integrityFields, type IntegrityPlan, planIntegrity } from "../codec/integrity.js";
import type { DecodeLimits } from "../codec/layers.js";
import { LogveilError } from "../errors.js";
import type { RedactorStream } from "../live.js";
import { NO_JOB, type Tally } from "./accounts.js";
import { byName, checkTrailers, type Fields, isTrailer, members, pairs } from "./fields.js";
import { codingRefusal } from "./codings.js";
import { ACCEPTED_TYPES, typeAdvice } from "./media.js";
import { Refusal } from "./refusal.js";
import { MaskedBody, openStages } from "./masked.js";

/** What masking asks of its surroundings. */
export interface MaskContext {
  readonly holdBackMs: number;
  readonly decode: Partial<DecodeLimits>;
  /** Most bytes of a masked body that is held because its header vouches for it. */
  readonly maxHeldBytes: number;
  /** Streams whose secrets are those of a job, or the global ones, and the account of what goes through them. */
  open(job: string | undefined): { readonly account: Tally; readonly open: (options: { readonly joined?: boolean }) => RedactorStream };
  /** Resolves when all that was told of a job is on record; rejects while it cannot be. */
  settled(job: string | undefined): Promise<void>;
}

/** A body that announces no more is held until it is whole: it goes on with its length, in one piece, or not at all. */
const SMALL_BYTES = 128 * 1024;
/** Bodies of the largest size that are held at the same time. */
const MOST_HELD = 16;

/** Bytes that may still be held because a header vouches for them, by all requests together. */
export class HeldBytes {
  private free: number;

  constructor(maxHeldBytes: number) {
    this.free = maxHeldBytes * MOST_HELD;
  }

  take(bytes: number): boolean {
    if (bytes > this.free) return false;
    this.free -= bytes;
    return true;
  }

  give(bytes: number): void {
    this.free += bytes;
  }
}

/** Masks a field value; what it may be the beginning of is masked as well. */
export function maskValue(value: string, stream: RedactorStream): string {
  try {
    const pieces = stream.push(Buffer.from(value, "latin1")).map((piece) => Buffer.from(piece));
    return Buffer.concat([...pieces, ...stream.end()]).toString("latin1");
  } finally {
    stream.close();
  }
}

export class RequestBody {
  /** Names of the trailers that are passed on. */
  readonly trailerNames: readonly string[];
  private readonly account: Tally;
  private readonly open: ReturnType<MaskContext["open"]>["open"];
  private readonly masked: MaskedBody;
  private readonly plan: IntegrityPlan;
  private readonly received: BodyDigests;
  private readonly sent: BodyDigests;
  private readonly announcedBytes: number | undefined;
  private trailing: Fields = [];
  private heldBytes = 0;

  /** Throws a {@link Refusal} for a body that cannot be masked. */
  constructor(
    private readonly request: IncomingMessage,
    framing: Framing | undefined,
    job: string | undefined,
    private readonly context: MaskContext,
    private readonly held: HeldBytes,
  ) {
    const { headers } = request;
    if (framing === undefined) throw new Refusal(415, typeAdvice(headers["content-type"] ?? ""), { accept: ACCEPTED_TYPES });
    const length = headers["content-length"];
    this.announcedBytes = length === undefined ? undefined : Number(length);
    // Only chunks can be followed by trailers.
    this.trailerNames = length === undefined ? members(headers.trailer).filter(isTrailer) : [];
    try {
      this.plan = planIntegrity(headers);
      if (this.isVouchedFor && (this.announcedBytes ?? 0) > context.maxHeldBytes) throw this.tooLarge();
      [this.received, this.sent] = [this.plan.open(), this.plan.open()];
      const { account, open } = context.open(job);
      [this.account, this.open] = [account, open];
      const stages = openStages(framing, headers["content-encoding"], context.decode, open);
      this.masked = new MaskedBody(request, stages, account, {
        job: job ?? NO_JOB,
        holdBackMs: this.isHeld ? undefined : context.holdBackMs,
        received: (chunk) => this.received.update(chunk),
        sent: (piece) => this.sent.update(piece),
        read: () => this.check(),
        ended: () => this.finish(),
      });
    } catch (error) {
      if (!(error instanceof LogveilError)) throw error;
      throw error.code === "LV_INTEGRITY" ? new Refusal(400, error.message, {}, "signature") : codingRefusal(error);
    }
  }

  /**
   * What goes out: a whole body, with the integrity fields that it must have, or pieces as they come. Throws a {@link Refusal} for one that is not what it says or must be held
   * and is too large, and whatever else masking throws.
   */
  async payload(): Promise<{ readonly body: Uint8Array | AsyncIterable<Uint8Array>; readonly fields: Readonly<Record<string, string>> }> {
    if (!this.isHeld) return { body: this.masked, fields: {} };
    const pieces: Uint8Array[] = [];
    const rest = this.masked[Symbol.asyncIterator]();
    let bytes = 0;
    for (;;) {
      const { done, value } = await rest.next();
      if (done === true) return { body: Buffer.concat(pieces), fields: this.sent.fields(this.plan.given) };
      pieces.push(value);
      bytes += value.length;
      if (this.isVouchedFor) this.hold(value.length);
      else if (bytes > 2 * SMALL_BYTES) return { body: both(pieces, rest), fields: {} };
    }
  }

  /** The trailers that go on, when the body has ended. */
  get trailers(): Fields {
    return this.trailing;
  }

  get fault(): unknown {
    return this.masked.fault;
  }

  /** See {@link MaskedBody.whole}. */
  get whole(): Promise<boolean> {
    return this.masked.whole;
  }

  stop(): void {
    this.masked.stop();
  }

  dispose(): void {
    this.masked.dispose();
    this.held.give(this.heldBytes);
    this.heldBytes = 0;
  }

  /** Whether a header says what bytes the body has: it goes out before them. */
  private get isVouchedFor(): boolean {
    return Object.keys(this.plan.given).length > 0;
  }

  private get isHeld(): boolean {
    return this.isVouchedFor || (this.announcedBytes ?? Infinity) <= SMALL_BYTES;
  }

  private hold(bytes: number): void {
    if (this.heldBytes + bytes > this.context.maxHeldBytes) throw this.tooLarge();
    if (!this.held.take(bytes))
      throw new Refusal(503, "too many bodies with digests are under way: try again, raise limits.maxHeld, or send digests as trailers", {
        "retry-after": "1",
      });
    this.heldBytes += bytes;
  }

  private tooLarge(): Refusal {
    const [name] = Object.keys(this.plan.given);
    const limit = this.context.maxHeldBytes;
    return new Refusal(
      413,
      `${name}: the body is masked, so it is computed anew, for bodies of at most ${limit} bytes (limits.maxHeld); send ${name} as a trailer, or not`,
    );
  }

  /** What came behind the body, and whether it is the one that was vouched for. */
  private check(): void {
    checkTrailers(this.request);
    this.trailing = [...pairs(this.request.rawTrailers)].filter(([name]) => this.trailerNames.includes(name.toLowerCase())).flat();
    const given = { ...this.plan.given, ...this.vouching() };
    const found = this.received.fields(given);
    const wrong = Object.keys(given).find((name) => given[name] !== found[name]);
    if (wrong !== undefined) throw new Refusal(400, `${wrong}: this is not the digest of the body that came`, {}, "digest");
  }

  /** Before the upstream is told that the body has ended. */
  private async finish(): Promise<void> {
    const like = this.vouching();
    const others = [...pairs(this.trailing)].filter(([name]) => !Object.hasOwn(like, name.toLowerCase()));
    this.trailing = [...others.flatMap(([name, value]) => [name, maskValue(value, this.open({}))]), ...Object.entries(this.sent.fields(like)).flat()];
    this.account.check();
    this.account.end();
    await this.account.settled();
  }

  /** The trailers that vouch for the body as it came. */
  private vouching(): Record<string, string> {
    return integrityFields(byName([...pairs(this.trailing)].filter(([name]) => this.plan.trailers.includes(name.toLowerCase())).flat()));
  }
}

async function* both(first: readonly Uint8Array[], rest: AsyncGenerator<Uint8Array, void, void>): AsyncGenerator<Uint8Array, void, void> {
  yield* first;
  yield* rest;
}
