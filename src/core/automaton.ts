/**
 * The portable Aho-Corasick automaton: built once from a needle table by automaton-build.ts, immutable, linear time whatever the text.
 * It knows nothing of lanes or streams; lanes.ts runs it.
 *
 * Every needle has 4 bytes or more, so the trie starts at depth 4, reached through a table of 4-byte prefixes. A state above that depth
 * ("shallow") is just the last three bytes and how many of them begin a needle. Almost all bytes of a log are passed in a shallow
 * state, where one look into a bit filter per byte proves that no needle starts there.
 *
 * Nodes are numbered in depth-first order over the sorted needles, so a first child is always `node + 1`.
 */
import { GramTable } from "./grams.js";
import { NEEDLE, type NeedleTable } from "./matcher.js";

/** Node flags. */
export const NODE = Object.freeze({
  /** `node + 1` is a child. */
  CHILD: 1,
  /** A needle ends here, or at a suffix of it. */
  OUT: 2,
  /** A wrapped needle goes on below. */
  WRAPPED_BELOW: 4,
  /** The node has an index of its children. */
  WIDE: 8,
});

/** 1 for the bytes of words: `[A-Za-z0-9_]`. */
export const WORD = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++) {
  const upper = byte & 0xdf;
  WORD[byte] = (byte >= 0x30 && byte <= 0x39) || (upper >= 0x41 && upper <= 0x5a) || byte === 0x5f ? 1 : 0;
}

/** Bits of the short-prefix tables: some needle begins so; some wrapped needle does. */
export const PREFIX = 1;
export const PREFIX_WRAPPED = 2;

/** A matching state. `node` is -1 while `depth` is below 4. `tail` holds the last three bytes, newest lowest. */
export interface State {
  node: number;
  depth: number;
  tail: number;
}

export function rootState(): State {
  return { node: -1, depth: 0, tail: 0 };
}

export function copyState(from: State, to: State): void {
  to.node = from.node;
  to.depth = from.depth;
  to.tail = from.tail;
}

export class Automaton {
  readonly labels: Uint8Array;
  readonly flags: Uint8Array;
  /** Depth of a node. */
  readonly depths: Int32Array;
  /** Next sibling, or 0. */
  readonly siblings: Int32Array;
  /** By node: the child of each byte, or -1. */
  readonly wides = new Map<number, Int32Array>();
  /** Node of the longest proper suffix of 4+ bytes that begins a needle, or -1. */
  readonly fails: Int32Array;
  /** Needle that ends at the node, or -1. */
  readonly ends: Int32Array;
  /** Next node with a needle on the failure chain, or -1. */
  readonly suffixes: Int32Array;
  readonly grams: GramTable;
  readonly ones = new Uint8Array(256);
  readonly twos = new Uint8Array(65536);
  readonly threes: GramTable;
  readonly needleFlags: Uint8Array;
  /** Whether a needle's first (1) and last (2) byte is a word byte. */
  readonly edges: Uint8Array;
  /** Whether any needle counts only as a whole token. */
  readonly hasTokens: boolean;

  /** Of `nodes` nodes that automaton-build.ts makes. */
  constructor({ bytes, offsets, flags }: NeedleTable, needles: number, nodes: number) {
    this.labels = new Uint8Array(nodes + 1);
    this.flags = new Uint8Array(nodes + 1);
    this.depths = new Int32Array(nodes);
    this.siblings = new Int32Array(nodes);
    this.fails = new Int32Array(nodes);
    this.ends = new Int32Array(nodes);
    this.suffixes = new Int32Array(nodes);
    this.needleFlags = Uint8Array.from(flags);
    this.edges = Uint8Array.from(flags, (_, needle) => WORD[bytes[offsets[needle]!]!]! | (WORD[bytes[offsets[needle + 1]! - 1]!]! << 1));
    this.hasTokens = flags.some((flag) => (flag & NEEDLE.TOKEN) !== 0);
    this.grams = new GramTable(needles);
    this.threes = new GramTable(needles);
  }

