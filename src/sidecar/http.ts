/** Servers of the sidecar: requests by a table of routes, and what no proxy should let pass. How connections come in: door.ts. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { TlsOptions } from "node:tls";
import { isHttp2, json, type Observer, refuse } from "./answers.js";
import { type Connection, Door, type ServerLimits } from "./door.js";
import { members } from "./fields.js";
import { checkHost } from "./hosts.js";
import { Refusal } from "./refusal.js";
import { nameRoute } from "./refused.js";

export { json, leave } from "./answers.js";
export type { Connection, ServerLimits } from "./door.js";

export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly connection: Connection;
  /** By the names in the route's path. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
}

export interface Route {
  readonly method: string;
  /** Parts beginning with `:` stand for any one part. */
  readonly path: string;
  handle(call: Call): Promise<void> | void;
}

type Otherwise = (request: IncomingMessage, response: ServerResponse, connection: Connection) => Promise<void>;

export interface Served {
  readonly limits: ServerLimits;
  /** Absent: cleartext. */
  readonly tls?: TlsOptions | undefined;
  readonly observer: Observer;
  /** Names of hosts that requests may be for, besides those of this machine. */
  readonly hosts: () => readonly string[];
  /** Answers what is in no route. */
  readonly otherwise?: Otherwise;
  /** Told of the status of each answer when it has gone; undefined: there was none. */
  readonly answered?: (status: number | undefined) => void;
}

/** A server that answers by a table of routes. */
export function serveRoutes(routes: readonly Route[], served: Served): Door {
  const { limits, tls, observer, answered } = served;
  const answer = async (request: IncomingMessage, response: ServerResponse, connection: Connection): Promise<void> => {
    if (answered !== undefined) response.once("close", () => answered(response.headersSent ? response.statusCode : undefined));
    try {
      await route(routes, served, request, response, connection);
    } catch (error) {
      refuse(request, response, error, observer);
    }
  };
  return new Door(limits, tls, answer, observer);
}

async function route(
  routes: readonly Route[],
  { otherwise, hosts }: Served,
  request: IncomingMessage,
  response: ServerResponse,
  connection: Connection,
): Promise<void> {
  checkFraming(request);
  if (connection.isLocal) checkHost(request, hosts());
  // A path that goes on as it is need not be taken apart; only its escapes are checked.
  if (routes.length === 0 && otherwise !== undefined && !request.url!.includes("%")) return await otherwise(request, response, connection);
  const url = new URL(`http://sidecar${request.url}`);
  const parts = url.pathname.split("/").slice(1).map(decodePart);
  const here = routes.flatMap((each) => {
    const params = match(each.path, parts);
    return params === undefined ? [] : [{ route: each, params }];
  });
  const found = here.find((each) => each.route.method === request.method);
  nameRoute(request, here[0]?.route.path);
  if (found !== undefined) return await found.route.handle({ request, response, connection, params: found.params, query: url.searchParams });
  if (here.length === 0 && otherwise !== undefined) return await otherwise(request, response, connection);
  if (here.length === 0) throw new Refusal(404, "there is nothing here");
  json(response, 405, { error: "LV_USAGE", message: `expected ${here.map((each) => each.route.method).join(" or ")}` });
}

/** Longest request target and header field, in bytes, and most fields: what widespread servers take. */
const MAX_TARGET_BYTES = 4094;
const MAX_FIELD_BYTES = 8190;
const MAX_FIELDS = 100;
/** Fields of which there is one. */
const SINGLE = [
  "host",
  "content-length",
  "transfer-encoding",
  "content-type",
  "content-encoding",
  "authorization",
  "logveil-offset",
  "logveil-job",
  "logveil-token",
];
/** What the parser lets pass and no proxy should: anything about which the server behind it might think otherwise. */
function checkFraming(request: IncomingMessage): void {
  const { headers, rawHeaders, httpVersion, url = "" } = request;
  if (!["1.0", "1.1", "2.0"].includes(httpVersion)) throw new Refusal(400, "expected HTTP/1.0, HTTP/1.1 or HTTP/2");
  if (!url.startsWith("/") || url.length > MAX_TARGET_BYTES) throw new Refusal(400, `expected a path of at most ${MAX_TARGET_BYTES} bytes`);
  const names = rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
  if (names.length > MAX_FIELDS) throw new Refusal(400, `more than ${MAX_FIELDS} header fields`);
  for (const [index, name] of names.entries()) {
    if (name.length + rawHeaders[2 * index + 1]!.length + 4 > MAX_FIELD_BYTES) throw new Refusal(400, `a header field of more than ${MAX_FIELD_BYTES} bytes`);
    // Some servers read `_` as `-`.
    if (name.includes("_") && SINGLE.includes(name.replaceAll("_", "-"))) throw new Refusal(400, "a header field that looks like another");
    if (SINGLE.includes(name) && names.indexOf(name) !== index) throw new Refusal(400, `more than one ${name}`);
  }
  if (headers.host !== undefined && !HOST.test(headers.host)) throw new Refusal(400, "Host: expected a name or address, and perhaps a port");
  if (isHttp2(request)) return checkHttp2(request);
  checkUpgrade(request);
  if (headers["transfer-encoding"] === undefined) return;
  if (headers["content-length"] !== undefined) throw new Refusal(400, "Content-Length and Transfer-Encoding together");
  if (httpVersion === "1.0" || headers["transfer-encoding"].toLowerCase() !== "chunked")
    throw new Refusal(400, "Transfer-Encoding: expected chunked, and HTTP/1.1");
}

/** Protocols that an HTTP server may leave aside (RFC 9110 §7.8): their clients go on in HTTP/1.1. Java's HttpClient and curl ask for h2c. */
const OPTIONAL_UPGRADES = ["h2c", "http/2.0"];

function checkUpgrade({ headers }: IncomingMessage): void {
  if (!members(headers.connection).includes("upgrade")) return;
  const protocols = members(headers.upgrade);
  if (protocols.length === 0 || protocols.some((name) => OPTIONAL_UPGRADES.includes(name) || name.startsWith("tls/"))) return;
  throw new Refusal(501, "WebSocket and other protocols besides HTTP are not taken: send the log by HTTP/1.1 or HTTP/2");
}

/** Fields that HTTP/2 does not have (RFC 9113 §8.2.2). nghttp2 refuses them, too; what goes on is HTTP/1.1, in which they count. */
const NOT_IN_HTTP2 = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

function checkHttp2({ headers }: IncomingMessage): void {
  const wrong = NOT_IN_HTTP2.find((name) => headers[name] !== undefined);
  if (wrong !== undefined) throw new Refusal(400, `${wrong}: HTTP/2 has no such field`);
  if (headers["te"] !== undefined && headers["te"] !== "trailers") throw new Refusal(400, "te: HTTP/2 has trailers only");
  const authority = headers[":authority"];
  if (authority !== undefined && headers.host !== undefined && headers.host !== authority) throw new Refusal(400, "host and :authority are not the same");
  if (typeof authority === "string" && !HOST.test(authority)) throw new Refusal(400, ":authority: expected a name or address, and perhaps a port");
}

const HOST = /^(?:[\w.-]*|\[[\da-fA-F:.]+\])(?::\d{0,5})?$/;

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new Refusal(400, "the path is not percent-encoded UTF-8");
  }
}

function match(path: string, parts: readonly string[]): Record<string, string> | undefined {
  const wanted = path.split("/").slice(1);
  if (wanted.length !== parts.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, part] of wanted.entries()) {
    if (part.startsWith(":")) params[part.slice(1)] = parts[index]!;
    else if (part !== parts[index]) return undefined;
  }
  return params;
}
