/**
 * Building a portable automaton: 1. the trie, from sorted needles; 2. failure links and chains of ends, by depth. In pieces, since a set may have many millions of
 * nodes and JavaScript has no other thread to build it in: each step yields how many bytes or nodes it went over since the last time.
 */
import { Automaton, NODE, PREFIX, PREFIX_WRAPPED } from "./automaton.js";
import { NEEDLE, type NeedleTable } from "./matcher.js";

/** Children from which on a node has an index of them; fewer are tried one after the other. */
const WIDE_CHILDREN = 8;
/** Bytes or nodes gone over in a piece of work. */
const PIECE = 1 << 16;
/** Bytes compared by one call of the runtime. */
const COMPARED = 4096;
/** Bytes compared before that is worth a call. */
const COMPARED_FIRST = 64;

/** A needle, and how many of its bytes the one before it has as well. */
interface Run {
  readonly needle: number;
  readonly shared: number;
}

/** Builds from the needles of `table` listed in `order` (equal needles collapse into the one that masks most, the first of such). */
export function* buildAutomaton(table: NeedleTable, order: readonly number[]): Generator<number, Automaton> {
  const bytes = Buffer.from(table.bytes.buffer, table.bytes.byteOffset, table.bytes.length);
  const { runs, nodes } = yield* runsOf(bytes, table, order);
  const automaton = new Automaton(table, runs.length, nodes);
  for (const links of [automaton.fails, automaton.ends, automaton.suffixes]) {
    for (let from = 0; from < nodes; from += PIECE) {
      links.fill(-1, from, from + PIECE);
      yield PIECE >> 2;
    }
  }
  yield* buildTrie(automaton, bytes, table, runs);
  yield* widen(automaton, nodes);
  yield* link(automaton, nodes, yield* linkStarts(automaton, bytes, table, runs));
  return automaton;
}

/** The needles in order, and how many nodes they take. */
function* runsOf(bytes: Buffer, { offsets, flags }: NeedleTable, order: readonly number[]): Generator<number, { runs: Run[]; nodes: number }> {
  const sorted: number[] = [];
  for (const alike of byFirstByte(bytes, offsets, order)) {
    sorted.push(...alike.sort((a, b) => compare(bytes, offsets, a, b) || weakness(flags[a]!) - weakness(flags[b]!) || a - b));
    yield alike.length << 6;
  }
  const runs: Run[] = [];
  let nodes = 0;
  for (const [index, needle] of sorted.entries()) {
    const size = offsets[needle + 1]! - offsets[needle]!;
    const shared = index === 0 ? 0 : commonLength(bytes, offsets, sorted[index - 1]!, needle);
    nodes += shared < 4 ? size - 3 : size - shared;
    runs.push({ needle, shared });
    yield (shared >> 3) + 64;
  }
  return { runs, nodes };
}

/** So that not all are sorted at once. */
function byFirstByte(bytes: Buffer, offsets: Uint32Array, order: readonly number[]): number[][] {
  const lists: number[][] = Array.from({ length: 256 }, () => []);
  for (const needle of order) lists[bytes[offsets[needle]!]!]!.push(needle);
  return lists;
}

/** Most needles differ in their first bytes; the rest of long ones the runtime compares faster. */
function compare(bytes: Buffer, offsets: Uint32Array, a: number, b: number): number {
  const [endA, endB] = [offsets[a + 1]!, offsets[b + 1]!];
  let [i, j] = [offsets[a]!, offsets[b]!];
  const end = Math.min(endA, i + COMPARED_FIRST);
  for (; i < end && j < endB; i++, j++) if (bytes[i] !== bytes[j]) return bytes[i]! - bytes[j]!;
  return bytes.compare(bytes, j, endB, i, endA);
}

function commonLength(bytes: Buffer, offsets: Uint32Array, a: number, b: number): number {
  const [startA, startB] = [offsets[a]!, offsets[b]!];
  const limit = Math.min(offsets[a + 1]! - startA, offsets[b + 1]! - startB);
  let common = 0;
  const isEqual = (): boolean => bytes.compare(bytes, startB + common, startB + common + COMPARED, startA + common, startA + common + COMPARED) === 0;
  while (common + COMPARED <= limit && isEqual()) common += COMPARED;
  while (common < limit && bytes[startA + common] === bytes[startB + common]) common++;
  return common;
}

