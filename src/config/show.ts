/** The effective configuration as YAML that loads to the same one, secrets apart, with the origin of every value on request. */
import { stringify } from "yaml";
import { z } from "zod";
import { type Field, type Group, isGroup, ROOT, valueAt } from "./fields.js";
import { PRINTED_SECRET } from "./file.js";
import { type LoadedConfig, printOrigin } from "./load.js";

/** How much is told: values, or values and where each comes from. */
export type ShowDetail = "values" | "origins";

/** Prints the effective values. Fields without one, or that another one rules out, are comments. */
export const printConfig = (loaded: LoadedConfig, detail: ShowDetail = "values"): string => `${linesOf(ROOT, loaded, detail, "").join("\n")}\n`;

function linesOf(group: Group, loaded: LoadedConfig, detail: ShowDetail, indent: string): string[] {
  return [...group.members].flatMap(([key, member]) => {
    if (isGroup(member)) return [`${indent}${key}:`, ...linesOf(member, loaded, detail, `${indent}  `)];
    const origin = loaded.origins.get(member.path);
    if (origin === undefined) return [`${indent}# ${key}: not set`];
    // Said beside an upstream they would be an error.
    if (group.path === "store" && loaded.config.upstream.url !== undefined) return [`${indent}# ${key}: not used with upstream.url`];
    return [`${indent}${key}: ${valueOf(member, loaded)}${detail === "origins" ? ` # ${printOrigin(origin)}` : ""}`];
  });
}

/** In one line, as a file says it. */
function valueOf(field: Field, { config }: LoadedConfig): string {
  const written = field.secret ? PRINTED_SECRET : z.encode(field.type, valueAt(config, field.keys));
  return stringify(written, { collectionStyle: "flow", lineWidth: 0, blockQuote: false }).trimEnd();
}
