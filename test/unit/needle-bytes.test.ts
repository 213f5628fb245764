/** What a secret may cost, whatever it is made of: `limits.maxNeedleBytes`, linear work, and turns for everything else while needles are made. */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { createEngine } from "../../src/engine.js";
import { DEFAULT_LIMITS } from "../../src/limits.js";
import { maskFamilies } from "../../src/core/mask.js";
import type { NeedleTable } from "../../src/core/matcher.js";
import { type Expansion, expandSecret } from "../../src/secrets/expand.js";
import { placesIn } from "../../src/secrets/known.js";
import { SecretStore } from "../../src/secrets/registry.js";
import { DEFAULT_SALIENCE } from "../../src/secrets/salience.js";
import { collect, Value } from "../../src/secrets/spelling.js";
import { VARIANTS } from "../../src/secrets/variants.js";
import { ENGINES } from "../support/engines.js";

const CORE = "Xk3-q9!vT7";
/** Around the core, so that the whole is worth masking. */
const shapes: Readonly<Record<string, (count: number) => string>> = {
  "single quotes, nested": (count) => "'".repeat(count / 2) + CORE + "'".repeat(count / 2),
  "double quotes, nested": (count) => '"'.repeat(count / 2) + CORE + '"'.repeat(count / 2),
  "quotes and blanks, nested": (count) => `" '\t`.repeat(count / 8) + CORE + `\t' "`.repeat(count / 8),
  backslashes: (count) => CORE + "\\".repeat(count),
  "percent signs": (count) => CORE + "%".repeat(count),
  ampersands: (count) => CORE + "&".repeat(count),
  slashes: (count) => CORE + "/".repeat(count),
  "control bytes": (count) => CORE + "\x01".repeat(count),
  "wide characters": (count) => CORE + "漢".repeat(count / 3),
  "characters beyond U+FFFF": (count) => CORE + "😀".repeat(count / 4),
  "line ends": (count) => CORE + "\r\n".repeat(count / 2) + CORE,
  "distinct lines": (count) => Array.from({ length: count / 16 }, (_, i) => `line ${String(i).padStart(10, "0")}`).join("\n"),
  "leaves of JSON": (count) => JSON.stringify(Array.from({ length: count / 16 }, (_, i) => `leaf-${String(i).padStart(8, "0")}`)),
  "fields of .env": (count) => Array.from({ length: count / 16 }, (_, i) => `K=${String(i).padStart(13, "v")}`).join("\n"),
  URLs: (count) => `${CORE} ${"s://a:b@c ".repeat(count / 10)}`,
  "hash signs": (count) => CORE + "#{".repeat(count / 2),
  text: (count) => "correct horse battery staple ".repeat(count / 29),
};

const SIZE = 16 << 10;
const expand = (value: string | Buffer, limits: Partial<typeof DEFAULT_LIMITS> = {}): { expansion: Expansion; work: number } => {
  const steps = expandSecret(Buffer.from(value), { ...DEFAULT_SALIENCE, ...DEFAULT_LIMITS, ...limits });
  for (let work = 0; ;) {
    const { done, value: step } = steps.next();
    if (done === true) return { expansion: step, work };
    work += step;
  }
};
const bytesOf = ({ needles }: Expansion): number => needles.reduce((sum, { bytes }) => sum + bytes.length, 0);

describe("limits.maxNeedleBytes", () => {
  test.each(Object.entries(shapes))(
    "%s: needles stay within it, the secret itself and its base64 are among them, and what is missing has a name",
    (_, shape) => {
      const value = shape(SIZE);
      const maxNeedleBytes = 4 * SIZE;
      const { expansion } = expand(value, { maxNeedleBytes });
      const dense = value.replaceAll(/[\s]/g, "");
      const names = expansion.needles.map(({ variant }) => variant);
      expect(expansion.needles.some(({ bytes }) => [value, dense].includes(bytes.toString()))).toBe(true);
      expect(names.filter((name) => name === "base64")).toHaveLength(3);
      // Essential are at most: itself twice, base64 four thirds three times, parts in which nothing of it is twice.
      expect(bytesOf(expansion)).toBeLessThanOrEqual(maxNeedleBytes + 8 * value.length);
      expect(expansion.limited?.reason).toContain("limits.maxNeedleBytes");
      expect(expansion.limited?.variants).toContain("base64-base64");
      expect(expand(value).expansion.limited?.variants ?? []).not.toContain("base64-base64");
    },
  );

  test.each(Object.entries(shapes))("%s: twice the length takes at most 2.2 times the work", (_, shape) => {
    // Far from the limits on bytes and parts: those would hide what explodes.
    const limits = { maxNeedleBytes: 1 << 24, maxLeaves: 64 };
    const [once, twice] = [expand(shape(SIZE), limits), expand(shape(2 * SIZE), limits)];
    const nested = (1 << 24) / 16;
    const isNested = shape.toString().includes("repeat(count / 2) + CORE + ") || shape.toString().includes("count / 8");
    const allowance = isNested ? 2 * nested : 0;
    expect(twice.work).toBeLessThanOrEqual(2.2 * once.work + allowance);
    expect(bytesOf(twice.expansion)).toBeLessThanOrEqual(2.2 * bytesOf(once.expansion) + allowance);
  });

  test.each(VARIANTS.map((row) => [row.name, row] as const))("%s: a spelling is never made beyond what there is room for", (_, row) => {
    for (const shape of Object.values(shapes)) {
      const value = new Value(Buffer.from(shape(SIZE)));
      for (const spelling of row.encode(value)) {
        const most = spelling.atLeast - 1;
        const steps = collect(spelling, most);
        expect(steps.next(), row.name).toEqual({ done: true, value: undefined });
        let made = 0;
        for (const piece of spelling.pieces()) made += piece.length;
        expect(made).toBeGreaterThanOrEqual(spelling.atLeast);
        // A row that multiplies a value without measure would take the room of all others.
        expect(made).toBeLessThanOrEqual(32 * value.bytes.length);
      }
    }
  });

  test("nested quotes: 512 KB end, and the innermost value is looked for", () => {
    const value = shapes["single quotes, nested"]!(512 << 10);
    const { expansion } = expand(value);
    expect(bytesOf(expansion)).toBeLessThanOrEqual(DEFAULT_LIMITS.maxNeedleBytes + 8 * value.length);
    expect(expansion.needles.map(({ bytes }) => bytes.toString())).toEqual(expect.arrayContaining([CORE, value]));
    expect(expansion.limited?.variants).toContain("trimmed");
  });

  test("more parts than limits.maxLeaves are reported", () => {
    expect(expand(shapes["distinct lines"]!(SIZE)).expansion.limited?.reason).toContain("more than 256 parts (limits.maxLeaves)");
    expect(expand("first-line-x\nsecond-line-x").expansion.limited).toBeUndefined();
  });
});