  get memoryBytes(): number {
    return (
      this.labels.length * 2 +
      this.depths.length * 20 +
      this.grams.memoryBytes +
      this.threes.memoryBytes +
      65792 +
      this.edges.length * 2 +
      this.wides.size * 1024
    );
  }

  /** Child of `node` by `byte`, or -1. */
  child(node: number, byte: number): number {
    const flags = this.flags[node]!;
    if ((flags & NODE.CHILD) === 0) return -1;
    if (flags & NODE.WIDE) return this.wides.get(node)![byte]!;
    let child = node + 1;
    while (this.labels[child] !== byte) {
      child = this.siblings[child]!;
      if (child === 0) return -1;
    }
    return child;
  }

  /** Moves `state` over one byte. */
  step(state: State, byte: number): void {
    let node = state.node;
    while (node >= 0) {
      const child = this.child(node, byte);
      if (child >= 0) {
        state.node = child;
        state.depth = this.depths[child]!;
        state.tail = ((state.tail << 8) | byte) & 0xffffff;
        return;
      }
      node = this.fails[node]!;
      if (node < 0) state.depth = this.shallowDepth(state.tail, 3);
    }
    this.stepShallow(state, byte);
  }

  private stepShallow(state: State, byte: number): void {
    if (state.depth === 3) {
      const tail = state.tail;
      const gram = (tail >>> 16) | (tail & 0xff00) | ((tail & 0xff) << 16) | (byte << 24);
      const node = this.grams.maybe(gram) ? this.grams.get(gram) : -1;
      if (node >= 0) {
        state.node = node;
        state.depth = 4;
        state.tail = ((tail << 8) | byte) & 0xffffff;
        return;
      }
    }
    state.node = -1;
    state.tail = ((state.tail << 8) | byte) & 0xffffff;
    state.depth = this.shallowDepth(state.tail, Math.min(3, state.depth + 1));
  }

  /** Longest suffix of `tail`, of at most `limit` (0–3) bytes, that begins a needle. */
  shallowDepth(tail: number, limit: number, want = PREFIX): number {
    if (limit >= 3 && this.threes.maybe(tail) && Math.max(0, this.threes.get(tail)) & want) return 3;
    if (limit >= 2 && this.twos[tail & 0xffff]! & want) return 2;
    return limit >= 1 && this.ones[tail & 0xff]! & want ? 1 : 0;
  }

  /** Shortens `state` to the longest needle prefix of at most `limit` bytes. */
  clip(state: State, limit: number): void {
    while (state.depth > limit) {
      const fail = state.node >= 0 ? this.fails[state.node]! : -1;
      if (fail >= 0) {
        state.node = fail;
        state.depth = this.depths[fail]!;
      } else {
        state.depth = this.shallowDepth(state.tail, Math.min(3, limit));
        state.node = -1;
      }
    }
  }

  /**
   * Length of the longest suffix at `state`, longer than `above`, that is a *proper* prefix of a needle (of a wrapped one with `wrapped`); 0 if none.
   */
  pendingDepth(state: State, above: number, wrapped: boolean): number {
    const want = wrapped ? NODE.WRAPPED_BELOW : NODE.CHILD;
    for (let node = state.node; node >= 0; node = this.fails[node]!) {
      const depth = this.depths[node]!;
      if (depth <= above) return 0;
      if (this.flags[node]! & want) return depth;
    }
    const limit = state.node >= 0 ? 3 : state.depth;
    const depth = this.shallowDepth(state.tail, limit, wrapped ? PREFIX_WRAPPED : PREFIX);
    return depth > above ? depth : 0;
  }

  /** A needle that the pending prefix of `depth` (4 or more) bytes at `state` can become. */
  needleBelow(state: State, depth: number): number {
    let node = state.node;
    while (node >= 0 && this.depths[node]! !== depth) node = this.fails[node]!;
    if (this.ends[node]! >= 0 && (this.flags[node]! & NODE.CHILD) !== 0) node++;
    while (this.ends[node]! < 0) node++;
    return this.ends[node]!;
  }
}
