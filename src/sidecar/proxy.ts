/**
 * The reverse proxy: any request goes on to the upstream with its body masked. Nothing is tried again once a byte of a body went out, unless the request is in the spool,
 * nothing is followed, nothing that cannot be masked is passed on. Answers pass untouched unless their route says otherwise.
 */
import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { servedTokens } from "../codec/content.js";
import { LogveilError } from "../errors.js";
import { hasBody, json, leave } from "./answers.js";
import { damageRefusal } from "./codings.js";
import { withFields } from "./credentials.js";
import { type Incoming, type Outgoing, refusalOf, type TransportOptions } from "./exchange.js";
import { type Fields, isLoop, JOB, type RequestChange, requestFields } from "./fields.js";
import { Refusal } from "./refusal.js";
import type { UpstreamHealth } from "./health.js";
import { nameRoute } from "./refused.js";
import { checkIsWhole } from "./parts.js";
import { HeldBytes, type MaskContext, RequestBody } from "./requests.js";
import { relay } from "./responses.js";
import { type RetryOptions, sendWithRetries } from "./retry.js";
import { type BodyRoute, Routes } from "./routes.js";
import type { RequestHead } from "./spool/record.js";
import { type SpoolContext, Spooling } from "./spool/spooling.js";
import { Transport } from "./transport.js";

export interface UpstreamOptions extends TransportOptions {
  /** How often a request is tried again before a byte of its body was sent; absent: never. */
  readonly retries?: number;
}

/** What forwarding asks of its surroundings. */
export interface ForwardContext extends MaskContext {
  /** Absent: a request that the upstream does not take is refused. */
  readonly spool?: SpoolContext;
  /** Absent: nobody asks how the upstream does. */
  readonly health?: UpstreamHealth;
}

/** Longest wait for an answer when all ends, in milliseconds. */
const LAST_ANSWER_MS = 2000;

export class Upstream {
  private readonly transport: Transport;
  private readonly routes: Routes;
  private readonly held: HeldBytes;
  private readonly base: string;
  private readonly retry: RetryOptions;
  private readonly spooling: Spooling | undefined;
  /** What `Via` calls this sidecar: no other bears the name. */
  private readonly name = `logveil-${randomBytes(6).toString("hex")}`;
  private readonly codings = servedTokens();

  constructor(
    options: UpstreamOptions,
    routes: readonly BodyRoute[],
    private readonly context: ForwardContext,
    /** Header fields of every request, in the place of the client's of the same names. */
    public headers: Fields = [],
  ) {
    this.retry = { retries: options.retries ?? 0, connectTimeoutMs: options.connectTimeoutMs };
    this.transport = new Transport(options);
    this.routes = new Routes(routes);
    this.held = new HeldBytes(context.maxHeldBytes);
    this.base = new URL(options.url).pathname.replace(/\/$/, "");
    this.spooling =
      context.spool &&
      new Spooling(
        context.spool,
        () => this.headers,
        (head, body) => this.send(head, body ?? undefined),
      );
  }

