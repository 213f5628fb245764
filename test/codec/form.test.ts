/** Forms: every key and value as if it were masked alone, everything else byte by byte. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FRAMINGS } from "../../src/codec/framing.js";
import { createEngine, type Engine } from "../../src/index.js";
import { ENGINES } from "../support/engines.js";
import { maskAlone } from "../support/json.js";
import { bytewise, cut } from "../support/redactor.js";

const SECRETS = ["hunter2 hunter2&xQ=", "pass%41word\né+z", "4821337755"];
const form = FRAMINGS.find(({ name }) => name === "form")!;

function through(engine: Engine, chunks: readonly Buffer[]): Buffer {
  const body = form.open(() => engine.stream());
  const out: Buffer[] = [];
  for (const chunk of chunks) out.push(...body.push(chunk).map((piece) => Buffer.from(piece)));
  out.push(...body.end().map((piece) => Buffer.from(piece)));
  return Buffer.concat(out);
}

const percent = (byte: number, isUpper: boolean): string => {
  const digits = byte.toString(16).padStart(2, "0");
  return `%${isUpper ? digits.toUpperCase() : digits}`;
};

/** A key or value, spelled in any way, and the bytes it means. */
const field = (isKey: boolean): fc.Arbitrary<{ raw: Buffer; text: Buffer }> =>
  fc
    .tuple(
      fc
        .array(fc.oneof(fc.constantFrom(...SECRETS, "hunter2 hun", "é"), fc.string({ maxLength: 5 })), { maxLength: 3 })
        .map((parts) => Buffer.from(parts.join(""))),
      fc.array(fc.nat(5), { minLength: 1, maxLength: 9 }),
      fc.constantFrom("", "%", "%4", "%zz"),
    )
    .map(([bytes, choices, tail]) => {
      const raw = [...bytes].map((byte, i) => {
        const choice = choices[i % choices.length]!;
        const mustEscape = byte === 0x26 || byte === 0x25 || byte === 0x2b || (byte === 0x3d && isKey);
        if (byte === 0x20 && choice < 3) return Buffer.from("+");
        return mustEscape || choice > 3 ? Buffer.from(percent(byte, choice % 2 === 0)) : Buffer.from([byte]);
      });
      return { raw: Buffer.concat([...raw, Buffer.from(tail)]), text: Buffer.concat([bytes, Buffer.from(tail)]) };
    });

describe.each(ENGINES)("$engine", ({ engine: name }) => {
  test("masks every key and value as if it were alone, at any chunking", () => {
    const engine = createEngine({ engine: name, rules: false, mask: "fixed", secrets: SECRETS.map((value, i) => ({ name: `S${i}`, value })) });
    const pairs = fc.array(fc.tuple(field(true), fc.option(field(false), { nil: undefined })), { maxLength: 4 });
    let masked = 0;
    fc.assert(
      fc.property(pairs, fc.array(fc.nat(300), { maxLength: 5 }), (given, cuts) => {
        const parts = given.flatMap(([key, value], i) => [...(i > 0 ? ["&"] : []), key, ...(value === undefined ? [] : ["=", value])]);
        const raw = Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : part.raw)));
        const output = through(engine, bytewise(raw));
        expect(through(engine, [raw]).equals(output)).toBe(true);
        const some = cut(
          raw,
          cuts.map((at) => at % (raw.length + 1)),
        );
        expect(through(engine, some).equals(output)).toBe(true);
        const fields = output.toString("latin1").split("&");
        expect(fields.length).toBe(Math.max(1, given.length));
        given.forEach(([key, value], i) => {
          const [left, ...right] = fields[i]!.split("=");
          const pair: [string, { raw: Buffer; text: Buffer }][] = [
            [left!, key],
            ...(value === undefined ? [] : [[right.join("="), value] as [string, typeof value]]),
          ];
          for (const [found, { raw: before, text }] of pair) {
            const alone = maskAlone(engine, text);
            if (alone.equals(text)) expect(found).toBe(before.toString("latin1"));
            else {
              masked++;
              expect(unescape(found.replaceAll("+", " "))).toBe(alone.toString("latin1"));
            }
          }
        });
      }),
      { numRuns: 400 },
    );
    expect(masked).toBeGreaterThan(100);
    engine.close();
  });

  test("encodes what it masks, and that only", () => {
    const engine = createEngine({ engine: name, rules: false, mask: { style: "fixed", text: "<é &=+>" }, secrets: [{ name: "S", value: SECRETS[0]! }] });
    expect(through(engine, [Buffer.from("a%2f/=%7e+hunter2+%68unter2%26xQ=+%7E&&b")]).toString()).toBe("a%2f/=%7e+%3C%C3%A9+%26%3D%2B%3E+%7E&&b");
    engine.close();
  });
});

/** Percent-decodes to Latin-1; a `%` without digits is itself. */
function unescape(text: string): string {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 16)));
}
