/** The control API, on a Unix socket that only its owner can reach: secrets of jobs, tokens, the end of jobs, what goes on. */
import { chmod, lstat, mkdir, rm } from "node:fs/promises";
import { connect, type Server } from "node:net";
import { dirname } from "node:path";
import { LogveilError } from "../errors.js";
import { parseSecrets } from "../providers/parse.js";
import type { SecretInput } from "../types.js";
import { type Call, json, type Route } from "./http.js";
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
  const jobOf = ({ params }: Call): string => {
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
        tokens.revoke(job);
        json(call.response, 200, { job, ended: true });
      },
    },
    { method: "GET", path: "/v1/status", handle: ({ response }) => json(response, 200, status()) },
  ];
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

/** Listens on a socket file, which the field `field` names: its folder is made 0700, the file 0600. One that another process left is taken over; one in use is refused. */
export async function listenUnix(server: Server, path: string, field = "control.socket"): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  if (await isInUse(path)) throw new LogveilError("LV_CONFIG", `${path}: another process listens there; end it, or set ${field} to another path`);
  const left = await lstat(path).catch(() => undefined);
  if (left?.isSocket() === false) throw new LogveilError("LV_CONFIG", `${path}: expected a socket or nothing there; set ${field} to another path`);
  await rm(path, { force: true });
  const before = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(path, resolve));
  } catch (error) {
    throw new LogveilError(
      "LV_IO",
      `${path}: cannot listen there (${(error as NodeJS.ErrnoException).code}); set ${field} to a path of at most 107 bytes in a folder of your own`,
      {
        cause: error,
      },
    );
  } finally {
    process.umask(before);
  }
  await chmod(path, 0o600);
}

const isInUse = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    }).once("error", () => resolve(false));
  });
