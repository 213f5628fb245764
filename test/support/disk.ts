/**
 * A disk in memory that forgets as real ones do: what was written is there after a crash up to the last sync, and from there on as far as chance has it, whole or with a torn or
 * empty end; names that were made, changed and removed since their folder was synced are there or not, in order. It fails when it is told to.
 */
import { dirname, basename } from "node:path";
import type { Disk, DiskFile } from "../../src/sidecar/spool/disk.js";

interface Content {
  bytes: Buffer;
  synced: Buffer;
}

type Names = Map<string, Content>;

/** Answers whole numbers from 0 up to, and without, a bound. */
export type Chance = (bound: number) => number;

const errno = (code: string): Error => Object.assign(new Error(code), { code });

export class MemoryDisk implements Disk {
  /** Path to content, as it is now. */
  private names: Names = new Map();
  /** For each folder the states of its names since the last sync, the oldest first. */
  private readonly history = new Map<string, Names[]>();
  /** Called before each change with what it is; throws to make it fail. */
  fault: (operation: string, path: string) => void = () => undefined;

  /** What another process finds after a crash now. */
  crashed(chance: Chance): MemoryDisk {
    const after = new MemoryDisk();
    for (const states of this.history.values()) {
      const state = states[chance(states.length)]!;
      for (const [path, content] of state) {
        const bytes = torn(content, chance);
        after.names.set(path, { bytes, synced: bytes });
      }
    }
    for (const folder of this.history.keys()) after.history.set(folder, [after.inFolder(folder)]);
    return after;
  }

  get files(): ReadonlyMap<string, Buffer> {
    return new Map([...this.names].map(([path, { bytes }]) => [path, bytes]));
  }

  get bytes(): number {
    return [...this.names.values()].reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  /** Changes one byte of a file, also of what is synced. */
  damage(path: string, at: number): void {
    const content = this.names.get(path)!;
    for (const bytes of new Set([content.bytes, content.synced])) if (at < bytes.length) bytes[at]! ^= 0x55;
  }

  async makeFolder(path: string): Promise<void> {
    if (!this.history.has(path)) this.history.set(path, [new Map()]);
  }

  async syncFolder(path: string): Promise<void> {
    this.fault("syncFolder", path);
    this.history.set(path, [this.inFolder(path)]);
  }

  async list(folder: string): Promise<{ name: string; bytes: number; modified: number }[]> {
    return [...this.inFolder(folder)].map(([path, { bytes }]) => ({ name: basename(path), bytes: bytes.length, modified: 0 }));
  }

  async read(path: string, from: number, to: number): Promise<Buffer> {
    const content = this.names.get(path);
    if (content === undefined) throw errno("ENOENT");
    return Buffer.from(content.bytes.subarray(from, to));
  }

  async open(path: string): Promise<DiskFile> {
    this.fault("open", path);
    let content = this.names.get(path);
    if (content === undefined) {
      content = { bytes: Buffer.alloc(0), synced: Buffer.alloc(0) };
      this.names.set(path, content);
      this.changed(path);
    }
    const file = content;
    return {
      write: async (bytes, at) => {
        const put = (piece: Uint8Array): void => {
          const hole = Buffer.alloc(Math.max(0, at - file.bytes.length));
          file.bytes = Buffer.concat([file.bytes.subarray(0, at), hole, piece, file.bytes.subarray(at + piece.length)]);
        };
        try {
          this.fault("write", path);
        } catch (error) {
          // As much of it as there is room for.
          put(bytes.subarray(0, bytes.length >> 1));
          throw error;
        }
        put(bytes);
      },
      truncate: async (bytes) => {
        this.fault("truncate", path);
        file.bytes = Buffer.from(file.bytes.subarray(0, bytes));
      },
      datasync: async () => {
        this.fault("datasync", path);
        file.synced = Buffer.from(file.bytes);
      },
      close: async () => undefined,
    };
  }

  async rename(from: string, to: string): Promise<void> {
    this.fault("rename", to);
    this.names.set(to, this.names.get(from)!);
    this.names.delete(from);
    this.changed(to);
  }

  async remove(path: string): Promise<void> {
    this.fault("remove", path);
    this.names.delete(path);
    this.changed(path);
  }

  private changed(path: string): void {
    this.history.get(dirname(path))!.push(this.inFolder(dirname(path)));
  }

  private inFolder(folder: string): Names {
    return new Map([...this.names].filter(([path]) => dirname(path) === folder));
  }
}

/** What is synced, and some of what was written since. */
function torn({ bytes, synced }: Content, chance: Chance): Buffer {
  if (bytes.equals(synced)) return Buffer.from(bytes);
  let same = 0;
  while (same < Math.min(bytes.length, synced.length) && bytes[same] === synced[same]) same++;
  if (bytes.length <= synced.length) {
    // Overwritten in place, or cut off: before or after, as a whole.
    return Buffer.from([synced, bytes][chance(2)]!);
  }
  const keep = same + chance(bytes.length - same + 1);
  const written = Buffer.from(bytes.subarray(0, Math.max(keep, synced.length)));
  // The length may be there without the bytes.
  if (chance(3) === 0) written.fill(0, keep);
  return keep < synced.length ? Buffer.from(synced) : written;
}
