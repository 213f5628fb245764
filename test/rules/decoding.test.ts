/** What encodings hide: found in every one, to depth 2, at every chunking, on both engines; and nothing else is touched. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createEngine, type Engine, type Finding } from "../../src/index.js";
import { cook } from "../../src/rules/recipes.js";
import { ENGINES } from "../support/engines.js";

const SECRET = cook("glpat-{b62:20}", "decoding").text;
const each = (text: string, spell: (code: number) => string): string => [...text].map((char) => spell(char.charCodeAt(0))).join("");
const hex = (code: number, digits: number): string => code.toString(16).padStart(digits, "0");

/** Ways to hide a text, by what findings call them. */
const ENCODERS: Readonly<Record<string, (text: string) => string>> = {
  base64: (text) => Buffer.from(text, "latin1").toString("base64"),
  base64url: (text) => Buffer.from(text, "latin1").toString("base64url"),
  hex: (text) => Buffer.from(text, "latin1").toString("hex"),
  upperHex: (text) => Buffer.from(text, "latin1").toString("hex").toUpperCase(),
  percent: (text) => each(text, (code) => `%${hex(code, 2).toUpperCase()}`),
  unicode: (text) => each(text, (code) => `\\u${hex(code, 4)}`),
  ansiC: (text) => each(text, (code) => `\\x${hex(code, 2)}`),
  octal: (text) => each(text, (code) => `\\${code.toString(8).padStart(3, "0")}`),
  decimal: (text) => each(text, (code) => `&#${code};`),
  entity: (text) => each(text, (code) => `&#x${hex(code, 2)};`),
};
const NAMES = Object.keys(ENCODERS);

function mask(engine: Engine, text: string, sizes: readonly number[]): { output: string; findings: Finding[] } {
  const findings: Finding[] = [];
  const stream = engine.stream({ onFinding: (finding) => findings.push(finding) });
  const bytes = Buffer.from(text, "latin1");
  const out: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!;
    out.push(...stream.push(bytes.subarray(at, at + size)).map((piece) => Buffer.from(piece)));
    at += size;
  }
  out.push(...stream.end().map((piece) => Buffer.from(piece)));
  return { output: Buffer.concat(out).toString("latin1"), findings };
}

