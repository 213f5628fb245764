/** Commands that talk to a sidecar: `logs`, `secrets add`, `job end`, `job token`, `reload`, `status`. */
import { request as requestHttp, type IncomingMessage } from "node:http";
import { request as requestHttps, type RequestOptions } from "node:https";
import { connect } from "node:net";
import { join, resolve as absolute } from "node:path";
import { urlToHttpOptions } from "node:url";
import { LogveilError } from "../errors.js";
import { hardenProcess } from "../native/loader.js";
import { reasonAndCure, reasonOf } from "../io-error.js";
import { reportLine } from "../secrets/report.js";
import { EXIT } from "./options.js";

export interface ClientOptions {
  /** Address of the data port: `http:`, `https:` or `unix:/path`. */
  readonly server?: string;
  /** Files for `https:`, PEM: the authority of the sidecar's certificate, one's own certificate and its key. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** Path of the control socket. */
  readonly socket?: string;
  readonly job?: string;
  readonly follow?: true;
  readonly tokenFile?: string;
}

const USUAL_SERVER = "http://127.0.0.1:4180";

/** Where the control socket of the sidecar is: as the option says, else as the variable that tells the sidecar itself, else where one of this user has it. */
export function socketPath(option?: string, environment: NodeJS.ProcessEnv = process.env): string {
  const named = option ?? (environment["LOGVEIL_CONTROL_SOCKET"] || join(environment["XDG_RUNTIME_DIR"] || "/run", "logveil", "control.sock"));
  const path = named.replace(/^unix:/, "");
  if (path.startsWith("/")) return path;
  if (option !== undefined) return absolute(path);
  throw new LogveilError("LV_USAGE", "LOGVEIL_CONTROL_SOCKET: expected the absolute path of a socket");
}

/** Whether somebody listens on a socket that this user may open. */
const isOpen = (path: string): Promise<boolean> =>
  new Promise((answer) => {
    const socket = connect(path)
      .once("error", () => answer(false))
      .once("connect", () => {
        socket.destroy();
        answer(true);
      });
  });

/** Where logs are read: who owns the control socket needs no token there. */
async function logServer({ server, socket, tokenFile }: ClientOptions): Promise<{ readonly server: string; readonly option: string }> {
  if (server !== undefined) return { server, option: "--server" };
  const named = process.env["LOGVEIL_SERVER"];
  if (socket === undefined && named) return { server: named, option: "LOGVEIL_SERVER" };
  const path = socketPath(socket);
  const unix = { server: `unix:${encodeURI(path)}`, option: "--socket" };
  if (socket !== undefined || (tokenFile === undefined && (await isOpen(path)))) return unix;
  return { server: USUAL_SERVER, option: "--server, --socket, LOGVEIL_SERVER or LOGVEIL_CONTROL_SOCKET" };
}

/** Prints the masked log of a job: of one stream, or of all, one after the other. */
export async function logs([job, ...streams]: string[], options: ClientOptions): Promise<number> {
  const { follow, tokenFile } = options;
  const { server, option } = await logServer(options);
  const to = await addressOf(server, option, options);
  const headers = await authorization(tokenFile);
  const get = (path: string): Promise<IncomingMessage> => call({ ...to, path, headers }, server, option);
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
export async function secrets([verb, ...rest]: string[], { socket, job }: ClientOptions): Promise<number> {
  if (verb !== "add" || rest.length > 0)
    throw new LogveilError("LV_USAGE", "secrets: expected add, with the secrets on stdin; logveil secrets --help tells more");
  if (job === undefined) throw new LogveilError("LV_USAGE", "secrets add: --job is needed: the secrets mask the streams of that job");
  hardenProcess();
  const batch: Buffer[] = [];
  for await (const piece of process.stdin as AsyncIterable<Buffer>) batch.push(piece);
  if (batch.length === 0) throw new LogveilError("LV_USAGE", 'secrets add: nothing came on stdin; expected lines of NAME=value or {"name", "value"}');
  const answer = await control(socketPath(socket), "POST", `/v1/jobs/${encodeURIComponent(job)}/secrets`, Buffer.concat(batch));
  for (const piece of batch) piece.fill(0);
  const { reports, exposed } = await readJson<{
    reports: { name: string; kind: string; reason: string }[];
    exposed: { stream: string; secret: string; offset: number; length: number }[];
  }>(answer);
  for (const report of reports) process.stderr.write(`logveil: ${reportLine(report)}\n`);
  for (const { stream, secret, offset, length } of exposed)
    process.stderr.write(`logveil: secret ${secret} had left already: stream ${stream}, offset ${offset}, ${length} bytes\n`);
  return exposed.length > 0 ? EXIT.FINDINGS : EXIT.OK;
}

/** `job end J`, `job token J`. */
export async function jobs([verb, name, ...more]: string[], { socket }: ClientOptions): Promise<number> {
  if ((verb !== "end" && verb !== "token") || name === undefined || more.length > 0) throw new LogveilError("LV_USAGE", "job: expected end JOB or token JOB");
  const path = `/v1/jobs/${encodeURIComponent(name)}`;
  const answer = await (verb === "end" ? control(socketPath(socket), "DELETE", path) : control(socketPath(socket), "POST", `${path}/token`));
  const { token } = await readJson<{ token?: string }>(answer);
  if (token !== undefined) process.stdout.write(`${token}\n`);
  return EXIT.OK;
}

/** Has a sidecar read its configuration again. */
export async function reload({ socket }: ClientOptions): Promise<number> {
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
  }>(await control(socketPath(socket), "POST", "/v1/reload"));
  for (const warning of warnings) process.stderr.write(`logveil: ${warning}\n`);
  if (needsRestart.length > 0) process.stderr.write(`logveil: needs a restart: ${needsRestart.join(", ")}\n`);
  process.stdout.write(
    `reloaded: ${changed.length === 0 ? "the same configuration" : changed.join(", ")}; ${known} ${known === 1 ? "secret" : "secrets"}, ${rules} rules\n`,
  );
  return EXIT.OK;
}

