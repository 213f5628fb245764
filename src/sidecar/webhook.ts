/**
 * Tells another service of findings: batches of JSON, signed, tried again with growing pauses. Streams never wait for it: what exceeds the queue, or is refused, is
 * dropped, counted and told. What a message says, and how to check its signature: README.md.
 */
import { createHmac, randomUUID } from "node:crypto";
import { reasonOf } from "../io-error.js";
import { setTimeout as sleep } from "node:timers/promises";
import type { Agent } from "undici";
import { recorded } from "../audit/records.js";
import type { Finding } from "../types.js";

export interface WebhookOptions {
  readonly url: string;
  /** What messages are signed with. */
  readonly key: string;
  /** Longest pause between two tries, in milliseconds. Default one minute. */
  readonly maxPauseMs?: number;
}

export interface WebhookStats {
  readonly queued: number;
  readonly delivered: number;
  readonly dropped: number;
}

/** Most findings that wait, and that go out together. */
const MAX_QUEUED = 10_000;
const MAX_BATCH = 100;
/** Time in which findings gather, in milliseconds. */
const GATHER_MS = 200;
const FIRST_PAUSE_MS = 500;
const MAX_PAUSE_MS = 60_000;
/** So many tries of one batch take several minutes. */
const MAX_TRIES = 16;
const TIMEOUT_MS = 10_000;
const TIMES = { connections: 1, connect: { timeout: TIMEOUT_MS }, headersTimeout: TIMEOUT_MS, bodyTimeout: TIMEOUT_MS };

export class Webhook {
  /** Made with the first finding: loading it takes a tenth of the start. */
  private agent: Agent | undefined;
  private readonly queue: object[] = [];
  private running: Promise<void> | undefined;
  /** Fires when no pause may be made any more, and when nothing may be sent any more. */
  private readonly ending = new AbortController();
  private readonly over = new AbortController();
  private delivered = 0;
  private dropped = 0;
  private isFull = false;

  constructor(
    private readonly options: WebhookOptions,
    private readonly tell: (message: string) => void,
  ) {}

  get stats(): WebhookStats {
    return { queued: this.queue.length, delivered: this.delivered, dropped: this.dropped };
  }

  /** Whether it goes to the same place with the same key. */
  isFor({ url, key }: WebhookOptions): boolean {
    return this.options.url === url && this.options.key === key;
  }

  /** Puts a finding into the queue. */
  send(job: string, finding: Finding, policy: string): void {
    if (this.queue.length >= MAX_QUEUED || this.ending.signal.aborted) {
      if (!this.isFull) this.tell(`onFinding.webhook: ${this.queue.length} findings wait for the service; further ones are not sent until there is room`);
      this.isFull = true;
      this.dropped++;
      return;
    }
    this.queue.push({ time: new Date().toISOString(), ...recorded({ type: "finding", job, ...finding }, policy) });
    this.running ??= this.run().finally(() => (this.running = undefined));
  }

  /** Sends what waits, for at most so long; what is left then is dropped. */
  async close(graceMs: number): Promise<void> {
    this.ending.abort();
    const timer = setTimeout(() => this.over.abort(), graceMs);
    await this.running;
    clearTimeout(timer);
    if (this.queue.length > 0) this.drop(this.queue.length, "the sidecar ends");
    await this.agent?.destroy();
  }

  private async run(): Promise<void> {
    while (this.queue.length > 0 && !this.over.signal.aborted) {
      await this.pause(GATHER_MS);
      const count = Math.min(this.queue.length, MAX_BATCH);
      const refused = await this.deliver(JSON.stringify({ id: randomUUID(), findings: this.queue.slice(0, count) }));
      if (this.over.signal.aborted && refused !== undefined) return;
      if (refused === undefined) {
        this.queue.splice(0, count);
        this.delivered += count;
      } else {
        this.drop(count, refused);
      }
      this.isFull = false;
    }
  }

  private drop(count: number, why: string): void {
    this.queue.splice(0, count);
    this.dropped += count;
    this.tell(`onFinding.webhook: ${count} findings were not delivered: ${why}; the audit has them`);
  }

  /** Tries until the service takes it; answers why it does not. */
  private async deliver(body: string): Promise<string | undefined> {
    const { maxPauseMs = MAX_PAUSE_MS } = this.options;
    for (let tries = 1; ; tries++) {
      const result = await this.post(body);
      if (result === "taken") return undefined;
      if (result.final || tries === MAX_TRIES || this.over.signal.aborted) return result.why;
      if (tries === 1) this.tell(`onFinding.webhook: ${result.why}; it is tried again`);
      // Up to half of it at random: not everyone comes back at once.
      const pause = Math.min(maxPauseMs, FIRST_PAUSE_MS * 2 ** (tries - 1));
      await this.pause(pause * (0.5 + Math.random() / 2));
    }
  }

  private async post(body: string): Promise<"taken" | { readonly why: string; readonly final: boolean }> {
    const { url, key } = this.options;
    try {
      const { origin, pathname, search } = new URL(url);
      const headers = { "content-type": "application/json", "user-agent": "logveil", "logveil-signature": sign(key, body, Math.floor(Date.now() / 1000)) };
      this.agent ??= new (await import("undici")).Agent(TIMES);
      const answer = await this.agent.request({ origin, path: pathname + search, method: "POST", headers, body, signal: this.over.signal });
      await answer.body.dump();
      const { statusCode: status } = answer;
      if (status >= 200 && status < 300) return "taken";
      const final = status < 500 && status !== 408 && status !== 429;
      return { why: status >= 300 && status < 400 ? `the service answers ${status}, and redirects are not followed` : `the service answers ${status}`, final };
    } catch (error) {
      // Messages of the network may name the address, which is a secret.
      const { code, name } = error as NodeJS.ErrnoException;
      return { why: `the service does not answer: ${reasonOf(code ?? name)}`, final: false };
    }
  }

  /** Waits; at the end nobody does, so that tries follow each other at once, but a little apart. */
  private async pause(ms: number): Promise<void> {
    const isEnding = this.ending.signal.aborted;
    const wait = isEnding ? sleep(Math.min(ms, GATHER_MS), undefined, { signal: this.over.signal }) : sleep(ms, undefined, { signal: this.ending.signal });
    await wait.catch(() => undefined);
  }
}

/** `t=` seconds since the epoch, `v1=` HMAC-SHA256 in hex of `t`, a dot and the body. */
export function sign(key: string, body: string, seconds: number): string {
  return `t=${seconds},v1=${createHmac("sha256", key).update(`${seconds}.${body}`).digest("hex")}`;
}
