/** The work that rules make grows with the log, not with its square: counted in bytes looked at, not in time. */
import { afterEach, expect, test, vi } from "vitest";
import { createEngine } from "../../src/index.js";
import { StreamText } from "../../src/rules/text.js";
import { ENGINES } from "../support/engines.js";

afterEach(() => vi.restoreAllMocks());

/** Bytes that rules look at one by one in `text`, pushed as one chunk. */
function looks(engine: (typeof ENGINES)[number], text: string): number {
  const spy = vi.spyOn(StreamText.prototype, "at");
  const stream = createEngine({ engine: engine.engine }).stream();
  stream.push(Buffer.from(text));
  stream.end();
  const count = spy.mock.calls.length;
  spy.mockRestore();
  return count;
}

// Each match runs on to the end of the chunk; each is a finding of its own; each has its anchor in the middle.
test.for(ENGINES.flatMap((engine) => ["sk-ant-api03-", "5Q~", "cf-token ", "ghp_", "QJJQ"].map((piece) => [engine, piece] as const)))(
  "twice as much is twice the work: %o",
  ([engine, piece]) => {
    const some = looks(engine, piece.repeat(300));
    expect(some).toBeGreaterThan(300);
    expect(looks(engine, piece.repeat(600))).toBeLessThan(some * 2.3);
  },
);
