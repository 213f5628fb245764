/** One configuration file: YAML to fields, each with its line, and everything that is wrong with it. No value is quoted, nothing of what the parser says either. */
import { type Document, isAlias, isMap, isScalar, LineCounter, type Node, parseDocument, visit } from "yaml";
import { type Field, type Group, isGroup, ROOT } from "./fields.js";
import { decodeValue, printPath, unknownKey } from "./issues.js";

/** A field that a file says. */
export interface Said {
  readonly field: Field;
  readonly written: unknown;
  /** What the program gets. */
  readonly value: unknown;
  /** 1-based line of its key. */
  readonly line: number;
}

export interface FileProblem {
  readonly line: number;
  /** Path of the field; empty: the file as a whole. */
  readonly path: string;
  readonly message: string;
}

export interface FileContent {
  readonly said: readonly Said[];
  readonly problems: readonly FileProblem[];
}

/** Largest configuration file, in characters: a hundred times what anyone has written. */
export const MAX_FILE_LENGTH = 1 << 20;

/** Reads the text of a file. */
export function readFields(text: string): FileContent {
  if (text.length > MAX_FILE_LENGTH) return { said: [], problems: [{ line: 1, path: "", message: "expected a configuration of at most 1 MiB" }] };
  return new Reader(text).read();
}

/** What is said of YAML that is none, by the parser's codes; its own messages quote the file. */
const FAULTS: Readonly<Record<string, string>> = {
  BAD_INDENT: "the indentation does not fit, or a bracket is not closed",
  TAB_AS_INDENT: "indented by a tab: YAML takes spaces",
  MISSING_CHAR: "a quote, bracket, comma or colon is missing",
  MULTIPLE_DOCS: "expected one document; a second one begins here",
  BLOCK_AS_IMPLICIT_KEY: "a mapping within a line; is a line end or an indentation missing?",
  MULTILINE_IMPLICIT_KEY: "a key that goes over several lines; is a colon missing?",
  BAD_DQ_ESCAPE: 'an escape that YAML does not know; in "double quotes" \\ is written \\\\',
  BAD_SCALAR_START: "a value that begins with a character of YAML's own: put it in quotes",
  RESOURCE_EXHAUSTION: "nested too deep",
};

/** Deepest nesting that is read; fields need five. */
const MAX_DEPTH = 32;

interface NodePair {
  readonly key: Node;
  readonly value: Node | null;
}

class Reader {
  private readonly lines = new LineCounter();
  private readonly said: Said[] = [];
  private readonly problems: FileProblem[] = [];

  private readonly document: Document.Parsed;

  constructor(text: string) {
    // Not "silent": that level keeps a second document quiet.
    this.document = parseDocument(text, { prettyErrors: false, uniqueKeys: false, lineCounter: this.lines, logLevel: "error", version: "1.2" });
  }

  read(): FileContent {
    const { contents, errors } = this.document;
    const first = errors.toSorted((a, b) => a.pos[0] - b.pos[0])[0];
    // One is enough: what follows it in the file is mostly its consequence.
    if (first !== undefined) this.wrong(this.lineAt(first.pos[0]), "", `no YAML: ${FAULTS[first.code] ?? "it cannot be understood here"}`);
    else if (contents !== null && this.isPlain(contents)) this.contents(contents);
    return { said: this.said, problems: this.problems.toSorted((a, b) => a.line - b.line) };
  }

  /** Whether the document has only mappings, lists and values, of keys that are said once; tells where not. */
  private isPlain(contents: Node): boolean {
    let plain = true;
    const refuse = (node: Node, message: string): symbol => {
      plain = false;
      this.wrong(this.line(node), "", message);
      return visit.SKIP;
    };
    visit(contents, {
      Node: (_, node, ancestors) => {
        if (isAlias(node) || node.anchor !== undefined) return refuse(node, "anchors (&) and aliases (*) are not taken: write the value out");
        if (node.tag !== undefined) return refuse(node, "tags (!) are not taken: the schema tells what a value is");
        return ancestors.length > MAX_DEPTH ? refuse(node, "nested too deep") : undefined;
      },
    });
    visit(contents, { Map: (_, map) => this.duplicates(map.items) });
    return plain;
  }

