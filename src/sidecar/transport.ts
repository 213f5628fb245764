/**
 * Connections to the upstream: a request goes out, its response comes in, both with back-pressure. By undici, except for requests with trailers, which undici cannot send
 * (trailing.ts). Nothing is followed or tried again here.
 */
import type { Readable } from "node:stream";
import { type Dispatcher, errors, Pool } from "undici";
import { type Incoming, type Outgoing, ResponseBody, type TransportOptions } from "./exchange.js";
import { TrailingClient } from "./trailing.js";

const text = (raw: unknown): string[] => ((raw ?? []) as readonly (Buffer | string)[]).map((field) => field.toString("latin1"));

export class Transport {
  private readonly pool: Pool;
  private readonly trailing: TrailingClient;

  constructor(private readonly options: TransportOptions) {
    this.pool = new Pool(new URL(options.url).origin, {
      connections: options.maxConnections,
      pipelining: 1,
      connect: { timeout: options.connectTimeoutMs },
      headersTimeout: options.headersTimeoutMs,
      bodyTimeout: options.bodyTimeoutMs,
    });
    this.trailing = new TrailingClient(options);
  }

  /** Resolves with the head of the response. Rejects with what went wrong on the way, of whatever kind. */
  send(outgoing: Outgoing): Promise<Incoming> {
    if (outgoing.trailers !== undefined) return this.trailing.send(outgoing, outgoing.trailers);
    const { method, path, fields, body, over } = outgoing;
    return new Promise((resolve, reject) => {
      let response: ResponseBody | undefined;
      let trailers: readonly string[] = [];
      let unreached: Error | undefined;
      const failed = (error: Error): void => {
        clearTimeout(timer);
        if (response === undefined) reject(error);
        else response.destroy(error);
        over();
      };
      // The pool lets requests wait for a free connection for as long as it takes.
      const timer = setTimeout(() => failed((unreached = new errors.ConnectTimeoutError())), this.options.connectTimeoutMs);
      const handler: Dispatcher.DispatchHandler = {
        onRequestStart(controller) {
          clearTimeout(timer);
          if (unreached !== undefined) controller.abort(unreached);
        },
        onResponseStart(controller, status) {
          if (status < 200) return;
          response = new ResponseBody(controller, (error) => controller.abort(error));
          resolve({ status, fields: text(controller.rawHeaders), body: response, trailers: () => trailers });
        },
        onResponseData(controller, chunk) {
          if (response?.push(chunk) === false) controller.pause();
        },
        onResponseEnd(controller) {
          trailers = text(controller.rawTrailers);
          response?.finish();
          over();
        },
        onResponseError: (_, error) => failed(error),
      };
      const options = { method, path, headers: [...fields], body: (body ?? null) as Readable | Uint8Array | null };
      this.pool.dispatch(options, handler);
    });
  }

  async close(): Promise<void> {
    this.trailing.close();
    await this.pool.destroy();
  }
}
