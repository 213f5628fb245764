/** The control API, on a Unix socket that only its owner can reach, or over TCP with client certificates: secrets of jobs, tokens, the end of jobs, what goes on. */
import { LogveilError } from "../errors.js";
import { parseSecrets } from "../providers/parse.js";
import type { SecretInput } from "../types.js";
import { type Call, type Connection, json, type Route } from "./http.js";
import { type Jobs, Refusal } from "./jobs.js";
import { isName } from "./store.js";
import type { Tokens } from "./tokens.js";

/** Bytes of a batch of secrets. */
const MAX_BATCH_BYTES = 16 << 20;

export interface Status {
  readonly version: string;
  readonly ready: boolean;
  readonly jobs: number;
  readonly streams: number;
  readonly secrets: number;
  readonly needles: number;
}

export function controlRoutes(jobs: Jobs, tokens: Tokens, status: () => Status): Route[] {
  const jobOf = ({ params, connection }: Call): string => {
    checkIsNoJob(connection);
    if (!isName(params["job"]!)) throw new Refusal(400, "names of jobs have 1 to 100 bytes of UTF-8 without control characters");
    return params["job"]!;
  };
  return [
    {
      method: "POST",
      path: "/v1/jobs/:job/secrets",
      async handle(call) {
        const secrets = await readBatch(call);
        const { generation, reports, exposed } = await jobs.addSecrets(jobOf(call), secrets);
        for (const { value } of secrets) if (value instanceof Uint8Array) value.fill(0);
        const places = exposed.map(({ stream, secret, offset, length, line }) => ({ stream, secret, offset, length, line }));
        json(call.response, 200, { generation, reports, exposed: places });
      },
    },
    { method: "POST", path: "/v1/jobs/:job/token", handle: (call) => json(call.response, 200, { token: tokens.issue(jobOf(call)) }) },
    {
      method: "DELETE",
      path: "/v1/jobs/:job",
      async handle(call) {
        const job = jobOf(call);
        await jobs.end(job);
        tokens.end(job);
        json(call.response, 200, { job, ended: true });
      },
    },
    {
      method: "GET",
      path: "/v1/status",
      handle({ response, connection }) {
        checkIsNoJob(connection);
        json(response, 200, status());
      },
    },
  ];
}

/** One authority may have signed certificates for both ports: those of jobs open nothing here. */
function checkIsNoJob({ jobs }: Connection): void {
  if (jobs !== undefined && jobs.length > 0) throw new Refusal(403, "the certificate of a job does not open the control API");
}

/** A batch: lines as in a list of secrets. Errors name the line, never its bytes. */
async function readBatch({ request }: Call): Promise<SecretInput[]> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of request as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes > MAX_BATCH_BYTES) throw new Refusal(400, `a batch of secrets has at most ${MAX_BATCH_BYTES} bytes: send several`);
    pieces.push(piece);
  }
  const whole = Buffer.concat(pieces);
  for (const piece of pieces) piece.fill(0);
  try {
    return parseSecrets(whole.toString(), "batch");
  } catch (error) {
    throw error instanceof LogveilError ? new Refusal(400, error.message) : error;
  } finally {
    whole.fill(0);
  }
}
