/** What spool and store ask of a file system, in a dozen calls: tests hand in one that fails, or that loses what was not synced. */
import { constants } from "node:fs";
import { chmod, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder } from "../../audit/folder.js";

/** An open file. Errors are those of the system. */
export interface DiskFile {
  /** Writes all of the bytes at an offset. */
  write(bytes: Uint8Array, at: number): Promise<void>;
  truncate(bytes: number): Promise<void>;
  datasync(): Promise<void>;
  close(): Promise<void>;
}

export interface Disk {
  /** Makes a folder that its owner alone may enter, or makes it such. */
  makeFolder(path: string): Promise<void>;
  /** Makes what was created, renamed and removed in a folder durable. */
  syncFolder(path: string): Promise<void>;
  /** The files of a folder, with their sizes in bytes and when they were written last, in milliseconds since the epoch. */
  list(folder: string): Promise<readonly { readonly name: string; readonly bytes: number; readonly modified: number }[]>;
  /** Bytes `[from, to)` of a file, or as many of them as there are. */
  read(path: string, from: number, to: number): Promise<Buffer>;
  /** Opens a file for writing; makes it (0600) where there is none. */
  open(path: string): Promise<DiskFile>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, if it is there. */
  remove(path: string): Promise<void>;
}

export const DISK: Disk = {
  async makeFolder(path) {
    await mkdir(path, { recursive: true, mode: 0o700 });
    await chmod(path, 0o700);
  },
  syncFolder,
  async list(folder) {
    const names = (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isFile()).map(({ name }) => name);
    const found = await Promise.all(names.map((name) => statOf(folder, name)));
    // Some may be removed meanwhile.
    return found.filter((file) => file !== undefined);
  },
  async read(path, from, to) {
    const handle = await open(path, "r");
    try {
      const bytes = Buffer.allocUnsafe(to - from);
      let filled = 0;
      for (let got = -1; got !== 0 && filled < bytes.length; filled += got)
        got = (await handle.read(bytes, filled, bytes.length - filled, from + filled)).bytesRead;
      return bytes.subarray(0, filled);
    } finally {
      await handle.close();
    }
  },
  async open(path) {
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    return {
      async write(bytes, at) {
        for (let done = 0; done < bytes.length;) done += (await handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
      },
      truncate: (bytes) => handle.truncate(bytes),
      datasync: () => handle.datasync(),
      close: () => handle.close(),
    };
  },
  rename,
  remove: (path) => rm(path, { force: true }),
};

async function statOf(folder: string, name: string): Promise<{ name: string; bytes: number; modified: number } | undefined> {
  try {
    const { size, mtimeMs } = await stat(join(folder, name));
    return { name, bytes: size, modified: mtimeMs };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