/** What a sidecar is doing, as JSON. */
export async function status({ socket }: ClientOptions): Promise<number> {
  process.stdout.write(`${JSON.stringify(await readJson(await control(socketPath(socket), "GET", "/v1/status")), undefined, 2)}\n`);
  return EXIT.OK;
}

const control = (socket: string, method: string, path: string, body?: Uint8Array): Promise<IncomingMessage> =>
  call({ socketPath: socket, method, path }, socket, "--socket or LOGVEIL_CONTROL_SOCKET", body);

/** Where a request goes. Throws `LV_USAGE`, `LV_IO`. */
async function addressOf(server: string, option: string, { ca, cert, key }: ClientOptions): Promise<RequestOptions> {
  const url = URL.canParse(server) ? new URL(server) : undefined;
  if (url?.protocol === "unix:") return { socketPath: decodeURI(url.pathname) };
  if (url?.protocol !== "http:" && url?.protocol !== "https:")
    throw new LogveilError("LV_USAGE", `${option}: expected http://HOST:PORT, https://HOST:PORT or unix:/path`);
  const files = Object.entries({ ca, cert, key }).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const read = await Promise.all(files.map(async ([name, file]) => [name, await contentOf(file, `--${name}`)]));
  const { protocol, hostname, port } = urlToHttpOptions(url);
  return { protocol, hostname, port, ...Object.fromEntries(read) };
}

/** A bearer token comes from a file: arguments can be read by other users. */
async function authorization(file: string | undefined): Promise<Record<string, string>> {
  return file === undefined ? {} : { authorization: `Bearer ${(await contentOf(file, "--token-file")).trim()}` };
}

async function contentOf(file: string, option: string): Promise<string> {
  const { readFile } = await import("node:fs/promises");
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new LogveilError("LV_IO", `${option}: cannot read ${file}: ${reasonAndCure(error)}`, { cause: error });
  }
}

/** Sends a request; throws what the sidecar says if it refuses. */
async function call(to: RequestOptions, where: string, option: string, body?: Uint8Array): Promise<IncomingMessage> {
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    (to.protocol === "https:" ? requestHttps : requestHttp)(to, resolve)
      .once("error", (error: NodeJS.ErrnoException) => reject(new LogveilError("LV_IO", unreached(error, where, option))))
      .end(body);
  });
  if (answer.statusCode! >= 400) throw new LogveilError("LV_IO", `the sidecar refused: ${(await readJson<{ message: string }>(answer)).message}`);
  return answer;
}

function unreached({ code = "" }: NodeJS.ErrnoException, where: string, option: string): string {
  if (code.startsWith("ERR_SSL")) return `${where} ends the handshake (${code}); a sidecar that demands certificates of clients needs --cert and --key`;
  if (/CERT|VERIFY/.test(code)) return `the certificate of ${where} is not accepted (${code}); name its authority by --ca`;
  return `no sidecar answers at ${where}: ${reasonOf(code)}; start one with logveil serve, or name it by ${option}`;
}

async function readJson<T>(answer: IncomingMessage): Promise<T> {
  const pieces: Buffer[] = [];
  for await (const piece of answer as AsyncIterable<Buffer>) pieces.push(piece);
  try {
    return JSON.parse(Buffer.concat(pieces).toString()) as T;
  } catch {
    throw new LogveilError("LV_IO", "this server is not a logveil sidecar");
  }
}