  private duplicates(items: readonly { readonly key: unknown }[]): void {
    const seen = new Map<unknown, number>();
    for (const { key } of items) {
      if (!isScalar(key)) continue;
      const before = seen.get(key.value);
      if (before === undefined) seen.set(key.value, this.line(key));
      else this.wrong(this.line(key), printPath([String(key.value)]), `said twice, first on line ${before}`);
    }
  }

  private contents(contents: Node): void {
    if (isMap(contents) || (isScalar(contents) && contents.value === null)) this.group(contents, ROOT);
    else this.wrong(this.line(contents), "", `expected a mapping of fields, such as listen: 127.0.0.1:4180`);
  }

  private group(map: Node, group: Group): void {
    if (isScalar(map) && map.value === null) return;
    if (!isMap(map)) {
      this.wrong(this.line(map), group.path, `expected a mapping of ${[...group.members.keys()].join(", ")}`);
      return;
    }
    for (const { key, value } of map.items as NodePair[]) {
      const name = isScalar(key) ? String(key.value) : undefined;
      const member = name === undefined ? undefined : group.members.get(name);
      if (member !== undefined && isGroup(member)) this.group(value ?? key, member);
      else if (member !== undefined) this.field(member, key, value);
      else this.wrong(this.line(key), group.path, name === undefined ? "expected a name before the colon" : unknownIn(group, name));
    }
  }

  private field(field: Field, key: Node, value: Node | null): void {
    const line = this.line(key);
    if (value === null || (isScalar(value) && value.value === null)) {
      this.wrong(line, field.path, `expected ${field.form}; leave the field out for its default`);
      return;
    }
    const written: unknown = value.toJS(this.document);
    if (field.secret && written === PRINTED_SECRET) {
      this.wrong(line, field.path, `${PRINTED_SECRET} stands for a secret that config show does not print: write the real one`);
      return;
    }
    const result = decodeValue(field.type, written);
    if ("value" in result) this.said.push({ field, written, value: result.value, line });
    else for (const { path, message } of result.faults) this.wrong(this.lineIn(value, path, line), printPath([...field.keys, ...path]), message);
  }

  /** The line of what a path within a node leads to, as far as it does. */
  private lineIn(node: Node, path: readonly PropertyKey[], line: number): number {
    let found: Node | undefined = node;
    let best = line;
    for (const key of path) {
      if (isMap(found)) {
        const pair: NodePair | undefined = (found.items as NodePair[]).find((each) => isScalar(each.key) && String(each.key.value) === String(key));
        if (pair === undefined) return this.line(found);
        best = this.line(pair.key);
        found = pair.value ?? undefined;
      } else {
        found = (found as { items?: Node[] } | undefined)?.items?.[Number(key)];
        if (found !== undefined) best = this.line(found);
      }
    }
    return best;
  }

  private line(node: Node): number {
    return this.lineAt(node.range?.[0] ?? 0);
  }

  private lineAt(offset: number): number {
    return Math.max(1, this.lines.linePos(offset).line);
  }

  private wrong(line: number, path: string, message: string): void {
    this.problems.push({ line, path, message });
  }
}

/** What stands for a secret in what config show prints. */
export const PRINTED_SECRET = "***";

function unknownIn(group: Group, name: string): string {
  const known = [...group.members.keys()];
  const [first, ...rest] = name.split(".") as [string, ...string[]];
  if (rest.length > 0 && group.members.has(first)) return `${unknownKey(name, known).split(";")[0]}; fields of ${first} are indented beneath "${first}:"`;
  return unknownKey(name, known);
}
