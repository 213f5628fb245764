/** The secrets that options name, and those that are known so far: what the command says is masked by them even where it fails before there is a session. */
import { fromDescriptors, fromEnvironment, fromFiles, fromLists } from "../providers/sources.js";
import type { SecretInput } from "../types.js";

/** As commander hands them over. */
export interface SecretOptions {
  readonly secretEnv?: string[];
  readonly secrets?: string[];
  readonly secretFile?: string[];
  readonly secretsFd?: string[];
}

/** Each source by its option. */
const SOURCES: readonly { readonly flag: string; readonly key: keyof SecretOptions; readonly read: (values: readonly string[]) => SecretInput[] }[] = [
  { flag: "--secret-env", key: "secretEnv", read: (names) => fromEnvironment(names, process.env) },
  { flag: "--secrets", key: "secrets", read: (files) => fromLists(files) },
  { flag: "--secret-file", key: "secretFile", read: (pairs) => fromFiles(pairs) },
  { flag: "--secrets-fd", key: "secretsFd", read: (descriptors) => fromDescriptors(descriptors) },
];

/** Variables that are likely to hold a secret, by name. */
export const LIKELY_NAMES: readonly string[] = [
  "TOKEN",
  "SECRET",
  "PASSWORD",
  "PASSWD",
  "PASSPHRASE",
  "APIKEY",
  "API_KEY",
  "ACCESS_KEY",
  "PRIVATE_KEY",
  "CREDENTIAL",
].map((word) => `*${word}*`);

let known: readonly SecretInput[] = [];

/** What the command says without an engine is masked by these from now on, and by no others. */
export function remember<T extends readonly SecretInput[]>(secrets: T): T {
  known = secrets;
  return secrets;
}

/** Reads the secrets that options name, and remembers those that were read before one that cannot be. Throws `LV_USAGE`, `LV_CONFIG`, `LV_IO`. */
export function readSecrets(options: SecretOptions): SecretInput[] {
  for (const { key, read } of SOURCES) for (const value of options[key] ?? []) remember([...known, ...read([value])]);
  return [...known];
}

/** All that can be known without a session: what was remembered, what the arguments name as far as it can be read, and variables that are likely to be secrets. */
export function knownSecrets(args: readonly string[]): SecretInput[] {
  const named = known.length > 0 ? [] : SOURCES.flatMap(({ flag, read }) => valuesOf(flag, args).flatMap((value) => orNone(() => read([value]))));
  return [...known, ...named, ...orNone(() => fromEnvironment(LIKELY_NAMES, process.env))];
}

function valuesOf(flag: string, args: readonly string[]): string[] {
  return args.flatMap((arg, i) => (arg === flag ? (args[i + 1] ?? []) : arg.startsWith(`${flag}=`) ? arg.slice(flag.length + 1) : []));
}

function orNone(read: () => SecretInput[]): SecretInput[] {
  try {
    return read();
  } catch {
    return [];
  }
}
