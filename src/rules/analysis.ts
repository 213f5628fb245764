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
    case "concat":
    case "alt": {
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
    case "concat": {
      for (const part of node.parts.toReversed()) {
        const set = lastRepeat(part);
        if (size(set) > 0) return set;
      }
      return EMPTY;
    }
  }
}

/** The group of this name, and how many bytes may stand before it. Undefined if there is none, or not in one piece of the top level. */
export function findGroup(node: Node, name: string): { readonly group: Node & { kind: "group" }; readonly before: Node } | undefined {
  const parts = node.kind === "concat" ? node.parts : [node];
  const index = parts.findIndex((part) => part.kind === "group" && part.name === name);
  return index < 0 ? undefined : { group: parts[index] as Node & { kind: "group" }, before: concat(parts.slice(0, index)) };
}

/** Most strings that are enumerated to prove an anchor. */
const MOST_STRINGS = 512;

/** All strings that a node can match, if they are few. */
function strings(node: Node): string[] | undefined {
  switch (node.kind) {
    case "set": {
      const chars: string[] = [];
      node.set.forEach((member, byte) => member === 1 && chars.push(String.fromCharCode(byte)));
      return chars.length <= 4 ? chars : undefined;
    }
    case "group":
      return strings(node.part);
    case "repeat": {
      if (node.max > 8) return undefined;
      const once = strings(node.part);
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
      const all = node.parts.map(strings);
      return all.some((each) => each === undefined) ? undefined : limited(all.flatMap((each) => each!));
    }
    case "concat": {
      let all: string[] | undefined = [""];
      for (const part of node.parts) {
        const next = strings(part);
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

/** Proves that every match holds one of `anchors` (`has` finds one in a string, or -1); answers where the first of them may stand, or undefined. */
export function anchorPlace(node: Node, has: (text: string) => number): AnchorPlace | undefined {
  const whole = strings(node);
  if (whole !== undefined) return placeIn(whole, has);
  switch (node.kind) {
    case "group":
      return anchorPlace(node.part, has);
    case "repeat":
      return node.min >= 1 ? anchorPlace(node.part, has) : undefined;
    case "alt": {
      const places = node.parts.map((part) => anchorPlace(part, has));
      if (places.some((place) => place === undefined)) return undefined;
      return { min: Math.min(...places.map((place) => place!.min)), max: Math.max(...places.map((place) => place!.max)) };
    }
    case "concat":
      return placeInConcat(node.parts, has);
    default:
      return undefined;
  }
}

function placeInConcat(parts: readonly Node[], has: (text: string) => number): AnchorPlace | undefined {
  for (let first = 0; first < parts.length; first++) {
    const before = lengths(concat(parts.slice(0, first)));
    const shifted = (place: AnchorPlace | undefined): AnchorPlace | undefined =>
      place === undefined ? undefined : { min: before.min + place.min, max: before.max + place.max };
    let run: string[] | undefined = [""];
    for (let next = first; next < parts.length && run !== undefined; next++) {
      const more = strings(parts[next]!);
      run = more === undefined ? undefined : product(run, more);
      const place = run === undefined ? undefined : placeIn(run, has);
      if (place !== undefined) return shifted(place);
    }
    const inside = strings(parts[first]!) === undefined ? anchorPlace(parts[first]!, has) : undefined;
    if (inside !== undefined) return shifted(inside);
  }
  return undefined;
}

function placeIn(all: readonly string[], has: (text: string) => number): AnchorPlace | undefined {
  const places = all.map(has);
  return all.length === 0 || places.some((place) => place < 0) ? undefined : { min: Math.min(...places), max: Math.max(...places) };
}
