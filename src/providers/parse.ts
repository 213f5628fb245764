/** Reads lists of secrets: JSON Lines, or NAME=value as in `.env` files. Errors name the place and what was expected, never a value. */
import { LogveilError } from "../errors.js";
import type { SecretInput } from "../types.js";

/** Secrets from `text`; `place` names its source in errors. The first character that is no whitespace tells the form. Throws `LV_CONFIG`. */
export function parseSecrets(text: string, place: string): SecretInput[] {
  const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/);
  const parse = text.trimStart().startsWith("{") ? parseJsonLine : parseEnvLine;
  return lines.flatMap((line, index) => {
    const bare = line.trim();
    return bare === "" || (parse === parseEnvLine && bare.startsWith("#")) ? [] : [parse(bare, `${place}:${index + 1}`)];
  });
}

function parseJsonLine(line: string, place: string): SecretInput {
  const bad = (problem: string): LogveilError =>
    new LogveilError("LV_CONFIG", `${place}: ${problem}; expected a line like {"name":"TOKEN","value":"…"} or {"name":"TOKEN","valueBase64":"…"}`, {
      facts: { place },
    });
  let entry: unknown;
  try {
    entry = JSON.parse(line);
  } catch {
    // The parser's own message quotes the line.
    throw bad("this is no JSON");
  }
  if (typeof entry !== "object" || entry === null || Array.isArray(entry)) throw bad("this is no JSON object");
  const { name, value, valueBase64, ...rest } = entry as Record<string, unknown>;
  if (typeof name !== "string" || name === "") throw bad('"name" is missing or no text');
  if (Object.keys(rest).length > 0) throw bad(`unknown field "${Object.keys(rest)[0]}"`);
  if ((value === undefined) === (valueBase64 === undefined)) throw bad('exactly one of "value" and "valueBase64" must be given');
  if (value !== undefined) {
    if (typeof value !== "string") throw bad('"value" is no text');
    return { name, value };
  }
  if (typeof valueBase64 !== "string" || !/^[A-Za-z0-9+/_-]*={0,2}$/.test(valueBase64)) throw bad('"valueBase64" is no base64');
  return { name, value: Buffer.from(valueBase64, "base64") };
}

function parseEnvLine(line: string, place: string): SecretInput {
  const match = /^(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(.*)$/.exec(line);
  if (match === null) throw new LogveilError("LV_CONFIG", `${place}: expected NAME=value, a comment or an empty line`, { facts: { place } });
  const [, name, raw] = match as unknown as [string, string, string];
  const quote = raw[0];
  if (quote !== '"' && quote !== "'") return { name, value: raw.replace(/\s+#.*$/, "") };
  const end = raw.lastIndexOf(quote);
  if (end === 0) throw new LogveilError("LV_CONFIG", `${place}: the quote before the value of ${name} is not closed on the line`, { facts: { place } });
  const inner = raw.slice(1, end);
  return { name, value: quote === '"' ? inner.replace(/\\([nrt"\\$])/g, (_, c: string) => ({ n: "\n", r: "\r", t: "\t" })[c] ?? c) : inner };
}
