/** What zod finds wrong, in our words: what was expected, and what was perhaps meant. Nothing of a value is quoted. */
import { z } from "zod";
import { nearest } from "../rules/nearest.js";

/** One thing that is wrong with a value. */
export interface Fault {
  /** Where in the value: keys and indices. */
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** Checks a value as it is written; answers what the program gets, or what is wrong. */
export function decodeValue(type: z.ZodType, written: unknown): { readonly value: unknown } | { readonly faults: readonly Fault[] } {
  const result = type.safeParse(written);
  return result.success ? { value: result.data } : { faults: result.error.issues.flatMap((issue) => faultsOf(issue, type, written)) };
}

function faultsOf(issue: z.core.$ZodIssue, type: z.ZodType, written: unknown): Fault[] {
  const { path } = issue;
  switch (issue.code) {
    case "unrecognized_keys": {
      const object = typeAt(type, path);
      const known = object instanceof z.ZodObject ? Object.keys(object.shape) : [];
      return issue.keys.map((key) => ({ path: [...path, key], message: unknownKey(key, known) }));
    }
    case "invalid_value": {
      const words = issue.values.map(String);
      return [{ path, message: `expected one of ${words.join(", ")}${didYouMean(at(written, path), words)}` }];
    }
    case "invalid_key":
      return [{ path, message: issue.issues[0]!.message }];
    case "too_small":
      return [{ path, message: issue.origin === "array" ? "expected a list of one or more" : issue.message }];
    case "invalid_union": {
      // What is a list or text may be meant as such: its own faults say more than "neither".
      const given = at(written, path);
      const fitting = issue.errors.findLast((errors) => errors.some((each) => each.path.length > 0));
      if (Array.isArray(given) && fitting !== undefined) {
        return fitting.flatMap((each) => faultsOf(each, z.unknown(), given)).map((fault) => ({ path: [...path, ...fault.path], message: fault.message }));
      }
      const words = issue.errors.flatMap((errors) => errors.flatMap((each) => (each.code === "invalid_value" ? each.values.map(String) : [])));
      return [{ path, message: issue.message + didYouMean(given, words) }];
    }
    default:
      return [{ path, message: issue.message }];
  }
}

/** The type that a path within a value leads to. */
function typeAt(type: z.ZodType, path: readonly PropertyKey[]): z.ZodType | undefined {
  let found: unknown = type;
  for (const key of path) {
    if (found instanceof z.ZodArray) found = found.element;
    else if (found instanceof z.ZodObject) found = found.shape[String(key)];
    else return undefined;
  }
  return found as z.ZodType;
}

const at = (value: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>((under, key) => (under as Record<PropertyKey, unknown> | undefined)?.[key], value);

function didYouMean(given: unknown, words: readonly string[]): string {
  const near = typeof given === "string" && given.length <= NAME_LENGTH ? nearest(given, words) : undefined;
  return near === undefined ? "" : `; did you mean ${near}?`;
}

/** Longest text that is taken for a name. */
const NAME_LENGTH = 32;

/** What is said of a key that does not exist. It is not quoted unless it looks like a name: a secret may have slipped into its place. */
export function unknownKey(key: string, known: readonly string[]): string {
  const near = key.length <= NAME_LENGTH ? nearest(key, known) : undefined;
  return `unknown field${isName(key) ? ` ${JSON.stringify(key)}` : ""}; ${near === undefined ? `known: ${known.join(", ")}` : `did you mean ${near}?`}`;
}

const isName = (key: string): boolean => key.length <= NAME_LENGTH && /^[A-Za-z][A-Za-z_.-]*$/.test(key);

/** A path for people: `routes[0].framing`. A key that does not look like a name is left out. */
export const printPath = (path: readonly PropertyKey[]): string =>
  path.reduce<string>((text, key) => {
    if (typeof key === "number") return `${text}[${key}]`;
    const name = isRuleOrName(String(key)) ? String(key) : "?";
    return text === "" ? name : `${text}.${name}`;
  }, "");

const isRuleOrName = (key: string): boolean => isName(key) || (key.length <= NAME_LENGTH && /^[a-z0-9]+(-[a-z0-9]+)*$/.test(key));
