/** The effective configuration: flags before environment before file before defaults, field by field, and where each value comes from. Read this file first. */
import { readFileSync, statSync } from "node:fs";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import { nearest } from "../rules/nearest.js";
import { checkAll, checkSecretFiles, type Finding, isOpenToAll, warningsOf } from "./check.js";
import { type Field, FIELDS, fromText, type Group, isGroup, ROOT, setAt, TextFault, valueAt } from "./fields.js";
import { readFields } from "./file.js";
import type { Environment } from "./forms.js";
import { decodeValue, printPath, unknownKey } from "./issues.js";
import { type Config, configFolders, type Written } from "./schema.js";

/** Where a value comes from. */
export type Origin =
  | { readonly kind: "default" }
  | { readonly kind: "file"; readonly file: string; readonly line: number }
  | { readonly kind: "env"; readonly name: string }
  | { readonly kind: "flag"; readonly flag: string };

export interface LoadOptions {
  /** Fields by their paths, as a file would say them, or as text. */
  readonly flags?: Written | Readonly<Record<string, unknown>>;
  /** Default: that of the process. */
  readonly env?: Environment;
  /** The file; absent: the first `logveil.yaml` of the folders in which it is looked for, or none. */
  readonly file?: string;
}

export interface LoadedConfig {
  readonly config: Config;
  /** By path of the field, for every field that has a value. */
  readonly origins: ReadonlyMap<string, Origin>;
  readonly sources: {
    /** The file that was read. */
    readonly file: string | undefined;
    /** Variables that count, by name. */
    readonly env: readonly string[];
    /** Flags that count, by name. */
    readonly flags: readonly string[];
  };
  /** What is allowed but hardly meant. */
  readonly warnings: readonly string[];
}

/** A field that a layer says, decoded. */
interface Layered {
  readonly field: Field;
  readonly value: unknown;
  readonly origin: Origin;
}

/**
 * Loads, checks and freezes the configuration. Throws `LV_CONFIG` with everything that is wrong, a line each and those of the file by line, and `LV_IO` where the
 * file cannot be read. Files of keys and tokens are looked at, not read.
 */
export function loadConfig({ flags = {}, env = process.env, file = findFile(env) }: LoadOptions = {}): LoadedConfig {
  const problems: string[] = [];
  // From the lowest layer to the highest: the later one takes the field.
  const layers = [...fromFile(file, problems), ...fromEnvironment(env, problems), ...fromFlags(flags, problems)];
  const given = new Map(layers.map((said) => [said.field.path, said]));
  const defaults = fromDefaults(env, given, problems);
  refuse(problems);
  const effective = new Map([...defaults.map((said): [string, Layered] => [said.field.path, said]), ...given]);
  const shape: Record<string, unknown> = emptyGroups(ROOT);
  const origins = new Map<string, Origin>();
  for (const field of FIELDS) {
    const said = effective.get(field.path);
    if (said === undefined) continue;
    setAt(shape, field.keys, said.value);
    origins.set(field.path, said.origin);
  }
  const config = freeze(shape) as Config;
  const place = ({ path, message }: Finding): string => `${printPlace(path, origins.get(path))}: ${message}`;
  const isSet = (path: string): boolean => (origins.get(path) ?? { kind: "default" }).kind !== "default";
  refuse(inOrder([...checkAll(config, isSet), ...checkSecretFiles(config)], origins).map(place));
  const counting = [...origins.values()];
  return Object.freeze({
    config,
    origins,
    sources: Object.freeze({
      file,
      env: counting.flatMap((origin) => (origin.kind === "env" ? [origin.name] : [])),
      flags: counting.flatMap((origin) => (origin.kind === "flag" ? [origin.flag] : [])),
    }),
    warnings: [...unknownVariables(env), ...inOrder([...warningsOf(config), ...credentialsIn(file, origins)], origins).map(place)],
  });
}

/** An origin in words: `default`, `FILE:LINE`, `env NAME`, `flag --x`. */
export function printOrigin(origin: Origin): string {
  if (origin.kind === "file") return `file ${oneLine(origin.file)}:${origin.line}`;
  return origin.kind === "env" ? `env ${origin.name}` : origin.kind === "flag" ? `flag ${origin.flag}` : "default";
}

/** Where a problem is, as errors begin: `FILE:LINE: field`, the variable, the flag, or the field alone. */
export function printPlace(path: string, origin: Origin | undefined): string {
  if (origin?.kind === "file") return `${oneLine(origin.file)}:${origin.line}: ${path}`;
  return origin?.kind === "env" ? origin.name : origin?.kind === "flag" ? origin.flag : path;
}

const oneLine = (path: string): string => (/\p{Cc}/u.test(path) ? JSON.stringify(path) : path);

/** Throws `LV_CONFIG` with all problems, if there are any. */
export function refuse(problems: readonly string[]): void {
  if (problems.length === 0) return;
  const message = problems.length === 1 ? problems[0]! : [`${problems.length} errors in the configuration:`, ...problems].join("\n");
  throw new LogveilError("LV_CONFIG", message, { facts: { problems } });
}

