/** Inputs that `npm run fuzz -- cost` has found: the work that each makes is bounded, at every size. Counted in bytes that the engine looks at, not in time. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { ENGINES } from "../support/engines.js";

interface CostCase {
  readonly name: string;
  readonly unit: string;
  readonly chunk: number;
  readonly framing: string;
}

interface Measurer {
  run(each: CostCase, bytes: number, mostUs: number): { readonly bytes: number; readonly work: number; readonly isWhole: boolean };
}

const root = fileURLToPath(new URL("../..", import.meta.url));
const dist = join(root, "dist");
/** Modules of the fuzzer are plain JavaScript. */
const load = async <T>(name: string): Promise<T> => (await import(join(root, "test/fuzz/cost", name))) as T;
const { readCorpus } = await load<{ readCorpus(this: void, folder: string, dist: string): Promise<CostCase[]> }>("grammar.mjs");
const { measurer, DOUBLING } = await load<{ measurer(this: void, dist: string, engine: string): Promise<Measurer>; DOUBLING: number }>("measure.mjs");
const cases = await readCorpus(join(root, "test/fuzz/corpus/cost"), dist);
/** Most that a byte is looked at on average, by all rules together. */
const MOST_LOOKS = 2500;

test("cost: the corpus is found", () => expect(cases.length).toBeGreaterThan(5));

test.each(ENGINES.flatMap(({ engine }) => cases.map((each) => [engine, each.name, each] as const)))(
  "cost: %s, %s takes bounded work",
  async (engine, _, each) => {
    const measure = await measurer(dist, engine);
    const bytes = each.chunk < 64 ? 12_288 : 32_768;
    const once = measure.run(each, bytes, Infinity);
    const twice = measure.run(each, 2 * bytes, Infinity);
    expect(once.isWhole && twice.isWhole).toBe(true);
    expect(once.work).toBeGreaterThan(0);
    expect(twice.work / once.work).toBeLessThanOrEqual(DOUBLING);
    expect(twice.work / twice.bytes).toBeLessThanOrEqual(MOST_LOOKS);
  },
);
