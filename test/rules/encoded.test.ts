/** What base64 and hex hide: both engines and every scan loop report what a naive decoder does, at every chunking. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ENCODED } from "../../src/core/encoded.js";
import { HIT_SIZE } from "../../src/core/anchors.js";
import { ENGINES } from "../support/engines.js";

const TEXT = /^[\t\n\r\x20-\x7e]+$/;

/** Whether `group` characters of a text decode to nothing but text. */
function isText(kind: number, chars: string): boolean {
  const alphabet = kind === ENCODED.BASE64 ? /^[\w+/-]{4}$/ : /^[0-9a-f]{2}$/i;
  return alphabet.test(chars) && TEXT.test(Buffer.from(chars, kind === ENCODED.BASE64 ? "base64" : "hex").toString("latin1"));
}

function naive(text: string): string[] {
  const hits: string[] = [];
  for (const [kind, chars, group] of [
    [ENCODED.BASE64, 16, 4],
    [ENCODED.HEX, 24, 2],
  ] as const) {
    for (let at = 0; at + chars <= text.length; at++) {
      const groups = Array.from({ length: chars / group }, (_, i) => text.slice(at + i * group, at + (i + 1) * group));
      if (groups.every((each) => isText(kind, each)) && !(at >= group && isText(kind, text.slice(at - group, at)))) hits.push(`${at}:${kind}`);
    }
  }
  return hits;
}

const inner = fc.string({ unit: fc.constantFrom(...'password=ghp_Zz09~ \n{}:"\u00ff'), maxLength: 60 });
const piece = fc.oneof(
  inner.map((text) => Buffer.from(text, "latin1").toString("base64")),
  inner.map((text) => Buffer.from(text, "latin1").toString("base64url")),
  inner.map((text) => Buffer.from(text, "latin1").toString("hex")),
  inner.map((text) => Buffer.from(text, "latin1").toString("hex").toUpperCase()),
  fc.string({ unit: fc.constantFrom(..."ABCIJabcghijxyz0123456789+/-_ =.\n\xe9"), maxLength: 40 }),
);

describe.each(ENGINES)("$engine", (factory) => {
  function found(text: string, sizes: readonly number[]): string[] {
    const stream = factory.encoded();
    const bytes = Buffer.from(text, "latin1");
    const hits: string[] = [];
    for (let at = 0, i = 0; at < bytes.length; i++) {
      const chunk = bytes.subarray(at, at + sizes[i % sizes.length]!);
      at += chunk.length;
      const count = stream.scan(chunk);
      for (let hit = 0; hit < count; hit++) hits.push(`${at - stream.hits[hit * HIT_SIZE + 1]!}:${stream.hits[hit * HIT_SIZE]!}`);
    }
    return hits;
  }

  test("reports where text begins, once, at every chunking", () => {
    fc.assert(
      fc.property(
        fc.array(piece, { minLength: 1, maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 5 }),
        (pieces, sizes) => {
          const text = pieces.join("");
          expect(found(text, sizes).toSorted()).toEqual(naive(text).toSorted());
          expect(found(text, [text.length || 1]).toSorted()).toEqual(naive(text).toSorted());
        },
      ),
      { numRuns: 500 },
    );
  });

  test("finds text at every place of a word and phase of a group", () => {
    const hidden = Buffer.from("a text of words").toString("base64").replaceAll("=", "");
    for (let before = 0; before < 140; before++) {
      const text = ".".repeat(before) + hidden;
      expect(found(text, [1000])).toEqual([`${before}:${ENCODED.BASE64}`]);
      expect(found(`${text}$`, [before || 1, 1000])).toEqual([`${before}:${ENCODED.BASE64}`]);
    }
  });
});
