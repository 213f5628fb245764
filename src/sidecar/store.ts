/**
 * The embedded store: a folder of jobs, each a folder of streams. Names become folder names by percent-encoding, so any name is safe. Everything in it is masked.
 */
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LogveilError } from "../errors.js";
import { readParts, statStream, StoredStream, type StreamLimits } from "./stored.js";

/** Longest name of a job or stream, in bytes. */
export const MAX_NAME_BYTES = 100;

/** What is kept of a job besides its streams. */
export interface JobInfo {
  readonly job: string;
  /** Milliseconds since the epoch. */
  readonly started: number;
  readonly ended?: number;
  readonly streams: readonly string[];
}

export interface StoreOptions extends StreamLimits {
  readonly folder: string;
  /** Jobs whose streams were not written for so long are removed, in milliseconds. */
  readonly maxAgeMs: number;
}

const JOB_FILE = "job.json";
/** Names of the secrets that were handed over for a job; never their values. */
const SECRETS_FILE = "secrets.json";
/** Digests of the tokens that were issued. No folder of a job begins with a dot. */
const TOKENS_FILE = ".tokens.json";

/** A token that was issued for a job. */
export interface KeptToken {
  readonly job: string;
  /** SHA-256 in hexadecimal digits. */
  readonly sha256: string;
  readonly hasEnded: boolean;
}

export class Store {
  private constructor(private readonly options: StoreOptions) {}

  /** Opens a store, or makes one (0700). Throws `LV_IO` where that cannot be. */
  static async open(options: StoreOptions): Promise<Store> {
    try {
      await mkdir(options.folder, { recursive: true, mode: 0o700 });
      return new Store(options);
    } catch (error) {
      throw new LogveilError(
        "LV_IO",
        `${options.folder}: logs cannot be kept there (${(error as NodeJS.ErrnoException).code}); set store.dir to a folder of your own`,
        {
          cause: error,
        },
      );
    }
  }

  /** Opens a stream for writing: only one at a time may do so. */
  async stream(job: string, stream: string): Promise<StoredStream> {
    return StoredStream.open(join(await this.begin(job), encodeName(stream)), this.options);
  }

  /** The folder of a job; made if there is none. */
  async begin(job: string): Promise<string> {
    const folder = this.folderOf(job);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    if (!existsSync(join(folder, JOB_FILE))) await write(join(folder, JOB_FILE), { started: Date.now() });
    return folder;
  }

  /** Names of secrets that were handed over for a job: another process may have died with them. */
  async secretsOf(job: string): Promise<string[]> {
    try {
      return (JSON.parse(await readFile(join(this.folderOf(job), SECRETS_FILE), "utf8")) as { names: string[] }).names;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw error;
    }
  }

  /** Keeps the names of secrets of a job; none: it needs none any more. One call at a time for a job. */
  async keepSecrets(job: string, names: readonly string[]): Promise<void> {
    if (names.length === 0) return rm(join(this.folderOf(job), SECRETS_FILE), { force: true });
    await this.begin(job);
    await write(join(this.folderOf(job), SECRETS_FILE), { names });
  }

  /** The tokens that were issued and not forgotten. */
  async tokens(): Promise<readonly KeptToken[]> {
    const file = join(this.options.folder, TOKENS_FILE);
    try {
      return (JSON.parse(await readFile(file, "utf8")) as { tokens: KeptToken[] }).tokens;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") return [];
      const message = `${file}: the digests of issued tokens cannot be read: put back a copy, or remove it, which opens the jobs that they close`;
      throw new LogveilError("LV_IO", message, { cause });
    }
  }

  /** These and no others. One call at a time. */
  keepTokens(tokens: readonly KeptToken[]): Promise<void> {
    return write(join(this.options.folder, TOKENS_FILE), { tokens });
  }

  /** Bytes of a stream that is not open. Undefined if there is none. */
  async read(job: string, stream: string, from: number): Promise<AsyncGenerator<Buffer, void, void> | undefined> {
    const info = await this.info(job);
    if (info === undefined || !info.streams.includes(stream)) return undefined;
    return readParts(join(this.folderOf(job), encodeName(stream)), from, Infinity);
  }

  async info(job: string): Promise<JobInfo | undefined> {
    try {
      const { started, ended } = JSON.parse(await readFile(join(this.folderOf(job), JOB_FILE), "utf8")) as { started: number; ended?: number };
      const entries = await readdir(this.folderOf(job), { withFileTypes: true });
      const streams = entries.filter((entry) => entry.isDirectory()).map(({ name }) => decodeURIComponent(name));
      return { job, started, ...(ended === undefined ? {} : { ended }), streams: streams.toSorted() };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  /** All jobs, the latest first. */
  async jobs(): Promise<JobInfo[]> {
    const names = (await readdir(this.options.folder, { withFileTypes: true })).filter((entry) => entry.isDirectory());
    const jobs = await Promise.all(names.map(({ name }) => this.info(decodeURIComponent(name))));
    return jobs.filter((job) => job !== undefined).toSorted((a, b) => b.started - a.started);
  }

  async end(job: string): Promise<void> {
    const info = await this.info(job);
    if (info !== undefined && info.ended === undefined) await write(join(this.folderOf(job), JOB_FILE), { started: info.started, ended: Date.now() });
  }

  /** Removes jobs that are too old and for which `isLive` says no. Answers their names. */
  async prune(now: number, isLive: (job: string) => boolean): Promise<string[]> {
    const removed: string[] = [];
    for (const { job, started, streams } of await this.jobs()) {
      if (isLive(job)) continue;
      const stats = await Promise.all(streams.map((stream) => statStream(join(this.folderOf(job), encodeName(stream)))));
      if (Math.max(started, ...stats.map(({ modified }) => modified)) + this.options.maxAgeMs > now) continue;
      await rm(this.folderOf(job), { recursive: true });
      removed.push(job);
    }
    return removed;
  }

  /** Whether it can be written to. Throws what the system says. */
  async probe(): Promise<void> {
    // Several may run at a time.
    const file = join(this.options.folder, `.probe-${randomUUID()}`);
    await writeFile(file, "logveil\n", { mode: 0o600, flush: true });
    await rm(file);
  }

  private folderOf(job: string): string {
    return join(this.options.folder, encodeName(job));
  }
}

async function write(file: string, content: object): Promise<void> {
  // Several may do so at a time.
  const part = `${file}.${randomUUID()}.part`;
  await writeFile(part, `${JSON.stringify(content)}\n`, { mode: 0o600, flush: true });
  await rename(part, file);
}

/** A name as that of a folder: neither hidden nor a way out. */
function encodeName(name: string): string {
  const encoded = encodeURIComponent(name).replaceAll("*", "%2A");
  return encoded.startsWith(".") ? `%2E${encoded.slice(1)}` : encoded;
}

/** Whether a name of a job or stream can be used. */
export function isName(name: string): boolean {
  return (
    name.length > 0 &&
    Buffer.byteLength(name) <= MAX_NAME_BYTES &&
    Buffer.from(name).toString() === name &&
    ![...name].some((char) => char < " " || char === "\x7f")
  );
}
