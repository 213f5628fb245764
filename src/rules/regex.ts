/** Reads RE2's syntax (https://github.com/google/re2/wiki/Syntax) over Latin-1 into a tree, for analysis.ts; RE2 itself decides what matches. */
import { type ByteSet, byteSet, complement, EMPTY, foldSet, union } from "./bytes.js";

export type Node =
  | { readonly kind: "set"; readonly set: ByteSet }
  | { readonly kind: "concat"; readonly parts: readonly Node[] }
  | { readonly kind: "alt"; readonly parts: readonly Node[] }
  | { readonly kind: "repeat"; readonly part: Node; readonly min: number; readonly max: number }
  | { readonly kind: "group"; readonly part: Node; readonly name: string | undefined; readonly from: number; readonly to: number };

export class RegexError extends Error {}

const DIGIT = byteSet("0-9");
const WORD = byteSet("0-9A-Za-z_");
const SPACE = byteSet("\t\n\f\r ");
const ANY = byteSet("\0-\xff");
const LINE = complement(byteSet("\n"));
const POSIX: Readonly<Record<string, string>> = {
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  ascii: "\0-\x7f",
  blank: "\t ",
  cntrl: "\0-\x1f\x7f",
  digit: "0-9",
  graph: "!-~",
  lower: "a-z",
  print: " -~",
  punct: "!-/:-@\\[-`{-~",
  space: "\t-\r ",
  upper: "A-Z",
  word: "0-9A-Za-z_",
  xdigit: "0-9A-Fa-f",
};
const CONTROL: Readonly<Record<string, number>> = { a: 7, f: 12, t: 9, n: 10, r: 13, v: 11 };

interface Flags {
  readonly fold: boolean;
  readonly dot: boolean;
}

/** Parses `source`. Throws `RegexError` for what is not RE2's syntax; what is too odd to analyse included (`\p{…}`, `\C`). */
export function parseRegex(source: string, fold = false): Node {
  const parser = new Parser(source);
  const node = parser.alternatives({ fold, dot: false });
  if (parser.at < source.length) throw new RegexError(`unexpected ) at ${parser.at + 1}`);
  return node;
}

class Parser {
  at = 0;

  constructor(private readonly source: string) {}

  alternatives(flags: Flags): Node {
    const branches: Node[] = [];
    let parts: Node[] = [];
    let now = flags;
    for (;;) {
      const char = this.source[this.at];
      if (char === "|") {
        this.at++;
        branches.push(concat(parts));
        parts = [];
        continue;
      }
      if (char === undefined || char === ")") break;
      const set = /^\(\?([imsU]*)(?:-([imsU]+))?\)/.exec(this.source.slice(this.at, this.at + 16));
      if (set !== null) {
        this.at += set[0].length;
        now = applyFlags(now, set[1]!, set[2] ?? "");
        continue;
      }
      const part = this.repeated(now);
      if (part !== undefined) parts.push(part);
    }
    branches.push(concat(parts));
    return branches.length === 1 ? branches[0]! : { kind: "alt", parts: branches };
  }

  private repeated(flags: Flags): Node | undefined {
    let node = this.atom(flags);
    for (;;) {
      const rest = this.source.slice(this.at, this.at + 16);
      const bounds = /^(?:[*+?]|\{(\d+)(?:(,)(\d*))?\})\??/.exec(rest);
      if (bounds === null) return node;
      this.at += bounds[0].length;
      const [min, max] = repeatBounds(bounds);
      if (node !== undefined) node = { kind: "repeat", part: node, min, max };
    }
  }

  /** Undefined for what consumes nothing. */
  private atom(flags: Flags): Node | undefined {
    const char = this.source[this.at]!;
    switch (char) {
      case "(":
        return this.group(flags);
      case "[":
        return this.charClass(flags);
      case ".":
        this.at++;
        return { kind: "set", set: flags.dot ? ANY : LINE };
      case "^":
      case "$":
        this.at++;
        return undefined;
      case "\\":
        return this.escape(flags);
      default:
        if ("*+?".includes(char)) throw new RegexError(`nothing to repeat at ${this.at + 1}`);
        this.at++;
        return literal(char.charCodeAt(0), flags.fold);
    }
  }

