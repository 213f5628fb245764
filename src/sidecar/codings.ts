/** What a client is told of a body in a content coding that is not taken, or that is not what it says. */
import { servedTokens } from "../codec/content.js";
import type { LogveilError } from "../errors.js";
import { Refusal } from "./refusal.js";

/** Limits that a body went beyond, by the reason of its `LV_DECODE`, and the fields that raise them. */
const LIMITS: Readonly<Record<string, string>> = { size: "limits.maxDecodedBytes", ratio: "limits.maxRatio", window: "limits.zstdWindow" };

let served: string | undefined;
/** Codings that are taken, as `Accept-Encoding` lists them: by one name each. */
const accepted = (): string =>
  (served ??= servedTokens()
    .filter((token) => token !== "identity" && !token.startsWith("x-"))
    .join(", "));

/** Of a coding that is not known, applied too often, or that needs a package which is not there. */
export function codingRefusal({ message }: LogveilError): Refusal {
  const advice = `accepted: ${accepted()}, at most limits.maxCodings of them; or send the log without a coding`;
  return new Refusal(415, `${message}; ${advice}`, { "accept-encoding": accepted() }, "coding");
}

/** Of a body that cannot be decoded, or is not what its type says. */
export function damageRefusal({ code, message, facts }: LogveilError): Refusal {
  if (code === "LV_INTEGRITY") return new Refusal(400, message, {}, "signature");
  const reason = String(facts["reason"]);
  if (reason === "unknown" || reason === "layers") return new Refusal(400, message, {}, "coding");
  const limit = LIMITS[reason];
  return limit === undefined ? new Refusal(400, message, {}, "damaged") : new Refusal(400, `${message}; ${limit} is the limit`, {}, "too_large");
}
