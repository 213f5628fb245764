/** JSON and NDJSON: every string as if it were masked on its own, everything else byte by byte; bodies that are none; the codec's bounds. */
import { isUtf8 } from "node:buffer";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { framingOf, FRAMINGS, type BodyMasker, type Framing } from "../../src/codec/framing.js";
import { MAX_DEPTH, MAX_NUMBER_BYTES } from "../../src/codec/json.js";
import { createEngine, type Engine, LogveilError, type MaskStyle } from "../../src/index.js";
import { ENGINES } from "../support/engines.js";
import { differs, documents, maskAlone, rawOf, strings, toBytes } from "../support/json.js";
import { bytewise, cut } from "../support/redactor.js";

const framing = (name: Framing["name"]): Framing => FRAMINGS.find((row) => row.name === name)!;
const SECRETS = ["hunter2-hunter2-xQ", 'p"q\\r/s\tuv\n-line2-é😀z', "4821337755", "abcabcabcab", "\uffeekennwort-ß\u2028x"];
/** Ends in the middle of a character. */
const CUT = Buffer.concat([Buffer.from("tokenend-"), Buffer.from([0xc3])]);
/** Begins in one. */
const MIDDLE = Buffer.concat([Buffer.from([0xa9]), Buffer.from("-tokenstart")]);
const PIECES = [...SECRETS, "tokenend-é", "é-tokenstart", Buffer.from(SECRETS[0]!).toString("base64")];

const through = (body: BodyMasker, chunks: readonly Uint8Array[], idles: readonly boolean[] = []): Buffer => {
  const out: Buffer[] = [];
  const take = (pieces: Uint8Array[]): number => out.push(...pieces.map((piece) => Buffer.from(piece)));
  chunks.forEach((chunk, i) => {
    const own = Buffer.from(chunk);
    take(body.push(own));
    // The caller may use its memory again.
    own.fill(0x21);
    if (idles[i] === true) take(body.idle());
  });
  take(body.end());
  return Buffer.concat(out);
};

const documentOf = documents(
  strings(PIECES),
  fc.oneof(
    fc.constantFrom("0", "-0", "1.50", "-1e9", "1E+2", "4821337755", "14821337755.25", "-4821337755e3", "48213377"),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => JSON.stringify(n)),
  ),
);

