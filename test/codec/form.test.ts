/** Forms: every key and value as if it were masked alone, everything else byte by byte; and what a body that is not quite a form means besides. */
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
        // As a serializer does: else it is taken for text.
        return mustEscape || byte <= 0x20 || byte >= 0x7f || choice > 3 ? Buffer.from(percent(byte, choice % 2 === 0)) : Buffer.from([byte]);
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
        const raw = Buffer.concat(["f&", ...parts].map((part) => (typeof part === "string" ? Buffer.from(part) : part.raw)));
        const output = through(engine, bytewise(raw));
        expect(through(engine, [raw]).equals(output)).toBe(true);
        const some = cut(
          raw,
          cuts.map((at) => at % (raw.length + 1)),
        );
        expect(through(engine, some).equals(output)).toBe(true);
        const fields = output.toString("latin1").split("&").slice(1);
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

/** What a form is read as: keys and values in which `+` is a space, or itself; or the bytes as they are. */
const READINGS: readonly ((raw: string) => string[])[] = [
  (raw) => raw.split(/[&=]/).map((part) => unescape(part.replaceAll("+", " "))),
  (raw) => raw.split(/[&=]/).map(unescape),
  (raw) => [raw],
];

describe.each(ENGINES)("what is not quite a form, $engine", ({ engine: name }) => {
  const secrets = ["se+cret/va lue9", "a&b=c&d-0123456", "tok%41en+x99"];
  const open = (): Engine => createEngine({ engine: name, rules: false, secrets: secrets.map((value, i) => ({ name: `S${i}`, value })) });

  test.each([
    ["+ as itself", "a=se+cret/va%20lue9&b=+", "a=%5BREDACTED%3AS0%5D&b=+"],
    ["+ as itself and a space", "a=se+cret/va+lue9", "a=%5BREDACTED%3AS0%5D"],
    ["+ as itself and a space, the rest encoded", "a=se+cret%2Fva+lue9", "a=%5BREDACTED%3AS0%5D"],
    ["+ encoded", "a=se%2Bcret%2fva+lue9&c", "a=%5BREDACTED%3AS0%5D&c"],
    ["text with & and =", "some text: a&b=c&d-0123456, more+text", "some text: [REDACTED:S1], more+text"],
    ["an escape that is none", "log=tok%41en+x99", "log=[REDACTED:S2]"],
    ["JSON", '{"a": "s\\u0065+cret\\/va lue9", "b": "%41+&="}', '{"a": "[REDACTED:S0]", "b": "%41+&="}'],
    [
      "JSON, over several lines, one value behind another",
      '[1,\n["s\\u0065+cret/va lue9"]]\n{"b":1}{"c":"a\\u0026b=c&d-0123456"}',
      '[1,\n["[REDACTED:S0]"]]\n{"b":1}{"c":"[REDACTED:S1]"}',
    ],
    ["brackets that are no JSON", '[INFO] "se+cret/va lue9" {', '[INFO] "[REDACTED:S0]" {'],
    ["numbers in brackets", "[12:00:01] x", "[12:00:01] x"],
    ["brackets and nothing in them", "[[1, {}], ", "[[1, {}], "],
  ])("%s, at any chunking", (_, body, expected) => {
    const engine = open();
    for (let size = 1; size <= body.length; size++) {
      const chunks = Array.from({ length: Math.ceil(body.length / size) }, (__, i) => Buffer.from(body.slice(i * size, (i + 1) * size)));
      expect(through(engine, chunks).toString()).toBe(expected);
    }
    engine.close();
  });

  test("no reading of what comes out has a secret, at any chunking", () => {
    const engine = open();
    const spelled = fc
      .tuple(fc.constantFrom(...secrets), fc.array(fc.nat(5), { minLength: 1, maxLength: 9 }))
      .map(([value, choices]) =>
        [...Buffer.from(value)].map((byte, i) => {
          const choice = choices[i % choices.length]!;
          return choice === 0 ? percent(byte, true) : choice === 1 && byte === 0x20 ? "+" : String.fromCharCode(byte);
        }),
      )
      .map((parts) => parts.join(""));
    const body = fc.array(fc.oneof(spelled, fc.constantFrom("&", "=", "+", "%", '{"', "x", " ")), { maxLength: 6 }).map((parts) => `x${parts.join("")}`);
    let masked = 0;
    fc.assert(
      fc.property(body, fc.array(fc.nat(99), { maxLength: 4 }), (raw, cuts) => {
        const output = through(engine, [Buffer.from(raw)]);
        expect(through(engine, bytewise(Buffer.from(raw))).equals(output)).toBe(true);
        const some = cut(
          Buffer.from(raw),
          cuts.map((at) => at % (raw.length + 1)),
        );
        expect(through(engine, some).equals(output)).toBe(true);
        const read = READINGS.flatMap((reading) => reading(output.toString("latin1"))).join("\n");
        for (const secret of secrets) expect(read).not.toContain(secret);
        if (output.toString() !== raw) masked++;
      }),
      { numRuns: 300 },
    );
    expect(masked).toBeGreaterThan(100);
    engine.close();
  });

  test("what a long body looks like does not depend on how it is cut", () => {
    const engine = open();
    // By the beginning a form, though a space comes behind it.
    const body = Buffer.from(`a=${"x".repeat(20_000)} ${secrets[0]!}`);
    const long = Buffer.from(`[${"1,".repeat(9000)}"s\\u0065+cret/va lue9"]`);
    for (const [raw, end] of [
      [body, " %5BREDACTED%3AS0%5D"],
      [long, '1,"[REDACTED:S0]"]'],
    ] as const) {
      const output = through(engine, [raw]).toString();
      expect(output.endsWith(end)).toBe(true);
      for (const at of [1, 16_383, 16_384, 16_385, 19_000]) expect(through(engine, cut(raw, [at])).toString()).toBe(output);
    }
    engine.close();
  });

  test("silence lets go what no reading can make a secret of", () => {
    const engine = open();
    const body = form.open(() => engine.stream());
    const text = (pieces: Uint8Array[]): string => Buffer.concat(pieces).toString();
    expect(text(body.push(Buffer.from("a=text&b=se+"))) + text(body.idle())).toMatch(/^a=text&b=/);
    expect(text(body.push(Buffer.from("cret/va lue9&c"))) + text(body.end())).not.toContain("cret");
    engine.close();
  });

  test("JSON that is damaged is an error that says what the body was taken for, and lets nothing go behind it", () => {
    const engine = open();
    const body = form.open(() => engine.stream());
    expect(() => body.push(Buffer.from('{"a": "x" se+cret/va lue9'))).toThrow(
      expect.objectContaining({
        code: "LV_FRAMING",
        message: expect.stringMatching(/it came as a form, and begins like JSON: say by Content-Type what it is$/),
      }),
    );
    body.close();
    engine.close();
  });
});

/** Percent-decodes to Latin-1; a `%` without digits is itself. */
function unescape(text: string): string {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 16)));
}