  /** Passes a request on. Throws a {@link Refusal} for what cannot be masked, and where the upstream does not answer. */
  async forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { headers, url = "/" } = request;
    nameRoute(request, this.routes.nameOf(url));
    if (isLoop(headers, this.name)) throw new Refusal(508, "this request has been here before: upstream.url leads back to this sidecar");
    const job = headers[JOB] as string | undefined;
    const framing = (contentType: string) => this.routes.framing(url, contentType);
    const mask = this.routes.masksResponses(url) ? { job, context: this.context, framing } : undefined;
    if (hasBody(request)) checkIsWhole(request);
    const body = hasBody(request) ? new RequestBody(request, framing(headers["content-type"] ?? ""), job, this.context, this.held) : undefined;
    try {
      leave(request, response);
      const change = { via: this.name, ...(mask !== undefined && { acceptCodings: this.codings }) };
      const isKept = this.spooling?.isFor(request.method!, body !== undefined) === true;
      const answer = await (isKept ? this.keep(request, body, job, change) : this.exchange(request, body, job, change));
      if (answer === undefined) return json(response, 202, { kept: true, message: "it waits in the spool until the log storage takes it" });
      await relay(request, response, answer, mask);
    } finally {
      body?.dispose();
    }
  }

  /** Sends a request and resolves with the answer to it. */
  private async exchange(request: IncomingMessage, body: RequestBody | undefined, job: string | undefined, change: RequestChange): Promise<Incoming> {
    try {
      // What was found is on record before the upstream is told that a body has ended; where nothing can be recorded, nothing goes on.
      if (body === undefined) await this.context.settled(job);
      const payload = await body?.payload();
      const { trailerNames = [] } = body ?? {};
      const fields = requestFields(request, { ...change, instead: payload?.fields ?? {}, trailers: trailerNames });
      const trailers = body !== undefined && trailerNames.length > 0 ? () => body.trailers : undefined;
      const head = { method: request.method!, path: request.url!, headers: withFields(fields, this.headers) };
      const whole = payload?.body instanceof Uint8Array ? payload.body : undefined;
      const pieces = whole === undefined ? (payload?.body as AsyncIterable<Uint8Array> | undefined) : undefined;
      const answer = await sendWithRetries(this.retry, pieces?.[Symbol.asyncIterator]() as AsyncGenerator<Uint8Array, void, void> | undefined, (sent) =>
        this.send(head, whole ?? sent ?? undefined, { ...(trailers && { trailers }), over: () => body?.stop(), isOurs: () => body?.fault !== undefined }),
      ).catch((error: unknown) => {
        throw refusalOf(error);
      });
      // A refusal may come at any time; a success counts when the whole body has gone out.
      const isSuccess = answer.status < 300 || answer.status === 303;
      if (body === undefined || !isSuccess || (await body.whole)) return answer;
      answer.body.destroy();
      throw new Refusal(502, "the log storage answered before it had everything", { "retry-after": "5" });
    } catch (error) {
      throw body?.fault === undefined ? error : faultOf(request, body.fault);
    }
  }

  /** Keeps a request in the spool. Resolves with the answer to it, or to undefined: it waits. */
  private async keep(request: IncomingMessage, body: RequestBody | undefined, job: string | undefined, change: RequestChange): Promise<Incoming | undefined> {
    const { trailerNames = [] } = body ?? {};
    if (trailerNames.length > 0)
      throw new Refusal(400, `${trailerNames[0]}: trailers are not kept while a request waits in the spool: send the request without`, {}, "trailer");
    const head = this.spooling!.keepable({ method: request.method!, path: request.url!, headers: requestFields(request, change) }, job);
    try {
      const payload = await body?.payload();
      const headers = withFields(head.headers, Object.entries(payload?.fields ?? {}).flat());
      const pieces = payload?.body instanceof Uint8Array ? [payload.body] : payload?.body;
      return await this.spooling!.take({ ...head, headers }, pieces, () => this.context.settled(job));
    } catch (error) {
      throw body?.fault === undefined ? error : faultOf(request, body.fault);
    }
  }

  /** `isOurs`: whether it was the body that broke off. */
  private send(
    head: RequestHead,
    given: Outgoing["body"],
    more: Partial<Pick<Outgoing, "trailers" | "over">> & { isOurs?: () => boolean } = {},
  ): Promise<Incoming> {
    const { method, path, headers } = head;
    const { isOurs, over = () => undefined, ...rest } = more;
    const send = (body: Outgoing["body"]): Promise<Incoming> =>
      this.transport.send({ method, path: `${this.base}${path}`, fields: headers, body, over, ...rest });
    const { health } = this.context;
    return health === undefined ? send(given) : health.watch(given, send, isOurs);
  }

  async close(): Promise<void> {
    const spooled = this.spooling?.close();
    // What is cut off while it is sent from the spool would be sent again.
    if (spooled !== undefined) await Promise.race([spooled, sleep(LAST_ANSWER_MS, undefined, { ref: false })]);
    await this.transport.close();
    await spooled;
  }
}

/** What a client is told when its body broke off; errors of our own are left as they are. */
function faultOf(request: IncomingMessage, fault: unknown): unknown {
  if (fault instanceof LogveilError && ["LV_DECODE", "LV_FRAMING", "LV_INTEGRITY"].includes(fault.code)) return damageRefusal(fault);
  return request.readableAborted && !request.complete ? new Refusal(400, "the client broke off") : fault;
}
