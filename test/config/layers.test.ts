/** Flags before environment before file before defaults, field by field, at random; and what is printed loads to the same. */
import fc from "fast-check";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { z } from "zod";
import { FIELDS, type Field, fieldsFromOptions, setAt, valueAt } from "../../src/config/fields.js";
import { loadConfig, printConfig, printOrigin } from "../../src/config/index.js";
import { schema } from "../../src/config/schema.js";
import { printQuantity, SIZE_UNITS, TIME_UNITS } from "../../src/config/units.js";
import { HOME, loadText, write } from "./support.js";

const keys = [write("one"), write("two")];
const WEBHOOKS = ["https://hooks.example.com/T0/abc", "http://127.0.0.1:9/?token=abc"];
const port = (field: Field): fc.Arbitrary<string> => {
  // Each field its own range, so that none takes the address of another.
  const from = 10_000 + FIELDS.indexOf(field) * 100;
  return fc.integer({ min: from, max: from + 99 }).map((number) => (number % 2 === 0 ? `127.0.0.1:${number}` : `[::1]:${number}`));
};
const quantities = (units: Readonly<Record<string, number>>, min: number, max: number): fc.Arbitrary<string> =>
  fc.integer({ min, max }).map((value) => printQuantity(value, units));
const ruleIds = fc.constantFrom("low", "medium", "high", "certain", "jwt", "aws-key-2");

/** Of fields that take shorter times than others, in milliseconds. */
const BOUNDS_OF_TIMES: Readonly<Record<string, readonly [number, number]>> = { "limits.holdBack": [1, 3_600_000], "store.flushInterval": [10, 60_000] };

/** What a field may be set to, by its form; fields that depend on others by their path. */
function valuesOf(field: Field): fc.Arbitrary<unknown> {
  const { path, form, type } = field;
  if (/^(auth\.tokenFile|tls\.key|control\.tls\.key|upstream\.headersFile|onFinding\.webhook\.secretFile)$/.test(path)) return fc.constantFrom(...keys);
  if (path === "secrets.files") return fc.subarray(keys);
  if (path === "onFinding.webhook.url") return fc.constantFrom(...WEBHOOKS);
  if (path === "mask.style") return fc.constantFrom("fixed", "length");
  if (path === "mask.text") return fc.constantFrom("*", "#", "-", "5", "'", '"', "&", "!", ":", "{");
  if (path === "routes")
    return fc.uniqueArray(
      fc.record({
        path: fc.constantFrom("/", "/a", "/ä"),
        framing: fc.constantFrom("text", "json", "octet-stream"),
        maskResponses: fc.boolean(),
      }),
      { selector: (route) => route.path, maxLength: 3 },
    );
  if (path === "rules.policy") return fc.dictionary(ruleIds, fc.constantFrom("mask", "mask+count", "count"));
  if (path === "onFinding.actions")
    return fc.dictionary(ruleIds, fc.oneof(fc.constantFrom("count", "webhook"), fc.subarray(["warn", "fail-job"], { minLength: 1 })));
  if (path === "secrets.env") return fc.oneof(fc.constantFrom("auto", "off"), fc.subarray(["A", "B_*", "*"], { minLength: 1 }));
  if (path === "rules.disable") return fc.uniqueArray(ruleIds);
  if (path === "auth.hosts") return fc.subarray(["ci.example.org", "build_1", "::1", "10.0.0.1"]);
  if (path === "spool.headers") return fc.subarray(["x-tenant", "stream-name", "x-1"]);
  if (path === "syslog.job") return fc.constantFrom("syslog", "a:b", "'#1'");
  if (path === "syslog.maxMessage") return quantities(SIZE_UNITS, 2 ** 11, 2 ** 24);
  if (path === "syslog.forward") return fc.constantFrom("tls://logs.example.com:6514", "tls://[::1]:6514");
  if (path === "syslog.udp") return port(field);
  if (form === "list of paths") return fc.subarray(["/a", "/b c", "/c: d #e", "/ä"]);
  if (form === "path") return fc.constantFrom(`/srv/${path}/1`, `/srv/${path}/with space`, `/srv/${path}/it's: "quoted" #5`);
  if (form === "URL") return fc.constantFrom("https://logs.example.com/a", "http://127.0.0.1:8080");
  if (form === "size" || form === "size or off") return quantities(SIZE_UNITS, 2 ** 20, 2 ** 26);
  if (form === "time" || form === "time or off") return quantities(TIME_UNITS, ...((BOUNDS_OF_TIMES[path] ?? [1000, 86_400_000]) as [number, number]));
  if (form === "unix:/path or off") return fc.constantFrom("off", "unix:/run/x.sock");
  if (form === "address or off") return fc.oneof(fc.constant("off"), port(field));
  if (form === "address") return port(field);
  if (type instanceof z.ZodNumber) return fc.integer({ min: Math.max(0, type.minValue ?? 0), max: Math.min(type.maxValue ?? 5000, 5000) });
  if (type instanceof z.ZodBoolean) return fc.boolean();
  if (type instanceof z.ZodEnum) return fc.constantFrom(...type.options);
  throw new Error(`no values for ${path}`);
}

/** A value as the text of a variable or flag. */
const textOf = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));

interface Layers {
  readonly file?: unknown;
  readonly env?: unknown;
  readonly flag?: unknown;
}

/** Fields that must be there whatever else is, so that all go together: said by the file unless a layer says them anyway. */
const NEEDED = /^(tls|control\.tls)\.|^mask\.|^onFinding\.webhook/;

