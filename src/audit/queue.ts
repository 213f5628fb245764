/**
 * Records that wait to be written, in shares: the sidecar gives each job one. Each share keeps its order, all shares have their turn, so that a job whose records pile up
 * delays no other. Whoever adds to a share that has too much waiting waits for room; nothing is ever refused or dropped.
 */
import type { Draft, Link } from "./chain.js";

/** The writer's own share: policies and checkpoints. It goes first, for records of others refer to it. */
export const OWN_SHARE = "";
/** A share may have so many bytes waiting however many shares there are: a few records. */
const LEAST_ROOM_BYTES = 64 << 10;
/** What a record takes besides its fields: seq, time, type, prev, hash. */
const FRAME_BYTES = 256;

export interface Waiter {
  resolve(this: void, last: Link): void;
  reject(this: void, error: Error): void;
}

/** What waits: a record, or a waiter that is told when all before it in its share is on disk. */
export interface Waiting {
  readonly draft?: Draft;
  readonly waiter?: Waiter;
}

interface Share {
  items: Waiting[];
  /** Of `items`, where the next one is. */
  at: number;
  bytes: number;
  /** Who waits for room. */
  senders: { resolve(this: void): void; reject(this: void, error: Error): void }[];
}

const bytesOf = ({ draft }: Waiting): number => (draft === undefined ? 0 : draft.body.length + FRAME_BYTES);

export class FairQueue {
  readonly #maxBytes: number;
  /** Whose turn is next comes first. */
  readonly #shares = new Map<string, Share>();
  /** Bytes that wait, about. */
  bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get isEmpty(): boolean {
    return this.#shares.size === 0;
  }

  has(share: string): boolean {
    return this.#shares.has(share);
  }

  get shares(): string[] {
    return [...this.#shares.keys()];
  }

  add(share: string, items: readonly Waiting[]): void {
    const into = this.#shareOf(share);
    for (const item of items) this.#take(into, item);
  }

  /** Puts back, in front, what was taken and not written. */
  restore(taken: readonly (Waiting & { readonly share: string })[]): void {
    for (const item of taken.toReversed()) {
      const into = this.#shareOf(item.share);
      if (into.at > 0) into.items[--into.at] = item;
      else into.items.unshift(item);
      this.#count(into, bytesOf(item));
    }
  }

  /** Whether a share may add more without waiting. */
  hasRoom(share: string): boolean {
    const { bytes = 0 } = this.#shares.get(share) ?? {};
    return bytes <= Math.max(LEAST_ROOM_BYTES, this.#maxBytes / this.#shares.size);
  }

  /** Resolves when a share may add more; rejects when the waiters are rejected. */
  async room(share: string): Promise<void> {
    while (!this.hasRoom(share)) await new Promise<void>((resolve, reject) => this.#shares.get(share)!.senders.push({ resolve, reject }));
  }

  /** Takes up to about so many bytes, at least one item: one of each share in turn, all of the writer's own before. */
  takeUpTo(maxBytes: number): (Waiting & { readonly share: string })[] {
    const taken: (Waiting & { readonly share: string })[] = [];
    let bytes = 0;
    while (this.#shares.size > 0 && (bytes < maxBytes || taken.length === 0)) {
      const name = this.#shares.has(OWN_SHARE) ? OWN_SHARE : (this.#shares.keys().next().value as string);
      const share = this.#shares.get(name)!;
      const item = share.items[share.at++]!;
      taken.push({ ...item, share: name });
      bytes += bytesOf(item);
      this.#count(share, -bytesOf(item));
      this.#shares.delete(name);
      // Behind all others: each share has its turn.
      if (share.at < share.items.length) this.#shares.set(name, share);
      else for (const { resolve } of share.senders) resolve();
      compact(share);
    }
    this.#admit();
    return taken;
  }

  /** Rejects who waits; the records stay. */
  rejectWaiters(error: Error): void {
    for (const [name, share] of this.#shares) {
      for (const { reject } of share.senders.splice(0)) reject(error);
      const waiting = share.items.slice(share.at);
      for (const { waiter } of waiting) waiter?.reject(error);
      share.items = waiting.flatMap(({ draft }) => (draft === undefined ? [] : [{ draft }]));
      share.at = 0;
      if (share.items.length === 0) this.#shares.delete(name);
    }
  }

  #shareOf(name: string): Share {
    let share = this.#shares.get(name);
    if (share === undefined) this.#shares.set(name, (share = { items: [], at: 0, bytes: 0, senders: [] }));
    return share;
  }

  #take(into: Share, item: Waiting): void {
    into.items.push(item);
    this.#count(into, bytesOf(item));
  }

  #count(share: Share, bytes: number): void {
    share.bytes += bytes;
    this.bytes += bytes;
  }

  #admit(): void {
    for (const [name, { senders }] of this.#shares) if (senders.length > 0 && this.hasRoom(name)) for (const { resolve } of senders.splice(0)) resolve();
  }
}

/** Forgets what was taken, when that is most of it. */
function compact(share: Share): void {
  if (share.at < 1024 || share.at < share.items.length / 2) return;
  share.items.splice(0, share.at);
  share.at = 0;
}
