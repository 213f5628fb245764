/**
 * Who may write and read which jobs: by bearer tokens, each of one job, or by the jobs that a client's certificate names. Tokens are kept as digests and compared in
 * constant time.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import type { Connection } from "./door.js";
import { Refusal } from "./refusal.js";
import { isName, type Store } from "./store.js";
import { ANY_JOB, type JobName } from "./tls.js";

const TOKEN_BYTES = 32;
/** Fewer characters of the alphabet hold less than 128 bits. */
const MIN_TOKEN_LENGTH = 22;

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

/** A token of the file: what it opens, and its SHA-256. */
export interface ListedToken {
  readonly job: JobName;
  readonly digest: Buffer;
}

export interface TokensOptions {
  /** A request without a token, or a certificate that names its job, is refused. A job that was issued a token demands one anyway. */
  readonly required: boolean;
  readonly listed: readonly ListedToken[];
  /** Logs are kept here: tokens may come as `Authorization`, and those of ended jobs read on. Else both are the upstream's business. */
  readonly keepsLogs: boolean;
}

interface Issued {
  readonly digest: Buffer;
  readonly hasEnded: boolean;
}

export class Tokens {
  private listed: readonly ListedToken[];
  /** The last write of those that were issued. */
  private keeping: Promise<void> = Promise.resolve();

  private constructor(
    private readonly options: TokensOptions,
    private readonly store: Store,
    private readonly issued: Map<string, Issued>,
  ) {
    this.listed = options.listed;
  }

  /** With those that a process before this one issued. */
  static async open(options: TokensOptions, store: Store): Promise<Tokens> {
    const kept = await store.tokens();
    return new Tokens(options, store, new Map(kept.map(({ job, sha256, hasEnded }) => [job, { digest: Buffer.from(sha256, "hex"), hasEnded }])));
  }

  /** These take the place of those that were listed. */
  list(listed: readonly ListedToken[]): void {
    this.listed = listed;
  }

  /** Makes a new token for a job; the one before is void. Its digest is on disk when this resolves. */
  async issue(job: string): Promise<string> {
    const token = randomBytes(TOKEN_BYTES).toString("base64url");
    await this.store.begin(job);
    this.issued.set(job, { digest: digest(token), hasEnded: false });
    await this.keep();
    return token;
  }

  /** The token of a job that has ended writes no more; it reads until the logs are gone. */
  async end(job: string): Promise<void> {
    const issued = this.issued.get(job);
    if (issued === undefined) return;
    if (this.options.keepsLogs) this.issued.set(job, { ...issued, hasEnded: true });
    else this.issued.delete(job);
    await this.keep();
  }

  /** Of these jobs there are no logs any more. */
  async forget(jobs: readonly string[]): Promise<void> {
    if (jobs.filter((job) => this.issued.delete(job)).length > 0) await this.keep();
  }

  private keep(): Promise<void> {
    const write = (): Promise<void> =>
      this.store.keepTokens([...this.issued].map(([job, { digest: sha256, hasEnded }]) => ({ job, sha256: sha256.toString("hex"), hasEnded })));
    return (this.keeping = this.keeping.catch(() => undefined).then(write));
  }

  /** Throws a 401 where a token is needed and there is none, a 403 for what opens other jobs only. */
  check(request: IncomingMessage, connection: Connection, job: string): void {
    const { jobs } = connection;
    if (jobs !== undefined && jobs.length > 0) {
      if (!jobs.includes(job) && !jobs.includes(ANY_JOB)) throw new Refusal(403, "the client's certificate names another job");
      return;
    }
    const issued = this.issued.get(job);
    const given = this.tokenOf(request);
    if (given === undefined) return this.checkBare(connection, issued !== undefined);
    const writes = request.method !== "GET" && request.method !== "HEAD";
    const listed = this.listed.filter((each) => each.job === job || each.job === ANY_JOB);
    const fitting = [...(issued === undefined || (issued.hasEnded && writes) ? [] : [issued]), ...listed];
    // The same work whether there is a token or not, and whichever it is.
    const equal = [...fitting, { digest: Buffer.alloc(TOKEN_BYTES) }].map((each) => timingSafeEqual(each.digest, digest(given)));
    if (!equal.includes(true)) throw new Refusal(403, "the token is not that of this job");
  }

  /** Throws a 401 for a request that has nothing to show where something is needed. */
  checkSome(request: IncomingMessage, connection: Connection): void {
    if ((connection.jobs ?? []).length === 0 && this.tokenOf(request) === undefined) this.checkBare(connection, false);
  }

  /** Whether {@link check} lets a request pass. */
  may(request: IncomingMessage, connection: Connection, job: string): boolean {
    try {
      this.check(request, connection, job);
      return true;
    } catch (error) {
      if (error instanceof Refusal) return false;
      throw error;
    }
  }

  private checkBare({ jobs }: Connection, isIssued: boolean): void {
    if (!isIssued && !this.options.required && jobs === undefined) return;
    const certificate = jobs === undefined ? "" : "the client's certificate names no job (logveil:job:NAME as a URI in its subjectAltName); ";
    const way = this.options.keepsLogs ? "Authorization: Bearer TOKEN" : "Logveil-Token: TOKEN";
    throw new Refusal(401, `${certificate}the token of the job is needed, as ${way}: see logveil job token`, { "www-authenticate": 'Bearer realm="logveil"' });
  }

  private tokenOf({ headers }: IncomingMessage): string | undefined {
    const own = headers["logveil-token"];
    if (typeof own === "string" || !this.options.keepsLogs) return own as string | undefined;
    const [scheme, given] = (headers.authorization ?? "").split(" ");
    return scheme?.toLowerCase() === "bearer" ? given : undefined;
  }
}

/**
 * Reads a file of tokens: lines `JOB TOKEN`, or `JOB sha256:HEX` with the SHA-256 of the token; `*` for any job; `#` begins a comment. A job may have several. Throws
 * `LV_CONFIG` naming field, file and line.
 */
export function readTokens(file: string, field: string): ListedToken[] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    throw new LogveilError("LV_CONFIG", `${field}: ${file} cannot be read: ${reasonAndCure(error)}`);
  }
  const lines = bytes.toString().split("\n");
  bytes.fill(0);
  const listed = lines.flatMap((line, index) => {
    const text = line.trim();
    return text === "" || text.startsWith("#") ? [] : [readLine(text, `${field}: ${file}:${index + 1}`)];
  });
  if (listed.length === 0)
    throw new LogveilError("LV_CONFIG", `${field}: ${file} holds no token, so every request would be refused: expected lines of JOB TOKEN`);
  return listed;
}

function readLine(text: string, place: string): ListedToken {
  const [, job, hash, token] = /^(.*\S)\s+(?:sha256:([\da-fA-F]{64})|([\w.~+/-]+=*))$/.exec(text) ?? [];
  if (job === undefined) throw new LogveilError("LV_CONFIG", `${place}: expected JOB TOKEN, or JOB sha256: and 64 hexadecimal digits`);
  if (job !== "*" && !isName(job)) throw new LogveilError("LV_CONFIG", `${place}: names of jobs have 1 to 100 bytes of UTF-8 without control characters`);
  if (token !== undefined && token.length < MIN_TOKEN_LENGTH)
    throw new LogveilError("LV_CONFIG", `${place}: a token of less than ${MIN_TOKEN_LENGTH} characters can be guessed: make one with openssl rand -hex 32`);
  return { job: job === "*" ? ANY_JOB : job, digest: hash === undefined ? digest(token!) : Buffer.from(hash, "hex") };
}
