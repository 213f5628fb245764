/** The fields of the schema as a list: for each its path, variable, flag, form and default. And how the text of a variable or flag becomes what a file would say. */
import { z } from "zod";
import { type Environment, type Extra, EXTRAS, FORMS } from "./forms.js";
import { schema } from "./schema.js";

export interface Field {
  /** `store.maxFileSize` */
  readonly path: string;
  readonly keys: readonly string[];
  /** `LOGVEIL_STORE_MAX_FILE_SIZE` */
  readonly env: string;
  /** `--store-max-file-size` */
  readonly flag: string;
  readonly description: string;
  /** How a value is written, in words. */
  readonly form: string;
  readonly secret: boolean;
  readonly type: z.ZodType;
  /** The default as it is written; undefined: none. */
  fallback(env: Environment): unknown;
}

/** Fields that belong together, or all of them (`path` is empty). */
export interface Group {
  readonly path: string;
  readonly description: string;
  readonly members: ReadonlyMap<string, Field | Group>;
}

const snake = (key: string): string => key.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
const kebab = (key: string): string => key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

const inner = (type: z.ZodType): z.ZodType => (type instanceof z.ZodPrefault || type instanceof z.ZodOptional ? (type.def.innerType as z.ZodType) : type);

function fieldOf(type: z.ZodType, keys: readonly string[]): Field {
  const { secret, flag, from }: Extra = EXTRAS.get(type) ?? {};
  const own = type instanceof z.ZodPrefault ? type.def.defaultValue : undefined;
  return {
    path: keys.join("."),
    keys,
    env: ["LOGVEIL", ...keys.map(snake)].join("_"),
    flag: `--${flag ?? keys.map(kebab).join("-")}`,
    description: type.description!,
    form: FORMS.get(inner(type))!.form,
    secret: secret === true,
    type: inner(type),
    fallback: (env) => from?.(env) ?? own,
  };
}

function groupOf(object: z.ZodObject, description: string, keys: readonly string[]): Group {
  const members = Object.entries(object.shape).map(([key, type]): [string, Field | Group] => {
    const path = [...keys, key];
    const under = inner(type as z.ZodType);
    return [key, under instanceof z.ZodObject ? groupOf(under, (type as z.ZodType).description!, path) : fieldOf(type as z.ZodType, path)];
  });
  return { path: keys.join("."), description, members: new Map(members) };
}

export const isGroup = (member: Field | Group): member is Group => "members" in member;

const fieldsOf = (group: Group): Field[] => [...group.members.values()].flatMap((member) => (isGroup(member) ? fieldsOf(member) : [member]));

export const ROOT: Group = groupOf(schema, "", []);
export const FIELDS: readonly Field[] = fieldsOf(ROOT);

/** The JSON schema (draft 2020-12) of a configuration file, for editors. */
export function configSchema(): object {
  const made = z.toJSONSchema(schema, {
    io: "input",
    override({ zodSchema, jsonSchema }) {
      // A group that is absent is no mapping without fields to who reads the schema.
      if (zodSchema instanceof z.ZodPrefault && inner(zodSchema) instanceof z.ZodObject) delete jsonSchema.default;
    },
  });
  return { title: "logveil configuration", description: "Fields are explained in docs/configuration.md", ...made };
}

/** Text of a variable or flag that cannot be read; the message quotes nothing of it. */
export class TextFault extends Error {}

/** What a file would say for the text of a variable or flag: lists as `a,b` or JSON, mappings as JSON. Throws {@link TextFault}. */
export function fromText({ type, form }: Field, text: string): unknown {
  if (text === "") throw new TextFault(`expected ${form}; it is empty: leave it out for the default`);
  if (type instanceof z.ZodNumber) return /^-?\d+$/.test(text) ? Number(text) : text;
  if (type instanceof z.ZodBoolean) return text === "true" || (text === "false" ? false : text);
  if (/^\s*[[{]/.test(text) && takesMore(type)) {
    try {
      return JSON.parse(text) as unknown;
    } catch {
      throw new TextFault(`expected ${form}, here as JSON`);
    }
  }
  if (type instanceof z.ZodArray && type.element instanceof z.ZodString) return items(text);
  if (type instanceof z.ZodUnion) return type.options.some((option) => option instanceof z.ZodEnum && option.safeParse(text).success) ? text : items(text);
  return text;
}

const items = (text: string): string[] => text.split(",").map((item) => item.trim());

/** Whether values are lists or mappings, not texts alone. */
const takesMore = (type: z.ZodType): boolean => type instanceof z.ZodArray || type instanceof z.ZodRecord || type instanceof z.ZodUnion;

/** Some fields as nested objects, from options of the command line by the names of their flags without dashes: `{ storeDir }` is `--store-dir`. */
export function fieldsFromOptions(options: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const { keys, flag } of FIELDS) {
    const name = flag.slice(2).replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
    if (Object.hasOwn(options, name) && options[name] !== undefined) setAt(found, keys, options[name]);
  }
  return found;
}

/** Puts a value into nested objects, which come into being. */
export function setAt(target: Record<string, unknown>, keys: readonly string[], value: unknown): void {
  const [first, ...rest] = keys as [string, ...string[]];
  if (rest.length === 0) target[first] = value;
  else setAt((target[first] ??= {}) as Record<string, unknown>, rest, value);
}

/** What nested objects hold at the keys of a field. */
export const valueAt = (source: unknown, keys: readonly string[]): unknown =>
  keys.reduce<unknown>((under, key) => (under as Record<string, unknown> | undefined)?.[key], source);
