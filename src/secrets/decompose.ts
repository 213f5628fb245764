/**
 * The parts of a structured secret that are secrets themselves: leaves of JSON, YAML, .env, INI; lines; passwords in URLs, connection strings,
 * netrc, docker configuration; parts of JWT and PEM. Structure (braces, keys, BEGIN lines) is never a part. Every family is a function from text to values.
 */

export interface Part {
  readonly kind: "leaf" | "half" | "line";
  readonly value: Buffer;
}

/** Longer names of URL schemes are looked at by their end only. */
const MAX_SCHEME_BYTES = 32;
const PEM_BEGIN = "-----BEGIN ";
const PEM_END = "-----END ";
const PEM_DASHES = "-----";

/** Ends a piece of work: others may have their turn. */
const PAUSE = undefined;
/** Things looked at in a piece of work. */
const PAUSE_COUNT = 2048;
/** Characters looked at in a piece of work. */
const PAUSE_CHARS = 1 << 16;

/** Answers values, and now and then {@link PAUSE}. Takes time linear in the text: a secret may be long, and made to be slow. */
type Family = (text: string) => Iterable<string | typeof PAUSE>;

/** Keys of connection strings and netrc whose values are secret. */
const SECRET_KEY = /pass|pwd|secret|token|key|signature|credential|auth|login/i;

const FAMILIES: readonly (readonly [Part["kind"], Family])[] = [
  ...[jsonLeaves, keyedLeaves, pem, netrc, urlPasswords, connectionString, jwt].map((family) => ["leaf", family] as const),
  ["half", halves],
  ["line", lines],
];

export interface Parts {
  readonly parts: readonly Part[];
  /** There are more than were asked for. */
  readonly hasMore: boolean;
}

/** Parts of `value`, without duplicates, at most `max`. Yields about how many bytes were looked at since the last time. */
export function* partsOf(value: Buffer, max: number): Generator<number, Parts> {
  const text = value.toString("latin1");
  const found = new Map<string, Part>();
  for (const [kind, family] of FAMILIES) {
    for (const part of family(text)) {
      if (part === PAUSE) {
        yield PAUSE_CHARS;
      } else if (part !== text && part !== "" && !found.has(part)) {
        if (found.size >= max) return { parts: [...found.values()], hasMore: true };
        found.set(part, { kind, value: Buffer.from(part, "latin1") });
      }
    }
    yield text.length >> 3;
  }
  return { parts: [...found.values()], hasMore: false };
}

/** Pauses between things as often as they make a piece of work. */
function* paced<T>(things: Iterable<T>, each: (thing: T) => Iterable<string> | undefined): Generator<string | typeof PAUSE> {
  let count = 0;
  for (const thing of things) {
    if (++count % PAUSE_COUNT === 0) yield PAUSE;
    const found = each(thing);
    if (found !== undefined) yield* found;
  }
}

/** The text between separators of one or two characters. */
function* cut(text: string, separator: RegExp): Generator<string> {
  const next = new RegExp(separator, "g");
  let from = 0;
  for (let match; (match = next.exec(text)) !== null; from = next.lastIndex) yield text.slice(from, match.index);
  yield text.slice(from);
}

const linesOf = (text: string): Iterable<string> => cut(text, /\r\n|\r|\n/);

/** Every line of a multi-line value, trimmed; none that are structure (PEM borders, INI sections). */
function* lines(text: string): Generator<string | typeof PAUSE> {
  if (!/[\r\n]/.test(text)) return;
  yield* paced(linesOf(text), (line) => {
    const bare = line.trim();
    return /^(-----(BEGIN|END) [A-Z0-9 ]+-----|\[[^\]]*\])$/.test(bare) ? undefined : [bare];
  });
}