  private group(flags: Flags): Node {
    const from = this.at;
    const head = /^\((?:\?(?:P?<([A-Za-z0-9_]+)>|([imsU]*)(?:-([imsU]+))?:))?/.exec(this.source.slice(from, from + 80))!;
    if (head[0] === "(" && this.source[from + 1] === "?") throw new RegexError(`RE2 knows no group like ${this.source.slice(from, from + 4)}`);
    this.at += head[0].length;
    const part = this.alternatives(applyFlags(flags, head[2] ?? "", head[3] ?? ""));
    if (this.source[this.at] !== ")") throw new RegexError(`missing ) for the group at ${from + 1}`);
    this.at++;
    return { kind: "group", part, name: head[1], from, to: this.at };
  }

  private charClass(flags: Flags): Node {
    const start = this.at++;
    const negated = this.source[this.at] === "^";
    if (negated) this.at++;
    let set: ByteSet = Uint8Array.from(EMPTY);
    for (let first = true; ; first = false) {
      const char = this.source[this.at];
      if (char === undefined) throw new RegexError(`missing ] for the class at ${start + 1}`);
      if (char === "]" && !first) break;
      const posix = /^\[:(\^?)([a-z]+):\]/.exec(this.source.slice(this.at, this.at + 16));
      if (posix !== null) {
        const text = POSIX[posix[2]!];
        if (text === undefined) throw new RegexError(`unknown class [:${posix[2]}:]`);
        set = union(set, posix[1] === "^" ? complement(byteSet(text)) : byteSet(text));
        this.at += posix[0].length;
        continue;
      }
      const low = this.classItem();
      if (typeof low !== "number") {
        set = union(set, low);
        continue;
      }
      let high = low;
      if (this.source[this.at] === "-" && this.source[this.at + 1] !== "]" && this.source[this.at + 1] !== undefined) {
        this.at++;
        const item = this.classItem();
        if (typeof item !== "number" || item < low) throw new RegexError(`bad range in the class at ${start + 1}`);
        high = item;
      }
      for (let code = low; code <= Math.min(high, 0xff); code++) set[code] = 1;
    }
    this.at++;
    if (flags.fold) set = foldSet(set);
    return { kind: "set", set: negated ? complement(set) : set };
  }

  private classItem(): number | ByteSet {
    if (this.source[this.at] === "\\") {
      const item = this.escaped();
      if (item === undefined) throw new RegexError(`bad escape in a class at ${this.at}`);
      return item;
    }
    return this.source.charCodeAt(this.at++);
  }

  private escape(flags: Flags): Node | undefined {
    if (this.source.startsWith("\\Q", this.at)) {
      const end = this.source.indexOf("\\E", this.at);
      const text = this.source.slice(this.at + 2, end < 0 ? undefined : end);
      this.at = end < 0 ? this.source.length : end + 2;
      return concat([...text].map((char) => literal(char.charCodeAt(0), flags.fold)));
    }
    const item = this.escaped();
    if (item === undefined) return undefined;
    return typeof item === "number" ? literal(item, flags.fold) : { kind: "set", set: item };
  }

  /** A byte, a class, or undefined for an empty match such as `\b`. */
  private escaped(): number | ByteSet | undefined {
    const char = this.source[this.at + 1];
    if (char === undefined) throw new RegexError("a \\ at the end");
    this.at += 2;
    switch (char) {
      case "d":
        return DIGIT;
      case "D":
        return complement(DIGIT);
      case "w":
        return WORD;
      case "W":
        return complement(WORD);
      case "s":
        return SPACE;
      case "S":
        return complement(SPACE);
      case "b":
      case "B":
      case "A":
      case "z":
        return undefined;
      case "x": {
        const hex = /^(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]+)\})/.exec(this.source.slice(this.at, this.at + 10));
        if (hex === null) throw new RegexError(`bad \\x at ${this.at - 1}`);
        this.at += hex[0].length;
        return Number.parseInt(hex[1] ?? hex[2]!, 16);
      }
      default:
        if (Object.hasOwn(CONTROL, char)) return CONTROL[char]!;
        if (/[A-Za-z0-9]/.test(char)) throw new RegexError(`\\${char} cannot be analysed`);
        return char.charCodeAt(0);
    }
  }
}

function repeatBounds(bounds: RegExpExecArray): [number, number] {
  switch (bounds[0][0]) {
    case "*":
      return [0, Infinity];
    case "+":
      return [1, Infinity];
    case "?":
      return [0, 1];
    default: {
      const min = Number(bounds[1]);
      return [min, bounds[2] === undefined ? min : bounds[3] === "" ? Infinity : Number(bounds[3])];
    }
  }
}

function applyFlags(flags: Flags, on: string, off: string): Flags {
  const has = (flag: string, before: boolean): boolean => (before || on.includes(flag)) && !off.includes(flag);
  return { fold: has("i", flags.fold), dot: has("s", flags.dot) };
}

function literal(code: number, fold: boolean): Node {
  const set = new Uint8Array(256);
  if (code <= 0xff) set[code] = 1;
  return { kind: "set", set: fold ? foldSet(set) : set };
}

export function concat(parts: readonly Node[]): Node {
  return parts.length === 1 ? parts[0]! : { kind: "concat", parts };
}

/** Where the capturing group of this number begins in the source. Undefined if there are fewer. */
export function groupAt(node: Node, number: number, source: string): number | undefined {
  const starts: number[] = [];
  const walk = (each: Node): void => {
    if (each.kind === "set") return;
    if (each.kind === "group") {
      if (source[each.from + 1] !== "?" || each.name !== undefined) starts.push(each.from);
      walk(each.part);
    } else if (each.kind === "repeat") walk(each.part);
    else each.parts.forEach(walk);
  };
  walk(node);
  return starts.toSorted((a, b) => a - b)[number - 1];
}
