/**
 * Bytes to disk: one write, one fdatasync, then they are durable. It knows how far the file that it writes is durable, so that after an error what stands behind can be cut off:
 * after a failed fdatasync nobody knows what of it is on the disk.
 */
import { open, unlink } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder } from "./folder.js";

/** What the journal needs of an open file; `FileHandle` has it. Tests hand in one that fails. */
export interface AppendHandle {
  write(bytes: Uint8Array, offset: number, length: number): Promise<{ bytesWritten: number }>;
  datasync(): Promise<void>;
  close(): Promise<void>;
}

/** Opens a file for appending: one that must not exist yet (`ax`), or one that this journal has begun (`a`). */
export type OpenFile = (path: string, flags: "ax" | "a") => Promise<AppendHandle>;

const openOwn: OpenFile = (path, flags) => open(path, flags, 0o600);

export class Journal {
  readonly #folder: string;
  readonly #openFile: OpenFile;
  #file: { readonly name: string; readonly handle: AppendHandle } | undefined;
  /** The file that an error left as it was, and how much of it is durable. */
  #broken: { readonly name: string; readonly bytes: number } | undefined;
  #durableBytes = 0;
  /** How often fdatasync was called. */
  syncs = 0;

  constructor(folder: string, openFile: OpenFile = openOwn) {
    this.#folder = folder;
    this.#openFile = openFile;
  }

  /** Path of a file of the audit. */
  path(name: string): string {
    return join(this.#folder, name);
  }

  /** Puts bytes at the end of a file, which is begun if it is not the one before; resolves when they are durable. After an error only `repair` may be called. */
  async write(name: string, bytes: Buffer): Promise<void> {
    try {
      const handle = this.#file?.name === name ? this.#file.handle : await this.#begin(name);
      for (let at = 0; at < bytes.length;) at += (await handle.write(bytes, at, bytes.length - at)).bytesWritten;
      this.syncs++;
      await handle.datasync();
      this.#durableBytes += bytes.length;
    } catch (error) {
      // Of a file that could not be made there is nothing to cut off.
      if (this.#file?.name === name) this.#broken = { name, bytes: this.#durableBytes };
      throw error;
    }
  }

  async #begin(name: string): Promise<AppendHandle> {
    await this.close();
    const handle = await this.#openFile(this.path(name), "ax");
    this.#file = { name, handle };
    this.#durableBytes = 0;
    await syncFolder(this.#folder);
    return handle;
  }

  /**
   * After an error: cuts off what is not known to be durable, and opens the file again; one of which nothing is durable is removed. Resolves with the number of bytes that were
   * cut off. Throws while that is not possible; it can be called again then.
   */
  async repair(): Promise<number> {
    const broken = this.#broken;
    if (broken === undefined) return 0;
    // A file that failed may fail to close too, which changes nothing.
    await this.close().catch(() => undefined);
    const cut = broken.bytes === 0 ? await this.#remove(broken.name) : await this.#truncate(broken.name, broken.bytes);
    this.#broken = undefined;
    return cut;
  }

  async #truncate(name: string, bytes: number): Promise<number> {
    const existing = await open(this.path(name), "r+");
    let size: number;
    try {
      ({ size } = await existing.stat());
      if (size < bytes) throw Object.assign(new Error("the file became shorter"), { code: "EIO" });
      await existing.truncate(bytes);
      await existing.sync();
    } finally {
      await existing.close();
    }
    this.#file = { name, handle: await this.#openFile(this.path(name), "a") };
    this.#durableBytes = bytes;
    return size - bytes;
  }

  async #remove(name: string): Promise<number> {
    try {
      await unlink(this.path(name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    await syncFolder(this.#folder);
    return 0;
  }

  async close(): Promise<void> {
    const handle = this.#file?.handle;
    this.#file = undefined;
    await handle?.close();
  }
}
