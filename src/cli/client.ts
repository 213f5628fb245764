/** Commands that talk to a sidecar: `logs`, `secrets add`, `job end`, `job token`, `reload`, `status`. */
import { request, type IncomingMessage, type RequestOptions } from "node:http";
import { join } from "node:path";
import { LogveilError } from "../errors.js";
import { EXIT } from "./options.js";

export interface ClientOptions {
  /** Address of the data port. */
  readonly server?: string;
  /** Path of the control socket. */
  readonly socket?: string;
  readonly job?: string;
  readonly follow?: true;
  readonly tokenFile?: string;
}

/** Where a sidecar of this user has its control socket. */
export const defaultSocket = (environment: NodeJS.ProcessEnv = process.env): string =>
  join(environment["XDG_RUNTIME_DIR"] || "/run", "logveil", "control.sock");

/** Prints the masked log of a job: of one stream, or of all, one after the other. */
export async function logs([job, ...streams]: string[], { server = "http://127.0.0.1:4180", follow, tokenFile }: ClientOptions): Promise<number> {
  const base = new URL(server);
  const headers = await authorization(tokenFile);
  const get = (path: string): Promise<IncomingMessage> => call({ host: base.hostname, port: base.port, path, headers }, server, "--server");
  if (job === undefined) {
    const { jobs: all } = await readJson<{ jobs: { job: string; started: number; ended?: number; streams: string[] }[] }>(await get("/v1/jobs"));
    for (const { job: name, started, ended, streams: names } of all)
      process.stdout.write(`${name}  ${new Date(started).toISOString()}  ${ended === undefined ? "open" : "ended"}  ${names.join(" ")}\n`);
    return EXIT.OK;
  }
  const path = `/v1/jobs/${encodeURIComponent(job)}`;
  const names = streams.length > 0 ? streams : (await readJson<{ streams: string[] }>(await get(path))).streams;
  const shown = names.map(async (stream) => {
    const answer = await get(`${path}/streams/${encodeURIComponent(stream)}${follow === true ? "?follow=1" : ""}`);
    for await (const piece of answer as AsyncIterable<Buffer>)
      if (!process.stdout.write(piece)) await new Promise((resolve) => process.stdout.once("drain", resolve));
  });
  await Promise.all(shown);
  return EXIT.OK;
}

/** `secrets add --job J`: makes the secrets on stdin known to a job. */
export async function secrets([verb, ...rest]: string[], { socket = defaultSocket(), job }: ClientOptions): Promise<number> {
  if (verb !== "add" || rest.length > 0)
    throw new LogveilError("LV_USAGE", "secrets: expected add, with the secrets on stdin; logveil secrets --help tells more");
  if (job === undefined) throw new LogveilError("LV_USAGE", "secrets add: --job is needed: the secrets mask the streams of that job");
  const batch: Buffer[] = [];
  for await (const piece of process.stdin as AsyncIterable<Buffer>) batch.push(piece);
  if (batch.length === 0) throw new LogveilError("LV_USAGE", 'secrets add: nothing came on stdin; expected lines of NAME=value or {"name", "value"}');
  const answer = await control(socket, "POST", `/v1/jobs/${encodeURIComponent(job)}/secrets`, Buffer.concat(batch));
  for (const piece of batch) piece.fill(0);
  const { reports, exposed } = await readJson<{
    reports: { name: string; kind: string; reason: string }[];
    exposed: { stream: string; secret: string; offset: number; length: number }[];
  }>(answer);
  for (const { name, kind, reason } of reports)
    process.stderr.write(
      `logveil: secret ${name} ${kind === "refused" ? "is NOT masked" : kind === "token" ? "is masked with care" : "is masked"}: ${reason}\n`,
    );
  for (const { stream, secret, offset, length } of exposed)
    process.stderr.write(`logveil: secret ${secret} had left already: stream ${stream}, offset ${offset}, ${length} bytes\n`);
  return exposed.length > 0 ? EXIT.FINDINGS : EXIT.OK;
}

/** `job end J`, `job token J`. */
export async function jobs([verb, name]: string[], { socket = defaultSocket() }: ClientOptions): Promise<number> {
  if ((verb !== "end" && verb !== "token") || name === undefined) throw new LogveilError("LV_USAGE", "job: expected end JOB or token JOB");
  const path = `/v1/jobs/${encodeURIComponent(name)}`;
  const answer = await (verb === "end" ? control(socket, "DELETE", path) : control(socket, "POST", `${path}/token`));
  const { token } = await readJson<{ token?: string }>(answer);
  if (token !== undefined) process.stdout.write(`${token}\n`);
  return EXIT.OK;
}

/** Has a sidecar read its configuration again. */
export async function reload({ socket = defaultSocket() }: ClientOptions): Promise<number> {
  const {
    secrets: known,
    rules,
    changed,
    needsRestart,
    warnings,
  } = await readJson<{
    secrets: number;
    rules: number;
    changed: string[];
    needsRestart: string[];
    warnings: string[];
  }>(await control(socket, "POST", "/v1/reload"));
  for (const warning of warnings) process.stderr.write(`logveil: ${warning}\n`);
  if (needsRestart.length > 0) process.stderr.write(`logveil: needs a restart: ${needsRestart.join(", ")}\n`);
  process.stdout.write(`reloaded: ${changed.length === 0 ? "the same configuration" : changed.join(", ")}; ${known} secrets, ${rules} rules\n`);
  return EXIT.OK;
}

/** What a sidecar is doing, as JSON. */
export async function status({ socket = defaultSocket() }: ClientOptions): Promise<number> {
  process.stdout.write(`${JSON.stringify(await readJson(await control(socket, "GET", "/v1/status")), undefined, 2)}\n`);
  return EXIT.OK;
}

const control = (socketPath: string, method: string, path: string, body?: Uint8Array): Promise<IncomingMessage> =>
  call({ socketPath, method, path }, socketPath, "--socket", body);

/** A bearer token comes from a file: arguments can be read by other users. */
async function authorization(file: string | undefined): Promise<Record<string, string>> {
  if (file === undefined) return {};
  const { readFile } = await import("node:fs/promises");
  try {
    return { authorization: `Bearer ${(await readFile(file, "utf8")).trim()}` };
  } catch (error) {
    throw new LogveilError("LV_IO", `--token-file: cannot read ${file} (${(error as NodeJS.ErrnoException).code})`, { cause: error });
  }
}

/** Sends a request; throws what the sidecar says if it refuses. */
async function call(to: RequestOptions, where: string, option: string, body?: Uint8Array): Promise<IncomingMessage> {
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    request(to, resolve)
      .once("error", (error: NodeJS.ErrnoException) =>
        reject(new LogveilError("LV_IO", `no sidecar answers at ${where} (${error.code}); start one with logveil serve, or name it by ${option}`)),
      )
      .end(body);
  });
  if (answer.statusCode! >= 400) throw new LogveilError("LV_IO", `the sidecar refused: ${(await readJson<{ message: string }>(answer)).message}`);
  return answer;
}

async function readJson<T>(answer: IncomingMessage): Promise<T> {
  const pieces: Buffer[] = [];
  for await (const piece of answer as AsyncIterable<Buffer>) pieces.push(piece);
  try {
    return JSON.parse(Buffer.concat(pieces).toString()) as T;
  } catch {
    throw new LogveilError("LV_IO", "what answers is no logveil sidecar");
  }
}
