/**
 * The reverse proxy: any request goes on to the upstream with its body masked. Nothing is retried once a byte of a body went out, unless the request is in the spool, nothing is
 * followed, nothing that cannot be masked is passed on. Answers pass untouched.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { type Dispatcher, errors, Pool } from "undici";
import { type BodyMasker, type Framing, framingOf, FRAMINGS } from "../codec/framing.js";
import { planIntegrity } from "../codec/integrity.js";
import { type DecodeLimits, openDecoder, openEncoder } from "../codec/layers.js";
import type { Stage } from "../codec/stage.js";
import { LogveilError } from "../errors.js";
import type { RedactorStream } from "../live.js";
import type { Answer } from "./spool/delivery.js";
import { type Fields, valueOf, withFields } from "./fields.js";
import { checkTrailers, json } from "./http.js";
import { Refusal } from "./jobs.js";
import type { RequestHead } from "./spool/record.js";
import { sendWithRetries } from "./retry.js";
import { type SpoolContext, Spooling } from "./spool/spooling.js";

/** Where the text is in bodies of some requests. */
export interface BodyRoute {
  /** Beginning of the path, at whole segments. */
  readonly path: string;
  /** Media types, or `type/*`; none: any. */
  readonly contentTypes: readonly string[];
  readonly framing: Framing["name"] | "octet-stream";
}

export interface UpstreamOptions {
  readonly url: string;
  readonly connectTimeoutMs: number;
  readonly headersTimeoutMs: number;
  readonly bodyTimeoutMs: number;
  readonly maxConnections: number;
  /** How often a request is tried again before a byte of its body was sent; absent: never. */
  readonly retries?: number;
  /** Header fields of every request, in the place of the client's of the same names. */
  readonly headers?: Fields;
}

/** Header fields that concern one connection only (RFC 9110 §7.6.1), besides those that `Connection` names. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
/** Longest wait for an answer when all ends, in milliseconds. */
const LAST_ANSWER_MS = 2000;
/** Names the job whose secrets mask the body; not passed on. */
const JOB = "logveil-job";
const TEXT = FRAMINGS.find(({ name }) => name === "text")!;

/** What forwarding asks of its surroundings. */
export interface ForwardContext {
  readonly holdBackMs: number;
  readonly decode: Partial<DecodeLimits>;
  /** A stream whose secrets are those of a job, or the global ones. */
  open(job: string | undefined): RedactorStream;
  /** Resolves when everything that was found so far is on record; rejects if it cannot be. */
  settled(): Promise<void>;
  /** Absent: a request that the upstream does not take is refused. */
  readonly spool?: SpoolContext;
}

/** A body on its way: decoded, masked, encoded again. */
interface Body {
  readonly decoder: Stage;
  readonly masker: BodyMasker;
  readonly encoder: Stage;
}

export class Upstream {
  private readonly pool: Pool;
  private readonly base: string;
  private readonly spooling: Spooling | undefined;

  constructor(
    private readonly options: UpstreamOptions,
    private readonly routes: readonly BodyRoute[],
    private readonly context: ForwardContext,
  ) {
    const url = new URL(options.url);
    this.base = url.pathname.replace(/\/$/, "");
    this.pool = new Pool(url.origin, {
      connections: options.maxConnections,
      pipelining: 1,
      connect: { timeout: options.connectTimeoutMs },
      headersTimeout: options.headersTimeoutMs,
      bodyTimeout: options.bodyTimeoutMs,
    });
    this.spooling = context.spool && new Spooling(context.spool, options.headers ?? [], (head, body) => this.send(head, body));
  }

