/**
 * How a refusal is said, by the protocol of the request: clients show people only what stands where their own server would put it. One table, a row for each protocol; the last
 * one is for all others. The text is the same everywhere, and holds no byte of a body.
 */
import type { IncomingMessage } from "node:http";

/** What is said. */
export interface Said {
  /** `LV_…`, or `LV_REFUSED`. */
  readonly code: string;
  readonly status: number;
  readonly message: string;
}

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

interface Row {
  /** Path of a request target without its query, and media type, both in lower case. */
  fits(path: string, type: string): boolean;
  reply(said: Said, type: string): Reply;
}

const EMPTY = Buffer.alloc(0);

const withBody = (status: number, type: string, body: Uint8Array): Reply => ({
  status,
  headers: { "content-type": type, "content-length": String(body.length) },
  body,
});
const asJson = (status: number, value: object): Reply => withBody(status, "application/json", Buffer.from(`${JSON.stringify(value)}\n`));

/** Codes of gRPC by HTTP status (doc/http-grpc-status-mapping.md of gRPC); 12 is "unimplemented", 14 "unavailable", which clients try again. */
const GRPC_CODES: Readonly<Record<number, number>> = { 400: 3, 401: 16, 403: 7, 409: 10, 413: 8, 422: 9, 502: 14, 503: 14, 504: 14, 408: 14 };
const UNIMPLEMENTED = 12;
/** Codes of Splunk's HTTP event collector: 1 "token disabled", 2 "token required", 4 "invalid token", 6 "invalid data format", 9 "server is busy". */
const SPLUNK_CODES: Readonly<Record<number, number>> = { 401: 2, 403: 4, 502: 9, 503: 9, 504: 9 };
const SPLUNK_INVALID = 6;
/** Fields of google.rpc.Status: the number and wire type of each. */
const STATUS_CODE = 0x08;
const STATUS_MESSAGE = 0x12;

const ROWS: readonly Row[] = [
  {
    // Trailers alone, with HTTP 200 (PROTOCOL-HTTP2.md of gRPC).
    fits: (_, type) => type.startsWith("application/grpc"),
    reply: ({ status, message }) => ({
      status: 200,
      headers: { "content-type": "application/grpc", "grpc-status": String(grpcCode(status)), "grpc-message": percentEncoded(message) },
      body: EMPTY,
    }),
  },
  {
    // google.rpc.Status, in the encoding of the request (specification of OTLP, "Failures").
    fits: (path) => /\/v1(?:development)?\/(?:logs|traces|metrics|profiles)$/.test(path),
    reply({ status, message }, type) {
      const code = grpcCode(status);
      if (!type.endsWith("protobuf")) return asJson(status, { code, message });
      const text = Buffer.from(message);
      return withBody(status, "application/x-protobuf", Buffer.concat([Buffer.from([STATUS_CODE, code, STATUS_MESSAGE, ...varint(text.length)]), text]));
    },
  },
  {
    // Elasticsearch and OpenSearch: APIs are parts of the path that begin with an underscore.
    fits: (path) => /\/_[a-z]/.test(path),
    reply({ code, status, message }) {
      const error = { type: code.toLowerCase(), reason: message };
      return asJson(status, { error: { root_cause: [error], ...error }, status });
    },
  },
  {
    fits: (path) => /\/services\/collector(?:\/|$)/.test(path),
    reply: ({ status, message }) => asJson(status, { text: message, code: SPLUNK_CODES[status] ?? SPLUNK_INVALID }),
  },
  {
    // Loki answers in plain text.
    fits: (path) => /\/(?:loki\/api\/v1|api\/prom)\/push$/.test(path),
    reply: ({ status, message }) => withBody(status, "text/plain; charset=utf-8", Buffer.from(`${message}\n`)),
  },
  {
    // GitLab, Docker and most others look for `message`.
    fits: () => true,
    reply: ({ code, status, message }) => asJson(status, { error: code, message }),
  },
];

/** The answer to a request that is refused. */
export function replyTo({ url = "/", headers }: IncomingMessage, said: Said): Reply {
  const path = url.split("?")[0]!.toLowerCase();
  const type = (headers["content-type"] ?? "").split(";")[0]!.trim().toLowerCase();
  return ROWS.find((row) => row.fits(path, type))!.reply(said, type);
}

const grpcCode = (status: number): number => GRPC_CODES[status] ?? UNIMPLEMENTED;

/** As `grpc-message` wants it: printable ASCII but `%`, the rest of UTF-8 percent-encoded. */
const percentEncoded = (text: string): string =>
  [...Buffer.from(text)]
    .map((byte) => (byte >= 0x20 && byte < 0x7f && byte !== 0x25 ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`))
    .join("");

/** A number of protobuf. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value >= 0x80; value >>>= 7) bytes.push((value & 0x7f) | 0x80);
  return [...bytes, value];
}
