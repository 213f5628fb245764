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

/** Takes time linear in the text: a secret may be long, and made to be slow. */
type Family = (text: string) => readonly string[];

/** Keys of connection strings and netrc whose values are secret. */
const SECRET_KEY = /pass|pwd|secret|token|key|signature|credential|auth|login/i;

const FAMILIES: readonly Family[] = [jsonLeaves, keyedLeaves, pem, netrc, urlPasswords, connectionString, jwt];

/** Parts of `value`, without duplicates, at most `max`. */
export function parts(value: Buffer, max: number): Part[] {
  const text = value.toString("latin1");
  const found = new Map<string, Part>();
  const add = (kind: Part["kind"], part: string): void => {
    if (part !== text && part !== "" && !found.has(part) && found.size < max) found.set(part, { kind, value: Buffer.from(part, "latin1") });
  };
  for (const family of FAMILIES) for (const leaf of family(text)) add("leaf", leaf);
  for (const half of halves(text)) add("half", half);
  for (const line of lines(text)) add("line", line);
  return [...found.values()];
}

/** Every line of a multi-line value, trimmed; none that are structure (PEM borders, INI sections). */
function lines(text: string): string[] {
  if (!/[\r\n]/.test(text)) return [];
  return text
    .split(/\r\n|\r|\n/)
    .map((line) => line.trim())
    .filter((line) => !/^(-----(BEGIN|END) [A-Z0-9 ]+-----|\[[^\]]*\])$/.test(line));
}

/** Both sides of `user:password`. */
function halves(text: string): string[] {
  const match = /^([^\s:/{}"'=]{3,}):([^\s:/]{4,})$/.exec(text.trim());
  return match === null ? [] : [match[1]!, match[2]!];
}

function jsonLeaves(text: string): string[] {
  if (!/^\s*[{[]/.test(text)) return [];
  let root: unknown;
  try {
    root = JSON.parse(Buffer.from(text, "latin1").toString());
  } catch {
    return [];
  }
  const leaves: string[] = [];
  const todo: unknown[] = [root];
  while (todo.length > 0) {
    const node = todo.pop();
    if (typeof node === "object" && node !== null) {
      for (const [key, child] of Object.entries(node)) {
        // docker config: auths.HOST.auth is base64 of user:password.
        if (key === "auth" && typeof child === "string") leaves.push(...dockerAuth(child));
        todo.push(child);
      }
    } else if (typeof node === "string" || typeof node === "number") {
      const leaf = Buffer.from(String(node)).toString("latin1");
      leaves.push(leaf, ...[pem, urlPasswords, connectionString].flatMap((family) => [...family(leaf)]));
    }
  }
  return leaves;
}

function dockerAuth(value: string): string[] {
  const decoded = Buffer.from(value, "base64").toString("latin1");
  const colon = decoded.indexOf(":");
  return colon > 0 && Buffer.from(decoded, "latin1").toString("base64") === value ? [decoded, decoded.slice(colon + 1)] : [];
}

/** `key: value` (YAML), `KEY=value` (.env), `[section]` and `key = value` (INI): only if every line has such a form. */
function keyedLeaves(text: string): string[] {
  const all = text.split(/\r\n|\r|\n/).filter((line) => line.trim() !== "");
  const leaves: string[] = [];
  let pairs = 0;
  for (const line of all) {
    const bare = line.trim();
    if (/^(#|;|---$|\.\.\.$|\[[^\]]+\]$|[A-Za-z0-9_."'-]+:$)/.test(bare)) continue;
    const match = /^(?:- |export )?["']?[A-Za-z_][A-Za-z0-9_.-]*["']?(?::\s+|\s*=\s*)(.*)$/.exec(bare) ?? /^- (.*)$/.exec(bare);
    if (match === null) return [];
    pairs++;
    leaves.push(unquote(match[1]!.trim()));
  }
  // One `a=b` line alone may as well be a password with an equals sign in it.
  const single = all.length === 1 && !/^(?:export )?[A-Za-z_][A-Za-z0-9_]{2,}\s*=\s*\S|^[A-Za-z_][A-Za-z0-9_-]{2,}:\s+\S/.test(text.trim());
  return pairs === 0 || single ? [] : leaves.flatMap((leaf) => [leaf, ...urlPasswords(leaf)]);
}

function unquote(value: string): string {
  const quote = value[0];
  return value.length >= 2 && (quote === '"' || quote === "'") && value.at(-1) === quote ? value.slice(1, -1) : value;
}

/** The body of PEM blocks in one piece; its lines are covered by {@link lines}, its wraps by the matcher. RFC 7468. */
function pem(text: string): string[] {
  const bodies: string[] = [];
  for (let end = 0, begin; (begin = text.indexOf(PEM_BEGIN, end)) >= 0;) {
    end = text.indexOf(PEM_END, begin);
    if (end < 0) break;
    const block = text.slice(begin + PEM_BEGIN.length, end);
    const dashes = block.indexOf(PEM_DASHES);
    const label = block.slice(0, Math.max(0, dashes));
    if (!/^[A-Z0-9 ]+$/.test(label) || !text.startsWith(label + PEM_DASHES, end + PEM_END.length)) continue;
    bodies.push(
      block
        .slice(dashes + PEM_DASHES.length)
        .replace(/^[A-Za-z-]+: .*$/gm, "")
        .replace(/\\n|\s/g, ""),
    );
  }
  return bodies;
}

/** `machine HOST login USER password SECRET`. */
function netrc(text: string): string[] {
  if (!/^[ \t]*(machine|default)\s/m.test(text)) return [];
  return [...text.matchAll(/\b(?:password|account)\s+(\S+)/g)].map((match) => match[1]!);
}

/** Passwords of URLs, as they stand and percent-decoded; a user name alone before `@` is a token. RFC 3986 §3.2.1. */
function urlPasswords(text: string): string[] {
  const found: string[] = [];
  for (let at = text.indexOf("://"); at >= 0; at = text.indexOf("://", at + 3)) {
    if (!/[a-z][a-z0-9+.-]*$/i.test(text.slice(Math.max(0, at - MAX_SCHEME_BYTES), at))) continue;
    const [authority] = /^[^\s/?#]*/.exec(text.slice(at + 3))!;
    const host = authority.lastIndexOf("@");
    if (host < 0) continue;
    const userinfo = authority.slice(0, host);
    const colon = userinfo.indexOf(":");
    const secret = colon >= 0 ? userinfo.slice(colon + 1) : userinfo;
    found.push(secret, percentDecoded(secret));
    if (colon >= 8) found.push(userinfo.slice(0, colon));
  }
  return found;
}

function percentDecoded(text: string): string {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 16)));
}

/** `Server=x;User=y;Password=z`: values of secret-like keys. */
function connectionString(text: string): string[] {
  const pairs = text
    .trim()
    .split(";")
    .filter((pair) => pair.trim() !== "");
  if (pairs.length < 2 || !pairs.every((pair) => /^\s*[A-Za-z][A-Za-z0-9 _.-]*=/.test(pair))) return [];
  return pairs.flatMap((pair) => {
    const at = pair.indexOf("=");
    return SECRET_KEY.test(pair.slice(0, at)) ? [unquote(pair.slice(at + 1).trim())] : [];
  });
}

/** Payload and signature of a JWT; the header is shared by thousands of them. RFC 7519. */
function jwt(text: string): string[] {
  const match = /^eyJ[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)$/.exec(text.trim());
  return match === null ? [] : [match[1]!, match[2]!].filter((part) => part.length >= 16);
}
