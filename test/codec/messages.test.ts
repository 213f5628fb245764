/** Syslog messages as text and back: each masked as if it were alone, at any chunking; structured data that keeps its syntax; counts that are none. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatOf } from "../../src/codec/formats.js";
import { type MessageFraming, MessageReader, MessageSplitter, type MessageText } from "../../src/codec/messages.js";
import { StructuredDataMasker } from "../../src/codec/structured.js";
import { createEngine, type Engine } from "../../src/index.js";
import { ENGINES } from "../support/engines.js";
import { bytewise, cut } from "../support/redactor.js";

const SECRETS = ["hunter2-hunter2-xQ", "tops3cret", 'p"a]ss\\wd 1', "two\nlines-of-one"];
/** No part of a secret: what begins a message breaks every match. */
const HEADER = "<34>1 - h a - - ";
const MAX = 1 << 16;

const make = (name: string, mask: "label" | "length" = "label"): Engine =>
  createEngine({ engine: name as "native", rules: false, mask, secrets: SECRETS.map((value, i) => ({ name: `S${i}`, value })) });

/** What the engine makes of a message that others follow. */
function alone(engine: Engine, message: Buffer): Buffer {
  const stream = engine.stream();
  const masker = new StructuredDataMasker(stream, MAX);
  const out = [Buffer.concat([message, Buffer.from("\n<")])].flatMap((chunk) => masker.push(chunk)).map((piece) => Buffer.from(piece));
  out.push(...masker.end().map((piece) => Buffer.from(piece)));
  const whole = Buffer.concat(out);
  expect(whole.subarray(-2).toString()).toBe("\n<");
  return whole.subarray(0, -2);
}

/** The messages that come out of a connection. */
function through(engine: Engine | undefined, framing: MessageFraming, chunks: readonly Buffer[], maxBytes = MAX): Buffer[] {
  const reader = new MessageReader(framing, maxBytes);
  const splitter = new MessageSplitter(maxBytes);
  const stream = engine?.stream();
  const masker = stream && new StructuredDataMasker(stream, MAX);
  const out: Buffer[] = [];
  const take = ({ text, marks }: MessageText): void => {
    splitter.expect(marks);
    out.push(...splitter.split(masker?.push(text) ?? [text]));
  };
  for (const chunk of chunks) {
    const own = Buffer.from(chunk);
    take(reader.read(own));
    own.fill(0x21);
  }
  take(reader.end());
  out.push(...splitter.split(masker?.end() ?? []), ...splitter.end());
  return out;
}

const counted = (message: Buffer): Buffer => Buffer.concat([Buffer.from(`${message.length} `), message]);

const piece = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...SECRETS) },
  { weight: 1, arbitrary: fc.constantFrom(...SECRETS).chain((whole) => fc.nat(whole.length).map((length) => whole.slice(0, length))) },
  { weight: 2, arbitrary: fc.constantFrom("\n", "\r\n", "\x1b[31m", "\0", " ", "[a b=", "]", '"') },
  { weight: 2, arbitrary: fc.string({ maxLength: 6 }) },
);
const body = fc.array(piece, { maxLength: 5 }).map((parts) => Buffer.from(parts.join("")));

const chunkings = (raw: Buffer, cuts: readonly number[]): Buffer[][] => [[raw], bytewise(raw), cut(raw, cuts.map((at) => at % (raw.length + 1)))]; // prettier-ignore

