/** Requests with trailers: node:http sends them, undici does not. One client, with connections of its own. */
import * as http from "node:http";
import * as https from "node:https";
import { errors } from "undici";
import { type Fields, pairs } from "./fields.js";
import { type Incoming, type Outgoing, ResponseBody, type TransportOptions } from "./exchange.js";

export class TrailingClient {
  private readonly origin: URL;
  private readonly agent: http.Agent;

  constructor(private readonly options: TransportOptions) {
    this.origin = new URL(options.url);
    const { Agent } = this.origin.protocol === "https:" ? https : http;
    this.agent = new Agent({ keepAlive: true, maxSockets: options.maxConnections });
  }

  send({ method, path, fields, body, over }: Outgoing, trailers: () => Fields): Promise<Incoming> {
    const { protocol, hostname, port, host } = this.origin;
    const { request } = protocol === "https:" ? https : http;
    const client = request({
      agent: this.agent,
      host: hostname.replaceAll(/[[\]]/g, ""),
      port,
      method,
      path,
      headers: ["Host", host, ...fields, "Transfer-Encoding", "chunked"],
    });
    return new Promise((resolve, reject) => {
      // A request that waits for a connection emits nothing when it is destroyed.
      const failed = (error: Error): void => {
        client.destroy(error);
        reject(error);
        over();
      };
      this.limitTimes(client, failed);
      client.once("response", (message: http.IncomingMessage) => {
        const response = new ResponseBody(message, (error) => client.destroy(error));
        message.on("data", (chunk: Buffer) => void (response.push(chunk) || message.pause()));
        message.once("end", () => {
          response.finish();
          over();
        });
        message.once("error", (error) => response.destroy(error));
        resolve({ status: message.statusCode!, fields: message.rawHeaders, body: response, trailers: () => message.rawTrailers });
      });
      client.on("error", failed).once("close", () => failed(new errors.SocketError("closed")));
      writeAll(client, body!, trailers).catch(failed);
    });
  }

  private limitTimes(client: http.ClientRequest, failed: (error: Error) => void): void {
    const { connectTimeoutMs, headersTimeoutMs, bodyTimeoutMs } = this.options;
    let timer: NodeJS.Timeout | undefined;
    const within = (ms: number, error: Error, isExempt = (): boolean => false): void => {
      clearTimeout(timer);
      timer = setTimeout(() => (isExempt() ? timer!.refresh() : failed(error)), ms);
    };
    within(connectTimeoutMs, new errors.ConnectTimeoutError());
    client.once("socket", (socket) => {
      // A body that comes slowly is the client's affair; one that is not taken is the upstream's.
      const isSending = (): boolean => !client.writableFinished && !socket.writableNeedDrain;
      const connected = (): void => within(headersTimeoutMs, new errors.HeadersTimeoutError(), isSending);
      if (!socket.connecting) return connected();
      socket.once(this.origin.protocol === "https:" ? "secureConnect" : "connect", connected);
    });
    client.once("finish", () => timer?.refresh());
    client.once("response", (message: http.IncomingMessage) => {
      within(bodyTimeoutMs, new errors.BodyTimeoutError(), () => message.isPaused());
      message.on("data", () => timer!.refresh());
    });
    client.once("close", () => clearTimeout(timer));
  }

  close(): void {
    this.agent.destroy();
  }
}

async function writeAll(client: http.ClientRequest, body: NonNullable<Outgoing["body"]>, trailers: () => Fields): Promise<void> {
  for await (const piece of body instanceof Uint8Array ? [body] : body) {
    if (client.destroyed) return;
    if (!client.write(piece)) await drained(client);
  }
  client.addTrailers([...pairs(trailers())].map(([name, value]): [string, string] => [name, value]));
  client.end();
}

/** Resolves when more may be written, or never will. */
function drained(client: http.ClientRequest): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      client.off("drain", done).off("close", done);
      resolve();
    };
    client.on("drain", done).on("close", done);
  });
}