  /** Passes a request on. Throws a {@link Refusal} for what cannot be masked, and where the upstream does not answer. */
  async forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const passed = { method: request.method!, path: request.url!, headers: requestHeaders(request) };
    const kept =
      this.spooling?.isFor(passed.method, hasBody(request)) === true ? this.spooling.keepable(passed, request.headers[JOB] as string | undefined) : undefined;
    const body = this.bodyOf(request);
    let fault: unknown;
    const masked = body && this.masked(request, body, (error) => (fault = error));
    let answer: Answer | undefined;
    try {
      if (kept !== undefined) answer = await this.spooling!.take(kept, masked, () => this.context.settled());
      else {
        const head = { ...passed, headers: withFields(passed.headers, this.options.headers ?? []) };
        const retry = { retries: this.options.retries ?? 0, connectTimeoutMs: this.options.connectTimeoutMs };
        answer = await sendWithRetries(retry, masked, (sent) => this.send(head, sent));
        // What was found is on record before anyone is told that the log was taken.
        await this.context.settled();
      }
    } catch (error) {
      close(body);
      if (fault instanceof Refusal) throw fault;
      if (fault instanceof LogveilError) throw new Refusal(fault.code === "LV_DECODE" || fault.code === "LV_FRAMING" ? 400 : 503, fault.message);
      throw error instanceof errors.UndiciError || isNetwork(error) ? new Refusal(503, "the log storage does not answer", { "retry-after": "5" }) : error;
    }
    if (answer === undefined) return json(response, 202, { kept: true, message: "it waits in the spool until the log storage takes it" });
    response.writeHead(answer.status, responseHeaders(answer.headers));
    await pipeline(answer.body, response);
  }

  private async send({ method, path, headers }: RequestHead, body: AsyncIterable<Uint8Array> | Iterable<Uint8Array> | null): Promise<Answer> {
    const answer = await this.pool.request({
      method,
      path: `${this.base}${path}`,
      headers: [...headers],
      body,
      responseHeaders: "raw",
    } as Dispatcher.RequestOptions);
    const fields = (answer.headers as unknown as readonly Buffer[]).map((field) => field.toString("latin1"));
    return { status: answer.statusCode, headers: fields, body: answer.body };
  }

  /** Opens the masking of a body; undefined: there is none. Throws a {@link Refusal} for one that cannot be masked. */
  private bodyOf(request: IncomingMessage): Body | undefined {
    if (!hasBody(request)) return undefined;
    const { headers, url = "/" } = request;
    const framing = this.framing(url, headers["content-type"] ?? "");
    if (framing === undefined) throw new Refusal(415, "nothing is known of bodies of this type, so they cannot be masked; add a route for them");
    const coding = headers["content-encoding"];
    try {
      const [given] = Object.keys(planIntegrity(headers).given);
      // It would have to go out before the body whose digest it is.
      if (given !== undefined) throw new Refusal(400, `${given}: the body is masked while it is sent, so this would not hold; send without it`);
      const [decoder, encoder] = [openDecoder(coding, this.context.decode), openEncoder(coding, this.context.decode)];
      return { decoder, encoder, masker: framing.open(() => this.context.open(headers[JOB] as string | undefined)) };
    } catch (error) {
      if (!(error instanceof LogveilError)) throw error;
      throw new Refusal(error.code === "LV_DECODE" ? 415 : 400, error.message);
    }
  }

  private framing(url: string, contentType: string): Framing | undefined {
    const path = url.split("?")[0]!;
    const media = contentType.toLowerCase().split(";")[0]!.trim();
    const fits = (wanted: string): boolean => wanted === media || (wanted.endsWith("/*") && media.startsWith(wanted.slice(0, -1)));
    const route = this.routes
      .filter((each) => path === each.path || path.startsWith(each.path.endsWith("/") ? each.path : `${each.path}/`))
      .filter(({ contentTypes }) => contentTypes.length === 0 || contentTypes.some(fits))
      .toSorted((a, b) => b.path.length - a.path.length)[0];
    if (route !== undefined) return route.framing === "octet-stream" ? TEXT : FRAMINGS.find(({ name }) => name === route.framing);
    return framingOf(contentType);
  }

  /**
   * The masked body: what is undecided goes out after silence, or at the end. A client that is gone, or a body that is none, ends it with an error, so that the upstream
   * commits nothing; `failed` hears why.
   */
  private async *masked(request: IncomingMessage, body: Body, failed: (error: unknown) => void): AsyncGenerator<Uint8Array, void, void> {
    const { decoder, masker, encoder } = body;
    const chunks = request[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    async function* encoded(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array, void, void> {
      // Pieces hold until the next call; what is sent may wait longer.
      if (pieces.length > 0) yield* encoder.push(Buffer.concat(pieces));
    }
    try {
      for (;;) {
        const next = chunks.next();
        if (await isSilent(next, this.context.holdBackMs)) {
          yield* encoded(masker.idle());
          yield* encoder.flush();
        }
        const { done, value } = await next;
        if (done === true) break;
        for await (const piece of decoder.push(value)) yield* encoded(masker.push(piece));
      }
      checkTrailers(request);
      for await (const piece of decoder.end()) yield* encoded(masker.push(piece));
      yield* encoded(masker.end());
      yield* encoder.end();
    } catch (error) {
      failed(error);
      throw error;
    } finally {
      close(body);
    }
  }

  async close(): Promise<void> {
    const spooled = this.spooling?.close();
    // What is cut off while it is sent from the spool would be sent again.
    if (spooled !== undefined) await Promise.race([spooled, sleep(LAST_ANSWER_MS, undefined, { ref: false })]);
    await this.pool.destroy();
    await spooled;
  }
}

const hasBody = ({ headers }: IncomingMessage): boolean => headers["transfer-encoding"] !== undefined || (headers["content-length"] ?? "0") !== "0";

/** Gives up what a body needs; also of one that was never asked for. */
function close(body: Body | undefined): void {
  body?.masker.close();
  body?.decoder.destroy();
  body?.encoder.destroy();
}

/** Whether nothing comes for so many milliseconds. */
async function isSilent(next: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<boolean>((resolve) => (timer = setTimeout(resolve, ms, true)));
  try {
    return await Promise.race([
      next.then(
        () => false,
        () => false,
      ),
      silence,
    ]);
  } finally {
    clearTimeout(timer);
  }
}

function isNetwork(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code !== undefined && /^E[A-Z]+$/.test(code);
}

/** Fields of a request as the upstream gets them. A masked body has another length: it is sent in chunks. The token of a job is for the sidecar alone. */
function requestHeaders(request: IncomingMessage): string[] {
  const { rawHeaders, headers } = request;
  const dropped = connectionFields(headers);
  const passed: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase();
    if (HOP_BY_HOP.has(name) || dropped.has(name) || name === JOB || name === "host" || name === "expect" || (name === "content-length" && hasBody(request)))
      continue;
    if (name === "authorization" && JOB in headers && /^bearer /i.test(rawHeaders[i + 1]!)) continue;
    passed.push(rawHeaders[i]!, rawHeaders[i + 1]!);
  }
  return passed;
}

/** Fields that `Connection` names. */
const connectionFields = ({ connection }: IncomingHttpHeaders): Set<string> => new Set((connection ?? "").split(",").map((name) => name.trim().toLowerCase()));

function responseHeaders(all: Fields): string[] {
  const dropped = connectionFields({ connection: valueOf(all, "connection") });
  const passed: string[] = [];
  for (let i = 0; i < all.length; i += 2) {
    const name = all[i]!.toLowerCase();
    if (!HOP_BY_HOP.has(name) && !dropped.has(name)) passed.push(all[i]!, all[i + 1]!);
  }
  return passed;
}