describe.each(ENGINES)("$engine", ({ engine: name }) => {
  const engine = createEngine({ engine: name });

  test.each(NAMES)("finds what %s hides, and what two hide", (outer) => {
    for (const inner of ["", ...NAMES]) {
      // Words and quotes around it: as in a log.
      const hidden = ENCODERS[outer]!(inner === "" ? `token ${SECRET} end` : ENCODERS[inner]!(`a ${SECRET} b`));
      for (const sizes of inner === "" ? [[100_000], [1]] : [[100_000], [7, 190]]) {
        const { output, findings } = mask(engine, `before "${hidden}" behind\n`, sizes);
        expect(output, `${inner} in ${outer}`).toMatch(/^before ".*\[REDACTED:gitlab-pat\].*" behind\n$/);
        expect(output).not.toContain(ENCODERS[outer]!(SECRET).slice(4, -4));
        expect(findings.map(({ rule }) => rule)).toContain("gitlab-pat");
      }
    }
  });

  test("says how the secret was hidden", () => {
    const variants = [["base64"], ["hex"], ["percent"], ["base64", "base64"], ["unicode", "hex"]].map((path) =>
      mask(engine, `x ${path.reduceRight((text, encoder) => ENCODERS[encoder]!(text), `token ${SECRET} end`)} y`, [1000]).findings.map(
        ({ variant }) => variant,
      ),
    );
    expect(variants).toEqual([["base64"], ["hex"], ["escaped"], ["base64+base64"], ["escaped+hex"]]);
  });

  test("finds the same whatever the chunks and whatever stands around", () => {
    const filler = fc.string({ unit: fc.constantFrom(..."ab=/+-_% \\&;#u0x26\n\"'glpat"), maxLength: 30 });
    const hidden = fc.tuple(fc.constantFrom(...NAMES), filler, filler).map(([encoder, a, b]) => ENCODERS[encoder]!(`${a} ${SECRET} ${b}`));
    fc.assert(
      fc.property(
        fc.array(fc.oneof(filler, hidden), { maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 4 }),
        (parts, sizes) => {
          const text = parts.join("");
          const whole = mask(engine, text, [1 << 20]);
          expect(mask(engine, text, sizes)).toEqual({
            output: whole.output,
            findings: whole.findings.map((finding) => ({ ...finding, stream: expect.any(String) })),
          });
        },
      ),
      { numRuns: 80 },
    );
  });

  test("decoding: the reading with fewer layers is told of, whatever the chunks", () => {
    const text = `%2a#${Buffer.from(`a ${SECRET} aa`).toString("base64")}`;
    for (const sizes of [[1 << 20], [1], [7]]) expect(mask(engine, text, sizes).findings.map(({ variant }) => variant)).toEqual(["base64"]);
  });

  test("reads base64 over the line ends that encoders put in", () => {
    const long = ENCODERS["base64"]!(`${"some lines of text before it, ".repeat(4)}${SECRET}${" and some lines behind it".repeat(4)}`);
    for (const [width, newline] of [
      [76, "\n"],
      [64, "\r\n"],
    ] as const) {
      const wrapped = long.replaceAll(new RegExp(`.{${width}}`, "g"), `$&${newline}`);
      for (const sizes of [[100_000], [1], [76], [77]]) {
        const { output } = mask(engine, `$ base64 file\n${wrapped}\n$ next\n`, sizes);
        expect(output).toMatch(/^\$ base64 file\n\[REDACTED:gitlab-pat\][\r\n]+\$ next\n$/);
      }
    }
  });

  test("finds it anywhere in a run of any length", () => {
    for (const before of [0, 1, 2, 3, 2900, 3070, 3080, 6000, 9000]) {
      const run = ENCODERS["base64"]!(`${"lorem ipsum ".repeat(1000).slice(0, before)} ${SECRET} ${"dolor sit amet ".repeat(400)}`);
      const { output } = mask(engine, `a ${run} b\n`, [before % 2 === 0 ? 100_000 : 4096]);
      expect(output).toContain("[REDACTED:gitlab-pat]");
      const left = output.slice(2, output.indexOf("["));
      expect(Buffer.from(left, "base64").toString("latin1")).not.toContain(SECRET.slice(0, 6));
    }
  });

  test("finds registered secrets in mixed encodings, under their own names", () => {
    const own = createEngine({ engine: name, secrets: [{ name: "DB", value: "horse battery:staple" }] });
    const text = `a ${ENCODERS["base64"]!(`p=${ENCODERS["unicode"]!("horse battery:staple")};x`)} b`;
    for (const sizes of [[1000], [1]]) {
      const { output, findings } = mask(own, text, sizes);
      expect(output).toBe("a [REDACTED:DB] b");
      expect(findings).toMatchObject([{ kind: "masked", secret: "DB", variant: "base64+escaped" }]);
    }
    own.close();
  });

  test("learns what it finds hidden", () => {
    const { output } = mask(engine, `a ${ENCODERS["base64"]!(`the token ${SECRET} is`)} b ${SECRET.slice(0, 26)} ${ENCODERS["percent"]!(SECRET)}\n`, [1000]);
    expect(output).toBe("a [REDACTED:gitlab-pat] b [REDACTED:gitlab-pat] [REDACTED:gitlab-pat]\n");
  });

  test("leaves what hides nothing", () => {
    const text = [
      `data:image/png;base64,${Buffer.from(Array.from({ length: 300 }, (_, i) => (i * 151) & 0xff)).toString("base64")}`,
      `msg ${ENCODERS["base64"]!("just a sentence, nothing secret in it at all")}`,
      `GET /a%2Fb%20c?x=%7B%22a%22%3A1%7D &amp; &lt;b&gt; \\u0041\\x42 100% C:\\users\\x41`,
      `sha256:${"0123456789abcdef".repeat(4)} ${ENCODERS["hex"]!("an ordinary sentence in hex")}`,
    ].join("\n");
    for (const sizes of [[100_000], [1]]) expect(mask(engine, text, sizes).output).toBe(text);
  });

  test("a run that goes on after silence is shown in full, and masked where it can be", () => {
    const stream = engine.stream();
    const hidden = ENCODERS["base64"]!(`token ${SECRET} end`);
    const out = [...stream.push(Buffer.from(hidden.slice(0, 44))), ...stream.idle()].map((piece) => Buffer.from(piece).toString());
    expect(out.join("")).not.toContain(hidden.slice(0, 40));
    stream.close();
  });
});