describe.each(ENGINES)("$engine", (factory) => {
  const engineOf = () => createEngine({ engine: factory.engine, rules: false });

  /** How often everything else had its turn while `work` was under way. */
  async function turnsDuring(work: Promise<unknown>): Promise<number> {
    let [turns, isDone] = [0, false];
    const count = (): void => {
      turns++;
      if (!isDone) setImmediate(count);
    };
    setImmediate(count);
    await work;
    isDone = true;
    return turns;
  }

  test("a secret of 1 MB, also late, is masked, its limit is reported by name, and everything else has its turns meanwhile", async () => {
    const engine = engineOf();
    const scope = engine.scope("job");
    const stream = scope.stream();
    const value = randomBytes(786432).toString("base64");
    const head = Buffer.concat(stream.push(Buffer.from("before ")));
    let reports: unknown;
    const turns = await turnsDuring(scope.addSecrets([{ name: "BIG", value }]).then((answer) => (reports = answer)));
    expect(reports).toEqual([
      expect.objectContaining({
        kind: "limited",
        name: "BIG",
        reason: expect.stringContaining("limits.maxNeedleBytes"),
        variants: expect.arrayContaining(["base64-base64"]),
      }),
    ]);
    // Pieces are of half a MiB, and everything is gone over several times.
    expect(turns).toBeGreaterThan((2 * engine.stats().needleBytes) / (1 << 20));
    const text = `${value}\n${Buffer.from(value).toString("base64")}\n`;
    const out = Buffer.concat([head, ...stream.push(Buffer.from(text)), ...stream.end()]).toString();
    expect(out).toMatch(/^before \[REDACTED:BIG\]\n.{0,8}\[REDACTED:BIG\].{0,8}\n$/);
    engine.close();
  });

  const storeWith = (own: Partial<typeof factory>): SecretStore =>
    new SecretStore({
      factory: { ...factory, ...own },
      limits: DEFAULT_LIMITS,
      salience: DEFAULT_SALIENCE,
      families: maskFamilies({ style: "label" }),
      fingerprint: (value) => Buffer.from(value).toString("hex"),
    });

  test("a value that a rule finds while secrets are built stays known", async () => {
    const learned = randomBytes(20).toString("hex");
    const store = storeWith({
      buildAsync(table) {
        store.learn("rule", Buffer.from(learned));
        return factory.buildAsync(table);
      },
    });
    const added = randomBytes(30_000).toString("base64");
    await store.addAsync([{ name: "large", value: added }]);
    const names = placesIn(
      factory,
      store.groups,
      DEFAULT_LIMITS.maxGapBytes,
      Buffer.from(`${learned} ${Buffer.from(learned).toString("base64")} ${added}`),
    ).map(({ secret }) => secret.name);
    expect([...new Set(names)].toSorted()).toEqual(["large", "rule"]);
    expect(names.filter((name) => name === "rule").length).toBeGreaterThanOrEqual(2);
    store.close();
  });

  test("what is handed over again after a batch that was refused is no duplicate", async () => {
    const engine = engineOf();
    const good = { name: "GOOD", value: "a-secret-worth-keeping" };
    await expect(engine.addSecrets([good, { name: "LONG", value: Buffer.alloc(2 << 20, "x1") }])).rejects.toMatchObject({ code: "LV_SECRET_TOO_LONG" });
    expect(engine.redact("a-secret-worth-keeping")).toBe("a-secret-worth-keeping");
    expect(await engine.addSecrets([good])).toEqual([]);
    expect(engine.redact("a-secret-worth-keeping")).toBe("[REDACTED:GOOD]");
    engine.close();
  });

  test("a small secret after large ones never builds large ones again, nor many bytes at once", async () => {
    const built: number[] = [];
    const store = storeWith({
      build(table: NeedleTable) {
        built.push(table.bytes.length);
        return factory.build(table);
      },
    });
    await store.addAsync([{ name: "large", value: randomBytes(30_000).toString("base64") }]);
    await store.addAsync([{ name: "small", value: "a-small-secret-1" }]);
    for (let i = 0; i < 20; i++) store.learn("rule", Buffer.from(randomBytes(4000).toString("hex")));
    await store.addAsync([{ name: "small too", value: "a-small-secret-2" }]);
    expect(Math.max(...built)).toBeLessThanOrEqual(2.5 * DEFAULT_LIMITS.inlineBuildBytes);
    store.close();
  });
});