/** Of equal needles the wrapped one finds all that an exact one does, and that one all that a token does. */
function weakness(flags: number): number {
  return flags & NEEDLE.WRAPPED ? 0 : flags & NEEDLE.TOKEN ? 2 : 1;
}

/** Step 1. path[d] is the node at depth d of the needle before, lastChild[d] the newest child of path[d]. */
function* buildTrie(automaton: Automaton, bytes: Buffer, { offsets, flags: needleFlags }: NeedleTable, runs: readonly Run[]): Generator<number, void> {
  const { labels, flags, depths, siblings, ends, grams } = automaton;
  const longest = runs.reduce((most, { needle }) => Math.max(most, offsets[needle + 1]! - offsets[needle]!), 4);
  const path = new Int32Array(longest + 1);
  const lastChild = new Int32Array(longest + 1);
  let next = 0;
  for (const { needle, shared } of runs) {
    const start = offsets[needle]!;
    const length = offsets[needle + 1]! - start;
    const wrapped = (needleFlags[needle]! & NEEDLE.WRAPPED) !== 0;
    addShortPrefixes(automaton, bytes[start]!, bytes[start + 1]!, bytes[start + 2]!, wrapped);
    let depth = shared;
    if (depth < 4) {
      depth = 4;
      path[4] = next;
      grams.set(gramAt(bytes, start), next);
      labels[next] = bytes[start + 3]!;
      depths[next++] = 4;
    } else if (depth < length) {
      // The new node is a later child of a node that has one, or the first child of a needle that ends where this one goes on.
      if (flags[path[depth]!]! & NODE.CHILD) siblings[lastChild[depth]!] = next;
    }
    while (depth < length) {
      const end = Math.min(length, depth + PIECE);
      for (; depth < end; depth++, next++) {
        flags[path[depth]!]! |= NODE.CHILD;
        lastChild[depth] = next;
        path[depth + 1] = next;
        labels[next] = bytes[start + depth]!;
        depths[next] = depth + 1;
      }
      yield PIECE;
    }
    for (let from = wrapped ? 4 : length; from < length; from += PIECE) {
      const end = Math.min(length, from + PIECE);
      for (let d = from; d < end; d++) flags[path[d]!]! |= NODE.WRAPPED_BELOW;
      yield end - from;
    }
    const end = path[length]!;
    if (ends[end] === -1) ends[end] = needle;
  }
}

function addShortPrefixes({ ones, twos, threes }: Automaton, a: number, b: number, c: number, wrapped: boolean): void {
  const bits = wrapped ? PREFIX | PREFIX_WRAPPED : PREFIX;
  ones[a]! |= bits;
  twos[(a << 8) | b]! |= bits;
  const gram = (a << 16) | (b << 8) | c;
  threes.set(gram, Math.max(0, threes.get(gram)) | bits);
}

/** The four bytes from `at`, first lowest. */
const gramAt = (bytes: Buffer, at: number): number => bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);

/** Gives an index to the nodes that have many children. */
function* widen(automaton: Automaton, nodes: number): Generator<number, void> {
  const { labels, flags, siblings, wides } = automaton;
  for (let node = 0; node < nodes; node++) {
    if (node % PIECE === PIECE - 1) yield PIECE;
    // Most have one child at most.
    if ((flags[node]! & NODE.CHILD) === 0 || siblings[node + 1] === 0) continue;
    let children = 0;
    for (let child = node + 1; child !== 0; child = siblings[child]!) children++;
    if (children < WIDE_CHILDREN) continue;
    const byByte = new Int32Array(256).fill(-1);
    for (let child = node + 1; child !== 0; child = siblings[child]!) byByte[labels[child]!] = child;
    wides.set(node, byByte);
    flags[node]! |= NODE.WIDE;
  }
}