describe.each(ENGINES)("$engine", ({ engine: name }) => {
  test.each(["label", "length"] as const)("masks each message as if it were alone, octet counting, mask %s", (mask) => {
    const engine = make(name, mask);
    let masked = 0;
    fc.assert(
      fc.property(fc.array(body, { maxLength: 5 }), fc.array(fc.nat(500), { maxLength: 5 }), (bodies, cuts) => {
        const messages = [...bodies, Buffer.from("end")].map((each) => Buffer.concat([Buffer.from(`${HEADER}- `), each]));
        const expected = messages.map((message) => alone(engine, message).toString("latin1"));
        masked += expected.filter((each, i) => each !== messages[i]!.toString("latin1")).length;
        for (const chunks of chunkings(Buffer.concat(messages.map(counted)), cuts))
          expect(through(engine, "auto", chunks).map((each) => each.toString("latin1"))).toEqual(expected);
      }),
      { numRuns: 300 },
    );
    expect(masked).toBeGreaterThan(100);
    engine.close();
  });

  test("masks each line as if it were alone, newline", () => {
    const engine = make(name);
    fc.assert(
      fc.property(fc.array(body, { maxLength: 5 }), fc.array(fc.nat(500), { maxLength: 5 }), (bodies, cuts) => {
        const messages = [...bodies, Buffer.from("end")].map((each) => Buffer.from(`${HEADER}- ${each.toString().replaceAll("\n", "_")}`));
        const raw = Buffer.from(messages.join("\n"));
        for (const chunks of chunkings(raw, cuts)) expect(through(engine, "auto", chunks)).toEqual(messages.map((message) => alone(engine, message)));
      }),
      { numRuns: 200 },
    );
    engine.close();
  });

  test("finds a secret that is cut over two messages without headers, and keeps both", () => {
    const engine = make(name);
    const [first, second] = [Buffer.from("docker: hunter2-hun"), Buffer.from("ter2-xQ and more")];
    for (const chunks of chunkings(Buffer.concat([counted(first), counted(second)]), [7, 30]))
      expect(through(engine, "octet-counting", chunks).join("|")).toBe("docker: [REDACTED:S0]| and more");
    engine.close();
  });

  /** Values of parameters, spelled as they must be. */
  const escape = (value: string): string => value.replaceAll(/["\\\]]/g, "\\$&");
  const value = fc.array(fc.constantFrom(...SECRETS.slice(0, 3), '"', "\\", "]", "=", " ", "é", "x", 'k="v"'), { maxLength: 5 }).map((parts) => parts.join(""));

  test("values of structured data keep their syntax, and secrets in them are found as they are spelled there", () => {
    const engine = make(name);
    let masked = 0;
    fc.assert(
      fc.property(
        fc.array(fc.array(value, { maxLength: 3 }), { minLength: 1, maxLength: 3 }),
        value,
        fc.array(fc.nat(500), { maxLength: 5 }),
        (elements, text, cuts) => {
          const line = (change: (value: string) => string): string =>
            `${HEADER}${elements.map((values, i) => `[e${i}@1${values.map((each, j) => ` k${j}="${escape(change(each))}"`).join("")}]`).join("")} ${change(text)}`;
          const expected = line((each) => alone(engine, Buffer.from(each)).toString());
          if (expected !== line((each) => each)) masked++;
          const raw = Buffer.from(`${line((each) => each)}\n${HEADER}- end\n`);
          for (const chunks of chunkings(raw, cuts)) expect(through(engine, "newline", chunks).map(String)).toEqual([expected, `${HEADER}- end`]);
        },
      ),
      { numRuns: 400 },
    );
    expect(masked).toBeGreaterThan(100);
    engine.close();
  });

  test("a mask of more than a value is not taken apart", () => {
    const engine = createEngine({ engine: name, rules: false, secrets: [{ name: "S", value: 'one" b="two' }] });
    expect(through(engine, "newline", [Buffer.from(`${HEADER}[x a="one" b="two"] t\n`)]).join("")).toBe(`${HEADER}[x a="[REDACTED:S]"] t`);
    engine.close();
  });

  test.each([
    ["\\", "\\\\"],
    ['"]', '\\"\\]'],
    ["a\\b", "a\\b"],
  ])("a mask of %j stands in a value as %j", (text, spelled) => {
    const engine = createEngine({ engine: name, rules: false, mask: { style: "fixed", text }, secrets: [{ name: "S", value: "tops3cret" }] });
    const line = (first: string, second: string): string => `${HEADER}[x a="${first}" b="${second}"] t`;
    const [message] = through(engine, "newline", [Buffer.from(`${line("tops3cret", 'x\\"tops3cret')}\n`)]);
    expect(String(message)).toBe(line(spelled, `x\\"${spelled}`));
    engine.close();
  });

  test("rules see an assignment in a parameter", () => {
    const engine = createEngine({ engine: name });
    const [message] = through(engine, "newline", [Buffer.from(`${HEADER}[auth user="bob" password="Zx9#kQ2!mv" port="22"] login\n`)]);
    expect(String(message)).toMatch(/^<34>1 - h a - - \[auth user="bob" password="\[REDACTED:[a-z-]+\\\]" port="22"\] login$/);
    engine.close();
  });

  test("silence in the middle of a line lets it go, and the rest after it", () => {
    const engine = make(name);
    const masker = new StructuredDataMasker(engine.stream(), MAX);
    const out: Buffer[] = [];
    const take = (pieces: Uint8Array[]): number => out.push(...pieces.map((each) => Buffer.from(each)));
    take(masker.push(Buffer.from(`${HEADER}[x a="hunter2-hun`)));
    expect(masker.heldBytes).toBeGreaterThan(0);
    take(masker.idle());
    expect(masker.heldBytes).toBe(0);
    expect(Buffer.concat(out).toString()).toBe(`${HEADER}[x a="[REDACTED:S0]`);
    take(masker.push(Buffer.from('ter2-xQ"] t\n<1>next\n')));
    take(masker.end());
    expect(Buffer.concat(out).toString()).toMatch(/^<34>1 - h a - - \[x a="(\[REDACTED:S0\])+"\] t\n<1>next\n$/);
    engine.close();
  });

  test("a line without an end is not kept in memory", () => {
    const engine = make(name);
    const masker = new StructuredDataMasker(engine.stream(), 1000);
    let bytes = 0;
    masker.push(Buffer.from(`${HEADER}[x a="`));
    for (let i = 0; i < 100; i++) {
      for (const each of masker.push(Buffer.alloc(100, "x"))) bytes += each.length;
      expect(masker.heldBytes).toBeLessThan(3000);
    }
    expect(bytes).toBe(HEADER.length + 6 + 10_000);
    masker.close();
    engine.close();
  });
});

test("messages come out as they went in, whatever text is in them", () => {
  const message = fc
    .uint8Array({ minLength: 1, maxLength: 20 })
    .map((bytes) => Buffer.from(bytes.map((byte) => (byte % 5 === 0 ? 0x0a : byte))))
    .filter((bytes) => formatOf(bytes, true) === undefined);
  fc.assert(
    fc.property(fc.array(message, { maxLength: 8 }), fc.array(fc.nat(200), { maxLength: 8 }), (messages, cuts) => {
      for (const chunks of chunkings(Buffer.concat(messages.map(counted)), cuts)) expect(through(undefined, "octet-counting", chunks)).toEqual(messages);
      const reader = new MessageReader("octet-counting", MAX);
      const splitter = new MessageSplitter(MAX);
      const { text, marks } = reader.readWhole(messages);
      splitter.expect(marks);
      expect(splitter.split(bytewise(Buffer.from(text)))).toEqual(messages);
      expect(reader.takeCount()).toBe(messages.length);
    }),
  );
});

test("a longer line goes on in another message; nothing of it is lost", () => {
  const lines = ["x".repeat(25), "", "y".repeat(10), "z".repeat(11)];
  for (const chunks of chunkings(Buffer.from(lines.join("\n")), [3, 14]))
    expect(through(undefined, "newline", chunks, 10).map(String)).toEqual(["x".repeat(10), "x".repeat(10), "x".repeat(5), "y".repeat(10), "z".repeat(10), "z"]);
});

test("half a message is one when nothing more comes", () => {
  expect(through(undefined, "auto", [Buffer.from("5 whole9 half")]).map(String)).toEqual(["whole", "half"]);
  expect(through(undefined, "auto", [Buffer.from("5 whole12")]).map(String)).toEqual(["whole"]);
  expect(through(undefined, "auto", [Buffer.from("<1>whole\nhalf")]).map(String)).toEqual(["<1>whole", "half"]);
});

test.each([
  ["012 x", "a count of bytes begins with 0"],
  ["0 x", "a count of bytes begins with 0"],
  ["12345678901 ", "a count of bytes has more than 10 digits"],
  ["2024-01-01 a line", "expected a count of bytes and a space before a message; for one message a line set syslog.framing to newline"],
  ["12\nx", "expected a count of bytes and a space before a message; for one message a line set syslog.framing to newline"],
  ["1001 x", "a message of more than 1000 bytes; raise syslog.maxMessage to take it"],
  ["9999999999 x", "a message of more than 1000 bytes; raise syslog.maxMessage to take it"],
  ["2 ok<34>x", "expected a count of bytes and a space before a message; for one message a line set syslog.framing to newline"],
])("%j is refused", (raw, message) => {
  for (const chunks of chunkings(Buffer.from(raw), [])) {
    const reader = new MessageReader("auto", 1000);
    const read = (): void => chunks.forEach((chunk) => void reader.read(chunk));
    expect(read).toThrow(expect.objectContaining({ code: "LV_FRAMING", message }));
  }
});

test("what came whole before a count that is none counts", () => {
  const reader = new MessageReader("auto", 1000);
  expect(() => reader.read(Buffer.from("2 ok0"))).toThrow(expect.objectContaining({ code: "LV_FRAMING" }));
  expect(Buffer.from(reader.end().text).toString()).toBe("ok\n");
  expect(reader.takeCount()).toBe(1);
});
