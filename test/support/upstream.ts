/** A log storage for tests, which says what it got, and a sidecar before it. */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";
import type { ForwardingOptions } from "../../src/sidecar/forwarding.js";
import type { Sidecar, SidecarOptions } from "../../src/sidecar/serve.js";
import { start, upstreamAt, type Witness } from "./sidecar.js";

export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** Whether it came to its end. */
  readonly whole: boolean;
}

export interface Proxied {
  readonly sidecar: Sidecar;
  readonly witness: Witness;
  readonly seen: Seen[];
  readonly logs: string[];
  /** Requests that have begun. */
  readonly begun: IncomingMessage[];
  /** Options of another sidecar before it. */
  readonly upstream: ForwardingOptions;
}

/** Answers are those of `answer`; else 201 when the request has ended. */
export async function proxied(change: Partial<SidecarOptions> = {}, answer?: (request: IncomingMessage, response: ServerResponse) => void): Promise<Proxied> {
  const seen: Seen[] = [];
  const begun: IncomingMessage[] = [];
  const upstream = createServer((request, response) => {
    begun.push(request);
    request.on("error", () => undefined);
    if (answer !== undefined) return answer(request, response);
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("close", () =>
      seen.push({ method: request.method!, url: request.url!, headers: request.headers, body: Buffer.concat(pieces), whole: request.complete }),
    );
    request.on("end", () => response.writeHead(201, ["set-cookie", "a=1", "Set-Cookie", "b=2", "x-upstream", "yes"]).end("took it"));
  });
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => upstream.close().closeAllConnections());
  const options = upstreamAt((upstream.address() as AddressInfo).port);
  const { sidecar, witness, logs } = await start({ upstream: options, ...change });
  return { sidecar, witness, seen, logs, begun, upstream: options };
}
