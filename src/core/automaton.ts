/**
 * The portable Aho-Corasick automaton: built once from a needle table, immutable, linear time whatever the text.
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

/** Children from which on a node has an index of them; fewer are tried one after the other. */
const WIDE_CHILDREN = 8;

/** Bits of the short-prefix tables: some needle begins so; some wrapped needle does. */
const PREFIX = 1;
const PREFIX_WRAPPED = 2;

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
  private readonly siblings: Int32Array;
  /** By node: the child of each byte, or -1. */
  private readonly wides = new Map<number, Int32Array>();
  /** Node of the longest proper suffix of 4+ bytes that begins a needle, or -1. */
  private readonly fails: Int32Array;
  /** Needle that ends at the node, or -1. */
  readonly ends: Int32Array;
  /** Next node with a needle on the failure chain, or -1. */
  readonly suffixes: Int32Array;
  readonly grams: GramTable;
  private readonly ones = new Uint8Array(256);
  private readonly twos = new Uint8Array(65536);
  private readonly threes: GramTable;
  readonly needleFlags: Uint8Array;
  /** Whether a needle's first (1) and last (2) byte is a word byte. */
  readonly edges: Uint8Array;
  /** Whether any needle counts only as a whole token. */
  readonly hasTokens: boolean;

  /** Builds from the needles of `table` listed in `order` (equal needles collapse into the one that masks most, the first of such). */
  constructor(table: NeedleTable, order: readonly number[]) {
    const { bytes, offsets, flags } = table;
    const at = (needle: number, index: number): number => bytes[offsets[needle]! + index]!;
    const size = (needle: number): number => offsets[needle + 1]! - offsets[needle]!;
    const sorted = [...order].sort((a, b) => compare(bytes, offsets, a, b) || weakness(flags[a]!) - weakness(flags[b]!) || a - b);

    let nodes = 0;
    let previous = -1;
    const shared = sorted.map((needle) => {
      let common = 0;
      if (previous >= 0) {
        const limit = Math.min(size(previous), size(needle));
        while (common < limit && at(previous, common) === at(needle, common)) common++;
      }
      previous = needle;
      nodes += common < 4 ? size(needle) - 3 : size(needle) - common;
      return common;
    });

    this.labels = new Uint8Array(nodes + 1);
    this.flags = new Uint8Array(nodes + 1);
    this.depths = new Int32Array(nodes);
    this.siblings = new Int32Array(nodes);
    this.fails = new Int32Array(nodes).fill(-1);
    this.ends = new Int32Array(nodes).fill(-1);
    this.suffixes = new Int32Array(nodes).fill(-1);
    this.needleFlags = Uint8Array.from(flags);
    this.edges = Uint8Array.from(flags, (_, needle) => WORD[at(needle, 0)]! | (WORD[at(needle, size(needle) - 1)]! << 1));
    this.hasTokens = flags.some((flag) => (flag & NEEDLE.TOKEN) !== 0);
    this.grams = new GramTable(sorted.length);
    this.threes = new GramTable(sorted.length);

    // 1. The trie, in order of the sorted needles. path[d] is the node at depth d of the needle before, lastChild[d] the newest child of path[d].
    const tails = new Int32Array(nodes);
    const path: number[] = [];
    const lastChild: number[] = [];
    const byDepth: number[][] = [];
    let next = 0;
    sorted.forEach((needle, index) => {
      const length = size(needle);
      const wrapped = (flags[needle]! & NEEDLE.WRAPPED) !== 0;
      this.addShortPrefixes(at(needle, 0), at(needle, 1), at(needle, 2), wrapped);
      let depth = shared[index]!;
      if (depth < 4) {
        const gram = at(needle, 0) | (at(needle, 1) << 8) | (at(needle, 2) << 16) | (at(needle, 3) << 24);
        depth = 4;
        path[4] = next;
        this.grams.set(gram, next);
        tails[next] = (at(needle, 1) << 16) | (at(needle, 2) << 8) | at(needle, 3);
        this.addNode(next++, at(needle, 3), 4, byDepth);
      } else if (depth < length) {
        // The new node is a later child of a node that has one, or the first child of a needle that ends where this one goes on.
        if (this.flags[path[depth]!]! & NODE.CHILD) this.siblings[lastChild[depth]!] = next;
      }
      while (depth < length) {
        this.flags[path[depth]!]! |= NODE.CHILD;
        lastChild[depth] = next;
        depth++;
        path[depth] = next;
        this.addNode(next++, at(needle, depth - 1), depth, byDepth);
      }
      if (wrapped) for (let d = 4; d < length; d++) this.flags[path[d]!]! |= NODE.WRAPPED_BELOW;
      const end = path[length]!;
      if (this.ends[end] === -1) this.ends[end] = needle;
    });

    // 2. Failure links and the chain of needle ends, by depth: the links of shorter prefixes are known by then.
    this.link(byDepth, tails);
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

  private addNode(node: number, label: number, depth: number, byDepth: number[][]): void {
    this.labels[node] = label;
    this.depths[node] = depth;
    (byDepth[depth] ??= []).push(node);
  }

  private addShortPrefixes(a: number, b: number, c: number, wrapped: boolean): void {
    const bits = wrapped ? PREFIX | PREFIX_WRAPPED : PREFIX;
    this.ones[a]! |= bits;
    this.twos[(a << 8) | b]! |= bits;
    const gram = (a << 16) | (b << 8) | c;
    this.threes.set(gram, Math.max(0, this.threes.get(gram)) | bits);
  }

  private widen(node: number): void {
    const byByte = new Int32Array(256).fill(-1);
    for (let child = node + 1; child !== 0; child = this.siblings[child]!) byByte[this.labels[child]!] = child;
    this.wides.set(node, byByte);
    this.flags[node]! |= NODE.WIDE;
  }

  /** `tails` holds the last three bytes of each depth-4 node and is completed here. */
  private link(byDepth: readonly number[][], tails: Int32Array): void {
    const parents = new Int32Array(tails.length).fill(-1);
    for (let node = 0; node < tails.length; node++) {
      if ((this.flags[node]! & NODE.CHILD) === 0) continue;
      let children = 0;
      for (let child = node + 1; child !== 0; child = this.siblings[child]!, children++) parents[child] = node;
      if (children >= WIDE_CHILDREN) this.widen(node);
    }
    const state = rootState();
    for (const level of byDepth) {
      for (const node of level ?? []) {
        const label = this.labels[node]!;
        const parent = parents[node]!;
        if (parent >= 0) {
          tails[node] = ((tails[parent]! << 8) | label) & 0xffffff;
          state.node = this.fails[parent]!;
          state.tail = tails[parent]!;
          state.depth = state.node >= 0 ? this.depths[state.node]! : this.shallowDepth(state.tail, 3);
          this.step(state, label);
          this.fails[node] = state.node;
        }
        const fail = this.fails[node]!;
        if (fail >= 0) this.suffixes[node] = this.ends[fail]! >= 0 ? fail : this.suffixes[fail]!;
        if (this.ends[node]! >= 0 || this.suffixes[node]! >= 0) this.flags[node]! |= NODE.OUT;
      }
    }
  }
}

/** Of equal needles the wrapped one finds all that an exact one does, and that one all that a token does. */
function weakness(flags: number): number {
  return flags & NEEDLE.WRAPPED ? 0 : flags & NEEDLE.TOKEN ? 2 : 1;
}

function compare(bytes: Uint8Array, offsets: Uint32Array, a: number, b: number): number {
  const endA = offsets[a + 1]!;
  const endB = offsets[b + 1]!;
  let i = offsets[a]!;
  let j = offsets[b]!;
  for (; i < endA && j < endB; i++, j++) if (bytes[i] !== bytes[j]) return bytes[i]! - bytes[j]!;
  return endA - i - (endB - j);
}
