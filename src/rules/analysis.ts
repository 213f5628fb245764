/** What can be said of a regular expression without running it: how long its matches are, which bytes they consume, which literals they must hold. */
import { type ByteSet, EMPTY, size, union } from "./bytes.js";
import { concat, type Node } from "./regex.js";

/** Fewest and most bytes of a match. */
export function lengths(node: Node): { readonly min: number; readonly max: number } {
  switch (node.kind) {
    case "set":
      return { min: 1, max: 1 };
    case "group":
      return lengths(node.part);
    case "repeat": {
      const { min, max } = lengths(node.part);
      return { min: min * node.min, max: max === 0 || node.max === 0 ? 0 : max * node.max };
    }
    default: {
      const all = node.parts.map(lengths);
      if (node.kind === "concat") return { min: sum(all.map(({ min }) => min)), max: sum(all.map(({ max }) => max)) };
      return { min: Math.min(...all.map(({ min }) => min)), max: Math.max(...all.map(({ max }) => max)) };
    }
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

/** Every byte that a match may hold. */
export function bytesOf(node: Node): ByteSet {
  switch (node.kind) {
    case "set":
      return node.set;
    case "group":
    case "repeat":
      return bytesOf(node.part);
    default:
      return union(...node.parts.map(bytesOf));
  }
}

/** The bytes of a match's last part that repeats: the alphabet that a token goes on in. Empty if nothing repeats. */
export function lastRepeat(node: Node): ByteSet {
  switch (node.kind) {
    case "set":
      return EMPTY;
    case "group":
      return lastRepeat(node.part);
    case "repeat":
      return node.max > 1 ? bytesOf(node.part) : lastRepeat(node.part);
    case "alt":
      return union(...node.parts.map(lastRepeat));
    default: {
      for (const part of node.parts.toReversed()) {
        const set = lastRepeat(part);
        if (size(set) > 0) return set;
      }
      return EMPTY;
    }
  }
}

export interface FoundGroup {
  readonly group: Node & { kind: "group" };
  readonly before: Node;
  readonly behind: Node;
  readonly isNested: boolean;
}

/** The group of this name, and what stands before and behind it; where it is part of another group, that may be anything. Undefined if there is none. */
export function findGroup(node: Node, name: string): FoundGroup | undefined {
  const parts = node.kind === "concat" ? node.parts : [node];
  const index = parts.findIndex((part) => part.kind === "group" && part.name === name);
  if (index >= 0)
    return { group: parts[index] as Node & { kind: "group" }, before: concat(parts.slice(0, index)), behind: concat(parts.slice(index + 1)), isNested: false };
  const group = nestedGroup(node, name);
  return group === undefined ? undefined : { group, before: concat([]), behind: concat([]), isNested: true };
}

function nestedGroup(node: Node, name: string): (Node & { kind: "group" }) | undefined {
  if (node.kind === "set") return undefined;
  if (node.kind === "group" && node.name === name) return node;
  const inner = node.kind === "group" || node.kind === "repeat" ? [node.part] : node.parts;
  for (const part of inner) {
    const found = nestedGroup(part, name);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Most strings that are enumerated to prove an anchor. */
const MOST_STRINGS = 512;

/** All strings that a node can match, if they are few; with `fold`, in lower case. */
function strings(node: Node, fold: boolean): string[] | undefined {
  switch (node.kind) {
    case "set": {
      const chars: string[] = [];
      node.set.forEach((member, byte) => member === 1 && chars.push(String.fromCharCode(byte)));
      const distinct = fold ? [...new Set(chars.map((char) => char.toLowerCase()))] : chars;
      return distinct.length <= 4 ? distinct : undefined;
    }
    case "group":
      return strings(node.part, fold);
    case "repeat": {
      if (node.max > 8) return undefined;
      const once = strings(node.part, fold);
      if (once === undefined) return undefined;
      let all: string[] | undefined = [];
      let power: string[] | undefined = [""];
      for (let count = 0; count <= node.max && power !== undefined && all !== undefined; count++) {
        if (count >= node.min) all = limited([...all, ...power]);
        power = product(power, once);
      }
      return power === undefined ? undefined : all;
    }
    case "alt": {
      const all = node.parts.map((part) => strings(part, fold));
      return all.some((each) => each === undefined) ? undefined : limited(all.flatMap((each) => each!));
    }
    default: {
      let all: string[] | undefined = [""];
      for (const part of node.parts) {
        const next = strings(part, fold);
        all = all === undefined || next === undefined ? undefined : product(all, next);
      }
      return all;
    }
  }
}

const limited = (all: string[]): string[] | undefined => (all.length <= MOST_STRINGS ? all : undefined);
const product = (left: readonly string[], right: readonly string[]): string[] | undefined =>
  left.length * right.length <= MOST_STRINGS ? left.flatMap((a) => right.map((b) => a + b)) : undefined;

/** Where an anchor stands in every match: how many bytes may come before it. */
export interface AnchorPlace {
  readonly min: number;
  readonly max: number;
}

/**
 * Proves that every match holds an anchor (`has` finds one in a string, or -1; with `fold`, in a lower-case one); answers where the first of them may stand,
 * or undefined.
 */
export function anchorPlace(node: Node, has: (text: string) => number, fold: boolean): AnchorPlace | undefined {
  const whole = strings(node, fold);
  if (whole !== undefined) return placeIn(whole, has);
  switch (node.kind) {
    case "group":
      return anchorPlace(node.part, has, fold);
    case "repeat":
      return node.min >= 1 ? anchorPlace(node.part, has, fold) : undefined;
    case "alt": {
      const places = node.parts.map((part) => anchorPlace(part, has, fold));
      if (places.some((place) => place === undefined)) return undefined;
      return { min: Math.min(...places.map((place) => place!.min)), max: Math.max(...places.map((place) => place!.max)) };
    }
    case "concat":
      return placeInConcat(node.parts, has, fold);
    default:
      return undefined;
  }
}

function placeInConcat(parts: readonly Node[], has: (text: string) => number, fold: boolean): AnchorPlace | undefined {
  for (let first = 0; first < parts.length; first++) {
    const before = lengths(concat(parts.slice(0, first)));
    const shifted = (place: AnchorPlace | undefined): AnchorPlace | undefined =>
      place === undefined ? undefined : { min: before.min + place.min, max: before.max + place.max };
    let run: string[] | undefined = [""];
    for (let next = first; next < parts.length && run !== undefined; next++) {
      const more = strings(parts[next]!, fold);
      run = more === undefined ? undefined : product(run, more);
      const place = run === undefined ? undefined : placeIn(run, has);
      if (place !== undefined) return shifted(place);
    }
    const inside = strings(parts[first]!, fold) === undefined ? anchorPlace(parts[first]!, has, fold) : undefined;
    if (inside !== undefined) return shifted(inside);
  }
  return undefined;
}

function placeIn(all: readonly string[], has: (text: string) => number): AnchorPlace | undefined {
  const places = all.map(has);
  return all.length === 0 || places.some((place) => place < 0) ? undefined : { min: Math.min(...places), max: Math.max(...places) };
}

/** Literals in lower case one of which every match holds, the longest that can be told; none if there are none of 3 bytes or more. */
export function literals(node: Node): string[] {
  const whole = strings(node, true);
  if (whole !== undefined) return whole.every((text) => text.length >= 3) ? whole : [];
  switch (node.kind) {
    case "group":
      return literals(node.part);
    case "repeat":
      return node.min >= 1 ? literals(node.part) : [];
    case "alt": {
      const all = node.parts.map(literals);
      return all.some((each) => each.length === 0) ? [] : all.flat();
    }
    case "concat":
      return bestLiterals(node.parts);
    default:
      return [];
  }
}

function bestLiterals(parts: readonly Node[]): string[] {
  const shortest = (all: readonly string[]): number => Math.min(...all.map((text) => text.length));
  let best: string[] = [];
  const offer = (all: readonly string[]): void => {
    if (all.length > 0 && all.length <= 64 && shortest(all) >= 3 && (best.length === 0 || shortest(all) > shortest(best))) best = [...all];
  };
  for (let first = 0; first < parts.length; first++) {
    let run: string[] | undefined = [""];
    for (let next = first; next < parts.length && run !== undefined; next++) {
      const more = strings(parts[next]!, true);
      run = more === undefined ? undefined : product(run, more);
      if (run !== undefined) offer(run);
    }
    if (strings(parts[first]!, true) === undefined) offer(literals(parts[first]!));
  }
  return best;
}

/** What of a node stands right behind its anchors, if each of its matches begins with one of them and nothing else comes in between; undefined if not. */
export function rightBehind(node: Node, anchors: readonly string[], fold: boolean): Node | undefined {
  const parts = node.kind === "concat" ? node.parts : [node];
  for (let count = 1; count <= parts.length; count++) {
    const begins = strings(concat(parts.slice(0, count)), fold);
    if (begins === undefined) return undefined;
    if (begins.every((text) => anchors.includes(text))) return concat(parts.slice(count));
  }
  return undefined;
}

/** Which share of the bytes of a log is this one, roughly. */
function byteShare(byte: number): number {
  if (byte === 0x20) return 0.12;
  if (byte >= 0x61 && byte <= 0x7a) return 0.022;
  if (byte >= 0x30 && byte <= 0x39) return 0.014;
  if (byte >= 0x41 && byte <= 0x5a) return 0.004;
  if ("-./:_,".includes(String.fromCharCode(byte))) return 0.012;
  return byte > 0x20 && byte < 0x7f ? 0.002 : 0.0005;
}

/** Which share of the bytes of a log is in a set, roughly. */
export const share = (set: ByteSet): number => set.reduce((total, member, byte) => total + member * byteShare(byte), 0);

/** Above it a byte that must be there says nothing. */
const MOST_SHARE = 0.05;

const rarest = (sets: readonly ByteSet[]): ByteSet | undefined => sets.toSorted((a, b) => share(a) - share(b))[0];

/** Sets of bytes one of each of which every match of a node holds. */
function required(node: Node): ByteSet[] {
  switch (node.kind) {
    case "set":
      return [node.set];
    case "group":
      return required(node.part);
    case "repeat":
      return node.min >= 1 ? required(node.part) : [];
    case "concat":
      return node.parts.flatMap(required);
    default: {
      const each = node.parts.map((part) => rarest(required(part)));
      return each.some((set) => set === undefined) ? [] : [union(...each.map((set) => set!))];
    }
  }
}

/** What of a node stands behind its first anchor in every match; arguments as in {@link anchorPlace}. */
export function behindAnchor(node: Node, has: (text: string) => number, fold: boolean): Node {
  const parts = node.kind === "concat" ? node.parts : [node];
  const last = parts.findIndex((_, index) => anchorPlace(concat(parts.slice(0, index + 1)), has, fold) !== undefined);
  return concat(last < 0 ? [] : parts.slice(last + 1));
}

/** Rare bytes one of which every match of a node holds; empty if none are known. */
export function requiredBytes(node: Node): ByteSet {
  const set = rarest(required(node));
  return set !== undefined && share(set) <= MOST_SHARE ? set : EMPTY;
}

const MOST_WORDS = 12;

/** Words in lower case one of which every match of a node holds, in either case; none if none are known. */
export function requiredWords(node: Node): readonly string[] {
  const words = literals(node);
  return words.length <= MOST_WORDS ? words : [];
}

/** So many bytes of a set, in a row. */
export interface Run {
  readonly set: ByteSet;
  readonly count: number;
}

/** How unlikely it is that text holds a run by chance. */
const surprise = ({ set, count }: Run): number => -count * Math.log(share(set));
/** Most bytes of a run that is asked for. */
const MOST_RUN_BYTES = 64;

/** A run that every match of a node holds, as unlikely in text as can be; undefined if none is known. */
export function requiredRun(node: Node): Run | undefined {
  const runs = runsOf(node).filter(({ count }) => count > 0);
  const [first, ...rest] = runs;
  if (first === undefined) return undefined;
  const { set, count } = rest.reduce((best, run) => (surprise(run) > surprise(best) ? run : best), first);
  return { set, count: Math.min(count, MOST_RUN_BYTES) };
}

/** Runs that every match holds: any parts in a row are one, of the bytes that any of them has. */
function runsOf(node: Node): Run[] {
  const whole = { set: bytesOf(node), count: lengths(node).min };
  switch (node.kind) {
    case "set":
      return [whole];
    case "group":
      return runsOf(node.part);
    case "repeat":
      return node.min === 0 ? [] : [whole, ...runsOf(node.part)];
    case "alt": {
      const each = node.parts.map(requiredRun);
      if (each.includes(undefined)) return [whole];
      return [whole, { set: union(...each.map((run) => run!.set)), count: Math.min(...each.map((run) => run!.count)) }];
    }
    default: {
      const runs = node.parts.flatMap((part) => requiredRun(part) ?? []);
      const parts = node.parts.map((part) => ({ set: bytesOf(part), count: lengths(part).min }));
      parts.forEach((_, from) => {
        let run: Run = { set: EMPTY, count: 0 };
        for (const part of parts.slice(from)) {
          run = { set: union(run.set, part.set), count: run.count + part.count };
          // What holds nearly all bytes says nothing, with more parts too.
          if (share(run.set) > MOST_RUN_SHARE) break;
          runs.push(run);
        }
      });
      return runs;
    }
  }
}

/** Share of the bytes of text beyond which a run says too little. */
const MOST_RUN_SHARE = 0.9;

/** For each of the first `most` places of a match the bytes that may stand there. */
export function placesOf(node: Node, most: number): ByteSet[] {
  const places = Array.from({ length: most }, () => new Uint8Array(256));
  const walk = (each: Node, starts: ReadonlySet<number>): ReadonlySet<number> => {
    switch (each.kind) {
      case "set":
        for (const start of starts) if (start < most) each.set.forEach((member, byte) => (places[start]![byte]! |= member));
        return new Set([...starts].filter((start) => start < most).map((start) => start + 1));
      case "group":
        return walk(each.part, starts);
      case "concat":
        return each.parts.reduce((from, part) => walk(part, from), starts);
      case "alt":
        return new Set(each.parts.flatMap((part) => [...walk(part, starts)]));
      default: {
        const ends = new Set(each.min === 0 ? starts : []);
        let from = starts;
        for (let count = 1; count <= each.max && from.size > 0 && count <= most + each.min; count++) {
          from = walk(each.part, from);
          if (count >= each.min) for (const end of from) ends.add(end);
        }
        return ends;
      }
    }
  };
  walk(node, new Set([0]));
  return places;
}