describe.each(ENGINES)("$engine", ({ engine: name }) => {
  const make = (mask: MaskStyle): Engine =>
    createEngine({ engine: name, mask, rules: false, secrets: [...SECRETS, CUT, MIDDLE].map((value, i) => ({ name: `S${i}`, value })) });

  test.each(["label", "fixed", "length"] as const)("masks every string as if it were alone, at any chunking, mask %s", (style) => {
    const engine = make(style);
    let masked = 0;
    fc.assert(
      fc.property(documentOf, fc.array(fc.nat(1000), { maxLength: 6 }), (tokens, cuts) => {
        const raw = rawOf(tokens);
        const chunkings = [
          [raw],
          bytewise(raw),
          cut(
            raw,
            cuts.map((at) => at % (raw.length + 1)),
          ),
        ];
        const [whole, ...others] = chunkings.map((chunks) =>
          through(
            framing("json").open(() => engine.stream()),
            chunks,
          ),
        );
        for (const other of others) expect(other.equals(whole!), "chunking changes the output").toBe(true);
        expect(differs(engine, tokens, whole!)).toBeUndefined();
        expect(() => JSON.parse(whole!.toString()) as unknown).not.toThrow();
        expect(isUtf8(whole!)).toBe(true);
        if (!whole!.equals(raw)) masked++;
      }),
      { numRuns: 400 },
    );
    expect(masked).toBeGreaterThan(50);
    engine.close();
  });

  test("masks NDJSON line by line; each line stays valid by itself, blank lines and CRLF stay", () => {
    const engine = make("label");
    const lines = fc.array(fc.tuple(fc.option(documentOf, { nil: undefined }), fc.constantFrom("\n", "\r\n", " \n")), { maxLength: 5 });
    fc.assert(
      fc.property(lines, fc.boolean(), fc.array(fc.nat(1000), { maxLength: 4 }), (given, isOpen, cuts) => {
        const tokens = given.flatMap(([line, end], i) => [...(line ?? []), { raw: isOpen && i === given.length - 1 ? "" : end, kind: "structure" as const }]);
        const raw = rawOf(tokens);
        const outputs = [
          bytewise(raw),
          cut(
            raw,
            cuts.map((at) => at % (raw.length + 1)),
          ),
        ].map((chunks) =>
          through(
            framing("ndjson").open(() => engine.stream()),
            chunks,
          ),
        );
        expect(outputs[0]!.equals(outputs[1]!)).toBe(true);
        expect(differs(engine, tokens, outputs[0]!)).toBeUndefined();
        for (const line of outputs[0]!.toString().split("\n")) if (line.trim() !== "") JSON.parse(line);
      }),
      { numRuns: 200 },
    );
    engine.close();
  });

  test("stays valid and leaks nothing when silence comes at any place", () => {
    const engine = make("label");
    fc.assert(
      fc.property(documentOf, fc.array(fc.nat(1000), { maxLength: 6 }), fc.array(fc.boolean(), { maxLength: 7 }), (tokens, cuts, idles) => {
        const raw = rawOf(tokens);
        const chunks = cut(
          raw,
          cuts.map((at) => at % (raw.length + 1)),
        );
        const output = through(
          framing("json").open(() => engine.stream()),
          chunks,
          idles,
        );
        const texts: string[] = [];
        JSON.parse(output.toString(), (key, value: unknown) => (texts.push(key, String(value)), value));
        // A prefix that silence released shows at most what the law allows: three bytes.
        for (const text of texts) for (const secret of SECRETS) expect(text.includes(secret)).toBe(false);
      }),
      { numRuns: 200 },
    );
    engine.close();
  });

  test("a character that silence cuts behind a mask stays one", () => {
    const engine = make("fixed");
    const chunks = ['["hunter2-hunter2-xQ ', "é", 'x"]'].map((part) => Buffer.from(part));
    expect(
      through(
        framing("json").open(() => engine.stream()),
        chunks,
        [true],
      ).toString(),
    ).toBe('["*** éx"]');
    engine.close();
  });

  test("what surrounds a mask keeps its spelling", () => {
    const engine = make("fixed");
    const mask = (raw: string): string =>
      through(
        framing("json").open(() => engine.stream()),
        [Buffer.from(raw)],
      ).toString();
    expect(mask(String.raw`{"\u0061\/":"\u00e9 hunter2-hunt\u0065r2-xQ \u00E9\/\ud83d\uDE00"}`)).toBe(
      String.raw`{"\u0061\/":"\u00e9 *** \u00E9\/\ud83d\uDE00"}`,
    );
    expect(mask(String.raw`["\ud83d\n hunter2-hunter2-xQ\n\udE00\/"]`)).toBe(String.raw`["\ud83d\n ***\n\udE00\/"]`);
    expect(mask("[48213377, 4821337755 ,14821337755.0]")).toBe('[48213377, "***" ,"1***.0"]');
    // Half a pair, and an escape behind it that is no other half but begins a secret.
    expect(mask(String.raw`["\ud83d\uffeekennwort-\u00df\u2028x"]`)).toBe(String.raw`["\ud83d***"]`);
    // Strings do not meet each other: what ends one and begins the next is no secret.
    const apart = '["hunter2-hun","ter2-xQ",482133,7755]';
    expect(mask(apart)).toBe(apart);
    engine.close();
  });

  test("a string of any length streams through, before and behind a mask, with little held", () => {
    const engine = make("fixed");
    const stream = engine.stream();
    const body = framing("json").open(() => stream);
    const part = Buffer.from("\\u00e9 plain text without an end, ".repeat(2000));
    let sent = 1;
    let left = body.push(Buffer.from('"')).reduce((sum, { length }) => sum + length, 0);
    for (let i = 0; i < 50; i++) {
      sent += part.length;
      for (const piece of body.push(part)) left += piece.length;
      if (i === 20) for (const piece of body.push(Buffer.from(SECRETS[0]!))) left += piece.length;
      if (i < 20) expect(sent - left).toBeLessThan(64);
    }
    // Behind a mask the line is encoded once more than 4 KiB of it have come: é takes 2 bytes instead of 6.
    expect(left).toBeGreaterThan(sent * 0.8);
    body.close();
    expect(() => stream.push(part)).toThrow(expect.objectContaining({ code: "LV_CLOSED" }) as Error);
    engine.close();
  });

  test("a mask that reaches over strings hides all of them and breaks nothing", () => {
    // A secret with the bytes of the separator in it, which no string can hold.
    const value = Buffer.concat([Buffer.from("left-side"), Buffer.from([0x0a, 0xff, 0x0d]), Buffer.from("right-side")]);
    for (const mask of ["label", "fixed", "length"] as const) {
      const engine = createEngine({ engine: name, mask, rules: false, secrets: [{ name: "S", value }] });
      for (const raw of ['{"left-side":"right-side!"}', '["left-side","right-side",1]', '["x","left-side",{"right-side":"y"}]']) {
        for (const chunks of [[Buffer.from(raw)], bytewise(Buffer.from(raw))]) {
          const output = through(
            framing("json").open(() => engine.stream()),
            chunks,
          ).toString();
          expect(() => JSON.parse(output) as unknown).not.toThrow();
          expect(output).not.toMatch(/left-side|right-side/);
        }
      }
      engine.close();
    }
  });

  test("a secret that begins with a line end is masked like any other", () => {
    const engine = createEngine({
      engine: name,
      mask: "fixed",
      rules: false,
      secrets: ["\nabcdefghij", "\rklmnopqrst"].map((value, i) => ({ name: `S${i}`, value })),
    });
    for (const text of ["abcdefghij", "klmnopqrst", "\nabcdefghij", "\rklmnopqrst"]) {
      const output = through(
        framing("json").open(() => engine.stream()),
        [Buffer.from(JSON.stringify([text, text, 7]))],
      );
      const [first, second, third] = JSON.parse(output.toString()) as string[];
      expect([first!.trim(), second!.trim(), third]).toEqual(["***", "***", 7]);
    }
    engine.close();
  });
});

