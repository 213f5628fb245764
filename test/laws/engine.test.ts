/** The laws at engine level: real secrets, all variants, real logs. */
import { createHash, randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createEngine, type Engine, type EngineOptions, type Finding, type RedactorStream } from "../../src/index.js";
import { ENGINES } from "../support/engines.js";
import { fixture, fixtureNames, HAVE_FIXTURES, logs } from "../support/fixtures.js";
import { bytewise, cut } from "../support/redactor.js";

const copy = (pieces: Uint8Array[]): Buffer => Buffer.concat(pieces);

function through(stream: RedactorStream, chunks: Iterable<Uint8Array>): Buffer {
  const out: Buffer[] = [];
  for (const chunk of chunks) out.push(copy(stream.push(chunk)));
  out.push(copy(stream.end()));
  return Buffer.concat(out);
}

function* chunksOf(bytes: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const SECRET = "hunter2-hunter2-xQ";

describe.each(ENGINES)("$engine", ({ engine: name }) => {
  const make = (values: readonly (string | Buffer)[], options: Partial<EngineOptions> = {}): Engine =>
    createEngine({ engine: name, mask: "fixed", secrets: values.map((value, i) => ({ name: `S${i}`, value })), ...options });

  test.runIf(HAVE_FIXTURES)("gives what the masker cases expect, in their chunks, in one piece and byte by byte", () => {
    interface Case {
      readonly name: string;
      readonly secrets: string[];
      readonly chunks: string[];
      readonly expected: string | null;
    }
    for (const { name: title, secrets, chunks, expected } of JSON.parse(fixture("maskers/cases.json").toString()) as Case[]) {
      const bytes = (text: string): Buffer =>
        title.includes("no UTF-8")
          ? Buffer.from(
              text.replace(/\\x([0-9a-f]{2})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 16))),
              "latin1",
            )
          : Buffer.from(text);
      const engine = make(secrets);
      const given = chunks.map(bytes);
      const whole = Buffer.concat(given);
      for (const input of [given, [whole], whole.length < 40_000 ? bytewise(whole) : [whole]]) {
        const output = through(engine.stream(), input);
        if (expected !== null) expect(output, title).toEqual(bytes(expected));
        else for (const secret of secrets) expect(output.includes(secret), title).toBe(false);
      }
      engine.close();
    }
  });

  test.runIf(HAVE_FIXTURES)("leaves every log as it is when no secret is in it", { timeout: 120_000 }, () => {
    const secrets = Array.from({ length: 50 }, (_, i) => createHash("sha256").update(`unrelated ${i}`).digest("base64url"));
    // With rules in the larger chunks only: they cost a call more for each.
    const [engine, plain] = [make(secrets), make(secrets, { rules: false })];
    for (const { name: title, bytes } of logs()) {
      // Cut at a line end: in the middle of a number it may end like the start of some hex spelling, which the end of a stream masks.
      const input = bytes.subarray(0, bytes.lastIndexOf("\n") + 1);
      for (const size of [1, 7, 4096, 65536]) {
        const stream = (size < 4096 ? plain : engine).stream();
        let at = 0;
        const same = (pieces: Uint8Array[]): boolean => pieces.every((piece) => input.compare(piece, 0, piece.length, at, (at += piece.length)) === 0);
        for (const chunk of chunksOf(input, size)) if (!same(stream.push(chunk))) expect.fail(`${title} in chunks of ${size} differs at byte ${at}`);
        expect(same(stream.end()) && at === input.length, `${title} in chunks of ${size}`).toBe(true);
      }
    }
    engine.close();
    plain.close();
  });

  test.runIf(HAVE_FIXTURES)("masks secrets planted at random places of real logs, and nothing else", () => {
    const secret = `${randomBytes(15).toString("base64url")}$'`;
    const engine = make([secret]);
    const spellings = [secret, Buffer.from(secret).toString("hex"), encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)];
    for (const { name: title, bytes } of logs()) {
      const lines = bytes.toString("latin1").split("\n");
      const expected = [...lines];
      const at = randomBytes(2).readUInt16LE() % lines.length;
      const spelling = spellings[at % spellings.length]!;
      lines.splice(at, 0, `planted ${spelling} here`);
      expected.splice(at, 0, "planted *** here");
      const output = through(engine.stream(), chunksOf(Buffer.from(lines.join("\n"), "latin1"), 1000 + at));
      expect(output.equals(Buffer.from(expected.join("\n"), "latin1")), title).toBe(true);
    }
    engine.close();
  });

  test("sees through escapes, overstrikes and wraps at every place of a secret, cut anywhere", () => {
    const engine = make([SECRET]);
    const inserts = ["\x1b[31m", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x1b(B", "_\b", "x\b", "\n", "\r\n"];
    for (const insert of inserts) {
      for (let at = 1; at < SECRET.length; at++) {
        const input = Buffer.from(`a ${SECRET.slice(0, at)}${insert}${SECRET.slice(at)} b`);
        const kept = insert.endsWith("\b") ? "" : insert;
        const want = `a ***${kept} b`;
        expect(through(engine.stream(), [input]).toString(), JSON.stringify(insert) + at).toBe(want);
        expect(through(engine.stream(), bytewise(input)).toString(), JSON.stringify(insert) + at).toBe(want);
        for (let split = 0; split <= input.length; split += 3) expect(through(engine.stream(), cut(input, [split])).toString()).toBe(want);
      }
    }
    engine.close();
  });

  test("finds a secret at every shift against the chunk", () => {
    const engine = make([SECRET]);
    for (let shift = 0; shift <= 260; shift++) {
      const input = Buffer.from(`${"-".repeat(shift)}${SECRET}${"=".repeat(300 - shift)}`);
      expect(through(engine.stream(), chunksOf(input, 64)).toString()).toBe(`${"-".repeat(shift)}***${"=".repeat(300 - shift)}`);
    }
    engine.close();
  });

  test("masks a cut secret of four bytes or more at the end, not a shorter one", () => {
    const engine = make([SECRET]);
    for (let length = 1; length < SECRET.length; length++) {
      const cutSecret = SECRET.slice(0, length);
      expect(engine.redact(`x ${cutSecret}`)).toBe(length < 4 ? `x ${cutSecret}` : "x ***");
    }
    engine.close();
  });

  test("after silence lets undecided bytes go, and goes on masking", () => {
    const findings: Finding[] = [];
    const engine = make([SECRET], { onFinding: (finding) => findings.push(finding) });
    for (let at = 1; at < SECRET.length; at++) {
      findings.length = 0;
      const stream = engine.stream();
      const out = [copy(stream.push(Buffer.from(`a ${SECRET.slice(0, at)}`))), copy(stream.idle())];
      expect(stream.heldBytes).toBe(0);
      out.push(copy(stream.push(Buffer.from(`${SECRET.slice(at)} b`))), copy(stream.end()));
      expect(Buffer.concat(out).toString()).toBe(at < 4 ? `a ${SECRET.slice(0, at)}*** b` : "a *** b");
      expect(findings.map(({ kind }) => kind)).toEqual(at < 4 ? ["exposed", "masked"] : ["masked"]);
    }
    engine.close();
  });

  test("checks every unreleased byte against a late secret and reports what it exposed", async () => {
    const input = Buffer.from(`first line\nxx ${SECRET} yy\n`);
    const start = input.indexOf(SECRET);
    for (let at = 0; at <= input.length; at++) {
      const findings: Finding[] = [];
      const engine = make(["unrelated-secret-value"], { onFinding: (finding) => findings.push(finding) });
      const stream = engine.stream();
      const before = copy(stream.push(input.subarray(0, at)));
      await engine.addSecrets([{ name: "late", value: SECRET }]);
      const after = Buffer.concat([copy(stream.push(input.subarray(at))), copy(stream.end())]);
      const exposed = Math.max(0, Math.min(before.length, start + SECRET.length) - start);
      expect(before.equals(input.subarray(0, before.length))).toBe(true);
      expect(after.includes(SECRET.slice(exposed)) && exposed < SECRET.length).toBe(false);
      expect(findings.filter(({ kind }) => kind === "exposed").map(({ offset, length }) => [offset, length])).toEqual(exposed > 0 ? [[start, exposed]] : []);
      engine.close();
    }
  });

  test("keeps the secrets of a job to its own streams", async () => {
    const engine = make([]);
    const [one, two] = [engine.scope("one"), engine.scope("two")];
    await one.addSecrets([{ name: "own", value: SECRET }]);
    expect(one.redact(`a ${SECRET}`)).toBe("a ***");
    expect(two.redact(`a ${SECRET}`)).toBe(`a ${SECRET}`);
    expect(engine.redact(`a ${SECRET}`)).toBe(`a ${SECRET}`);
    one.close();
    expect(engine.redact(`a ${SECRET}`, { scope: "one" })).toBe(`a ${SECRET}`);
    engine.close();
  });

  test("closure: no secret in the output, and masking it again changes nothing", () => {
    const char = fc.constantFrom("a", "b", "*", "[", "]", "R", "E", "-");
    const value = fc.array(char, { minLength: 4, maxLength: 10 }).map((chars) => chars.join(""));
    const style = fc.constantFrom("label" as const, "fixed" as const, "length" as const, "keyed" as const);
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 1, maxLength: 3 }),
        fc.array(fc.oneof(value, fc.constantFrom(" ", "***", "[REDACTED:", "\n", "\x1b[m")), { maxLength: 12 }),
        style,
        (values, parts, mask) => {
          const engine = make(values, { mask });
          const input = parts.flatMap((part, i) => [part, ...values.slice(i % values.length, (i % values.length) + 1)]).join("");
          const output = engine.redact(input);
          expect(engine.redact(output)).toBe(output);
          expect(output.split("\n").length).toBe(input.split("\n").length);
          if (mask === "length") expect(Buffer.byteLength(output)).toBe(Buffer.byteLength(input));
          engine.close();
        },
      ),
      { numRuns: 300 },
    );
  });

  test("writes no more often than it reads, plus once", () => {
    const engine = make([SECRET]);
    const stream = engine.transform();
    let writes = 0;
    stream.on("data", () => writes++);
    const input = Buffer.from(`x ${SECRET} y\n`.repeat(50));
    let reads = 0;
    for (const chunk of chunksOf(input, 13)) {
      stream.write(chunk);
      reads++;
    }
    stream.end();
    return new Promise<void>((resolve) => {
      stream.on("end", () => {
        expect(writes).toBeLessThanOrEqual(reads + 1);
        engine.close();
        resolve();
      });
    });
  });

  test.runIf(HAVE_FIXTURES)("takes naughty strings as secrets and as text", () => {
    const strings = fixture("naughty/blns.txt").toString().split("\n");
    const engine = make(strings);
    const refused = new Set(engine.reports.filter(({ kind }) => kind === "refused").map((report) => report.name));
    strings.forEach((string, i) => {
      const output = engine.redact(`<< ${string} >>`);
      if (!refused.has(`S${i}`)) expect(output.includes(`<< ${string} >>`)).toBe(false);
    });
    engine.close();
  });

  test.runIf(HAVE_FIXTURES)("takes JSON that breaks parsers as secrets and as text", () => {
    for (const file of fixtureNames("naughty/json/test_parsing")) {
      const bytes = fixture(`naughty/json/test_parsing/${file}`).subarray(0, 4096);
      const engine = createEngine({
        engine: name,
        secrets: [
          { name: "S", value: bytes },
          { name: "T", value: "unrelated-secret-value" },
        ],
      });
      const refused = engine.reports.some((report) => report.name === "S" && report.kind === "refused");
      const output = engine.redact(Buffer.concat([Buffer.from("<< "), bytes, Buffer.from(" >>")]));
      if (!refused) expect(output.includes(Buffer.concat([Buffer.from("<< "), bytes, Buffer.from(" >>")])), file).toBe(false);
      engine.close();
    }
  });

  test("a secret that masks absurdly often is reported by name, once, and stays masked", () => {
    const codes: string[] = [];
    const engine = make(["build-step"], { limits: { overMaskHits: 50 }, onWarning: ({ code, secret }) => codes.push(`${code} ${secret}`) });
    expect(engine.redact("build-step ".repeat(500))).toBe("*** ".repeat(500));
    expect(codes).toEqual(["LV_OVER_MASK S0"]);
    engine.close();
  });
});
