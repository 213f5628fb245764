/** What of a request may be kept on disk, and how it is sent from there. The spool holds nothing raw, and no credential of a client: a request with one is refused. */
import { randomUUID } from "node:crypto";
import { Delivery, type DeliveryOptions } from "./delivery.js";
import { mayHoldCredential, namesOf, withFields, without } from "../credentials.js";
import type { Incoming } from "../exchange.js";
import type { Fields } from "../fields.js";
import { Refusal } from "../refusal.js";
import type { RequestHead } from "./record.js";
import type { Spool } from "./spool.js";

export interface SpoolContext extends DeliveryOptions {
  readonly spool: Spool;
  /** Names of header fields that may be kept besides those that are known to be harmless. */
  readonly headers: readonly string[];
  /** Whether a text holds no secret that a request of a job may hold. */
  isClean(text: string, job: string | undefined): boolean;
}

/** A body of no bytes is sent as none. */
const lengthOf = (bytes: number): string[] => (bytes === 0 ? [] : ["Content-Length", String(bytes)]);

/** Requests that change nothing, and so need not wait for others. */
const SAFE = new Set(["GET", "HEAD", "OPTIONS"]);

export class Spooling {
  private readonly delivery: Delivery;
  private readonly others: ReadonlySet<string>;
  private hasTold = false;

  /** `send` sends a request on. */
  constructor(
    private readonly context: SpoolContext,
    private readonly given: () => Fields,
    send: (head: RequestHead, body: AsyncIterable<Uint8Array> | Iterable<Uint8Array> | null) => Promise<Incoming>,
  ) {
    this.others = new Set(context.headers);
    this.delivery = new Delivery(
      context.spool,
      ({ head, bytes, body }) => send({ ...head, headers: withFields([...head.headers, ...lengthOf(bytes)], given()) }, bytes === 0 ? null : body()),
      context,
    );
  }

  /** Whether a request is kept before it is sent. */
  isFor(method: string, hasBody: boolean): boolean {
    return hasBody || !SAFE.has(method);
  }

  /** What is kept of the head of a request, and sent from there. Throws a {@link Refusal} for one that may hold a credential. */
  keepable(head: RequestHead, job: string | undefined): RequestHead {
    const own = without(head.headers, ["content-length", ...namesOf(this.given())]);
    const risky = mayHoldCredential(own, this.others);
    if (risky !== undefined) {
      this.tell();
      throw new Refusal(
        503,
        `the header field ${risky} may hold a credential, which must not wait on disk: put it into upstream.headersFile, or, if it holds none, name it in spool.headers`,
        { "retry-after": "60" },
        "credential",
      );
    }
    const values = own.filter((_, index) => index % 2 === 1);
    if (!this.context.isClean([head.path, ...values, ""].join("\n"), job)) {
      this.tell();
      throw new Refusal(
        503,
        "the path or a header field holds a secret, which must not wait on disk: put it into upstream.headersFile",
        { "retry-after": "60" },
        "credential",
      );
    }
    const key = namesOf(own).includes("idempotency-key") ? [] : ["Idempotency-Key", `"${randomUUID()}"`];
    return { ...head, headers: [...own, ...key] };
  }

  /** Keeps a request with its masked body, once what was found in it is on record. Resolves to the answer of the upstream, or to undefined: the request waits. */
  async take(
    head: RequestHead,
    body: AsyncIterable<Uint8Array> | readonly Uint8Array[] | undefined,
    settled: () => Promise<void>,
  ): Promise<Incoming | undefined> {
    const draft = this.context.spool.draft();
    try {
      if (body !== undefined) for await (const piece of body) await draft.add(piece);
      await settled();
    } catch (error) {
      await draft.drop().catch(() => undefined);
      throw error;
    }
    return this.delivery.take(draft, head);
  }

  close(): Promise<void> {
    return this.delivery.close();
  }

  /** Tells the operator once; clients are told each time, by name. */
  private tell(): void {
    if (!this.hasTold)
      this.context.log("error", "requests are refused whose head may hold a credential, which must not wait in the spool; their answers tell what to do");
    this.hasTold = true;
  }
}
