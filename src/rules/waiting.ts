/** Candidates that wait for bytes: each is judged again when a byte comes that can decide it, not at every chunk. */
import { type ByteSet, EMPTY } from "./bytes.js";

/** What an undecided question waits for. */
export class Wait {
  constructor(
    /** Bytes that leave it undecided; any other may decide it. */
    readonly passed: ByteSet,
    /** Length of the stream, in bytes, at which it is decided whatever has come. */
    readonly until: number,
  ) {}
}

/** For a question that any byte may decide. */
export const NEXT_BYTE = new Wait(EMPTY, Infinity);

/** What is known of a candidate while it waits. */
export interface Waiter {
  /** Offset of its anchor. */
  readonly at: number;
  /** Number of its rule. */
  readonly rule: number;
  /** Offset from which on bytes are held back for it. */
  readonly hold: number;
  /** Offset of the first byte that it looks at. */
  readonly from: number;
  /** Offset at which a match may begin at the earliest. */
  readonly start: number;
}

/** Those that wait for the same bytes. */
interface Group<T> {
  waiters: { readonly waiter: T; readonly until: number }[];
  /** The least of all. */
  until: number;
  hold: number;
  from: number;
  start: number;
}

export class Waiting<T extends Waiter> {
  private readonly groups = new Map<ByteSet, Group<T>>();
  /** How many there are. */
  size = 0;

  add(waiter: T, { passed, until }: Wait): void {
    let group = this.groups.get(passed);
    if (group === undefined) this.groups.set(passed, (group = emptyGroup()));
    group.waiters.push({ waiter, until });
    include(group, waiter, until);
    this.size++;
  }

  /** Offset from which on bytes are held back. */
  get hold(): number {
    let hold = Infinity;
    for (const group of this.groups.values()) hold = Math.min(hold, group.hold);
    return hold;
  }

  /** Offset of the first byte that is looked at again. */
  get from(): number {
    let from = Infinity;
    for (const group of this.groups.values()) from = Math.min(from, group.from);
    return from;
  }

  /** Offset at which the first match may begin. */
  get start(): number {
    let start = Infinity;
    for (const group of this.groups.values()) start = Math.min(start, group.start);
    return start;
  }

  /** Takes out those that `chunk`, with which the stream has `total` bytes, may decide; in order of their anchors. */
  take(chunk: Uint8Array, total: number): T[] {
    if (this.size === 0 || chunk.length === 0) return [];
    const taken: T[] = [];
    for (const [passed, group] of this.groups) {
      const isWoken = !consistsOf(chunk, passed);
      if (!isWoken && group.until > total) continue;
      const { waiters } = group;
      Object.assign(group, emptyGroup<T>());
      for (const each of waiters) {
        if (isWoken || each.until <= total) taken.push(each.waiter);
        else {
          group.waiters.push(each);
          include(group, each.waiter, each.until);
        }
      }
      if (group.waiters.length === 0) this.groups.delete(passed);
    }
    this.size -= taken.length;
    return taken.length > 1 ? taken.sort((a, b) => a.at - b.at || a.rule - b.rule) : taken;
  }

  /** All of them, in order of their anchors. */
  all(): T[] {
    const all: T[] = [];
    for (const { waiters } of this.groups.values()) for (const { waiter } of waiters) all.push(waiter);
    return all.sort((a, b) => a.at - b.at || a.rule - b.rule);
  }

  /** Offset of the first candidate of a rule; Infinity if there is none. */
  firstOf(rule: number): number {
    let first = Infinity;
    if (this.size === 0) return first;
    for (const { waiters } of this.groups.values()) for (const { waiter } of waiters) if (waiter.rule === rule) first = Math.min(first, waiter.at);
    return first;
  }

  clear(): void {
    this.groups.clear();
    this.size = 0;
  }
}

const emptyGroup = <T>(): Group<T> => ({ waiters: [], until: Infinity, hold: Infinity, from: Infinity, start: Infinity });

function include<T extends Waiter>(group: Group<T>, { hold, from, start }: T, until: number): void {
  group.until = Math.min(group.until, until);
  group.start = Math.min(group.start, start);
  group.hold = Math.min(group.hold, hold);
  group.from = Math.min(group.from, from);
}

function consistsOf(bytes: Uint8Array, set: ByteSet): boolean {
  if (set === EMPTY) return false;
  for (let i = 0; i < bytes.length; i++) if (set[bytes[i]!] === 0) return false;
  return true;
}