const engine = createEngine({ engine: "portable", rules: false, mask: "fixed", secrets: [{ name: "S", value: SECRETS[0]! }] });
const codeOf = (name: Framing["name"], chunks: readonly Uint8Array[]): unknown => {
  const body = framing(name).open(() => engine.stream());
  let left = 0;
  try {
    for (const chunk of chunks) for (const piece of body.push(chunk)) left += piece.length;
    body.end();
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(LogveilError);
    expect(() => body.push(Buffer.from("1"))).toThrow(expect.objectContaining({ code: "LV_CLOSED" }) as Error);
    const { code, message, facts } = error as LogveilError;
    expect(code).toBe("LV_FRAMING");
    expect(left).toBeLessThanOrEqual(Buffer.concat(chunks).length);
    expect(message).toContain(`at byte ${String(facts["offset"])} `);
    return facts["offset"];
  }
};

test.each([
  ["{", 1],
  ["[1,]", 3],
  ["{,}", 1],
  ['{"a" 1}', 5],
  ['{"a":1,}', 7],
  ["[1 2]", 3],
  ["[}", 1],
  ["{]", 1],
  ["01", 1],
  ["1.", 2],
  ["-", 1],
  ["1e", 2],
  ["+1", 0],
  ["tru", 3],
  ["trve", 2],
  ['"a', 2],
  ['"\\x"', 2],
  ['"\\u12g4"', 5],
  ['"\\', 1],
  ["'a'", 0],
  ["1 1", 2],
  ["{}\0", 2],
  ['"a\nb"', 2],
  ['"a\0b"', 2],
  ["\ufeff\ufeff1", 3],
  [" \ufeff1", 1],
  [" ", 1],
  ["NaN", 0],
  ["/*x*/1", 0],
])("refuses %j at byte %i, at any chunking", (raw, offset) => {
  const bytes = Buffer.from(raw);
  // What is cut off at the end is told at the end.
  const where = raw === '"\\' ? 2 : offset;
  expect(codeOf("json", [bytes])).toBe(where);
  expect(codeOf("json", bytewise(bytes))).toBe(where);
});

