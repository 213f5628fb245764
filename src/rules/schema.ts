/** What a rule file may say: the schema of `patterns/<provider>.toml`. Fields are explained in patterns/README.md. Only the loader needs this module. */
import { z } from "zod";
import { CHECKSUMS } from "./checksums.js";

const ID = /^[a-z0-9]+(-[a-z0-9]+)*$/;

const text = z.string().min(1);

const anchor = z.union([
  text.min(3, "an anchor needs 3 bytes or more").max(32),
  z.strictObject({
    literal: text.min(3, "an anchor needs 3 bytes or more").max(32),
    fold: z.boolean().default(false).describe("ASCII letters of either case"),
  }),
]);

export const ruleSchema = z.strictObject({
  id: text.regex(ID, "expected lower-case words joined by -").describe("What findings and masks show"),
  description: text,
  category: z.enum(["token", "key", "password", "header", "url", "webhook", "cookie", "hash", "generic", "command"]),
  confidence: z.enum(["certain", "high", "medium", "low"]),
  kind: z.enum(["line", "run", "block", "assign", "mapping"]).describe("How a match is found; see patterns/README.md"),
  anchors: z.array(anchor).min(1).optional().describe("Literals one of which every match holds"),
  regex: text.optional().describe("RE2; what is masked stands in (?P<secret>…)"),
  charset: text.optional().describe("Alphabet by name, or a [class]: the mask runs on in it"),
  minLen: z.int().min(1).optional().describe("Fewest bytes: of a run behind its anchor, of the secret in other kinds"),
  maxLen: z.int().min(1).max(4096).optional().describe("Most bytes of a match of a line rule, as a claim that the loader checks"),
  left: z.enum(["token", "any"]).optional().describe("What may stand before the match"),
  right: z.enum(["token", "any"]).optional().describe("What may stand behind the secret"),
  random: z
    .union([z.boolean(), z.strictObject({ measure: z.enum(["p", "shannon"]), min: z.number().min(0) })])
    .optional()
    .describe("The secret must look random"),
  classes: z.int().min(1).max(4).optional().describe("Fewest of: lower case, upper case, digits, others"),
  checksum: z
    .enum(Object.keys(CHECKSUMS) as [string, ...string[]])
    .optional()
    .describe("Raises the confidence to certain where it holds"),
  near: z
    .strictObject({
      words: z.array(text.min(3)).min(1),
      within: z.int().min(1).max(400).default(100).describe("Bytes before the match"),
    })
    .optional()
    .describe("Words one of which must stand close before the match"),
  skipNoise: z.boolean().optional().describe("Line: references, placeholders and the like are not masked"),
  allow: z.array(text).optional().describe("RE2: secrets that match one are not masked"),
  words: z.array(text.min(3)).optional().describe("Assign: names, or parts of names, of what is secret. Mapping: its key"),
  begin: text.optional().describe("Block, mapping: the literal or RE2 that it begins with"),
  line: text.optional().describe("Block: alphabet of its lines"),
  end: text.optional().describe("Block: the literal that it ends with"),
  decode: z.boolean().optional().describe("False: not tried on what base64, hex and escapes hide"),
  learn: z.boolean().optional().describe("Whether what it finds becomes a known secret; default: certain and high"),
  policy: z.enum(["mask", "mask+count", "count"]).optional(),
  examples: z.array(text).describe("Recipes of text; what must be masked stands in ⟦ ⟧, or is all of it"),
  negatives: z.array(text).optional().describe("Recipes of text in which the rule finds nothing"),
  references: z.array(text).min(1).describe("Where the format is published"),
  provenance: text.describe("Where the rule comes from"),
});

export const fileSchema = z.strictObject({ rules: z.array(ruleSchema).min(1) });

/** The JSON schema (draft 2020-12) of a file of rules, for editors: names, values and what they mean. */
export function jsonSchema(): object {
  return { title: "logveil rules", description: "Fields are explained in patterns/README.md", ...z.toJSONSchema(fileSchema, { io: "input" }) };
}

/** A rule as it is written. */
export type RuleSource = z.infer<typeof ruleSchema>;
