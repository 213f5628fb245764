/** Responses on their way back: as they are, or masked. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import type { Framing } from "../codec/framing.js";
import { isIntegrityField } from "../codec/integrity.js";
import { LogveilError } from "../errors.js";
import { NO_JOB } from "./accounts.js";
import type { Incoming } from "./exchange.js";
import { type Fields, isTrailer, members, pairs, responseFields, valueOf } from "./fields.js";
import { cutBehind, isWhole, writeFields } from "./answers.js";
import { Refusal } from "./refusal.js";
import { MaskedBody, openStages } from "./masked.js";
import { maskValue, type MaskContext } from "./requests.js";

/** How a response is masked. */
export interface ResponseMask {
  readonly job: string | undefined;
  readonly context: MaskContext;
  framing(contentType: string): Framing | undefined;
}

/** Passes a response on; masked, if `mask` is given. Throws a {@link Refusal} where it cannot be masked, before anything of it is sent; what fails later cuts it off. */
export async function relay(request: IncomingMessage, response: ServerResponse, answer: Incoming, mask: ResponseMask | undefined): Promise<void> {
  let body: MaskedBody | undefined;
  try {
    body = mask && (await maskedBody(request, answer, mask));
    const fields = responseFields(answer.fields, mask === undefined ? "as it is" : "masked");
    // Only chunks can be followed by trailers.
    const canTrail = request.httpVersion === "1.1" && valueOf(answer.fields, "content-length") === undefined;
    const announced = canTrail
      ? members(valueOf(answer.fields, "trailer")).filter((name) => isTrailer(name) && (mask === undefined || !isIntegrityField(name)))
      : [];
    if (announced.length > 0) fields.push("Trailer", announced.join(", "));
    if (!isWhole(request)) cutBehind(request, response);
    writeFields(request, response, answer.status, fields);
    const arrived = body === undefined ? answer.body.arrived() : undefined;
    if (arrived === undefined) await pipeline(body ?? answer.body, response, { end: false });
    else if (arrived.length > 0) response.write(arrived);
    if (announced.length > 0) {
      const masking = mask?.context.open(mask.job);
      response.addTrailers(trailersOf(answer.trailers(), announced, (value) => (masking === undefined ? value : maskValue(value, masking.open({})))));
      masking?.account.end();
      await masking?.account.settled();
    }
    response.end();
  } catch (error) {
    answer.body.destroy();
    if (response.headersSent) response.destroy();
    throw (error as NodeJS.ErrnoException).code === "ERR_STREAM_PREMATURE_CLOSE" ? new Refusal(400, "the client broke off") : error;
  } finally {
    body?.dispose();
  }
}

/** Undefined: there is no body. */
async function maskedBody({ method }: IncomingMessage, { status, fields, body }: Incoming, mask: ResponseMask): Promise<MaskedBody | undefined> {
  if (method === "HEAD" || status === 204 || status === 304 || valueOf(fields, "content-length") === "0") return undefined;
  const refused = (why: string): Refusal => new Refusal(502, `the answer of the log storage cannot be masked: ${why}`, {}, "answer");
  if (status === 206 || valueOf(fields, "content-range") !== undefined) throw refused("it is a part of something");
  const framing = mask.framing(valueOf(fields, "content-type") ?? "");
  if (framing === undefined) {
    if (await isEmpty(body)) return undefined;
    throw refused("its type is not known; set a route for its path and type, or maskResponses to false");
  }
  try {
    const { context, job } = mask;
    const { account, open } = context.open(job);
    const stages = openStages(framing, valueOf(fields, "content-encoding"), context.decode, open);
    const ended = (): Promise<void> => {
      account.end();
      return account.settled();
    };
    return new MaskedBody(body, stages, account, { job: job ?? NO_JOB, holdBackMs: context.holdBackMs, ended });
  } catch (error) {
    if (error instanceof LogveilError) throw refused(error.message);
    throw error;
  }
}

async function isEmpty(body: AsyncIterable<unknown>): Promise<boolean> {
  for await (const _ of body) return false;
  return true;
}

function trailersOf(trailers: Fields, announced: readonly string[], masked: (value: string) => string): [string, string][] {
  return [...pairs(trailers)].filter(([name]) => announced.includes(name.toLowerCase())).map(([name, value]) => [name, masked(value)]);
}