test.each([
  [[0x22, 0xc3, 0x28, 0x22], 1],
  [[0x22, 0x41, 0xed, 0xa0, 0x80, 0x22], 2],
  [[0x22, 0xff, 0x22], 1],
  [[0x22, 0xc0, 0x80, 0x22], 1],
  [[0x22, 0xe2, 0x82, 0x22], 1],
  [[0x22, 0xf4, 0x90, 0x80, 0x80, 0x22], 1],
  [[0xef, 0xbb, 0x31], 0],
])("refuses bytes %j, no UTF-8", (raw, offset) => {
  expect(codeOf("json", [Buffer.from(raw)])).toBe(offset);
  expect(codeOf("json", bytewise(Buffer.from(raw)))).toBe(offset);
});

test("agrees with JSON.parse on what is JSON, for any small text", () => {
  const soup = fc.array(fc.constantFrom("{", "}", "[", "]", ",", ":", '"', "a", "1", "0", "-", ".", "e", "\\", "u", "true", '"k"', " ", "\n", "é"), {
    maxLength: 8,
  });
  fc.assert(
    fc.property(soup, (parts) => {
      const raw = Buffer.from(parts.join(""));
      if (raw.length === 0) return;
      let isValid = true;
      try {
        JSON.parse(raw.toString());
      } catch {
        isValid = false;
      }
      expect(codeOf("json", [raw]) === undefined, raw.toString()).toBe(isValid);
      expect(codeOf("json", bytewise(raw)) === undefined, raw.toString()).toBe(isValid);
    }),
    { numRuns: 3000 },
  );
});

test("an NDJSON document does not go over a line; an empty body and one BOM are let through", () => {
  expect(codeOf("ndjson", [Buffer.from('{"a":1}\n{"b":\n2}')])).toBe(13);
  expect(codeOf("ndjson", [Buffer.from("1 2\n")])).toBe(2);
  expect(codeOf("ndjson", [Buffer.from("\r\n\n \n1\n\n")])).toBeUndefined();
  for (const name of ["json", "ndjson"] as const) {
    expect(codeOf(name, [])).toBeUndefined();
    expect(codeOf(name, bytewise(Buffer.from("\ufeff{}")))).toBeUndefined();
  }
});

test("nothing behind an error leaves, nor what the engine held back before it", () => {
  const body = framing("json").open(() => engine.stream());
  expect(Buffer.concat(body.push(Buffer.from('["fine","hunter2-hun'))).toString()).toBe('["fine","');
  expect(() => body.push(Buffer.from("\u0001"))).toThrow(expect.objectContaining({ code: "LV_FRAMING" }) as Error);
});

test("levels and digits are bounded and counted, not recursed into", () => {
  const deep = (levels: number): Buffer => Buffer.from("[".repeat(levels) + '{"a":1}' + "]".repeat(levels));
  expect(codeOf("json", [deep(MAX_DEPTH - 1)])).toBeUndefined();
  expect(codeOf("json", [deep(MAX_DEPTH)])).toBe(MAX_DEPTH);
  expect(codeOf("json", [Buffer.from("1".repeat(MAX_NUMBER_BYTES))])).toBeUndefined();
  expect(codeOf("json", [Buffer.from("1".repeat(MAX_NUMBER_BYTES + 1))])).toBe(MAX_NUMBER_BYTES + 1);
  // Objects and arrays in turn, closed in the wrong order.
  expect(codeOf("json", [Buffer.from('[{"a":[{"a":[}]}]}]')])).toBe(13);
});

test("the end of a string is an end, not a cut: the beginning of a secret there is text", () => {
  expect(maskAlone(engine, toBytes("hunter2-hun")).toString()).toBe("hunter2-hun");
  expect(
    through(
      framing("json").open(() => engine.stream()),
      [Buffer.from('"hunter2-hun"')],
    ).toString(),
  ).toBe('"hunter2-hun"');
});

test.each([
  ["application/json", "json"],
  ["application/JSON; charset=utf-8", "json"],
  ['application/problem+json;charset="UTF-8"', "json"],
  ["application/json; charset=utf-16", undefined],
  ["application/x-ndjson", "ndjson"],
  ["text/plain; charset=iso-8859-1", "text"],
  ["application/x-www-form-urlencoded", "form"],
  ["application/octet-stream", undefined],
  ["", undefined],
])("content type %j is framed as %s", (type, name) => {
  expect(framingOf(type)?.name).toBe(name);
});

test("text is the channel itself", () => {
  const stream = engine.stream();
  expect(framing("text").open(() => stream)).toBe(stream);
  stream.close();
});
