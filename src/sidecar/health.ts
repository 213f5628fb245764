/**
 * How the log storage does: how long its answers take, what fails by kind, and since when. That it fails is told by whoever refuses or keeps a request for it (refused.ts, spool/);
 * that it answers again is told here, once.
 */
import { reasonOf } from "../io-error.js";
import { connect } from "node:net";
import { errors } from "undici";
import type { Figures } from "./accounts.js";
import type { Incoming } from "./exchange.js";
import { attempts, lasted } from "./outage.js";

/** What goes wrong with an upstream, as `logveil_upstream_failures_total` names it. */
export const FAILURE_KINDS = ["connect", "timeout", "reset", "status_5xx", "protocol"] as const;
export type FailureKind = (typeof FAILURE_KINDS)[number];

/** Codes of errors by kind; others that come from its connection are of its protocol. */
const KINDS: Readonly<Record<string, FailureKind>> = {
  ECONNREFUSED: "connect",
  EHOSTUNREACH: "connect",
  EHOSTDOWN: "connect",
  ENETUNREACH: "connect",
  ENETDOWN: "connect",
  ENOTFOUND: "connect",
  EAI_AGAIN: "connect",
  UND_ERR_CONNECT_TIMEOUT: "connect",
  UND_ERR_HEADERS_TIMEOUT: "timeout",
  UND_ERR_BODY_TIMEOUT: "timeout",
  ETIMEDOUT: "timeout",
  ECONNRESET: "reset",
  EPIPE: "reset",
  UND_ERR_SOCKET: "reset",
};
/** Errors of certificates and handshakes have codes of OpenSSL. */
const TLS_CODE = /^(?:ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_|DEPTH_ZERO|SELF_SIGNED|HOSTNAME_MISMATCH)/;
const PROTOCOL_CODE = /^(?:HPE_|UND_ERR_(?:RES|RESPONSE)_|UND_ERR_INFO)/;

/** What an error of an exchange says of the upstream; undefined: nothing, for it is the client's or ours. */
function kindOf(error: unknown): FailureKind | undefined {
  if (error instanceof errors.HTTPParserError) return "protocol";
  const code = String((error as NodeJS.ErrnoException).code);
  return KINDS[code] ?? (TLS_CODE.test(code) ? "connect" : PROTOCOL_CODE.test(code) ? "protocol" : undefined);
}

/** These answers are about the request, not about the upstream. */
const isOfRequest = (status: number): boolean => status === 501 || status === 505;

/** After so many milliseconds without an exchange the upstream is asked for a connection before anything is said of it. */
const FRESH_MS = 5000;
/** A failure other than that of a connection counts for so long after the last one. */
const REMEMBERED_MS = 60_000;
/** Longest wait of a probe. */
const PROBE_MS = 2000;
/** An upstream that fails now and then is told of once in this time. */
const QUIET_MS = 10_000;

interface Outage {
  readonly since: number;
  failures: number;
  /** Kind, and a code of ours or of the system. */
  what: string;
  last: number;
  isUnreached: boolean;
}

export interface HealthOptions {
  readonly url: string;
  readonly figures: Figures;
  readonly log: (level: "info", message: string) => void;
  /** Milliseconds that never step back. */
  readonly now?: () => number;
}

export class UpstreamHealth {
  private outage: Outage | undefined;
  private answeredAt = -Infinity;
  private toldAt = -Infinity;
  private readonly now: () => number;

  constructor(private readonly options: HealthOptions) {
    this.now = options.now ?? (() => performance.now());
    for (const kind of FAILURE_KINDS) options.figures.add("upstreamFailures", 0, kind);
  }

  /**
   * Has a request sent, and takes note of what becomes of it. `send` gets the body to send: when it has been read to its end, the wait for the answer begins. `isOurs` tells
   * whether it was the body that broke off.
   */
  async watch<T>(body: T, send: (body: T) => Promise<Incoming>, isOurs: () => boolean = () => false): Promise<Incoming> {
    let from = this.now();
    const watched = isPieces(body) ? (untilEnd(body, () => (from = this.now())) as T) : body;
    try {
      const answer = await send(watched);
      this.options.figures.upstreamSeconds.observe((this.now() - from) / 1000);
      answer.body.once("error", (error) => this.failed(error));
      if (answer.status < 500 || isOfRequest(answer.status)) this.answered();
      if (answer.status >= 500) this.fail("status_5xx", `status ${answer.status}`, isOfRequest(answer.status));
      return answer;
    } catch (error) {
      if (!isOurs()) this.failed(error);
      throw error;
    }
  }

  /** What is wrong; undefined: nothing that is known. Tries to connect where nothing is known. */
  async check(): Promise<string | undefined> {
    const { outage } = this;
    const last = outage?.last ?? this.answeredAt;
    if (this.now() - last < FRESH_MS) return outage && describe(outage, this.now());
    const unreached = await probe(this.options.url);
    if (unreached !== undefined) return `the log storage cannot be reached: ${reasonOf(unreached)}`;
    const isOver = outage === undefined || outage.isUnreached || this.now() - last > REMEMBERED_MS;
    return isOver ? undefined : describe(outage, this.now());
  }

  private failed(error: unknown): void {
    const kind = kindOf(error);
    if (kind !== undefined) this.fail(kind, String((error as NodeJS.ErrnoException).code), false);
  }

  private fail(kind: FailureKind, code: string, isOnlyCounted: boolean): void {
    this.options.figures.count("upstreamFailures", kind);
    if (isOnlyCounted) return;
    const now = this.now();
    this.outage ??= { since: now, failures: 0, what: "", last: now, isUnreached: false };
    this.outage.failures++;
    Object.assign(this.outage, { what: `${kind}, ${code}`, last: now, isUnreached: kind === "connect" });
  }

  private answered(): void {
    const now = this.now();
    const { outage } = this;
    this.answeredAt = now;
    this.outage = undefined;
    if (outage === undefined || now - this.toldAt < QUIET_MS) return;
    this.toldAt = now;
    this.options.log("info", `the log storage answers again, after ${lasted(now - outage.since)} and ${attempts(outage.failures)} (${outage.what})`);
  }
}

const describe = ({ since, failures, what }: Outage, now: number): string =>
  `the log storage has failed for ${lasted(now - since)}: ${attempts(failures)}, the last one by ${what}`;

const isPieces = (body: unknown): body is AsyncIterable<Uint8Array> => typeof body === "object" && body !== null && Symbol.asyncIterator in body;

async function* untilEnd(body: AsyncIterable<Uint8Array>, ended: () => void): AsyncGenerator<Uint8Array, void, void> {
  yield* body;
  ended();
}

/** Whether a connection can be made; resolves to what it failed with. */
function probe(url: string): Promise<string | undefined> {
  const { hostname, port, protocol } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect({
      host: hostname.replaceAll(/[[\]]/g, ""),
      port: Number(port === "" ? (protocol === "https:" ? 443 : 80) : port),
      timeout: PROBE_MS,
    });
    const done = (code: string | undefined): void => {
      resolve(code);
      socket.destroy();
    };
    socket
      .once("connect", () => done(undefined))
      .once("timeout", () => done("ETIMEDOUT"))
      .once("error", (error: NodeJS.ErrnoException) => done(error.code ?? "failed"));
  });
}
