/** The list of fields: names, defaults, descriptions, JSON schema and the page of documentation that is made of it. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { COMMANDS, CONFIGURATION, longName } from "../../src/cli/options.js";
import { changesOf, LIVE } from "../../src/config/changes.js";
import { configSchema, FIELDS } from "../../src/config/fields.js";
import { loadConfig } from "../../src/config/load.js";
import type { Config } from "../../src/config/schema.js";

const root = fileURLToPath(new URL("../..", import.meta.url));

test("every default is one that the field takes", () => {
  for (const field of FIELDS) {
    const written = field.fallback({});
    if (written !== undefined) expect(field.type.safeParse(written).success, field.path).toBe(true);
  }
});

test("names of variables and flags are unique, and none that others set", () => {
  for (const names of [FIELDS.map(({ env }) => env), FIELDS.map(({ flag }) => flag)]) expect(new Set(names).size).toBe(FIELDS.length);
  expect(FIELDS.find(({ path }) => path === "store.maxFileSize")).toMatchObject({ env: "LOGVEIL_STORE_MAX_FILE_SIZE", flag: "--store-max-file-size" });
  for (const { env } of FIELDS) {
    expect(env).toMatch(/^LOGVEIL_[A-Z]+(_[A-Z]+)*$/);
    // An orchestrator sets those for a service of the name, logveil itself these.
    expect(env).not.toMatch(/_SERVICE_(HOST|PORT)$|_PORT(_|$)|^LOGVEIL_(ENGINE|SIMD|FIXTURES|CONFIG)$/);
  }
});

test("every option of the command line but --config is the flag of a field", () => {
  const flags = FIELDS.map(({ flag }) => flag);
  expect(CONFIGURATION.map(longName).filter((name) => !flags.includes(name))).toEqual(["--config"]);
  expect(COMMANDS.find(({ name }) => name === "config")!.options).toEqual(expect.arrayContaining([...CONFIGURATION]));
});

interface Schema {
  readonly $schema?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: unknown;
  readonly required?: readonly string[];
}

test("the JSON schema tells every field with its meaning, and demands none", () => {
  const made = configSchema() as Schema;
  expect(made.$schema).toBe("https://json-schema.org/draft/2020-12/schema");
  for (const field of FIELDS) {
    let at = made;
    for (const key of field.keys) {
      expect([at.additionalProperties, at.required]).toEqual([false, undefined]);
      at = at.properties![key]!;
    }
    expect([at.description, at.default]).toEqual([field.description, field.fallback({})]);
  }
});

test("docs/configuration.md is what scripts/docs.mjs makes", () => {
  const { stdout, stderr } = spawnSync(process.execPath, ["scripts/docs.mjs", "--print"], { cwd: root, encoding: "utf8" });
  expect(stderr).toBe("");
  expect(readFileSync(`${root}docs/configuration.md`, "utf8"), "run: node scripts/docs.mjs").toBe(stdout);
});

test("what a reload can change are fields, and only what differs is named", () => {
  for (const live of LIVE)
    expect(
      FIELDS.some(({ path }) => path === live || path.startsWith(`${live}.`)),
      live,
    ).toBe(true);
  const load = (flags: object): Config => loadConfig({ flags, env: {} }).config;
  const before = load({});
  expect(changesOf(before, load({}))).toEqual({ live: [], needRestart: [] });
  expect(
    changesOf(
      before,
      load({ log: { level: "debug", format: "json" }, rules: { disable: ["x"] }, limits: { maxStreams: 5, holdBack: "1s" }, jobs: { grace: "1s" } }),
    ),
  ).toEqual({
    live: ["rules.disable", "limits.maxStreams", "jobs.grace", "log.level"],
    needRestart: ["limits.holdBack", "log.format"],
  });
});