/** The first file there is. One that is there but cannot be read is not passed over. */
function findFile(env: Environment): string | undefined {
  return configFolders(env)
    .map((folder) => `${folder}/logveil.yaml`)
    .find((path) => {
      try {
        return statSync(path) !== undefined;
      } catch (error) {
        return !["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
      }
    });
}

function fromDefaults(env: Environment, given: ReadonlyMap<string, Layered>, problems: string[]): Layered[] {
  return FIELDS.flatMap((field): Layered[] => {
    const written = given.has(field.path) ? undefined : field.fallback(env);
    if (written === undefined) return [];
    const result = decodeValue(field.type, written);
    if ("value" in result) return [{ field, value: result.value, origin: { kind: "default" } }];
    // A default that follows the environment may come out impossible: a path too long for a socket.
    problems.push(`${field.path}: its default does not fit this environment: ${result.faults[0]!.message}`);
    return [];
  });
}

function fromFile(file: string | undefined, problems: string[]): Layered[] {
  if (file === undefined) return [];
  const content = readFields(readText(file));
  for (const { line, path, message } of content.problems) problems.push(`${oneLine(file)}:${line}: ${path === "" ? "" : `${path}: `}${message}`);
  return content.said.map(({ field, value, line }) => ({ field, value, origin: { kind: "file", file, line } }));
}

function readText(file: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    throw new LogveilError("LV_IO", `${oneLine(file)}: cannot be read: ${reasonAndCure(error)}`, { cause: error });
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new LogveilError("LV_CONFIG", `${oneLine(file)}:1: expected text in UTF-8`);
  }
}

function fromEnvironment(env: Environment, problems: string[]): Layered[] {
  return FIELDS.flatMap((field) => {
    const text = env[field.env];
    return text === undefined ? [] : fromGiven(field, text, { kind: "env", name: field.env }, problems);
  });
}

function fromFlags(flags: object, problems: string[]): Layered[] {
  problems.push(...unknownFlags(flags, ROOT));
  return FIELDS.flatMap((field) => {
    const given = valueAt(flags, field.keys);
    return given === undefined ? [] : fromGiven(field, given, { kind: "flag", flag: field.flag }, problems);
  });
}

/** A value of a variable or flag: text, or as a file says it. */
function fromGiven(field: Field, given: unknown, origin: Origin, problems: string[]): Layered[] {
  const wrong = (message: string, path: readonly PropertyKey[] = []): void => {
    problems.push(`${printPlace(field.path, origin)}: ${path.length === 0 ? "" : `${printPath(path)}: `}${message}`);
  };
  try {
    const result = decodeValue(field.type, typeof given === "string" ? fromText(field, given) : given);
    if ("value" in result) return [{ field, value: result.value, origin }];
    for (const { message, path } of result.faults) wrong(message, path);
  } catch (error) {
    if (!(error instanceof TextFault)) throw error;
    wrong(error.message);
  }
  return [];
}

function unknownFlags(flags: object, group: Group): string[] {
  return Object.entries(flags).flatMap(([key, value]) => {
    const member = group.members.get(key);
    if (member === undefined) return [`flags: ${group.path === "" ? "" : `${group.path}: `}${unknownKey(key, [...group.members.keys()])}`];
    if (!isGroup(member) || value === undefined) return [];
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return unknownFlags(value, member);
    return [`flags: ${member.path}: expected a mapping of ${[...member.members.keys()].join(", ")}`];
  });
}

/** Fields that hold credentials and stand in a file that is open to every user. */
function credentialsIn(file: string | undefined, origins: ReadonlyMap<string, Origin>): Finding[] {
  if (file === undefined || !isOpenToAll(statSync(file).mode)) return [];
  return FIELDS.filter(({ path, secret }) => secret && origins.get(path)?.kind === "file").map(({ path }) => ({
    path,
    message: `a credential in a file that every user can read: chmod o-rwx ${oneLine(file)}`,
  }));
}

/** Variables that look like misspelt ones of ours. Others that begin so are none of our business: an orchestrator sets some for every service. */
function unknownVariables(env: Environment): string[] {
  const known = FIELDS.map((field) => field.env);
  return Object.keys(env)
    .filter((name) => name.startsWith("LOGVEIL_") && !known.includes(name))
    .flatMap((name) => {
      const near = nearest(name, known, 2);
      return near === undefined ? [] : [`the variable ${name} is none of logveil's; did you mean ${near}?`];
    });
}

/** Those of the file by line, then those of the environment, of flags and of defaults. */
function inOrder(found: readonly Finding[], origins: ReadonlyMap<string, Origin>): Finding[] {
  const order = { file: 0, env: 1, flag: 2, default: 3 };
  const rank = ({ path }: Finding): number => order[origins.get(path)?.kind ?? "default"];
  const line = ({ path }: Finding): number => ((origin) => (origin?.kind === "file" ? origin.line : 0))(origins.get(path));
  return found.toSorted((a, b) => rank(a) - rank(b) || line(a) - line(b));
}

/** Groups are there even when none of their fields has a value. */
const emptyGroups = (group: Group): Record<string, unknown> =>
  Object.fromEntries([...group.members].flatMap(([key, member]) => (isGroup(member) ? [[key, emptyGroups(member)]] : [])));

function freeze(value: unknown): unknown {
  if (typeof value === "object" && value !== null) for (const each of Object.values(Object.freeze(value))) freeze(each);
  return value;
}
