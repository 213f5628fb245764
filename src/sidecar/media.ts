/** Media types of bodies: how they are named in the log, and what a client whose body cannot be masked is advised. */
import { framingOf, FRAMINGS } from "../codec/framing.js";

/** Longest media type that is named. */
const MAX_TYPE_BYTES = 64;
const MEDIA_TYPE = /^[a-z0-9][a-z0-9!#$&^_.+-]*\/[a-z0-9][a-z0-9!#$&^_.+-]*$/i;

/** The type of a `Content-Type`, without parameters. */
const typeOf = (contentType: string): string => contentType.split(";")[0]!.trim();

/** A media type as it may stand in the log: clients can write anything into it. */
export function printableType(contentType: string): string {
  const type = typeOf(contentType);
  return type.length <= MAX_TYPE_BYTES && MEDIA_TYPE.test(type) ? type : "(not a media type)";
}

/** What is understood without a route. */
export const ACCEPTED_TYPES = FRAMINGS.map(({ contentTypes }) => contentTypes[0]!).join(", ");

/** Advice by type, in lower case; the first row that fits. No advice is to call binary data text: masks would break it, and what is encoded in it would pass. */
const ADVICE: readonly (readonly [fits: RegExp, advice: string])[] = [
  [/^$/, "there is no Content-Type: say which of the accepted types it is"],
  [
    /protobuf$/,
    "protobuf is not taken: set the client to JSON, as OTEL_EXPORTER_OTLP_PROTOCOL=http/json does for OpenTelemetry, or encoding: json in a collector's otlphttp exporter",
  ],
  [/^application\/grpc/, "gRPC is not taken: send JSON over HTTP, as OTEL_EXPORTER_OTLP_PROTOCOL=http/json does for OpenTelemetry"],
  [/msgpack$/, "msgpack is not taken: set the client to JSON"],
  [/^multipart\//, "forms of several parts are not taken: send the file itself as the body"],
  [
    /(zip|gzip|zstd|compressed|x-tar|x-xz|x-bzip2)$/,
    "compressed files are not taken as a type: send the type of what is in them, and Content-Encoding: gzip, zstd, deflate or br",
  ],
  [/^(image|audio|video|font)\//, "media cannot hold text that is masked: send them past logveil"],
  [
    /^application\/octet-stream$/,
    "if the body is text, send it as text/plain, or set a route with framing: octet-stream for its path; other binary data is not taken",
  ],
  [/^text\//, "if it is text of one line after another, set a route with framing: text for its path"],
];
const OTHERWISE = "if its text is JSON, NDJSON, a form or plain text, set a route that says so for its path";

/** What a client is told whose body is of a type, or in a charset, that cannot be masked. */
export function typeAdvice(contentType: string): string {
  const type = typeOf(contentType).toLowerCase();
  const isCharset = framingOf(type) !== undefined && framingOf(contentType) === undefined;
  const advice = isCharset ? "its charset must be UTF-8" : (ADVICE.find(([fits]) => fits.test(type))?.[1] ?? OTHERWISE);
  return `bodies of this type cannot be masked; accepted: ${ACCEPTED_TYPES}, and what routes in the configuration name; ${advice}`;
}