describe.each([
  ["store", /^upstream\.url$|^spool\.enabled$|^syslog\.forward/, NEEDED],
  ["upstream", /^store\./, new RegExp(`${NEEDED.source}|^upstream\\.url$|^syslog\\.(udp|forward)`)],
])("into the %s", (_, without, needed) => {
  const fields = FIELDS.filter(({ path }) => !without.test(path));
  const layers = fc.record(
    Object.fromEntries(
      fields.map((field): [string, fc.Arbitrary<Layers>] => {
        const value = valuesOf(field);
        const layer = fc.record({ file: value, env: value, flag: value }, { requiredKeys: needed.test(field.path) ? ["file"] : [] });
        return [field.path, layer];
      }),
    ),
  );

  test("the topmost layer counts, and is told", () => {
    fc.assert(
      fc.property(layers, fc.boolean(), (all, flagsAsText) => {
        const [said, env, flags, written]: Record<string, unknown>[] = [{}, { ...HOME }, {}, {}];
        for (const field of fields) {
          const own = all[field.path]!;
          if (own.file !== undefined) setAt(said!, field.keys, own.file);
          if (own.env !== undefined) env![field.env] = textOf(own.env);
          if (own.flag !== undefined) setAt(flags!, field.keys, flagsAsText ? textOf(own.flag) : own.flag);
          const top = own.flag ?? own.env ?? own.file ?? field.fallback(HOME);
          if (top !== undefined) setAt(written!, field.keys, top);
        }
        const file = write(stringify(said, { lineWidth: 0 }));
        const loaded = loadConfig({ flags: flags!, env: env as NodeJS.ProcessEnv, file });
        // All fields at once against the schema as a whole, and each against its layer.
        for (const path of FIELDS.filter((field) => without.test(field.path) && field.fallback(HOME) !== undefined))
          setAt(written!, path.keys, path.fallback(HOME));
        expect(loaded.config).toEqual(schema.parse(written));
        const lines = readFileSync(file, "utf8").split("\n");
        for (const field of fields) {
          const own = all[field.path]!;
          const origin = loaded.origins.get(field.path);
          if (own.flag !== undefined) expect(origin).toEqual({ kind: "flag", flag: field.flag });
          else if (own.env !== undefined) expect(origin).toEqual({ kind: "env", name: field.env });
          else if (own.file !== undefined) {
            expect(origin).toMatchObject({ kind: "file", file });
            expect(lines[(origin as { line: number }).line - 1]!.trim().split(":")[0]).toBe(field.keys.at(-1));
          } else expect(origin).toEqual(field.fallback(HOME) === undefined ? undefined : { kind: "default" });
        }
        // What is printed loads to the same, but for the secret that is not.
        for (const detail of ["values", "origins"] as const) {
          const printed = printConfig(loaded, detail);
          for (const url of WEBHOOKS) expect(printed).not.toContain(url);
          const url = JSON.stringify(valueAt(loaded.config, ["onFinding", "webhook", "url"]));
          const again = printed.replace('"***"', () => url);
          expect(loadText(again).config).toEqual(loaded.config);
        }
      }),
      { numRuns: 60 },
    );
  });
});

test("a configuration is frozen to its leaves", () => {
  const { config } = loadText("routes: [{ path: /a, framing: text }]\nrules: { policy: { low: count } }");
  const frozen = (value: unknown): boolean => typeof value !== "object" || value === null || (Object.isFrozen(value) && Object.values(value).every(frozen));
  expect(frozen(config)).toBe(true);
});

test("without anything the defaults hold, and follow the environment", () => {
  const env = { HOME: "/home/ci", XDG_STATE_HOME: "/var/state", XDG_RUNTIME_DIR: "/run/user/1", XDG_CONFIG_HOME: "/nowhere" };
  const { config, origins, sources, warnings } = loadConfig({ env });
  expect([...origins.values()].every(({ kind }) => kind === "default")).toBe(true);
  expect([sources, warnings]).toEqual([{ file: undefined, env: [], flags: [] }, []]);
  expect(config).toMatchObject({
    listen: { kind: "tcp", host: "127.0.0.1", port: 4180 },
    control: { socket: "/run/user/1/logveil/control.sock", tcp: "off", tls: {} },
    store: { dir: "/var/state/logveil/logs", maxFileSize: 256 * 2 ** 20, maxAge: 30 * 86_400_000 },
    limits: { holdBack: 500, zstdWindow: 8 * 2 ** 20, requestTimeout: "off" },
    secrets: { ttl: "off" },
  });
  expect(loadConfig({ env: { HOME: "/home/ci" } }).config.store.dir).toBe("/home/ci/.local/state/logveil/logs");
  // Relative folders do not count.
  expect(loadConfig({ env: { HOME: "x", XDG_STATE_HOME: "y", XDG_RUNTIME_DIR: "z" } }).config).toMatchObject({
    store: { dir: "/var/lib/logveil/logs" },
    control: { socket: "/run/logveil/control.sock" },
  });
});

test("an empty file, comments alone and groups of comments say nothing", () => {
  for (const text of ["", "# nothing\n", "---\n", "\ufeff", "store:\n  # dir: /x\nlog: {}\n"]) expect(loadText(text).config, text).toEqual(loadText("").config);
});

test("options of the command line become fields by the names of their flags", () => {
  const flags = fieldsFromOptions({ upstream: "https://x.example", limitsMaxRatio: "5", origin: true, listen: undefined });
  expect(flags).toEqual({ upstream: { url: "https://x.example" }, limits: { maxRatio: "5" } });
  const { config, origins, sources } = loadText("", { flags });
  expect([config.upstream.url, config.limits.maxRatio, printOrigin(origins.get("upstream.url")!)]).toEqual(["https://x.example", 5, "flag --upstream"]);
  expect(sources.flags).toEqual(["--upstream", "--limits-max-ratio"]);
});
