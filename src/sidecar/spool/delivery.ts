/**
 * Between the proxy and its upstream, where there is a spool: every request is kept before it is sent. If nothing waits, it is sent at once and its client gets the upstream's answer;
 * else, or if the upstream is down, the client gets 202 and the request is sent in its turn, again and again, until it is delivered or refused for good.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { reasonOf } from "../../io-error.js";
import { finished } from "node:stream/promises";
import type { Incoming } from "../exchange.js";
import { valueOf } from "../fields.js";
import { DamagedBody, type Draft, type RequestHead } from "./record.js";
import type { Kept, Spool } from "./spool.js";

/** Sends a request that is kept. Rejects if no answer comes. */
export type Send = (kept: Kept) => Promise<Incoming>;

/** Between attempts, in milliseconds: doubled each time from the least on, and made shorter by up to a half at random. */
export interface Backoff {
  readonly leastMs: number;
  readonly mostMs: number;
}

const BACKOFF: Backoff = { leastMs: 500, mostMs: 10_000 };
/** Longest `Retry-After` that is heeded. */
const MAX_PAUSE_MS = 300_000;

export interface DeliveryOptions {
  readonly backoff?: Backoff;
  /** Whether masking can be trusted: what waits went through it, too. */
  isTrusted(this: void): boolean;
  log(this: void, level: "info" | "warn" | "error", message: string): void;
}

type Outcome = "delivered" | "refused" | "later";

/** What an answer means for a request that need not be sent by its client again. */
function outcomeOf(status: number): Outcome {
  if (status >= 200 && status < 300) return "delivered";
  // These two stay as they are, however often one asks.
  if (status === 501 || status === 505) return "refused";
  return status >= 500 || status === 408 || status === 425 || status === 429 ? "later" : "refused";
}

/** The credentials are the sidecar's: what is wrong with them is wrong with all that waits, and can be put right. */
const isDenied = (status: number): boolean => status === 401 || status === 407;

export class Delivery {
  private readonly stop = new AbortController();
  private readonly replaying: Promise<void>;
  /** No attempt is made before this time, as the upstream asked. */
  private notBefore = 0;
  /** What the last attempt failed with. */
  private trouble: string | undefined;
  private delivered = 0;

  constructor(
    readonly spool: Spool,
    private readonly send: Send,
    private readonly options: DeliveryOptions,
  ) {
    if (!spool.isEmpty) options.log("info", `requests that wait in the spool from before: ${spool.status.requests}`);
    this.replaying = this.replay();
  }

  /** Keeps a request, and sends it if it is its turn. Resolves to the answer, or to undefined: it waits. Rejects with a refusal if it cannot be kept. */
  async take(draft: Draft, head: RequestHead): Promise<Incoming | undefined> {
    const kept = await this.spool.keep(draft, head);
    if (!kept.isNext) return undefined;
    try {
      const answer = await this.send(kept);
      if (outcomeOf(answer.status) !== "later") {
        // Refused or not: the client hears it, and may send something else.
        this.spool.settle(kept);
        return answer;
      }
      await this.heed(answer);
    } catch (error) {
      this.fail(causeOf(error));
    }
    this.spool.wait(kept);
    return undefined;
  }

  /** Makes no attempt any more, and closes the spool once the one under way is over. */
  async close(): Promise<void> {
    this.stop.abort();
    this.spool.end();
    await this.replaying;
    if (!this.spool.isEmpty) this.options.log("info", `requests that stay in the spool until the next start: ${this.spool.status.requests}`);
    await this.spool.close();
  }

  private async replay(): Promise<void> {
    let failures = 0;
    while (!this.stop.signal.aborted) {
      try {
        const kept = await this.spool.next();
        if (kept === undefined) return;
        await this.pause(this.notBefore - Date.now());
        if (this.stop.signal.aborted) return;
        if (!this.options.isTrusted()) this.fail("the self-test of masking failed");
        else if (await this.attempt(kept)) {
          failures = 0;
          continue;
        }
      } catch (error) {
        this.fail(causeOf(error));
      }
      const { leastMs, mostMs } = this.options.backoff ?? BACKOFF;
      await this.pause(Math.min(mostMs, leastMs * 2 ** failures++) * (1 - Math.random() / 2));
    }
  }

  /** Whether a request is settled. */
  private async attempt(kept: Kept): Promise<boolean> {
    try {
      const answer = await this.send(kept);
      const outcome = isDenied(answer.status) ? "later" : outcomeOf(answer.status);
      if (outcome === "later") {
        await this.heed(answer);
        return false;
      }
      if (outcome === "delivered") this.spool.settle(kept);
      else await this.spool.reject(kept, answer.status);
      await dump(answer);
    } catch (error) {
      if (!isDamaged(error)) throw error;
      await this.spool.reject(kept, "damaged");
    }
    this.succeed();
    return true;
  }

  /** Takes note of an answer that means: not now. */
  private async heed(answer: Incoming): Promise<void> {
    await dump(answer);
    const after = valueOf(answer.fields, "retry-after");
    const ms = /^\d+$/.test(after ?? "") ? Number(after) * 1000 : Date.parse(after ?? "") - Date.now();
    if (ms > 0) this.notBefore = Date.now() + Math.min(ms, MAX_PAUSE_MS);
    this.fail(`the log storage answers with status ${answer.status}`);
  }

  private fail(trouble: string): void {
    if (this.stop.signal.aborted) return;
    if (trouble !== this.trouble) this.options.log("warn", `${trouble}: requests wait in the spool`);
    this.trouble = trouble;
  }

  private succeed(): void {
    this.delivered++;
    if (!this.spool.isEmpty) return;
    this.options.log("info", `the spool is empty again: ${this.delivered} requests that waited are settled`);
    this.delivered = 0;
    this.trouble = undefined;
  }

  private async pause(ms: number): Promise<void> {
    // Rejects when all ends: so does this loop.
    if (ms > 0) await sleep(ms, undefined, { signal: this.stop.signal }).catch(() => undefined);
  }
}

/** Reads the rest of an answer, so that its connection can be used again. What it says is decided, whatever comes of that. */
const dump = ({ body }: Incoming): Promise<void> => finished(body.resume()).catch(() => undefined);

/** Errors of a disk, not of a connection. */
const OF_DISKS = new Set(["EIO", "ENOSPC", "EDQUOT", "EROFS", "ENOENT", "EMFILE", "ENFILE", "EFBIG"]);

/** What went wrong, by its code: messages may hold anything. */
function causeOf(error: unknown): string {
  const { code, name } = error as NodeJS.ErrnoException;
  return OF_DISKS.has(code ?? "")
    ? `the spool cannot be read, or nothing be set aside: ${reasonOf(code)}`
    : `the log storage does not answer: ${reasonOf(code ?? name)}`;
}

/** Whether a body could not be read; who sends it may have wrapped the error. */
const isDamaged = (error: unknown): boolean => error instanceof DamagedBody || (error as Error).cause instanceof DamagedBody;
