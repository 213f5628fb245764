/** The control API, on a Unix socket that only its owner can reach, or over TCP with client certificates: secrets of jobs, tokens, the end of jobs, what goes on. */
import { LogveilError } from "../errors.js";
import { parseSecrets } from "../providers/parse.js";
import type { SecretInput } from "../types.js";
import { type Call, type Connection, json, leave, type Route } from "./http.js";
import type { Jobs } from "./jobs.js";
import { Refusal } from "./refusal.js";
import { isName } from "./store.js";
import type { Tokens } from "./tokens.js";

/** Bytes of a batch of secrets. */
const MAX_BATCH_BYTES = 16 << 20;

/** What a reload did. */
export interface ReloadReport {
  /** Secrets that are known beforehand, and rules. */
  readonly secrets: number;
  readonly rules: number;
  readonly policy: string;
  /** Fields whose new values are in force. */
  readonly changed: readonly string[];
  /** Fields whose new values take effect with the next start. */
  readonly needsRestart: readonly string[];
  readonly warnings: readonly string[];
}

/** Who reads the configuration again. */
export interface Reloading {
  /** Rejects with a `LogveilError` where something is wrong, and nothing has changed. */
  run(): Promise<ReloadReport>;
  readonly last: {
    /** Of the last one that succeeded, in milliseconds since the epoch; the start is the first. */
    readonly at: number;
    readonly ok: boolean;
    /** What is wrong with the configuration as it is now. */
    readonly error?: string;
    readonly needsRestart: readonly string[];
  };
}

/** `status` answers facts as JSON. */
export function controlRoutes(jobs: Jobs, tokens: Tokens, status: () => object, reloading?: Reloading): Route[] {
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
        const { generation, reports, exposed } = await jobs.addSecrets(jobOf(call), secrets).catch(refuseInput);
        for (const { value } of secrets) if (value instanceof Uint8Array) value.fill(0);
        const places = exposed.map(({ stream, secret, offset, length, line }) => ({ stream, secret, offset, length, line }));
        json(call.response, 200, { generation, reports, exposed: places });
      },
    },
    {
      method: "POST",
      path: "/v1/jobs/:job/token",
      async handle(call) {
        const job = jobOf(call);
        const token = await tokens.issue(job);
        // A build step that printed it would give the job's logs away.
        await jobs.hide(job, { name: "LOGVEIL_TOKEN", value: token });
        json(call.response, 200, { token });
      },
    },
    {
      method: "DELETE",
      path: "/v1/jobs/:job",
      async handle(call) {
        const job = jobOf(call);
        await jobs.end(job);
        await tokens.end(job);
        json(call.response, 200, { job, ended: true });
      },
    },
    ...(reloading === undefined ? [] : [{ method: "POST", path: "/v1/reload", handle: (call: Call) => reload(call, reloading) }]),
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

async function reload({ response, connection }: Call, reloading: Reloading): Promise<void> {
  checkIsNoJob(connection);
  try {
    json(response, 200, await reloading.run());
  } catch (error) {
    if (!(error instanceof LogveilError)) throw error;
    const { code, message, facts } = error;
    json(response, 422, { error: code, message, problems: facts["problems"] ?? [message] });
  }
}

/** One authority may have signed certificates for both ports: those of jobs open nothing here. */
export function checkIsNoJob({ jobs }: Connection): void {
  if (jobs !== undefined && jobs.length > 0) throw new Refusal(403, "the certificate of a job does not open the control API");
}

/** Codes of what is wrong with secrets themselves: trying again later does not help. */
const OF_INPUT: readonly string[] = ["LV_USAGE", "LV_SECRET_NAME", "LV_SECRET_TOO_LONG"];

function refuseInput(error: unknown): never {
  throw error instanceof LogveilError && OF_INPUT.includes(error.code) ? new Refusal(400, `${error.code}: ${error.message}`) : error;
}

/** A batch: lines as in a list of secrets. Errors name the line, never its bytes. */
async function readBatch({ request, response }: Call): Promise<SecretInput[]> {
  leave(request, response);
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
