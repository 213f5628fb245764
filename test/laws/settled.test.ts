/** Where a stream is settled another one may go on that knows nothing of what was before: after a crash nothing is lost, and nothing leaks. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createEngine, type Finding } from "../../src/index.js";
import { cook } from "../../src/rules/recipes.js";
import { ENGINES } from "../support/engines.js";

const SECRET = "horse-battery\nstaple-9876543210";
const PEM = `-----BEGIN RSA PRIVATE KEY-----\n${cook("{b64:64}", "settled").text}\n${cook("{b64:40}", "more").text}\n-----END RSA PRIVATE KEY-----`;
const TOKEN = cook("glpat-{b62:20}", "settled").text;

const piece = fc.oneof(
  fc.constantFrom(SECRET, PEM, TOKEN, Buffer.from(SECRET).toString("base64"), Buffer.from(TOKEN).toString("hex"), `password=${TOKEN}`, `https://u:${TOKEN}@h/`),
  fc.constantFrom(SECRET, PEM, TOKEN).chain((text) => fc.nat(text.length).map((length) => text.slice(0, length))),
  fc.string({ unit: fc.constantFrom(..."ab=: \n\n-%/"), maxLength: 20 }),
);

/** All stretches of eight characters of what is secret. */
const GRAMS = [...SECRET.split("\n"), TOKEN, ...PEM.split("\n").slice(1, 3)].flatMap((text) =>
  Array.from({ length: text.length - 7 }, (_, at) => text.slice(at, at + 8)),
);

describe.each(ENGINES)("$engine", ({ engine: name }) => {
  const engine = createEngine({ engine: name, secrets: [{ name: "S", value: SECRET }], rules: { learn: false } });

  test("what stands behind, masked by itself, leaks no more than the whole", () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 10 }), fc.nat(400), fc.boolean(), (pieces, cut, silence) => {
        const text = pieces.join("");
        const found: Finding[] = [];
        const stream = engine.stream({ onFinding: (finding) => found.push(finding) });
        stream.push(Buffer.from(text.slice(0, cut)));
        if (silence) stream.idle();
        let { settled } = stream;
        stream.close();
        const isInFinding = (at: number): boolean => found.some(({ offset, length }) => offset < at && at < offset + length);
        while (settled > 0 && (text[settled - 1] !== "\n" || isInFinding(settled))) settled--;
        const start = Math.max(0, settled);
        const whole = engine.redact(text);
        const behind = engine.redact(text.slice(start));
        for (const gram of GRAMS) if (behind.includes(gram)) expect(whole).toContain(gram);
      }),
      { numRuns: 1500 },
    );
  });

  test("is not far behind where nothing is under way", () => {
    const stream = engine.stream();
    for (let line = 0; line < 100; line++) {
      stream.push(Buffer.from(`an ordinary line ${line} of a log, with key=value and https://example.org/x in it\n`));
      expect(stream.offset - stream.settled).toBeLessThan(200);
    }
    stream.close();
  });
});
