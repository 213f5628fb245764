/** The body of a request without its content codings, piece by piece as it comes. */
import type { IncomingMessage } from "node:http";
import { contentCodings } from "../codec/content.js";
import { type DecodeLimits, openDecoder } from "../codec/layers.js";
import type { Stage } from "../codec/stage.js";
import { LogveilError } from "../errors.js";
import { hasBody } from "./answers.js";
import { codingRefusal, damageRefusal } from "./codings.js";

/**
 * Iterated once; pieces are the reader's. Throws a {@link Refusal} at once for a coding that cannot be decoded; the iteration throws one for a body that is damaged or beyond the
 * limits. What was decoded before that has been read by then.
 */
export function decodedBody(request: IncomingMessage, limits: Partial<DecodeLimits>): AsyncIterable<Buffer> {
  const field = request.headers["content-encoding"];
  try {
    // A body of no bytes is in no coding.
    if (contentCodings(field).length === 0 || !hasBody(request)) return request as AsyncIterable<Buffer>;
    return decode(request as AsyncIterable<Buffer>, openDecoder(field, limits));
  } catch (error) {
    throw error instanceof LogveilError ? codingRefusal(error) : error;
  }
}

async function* decode(body: AsyncIterable<Buffer>, decoder: Stage): AsyncGenerator<Buffer, void, void> {
  try {
    for await (const chunk of body) yield* decoder.push(chunk);
    yield* decoder.end();
  } catch (error) {
    throw error instanceof LogveilError && error.code === "LV_DECODE" ? damageRefusal(error) : error;
  } finally {
    decoder.destroy();
  }
}