/** Both sides of `user:password`. */
function halves(text: string): string[] {
  const match = /^([^\s:/{}"'=]{3,}):([^\s:/]{4,})$/.exec(text.trim());
  return match === null ? [] : [match[1]!, match[2]!];
}

/** Deeper JSON is not taken apart: reading it would take long. */
const MAX_JSON_DEPTH = 1000;

function* jsonLeaves(text: string): Generator<string | typeof PAUSE> {
  if (!/^\s*[{[]/.test(text) || (yield* jsonDepth(text)) > MAX_JSON_DEPTH) return;
  let root: unknown;
  try {
    root = JSON.parse(Buffer.from(text, "latin1").toString());
  } catch {
    return;
  }
  const todo: unknown[] = [root];
  for (let count = 1; todo.length > 0; count++) {
    const node = todo.pop();
    if (count % PAUSE_COUNT === 0) yield PAUSE;
    if (Array.isArray(node)) {
      for (const child of node) todo.push(child);
    } else if (typeof node === "object" && node !== null) {
      for (const [key, child] of Object.entries(node)) {
        // docker config: auths.HOST.auth is base64 of user:password.
        if (key === "auth" && typeof child === "string") yield* dockerAuth(child);
        todo.push(child);
      }
    } else if (typeof node === "string" || typeof node === "number") {
      const leaf = Buffer.from(String(node)).toString("latin1");
      yield leaf;
      for (const family of [pem, urlPasswords, connectionString]) yield* family(leaf);
    }
  }
}

/** How deep brackets nest outside of strings. */
function* jsonDepth(text: string): Generator<typeof PAUSE, number> {
  let [depth, deepest, inString] = [0, 0, false];
  for (let at = 0; at < text.length; at++) {
    if (at % PAUSE_CHARS === PAUSE_CHARS - 1) yield PAUSE;
    const char = text[at];
    if (char === '"') inString = !inString;
    else if (inString) at += char === "\\" ? 1 : 0;
    else if (char === "{" || char === "[") deepest = Math.max(deepest, ++depth);
    else if (char === "}" || char === "]") depth--;
  }
  return deepest;
}

function dockerAuth(value: string): string[] {
  const decoded = Buffer.from(value, "base64").toString("latin1");
  const colon = decoded.indexOf(":");
  return colon > 0 && Buffer.from(decoded, "latin1").toString("base64") === value ? [decoded, decoded.slice(colon + 1)] : [];
}

/** `key: value` (YAML), `KEY=value` (.env), `[section]` and `key = value` (INI): only if every line has such a form. */
function* keyedLeaves(text: string): Generator<string | typeof PAUSE> {
  const leaves: string[] = [];
  let count = 0;
  for (const line of linesOf(text)) {
    const bare = line.trim();
    if (++count % PAUSE_COUNT === 0) yield PAUSE;
    if (bare === "" || /^(#|;|---$|\.\.\.$|\[[^\]]+\]$|[A-Za-z0-9_."'-]+:$)/.test(bare)) continue;
    const match = /^(?:- |export )?["']?[A-Za-z_][A-Za-z0-9_.-]*["']?(?::\s+|\s*=\s*)(.*)$/.exec(bare) ?? /^- (.*)$/.exec(bare);
    if (match === null) return;
    leaves.push(unquote(match[1]!.trim()));
  }
  // One `a=b` line alone may as well be a password with an equals sign in it.
  if (leaves.length === 1 && isLine(text) && !/^(?:export )?[A-Za-z_][A-Za-z0-9_]{2,}\s*=\s*\S|^[A-Za-z_][A-Za-z0-9_-]{2,}:\s+\S/.test(text.trim())) return;
  for (const leaf of leaves) {
    yield leaf;
    yield* urlPasswords(leaf);
  }
}

/** Whether only one line is not blank. */
const isLine = (text: string): boolean => !/[\r\n]/.test(text.trim());

function unquote(value: string): string {
  const quote = value[0];
  return value.length >= 2 && (quote === '"' || quote === "'") && value.at(-1) === quote ? value.slice(1, -1) : value;
}

/** The body of PEM blocks in one piece; its lines are covered by {@link lines}, its wraps by the matcher. RFC 7468. */
function* pem(text: string): Generator<string | typeof PAUSE> {
  let count = 0;
  for (let end = 0, begin; (begin = text.indexOf(PEM_BEGIN, end)) >= 0;) {
    if (++count % PAUSE_COUNT === 0) yield PAUSE;
    end = text.indexOf(PEM_END, begin);
    if (end < 0) break;
    const block = text.slice(begin + PEM_BEGIN.length, end);
    const dashes = block.indexOf(PEM_DASHES);
    const label = block.slice(0, Math.max(0, dashes));
    if (!/^[A-Z0-9 ]+$/.test(label) || !text.startsWith(label + PEM_DASHES, end + PEM_END.length)) continue;
    yield block
      .slice(dashes + PEM_DASHES.length)
      .replace(/^[A-Za-z-]+: .*$/gm, "")
      .replace(/\\n|\s/g, "");
  }
}

/** `machine HOST login USER password SECRET`. */
function* netrc(text: string): Generator<string | typeof PAUSE> {
  if (!/^[ \t]*(machine|default)\s/m.test(text)) return;
  yield* paced(text.matchAll(/\b(?:password|account)\s+(\S+)/g), (match) => [match[1]!]);
}

/** Passwords of URLs, as they stand and percent-decoded; a user name alone before `@` is a token. RFC 3986 §3.2.1. */
function* urlPasswords(text: string): Generator<string | typeof PAUSE> {
  let count = 0;
  for (let at = text.indexOf("://"); at >= 0; at = text.indexOf("://", at + 3)) {
    if (++count % PAUSE_COUNT === 0) yield PAUSE;
    if (!/[a-z][a-z0-9+.-]*$/i.test(text.slice(Math.max(0, at - MAX_SCHEME_BYTES), at))) continue;
    const [authority] = /^[^\s/?#]*/.exec(text.slice(at + 3))!;
    const host = authority.lastIndexOf("@");
    if (host < 0) continue;
    const userinfo = authority.slice(0, host);
    const colon = userinfo.indexOf(":");
    const secret = colon >= 0 ? userinfo.slice(colon + 1) : userinfo;
    yield secret;
    yield percentDecoded(secret);
    if (colon >= 8) yield userinfo.slice(0, colon);
  }
}

function percentDecoded(text: string): string {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 16)));
}

/** `Server=x;User=y;Password=z`: values of secret-like keys. */
function* connectionString(text: string): Generator<string | typeof PAUSE> {
  if (!text.includes(";")) return;
  const values: string[] = [];
  let [count, pairs] = [0, 0];
  for (const pair of cut(text.trim(), /;/)) {
    if (++count % PAUSE_COUNT === 0) yield PAUSE;
    if (pair.trim() === "") continue;
    if (!/^\s*[A-Za-z][A-Za-z0-9 _.-]*=/.test(pair)) return;
    pairs++;
    const at = pair.indexOf("=");
    if (SECRET_KEY.test(pair.slice(0, at))) values.push(unquote(pair.slice(at + 1).trim()));
  }
  if (pairs >= 2) yield* values;
}

/** Payload and signature of a JWT; the header is shared by thousands of them. RFC 7519. */
function jwt(text: string): string[] {
  const match = /^eyJ[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)$/.exec(text.trim());
  return match === null ? [] : [match[1]!, match[2]!].filter((part) => part.length >= 16);
}