/** Nodes whose path ends with the first four bytes of a needle, where a link begins, in order of depth; and the node of those four bytes. Few of many nodes. */
interface Starts {
  readonly nodes: Int32Array;
  readonly roots: Int32Array;
}

function* linkStarts({ grams, depths }: Automaton, bytes: Buffer, { offsets }: NeedleTable, runs: readonly Run[]): Generator<number, Starts> {
  const found: number[] = [];
  const rootsFound: number[] = [];
  let next = 0;
  for (const { needle, shared } of runs) {
    const start = offsets[needle]!;
    const length = offsets[needle + 1]! - start;
    // Of depth 4 are the roots themselves.
    if (shared < 4) next++;
    for (let depth = Math.max(5, shared + 1); depth <= length; depth++, next++) {
      if (depth % PIECE === 0) yield PIECE;
      const gram = gramAt(bytes, start + depth - 4);
      if (!grams.maybe(gram)) continue;
      const root = grams.get(gram);
      if (root < 0) continue;
      found.push(next);
      rootsFound.push(root);
    }
    yield 64;
  }
  return yield* byDepth(found, rootsFound, depths);
}

/** Sorts by counting: as many nodes may have the same depth as may have one each. */
function* byDepth(found: readonly number[], rootsFound: readonly number[], depths: Int32Array): Generator<number, Starts> {
  let deepest = 0;
  for (let i = 0; i < found.length; i++) {
    if (i % PIECE === PIECE - 1) yield PIECE;
    deepest = Math.max(deepest, depths[found[i]!]!);
  }
  const places = new Int32Array(deepest + 2);
  for (let i = 0; i < found.length; i++) {
    if (i % PIECE === PIECE - 1) yield PIECE;
    places[depths[found[i]!]! + 1]!++;
  }
  for (let depth = 0; depth <= deepest; depth++) {
    if (depth % PIECE === PIECE - 1) yield PIECE;
    places[depth + 1]! += places[depth]!;
  }
  const starts = { nodes: new Int32Array(found.length), roots: new Int32Array(found.length) };
  for (let i = 0; i < found.length; i++) {
    if (i % PIECE === PIECE - 1) yield PIECE;
    const place = places[depths[found[i]!]!]!++;
    starts.nodes[place] = found[i]!;
    starts.roots[place] = rootsFound[i]!;
  }
  return starts;
}

/** Step 2: links of shorter prefixes are known by the time that a longer one needs them. A link begins at a start, and goes on in children of a node that has one. */
function* link(automaton: Automaton, nodes: number, starts: Starts): Generator<number, void> {
  const { labels, flags, depths, siblings, fails, ends, suffixes } = automaton;
  /** Nodes of one depth that have a link, and those of the next. */
  let linked: number[] = [];
  let work = 0;
  for (let index = 0, depth = 0; index < starts.nodes.length || linked.length > 0;) {
    depth = linked.length > 0 ? depth + 1 : depths[starts.nodes[index]!]!;
    const now: number[] = [];
    const set = (node: number, fail: number): void => {
      fails[node] = fail;
      suffixes[node] = ends[fail]! >= 0 ? fail : suffixes[fail]!;
      now.push(node);
    };
    for (const parent of linked) {
      if ((flags[parent]! & NODE.CHILD) === 0) continue;
      for (let node = parent + 1; node !== 0; node = siblings[node]!) {
        for (let fail = fails[parent]!; fail >= 0; fail = fails[fail]!) {
          work++;
          const child = automaton.child(fail, labels[node]!);
          if (child < 0) continue;
          set(node, child);
          break;
        }
      }
    }
    for (; index < starts.nodes.length && depths[starts.nodes[index]!] === depth; index++) {
      const node = starts.nodes[index]!;
      if (fails[node]! < 0) set(node, starts.roots[index]!);
    }
    linked = now;
    work += 1 + now.length;
    if (work < PIECE >> 2) continue;
    yield work << 3;
    work = 0;
  }
  for (let node = 0; node < nodes; node++) {
    if (node % PIECE === PIECE - 1) yield PIECE;
    if (ends[node]! >= 0 || suffixes[node]! >= 0) flags[node]! |= NODE.OUT;
  }
}
