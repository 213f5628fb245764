/** Proof that the harness can fail: a masker with a known defect must be caught by the property that the engines pass. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { oracle } from "../oracle/oracle.js";

/** The usual masker: replaces in each chunk by itself. */
const leaky = (chunks: readonly string[], secret: string): string => chunks.map((chunk) => chunk.replaceAll(secret, "<M>")).join("");

test("a masker that forgets what was cut between chunks is caught", () => {
  const property = fc.property(fc.array(fc.constantFrom("a", "b"), { maxLength: 20 }), fc.nat(20), (chars, at) => {
    const text = chars.join("");
    const want = oracle(Buffer.from(text), [{ bytes: Buffer.from("abab"), flags: 0 }], "<M>").toString();
    expect(leaky([text.slice(0, at), text.slice(at)], "abab")).toBe(want);
  });
  expect(() => fc.assert(property, { numRuns: 500 })).toThrow();
});
