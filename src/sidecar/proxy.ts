/**
 * The reverse proxy: any request goes on to the upstream with its body masked. Nothing is tried again once a byte of a body went out, nothing is followed, nothing that cannot
 * be masked is passed on. Answers pass untouched unless their route says otherwise.
 */
import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { servedTokens } from "../codec/content.js";
import { LogveilError } from "../errors.js";
import { hasBody, leave } from "./answers.js";
import { type Incoming, type Outgoing, refusalOf, type TransportOptions } from "./exchange.js";
import { isLoop, JOB, type RequestChange, requestFields } from "./fields.js";
import { Refusal } from "./jobs.js";
import { HeldBytes, type MaskContext, RequestBody } from "./requests.js";
import { relay } from "./responses.js";
import { type BodyRoute, Routes } from "./routes.js";
import { Transport } from "./transport.js";

export class Upstream {
  private readonly transport: Transport;
  private readonly routes: Routes;
  private readonly held: HeldBytes;
  private readonly base: string;
  /** What `Via` calls this sidecar: no other bears the name. */
  private readonly name = `logveil-${randomBytes(6).toString("hex")}`;
  private readonly codings = servedTokens();

  constructor(
    options: TransportOptions,
    routes: readonly BodyRoute[],
    private readonly context: MaskContext,
  ) {
    this.transport = new Transport(options);
    this.routes = new Routes(routes);
    this.held = new HeldBytes(context.maxHeldBytes);
    this.base = new URL(options.url).pathname.replace(/\/$/, "");
  }

  /** Passes a request on. Throws a {@link Refusal} for what cannot be masked, and where the upstream does not answer. */
  async forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { headers, url = "/" } = request;
    if (isLoop(headers, this.name)) throw new Refusal(508, "this request has been here before: upstream.url leads back to this sidecar");
    const job = headers[JOB] as string | undefined;
    const framing = (contentType: string) => this.routes.framing(url, contentType);
    const mask = this.routes.masksResponses(url) ? { job, context: this.context, framing } : undefined;
    const body = hasBody(request) ? new RequestBody(request, framing(headers["content-type"] ?? ""), job, this.context, this.held) : undefined;
    try {
      leave(request, response);
      const change = { via: this.name, ...(mask !== undefined && { acceptCodings: this.codings }) };
      const answer = await this.exchange(request, body, change);
      await relay(request, response, answer, mask);
    } finally {
      body?.dispose();
    }
  }

  /** Sends a request and resolves with the answer to it. */
  private async exchange(request: IncomingMessage, body: RequestBody | undefined, change: RequestChange): Promise<Incoming> {
    try {
      // What was found is on record before the upstream is told that a body has ended; where nothing can be recorded, nothing goes on.
      if (body === undefined) await this.context.settled();
      const payload = await body?.payload();
      const { trailerNames = [] } = body ?? {};
      const fields = requestFields(request, { ...change, instead: payload?.fields ?? {}, trailers: trailerNames });
      const outgoing: Outgoing = {
        method: request.method!,
        path: `${this.base}${request.url}`,
        fields,
        body: payload?.body,
        ...(body !== undefined && trailerNames.length > 0 && { trailers: () => body.trailers }),
        over: () => body?.stop(),
      };
      const answer = await this.transport.send(outgoing).catch((error: unknown) => {
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

  close(): Promise<void> {
    return this.transport.close();
  }
}

/** What a client is told when its body broke off; errors of our own are left as they are. */
function faultOf(request: IncomingMessage, fault: unknown): unknown {
  if (fault instanceof LogveilError && ["LV_DECODE", "LV_FRAMING", "LV_INTEGRITY"].includes(fault.code)) return new Refusal(400, fault.message);
  return request.readableAborted && !request.complete ? new Refusal(400, "the client broke off") : fault;
}
