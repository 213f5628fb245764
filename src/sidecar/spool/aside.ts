/** What is set aside rather than dropped, and rather than let hold up what follows: requests that the upstream refuses for good, and what is damaged. For people to look at. */
import { join } from "node:path";
import type { Disk } from "./disk.js";
import type { Kept } from "./spool.js";
import { DamagedBody } from "./record.js";
import type { Segment } from "./folder.js";

export class Rejected {
  private names = new Map<string, number>();
  /** Requests that were set aside since the start. */
  refused = 0;
  /** Damaged bodies and pieces of segments that were. */
  damaged = 0;

  private constructor(
    private readonly disk: Disk,
    readonly folder: string,
    private readonly log: (level: "error", message: string) => void,
  ) {}

  static async open(disk: Disk, folder: string, log: (level: "error", message: string) => void): Promise<Rejected> {
    await disk.makeFolder(folder);
    const rejected = new Rejected(disk, folder, log);
    await rejected.count();
    return rejected;
  }

  /** Bytes of the files when they were counted last. */
  get bytes(): number {
    return [...this.names.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Counts anew: someone may have taken files away. */
  async count(): Promise<void> {
    this.names = new Map((await this.disk.list(this.folder)).map(({ name, bytes }) => [name, bytes]));
  }

  /** Sets a request aside, as it would be sent; of a damaged body, what is whole. Throws what the system says. */
  async request(name: string, { head: { method, path, headers }, bytes, body }: Kept, why: number | "damaged"): Promise<void> {
    const fields = headers.flatMap((field, index) => (index % 2 === 0 ? [`${field}: ${headers[index + 1]}\r\n`] : [])).join("");
    async function* all(): AsyncGenerator<Uint8Array, void, void> {
      yield Buffer.from(`${method} ${path} HTTP/1.1\r\n${fields}content-length: ${bytes}\r\n\r\n`, "latin1");
      try {
        yield* body();
      } catch (error) {
        if (!(error instanceof DamagedBody)) throw error;
      }
    }
    const file = await this.put(name, all());
    if (why === "damaged") this.damaged++;
    else this.refused++;
    const told = why === "damaged" ? "the body of a request that waited is damaged" : `the log storage refused a request that waited (status ${why})`;
    this.log("error", `${told}: it is set aside in ${file}`);
  }

  /** Sets aside what is no record, and tells it, unless that was done before. */
  async damage({ number, path }: Segment, offset: number, bytes: Buffer): Promise<void> {
    const name = `${number}-${offset}.damaged`;
    if (this.names.has(name)) return;
    const file = await this.put(name, [bytes]);
    this.damaged++;
    this.log("error", `${path}: ${bytes.length} bytes at offset ${offset} are damaged: they are set aside in ${file}, and what follows goes on`);
  }

  /** Puts bytes into a file. Resolves to its path when it is on disk. */
  private async put(name: string, pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<string> {
    const path = join(this.folder, name);
    const file = await this.disk.open(path);
    let bytes = 0;
    try {
      await file.truncate(0);
      for await (const piece of pieces) {
        await file.write(piece, bytes);
        bytes += piece.length;
      }
      await file.datasync();
    } finally {
      await file.close();
    }
    await this.disk.syncFolder(this.folder);
    this.names.set(name, bytes);
    return path;
  }
}
