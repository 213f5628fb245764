import { describe, expect, test } from "vitest";
import { partsOf } from "../../src/secrets/decompose.js";
import { type Expansion, expandSecret } from "../../src/secrets/expand.js";
import { nativeBlake3, portableBlake3 } from "../../src/blake3.js";
import { fingerprinter } from "../../src/secrets/fingerprint.js";
import { DEFAULT_SALIENCE } from "../../src/secrets/salience.js";
import { spellingsOf, VARIANTS } from "../../src/secrets/variants.js";
import { NEEDLE } from "../../src/core/matcher.js";
import { DEFAULT_LIMITS } from "../../src/limits.js";
import { atOnce } from "../../src/turns.js";

const OPTIONS = { ...DEFAULT_SALIENCE, maxLeaves: 64, maxNeedleBytes: DEFAULT_LIMITS.maxNeedleBytes };
const expansion = (value: string | Buffer, options = OPTIONS): Expansion => atOnce(expandSecret(Buffer.from(value), options));
const parts = (value: Buffer, max: number) => atOnce(partsOf(value, max)).parts;
const expand = (value: string): string[] => expansion(value).needles.map(({ bytes }) => bytes.toString("latin1"));

describe("variants", () => {
  test.each(VARIANTS.map((row) => [row.name, row] as const))("%s has the spellings of its vector", (_, row) => {
    const spellings = spellingsOf(row, Buffer.from(row.vector.value)).map((spelling) => spelling.toString("latin1"));
    for (const expected of row.vector.expect) expect(spellings).toContain(expected);
  });

  test("base64 cores are in every encoding of text around the secret, wrapped or not", () => {
    for (let length = 8; length <= 64; length++) {
      const secret = Buffer.from(Array.from({ length }, (_, i) => 33 + ((i * 37 + length) % 90)));
      const needles = expansion(secret).needles.filter(({ variant }) => variant === "base64");
      for (const prefix of ["", "x", "yz"]) {
        for (const suffix of ["", "x", "yz"]) {
          const encoded = Buffer.concat([Buffer.from(prefix), secret, Buffer.from(suffix)]).toString("base64");
          expect(needles.some(({ bytes, flags }) => encoded.includes(bytes.toString()) && (flags & NEEDLE.WRAPPED) !== 0)).toBe(true);
        }
      }
    }
  });

  test("needles are distinct and long enough", () => {
    const needles = expand(`pa"ss'w$rd & <more>\nline two of it`);
    expect(new Set(needles).size).toBe(needles.length);
    expect(Math.min(...needles.map((needle) => needle.length))).toBeGreaterThanOrEqual(4);
  });
});

describe("salience", () => {
  test.each(["", "  \n", "a", "abc", "true", "NULL", "yes", "{", "],", "****", " 123 "])("refuses %j", (value) => {
    expect(expansion(value).refused).toBeTypeOf("string");
  });

  test.each(["web-01", "password", "Production"])("takes %j as a token", (value) => {
    const { token, needles } = expansion(value);
    expect(token).toBeTypeOf("string");
    expect(needles.find(({ variant }) => variant === "plain")?.flags).toBe(NEEDLE.TOKEN);
  });
});

describe("parts of structured secrets", () => {
  const pem = `-----BEGIN PRIVATE KEY-----\n${"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2\n".repeat(2)}-----END PRIVATE KEY-----\n`;
  test.each([
    ["JSON", '{"a":{"b":["leaf-one-x"]},"n":12345678}', ["leaf-one-x", "12345678"], ["a", '{"a"']],
    ["YAML", "user: someone-here\npassword: 'leaf-two-x'\n", ["leaf-two-x", "someone-here"], ["user:"]],
    [".env", 'export A_KEY=leaf-three\nB="leaf-four-x"\n', ["leaf-three", "leaf-four-x"], []],
    ["INI", "[default]\naws_secret = leaf-five-x\n", ["leaf-five-x"], ["[default]"]],
    ["netrc", "machine h login someone password leaf-six-x", ["leaf-six-x"], []],
    ["URL", "https://someone:leaf%2Dseven@host.example/p", ["leaf%2Dseven", "leaf-seven"], []],
    ["connection string", "Server=tcp:db;User=me;Password=leaf-eight-x;", ["leaf-eight-x"], []],
    [
      "JWT",
      "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJlLW9mLWl0LTEy",
      ["eyJzdWIiOiIxMjM0NTY3ODkwIn0", "c2lnbmF0dXJlLW9mLWl0LTEy"],
      ["eyJhbGciOiJIUzI1NiJ9"],
    ],
    ["halves", "someone12:leaf-nine-x", ["someone12", "leaf-nine-x"], []],
    ["docker config", `{"auths":{"r":{"auth":"${Buffer.from("bob:leaf-ten-xx").toString("base64")}"}}}`, ["leaf-ten-xx", "bob:leaf-ten-xx"], []],
    ["PEM", pem, ["QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2"], ["-----BEGIN PRIVATE KEY-----"]],
  ])("%s", (_, value, present, absent) => {
    const needles = expand(value);
    for (const leaf of present) expect(needles).toContain(leaf);
    for (const text of absent) expect(needles).not.toContain(text);
  });

  test("a password with a colon or an equals sign is not torn apart", () => {
    expect(expand("x=yZ9#kk!pp2")).not.toContain("yZ9#kk!pp2");
  });
});

describe("fingerprint", () => {
  test("native and portable agree; the key matters and must have 32 bytes", () => {
    const key = Buffer.alloc(32, 7);
    const value = Buffer.from("some value");
    expect(fingerprinter(key, portableBlake3)(value)).toMatch(/^[A-Z2-7]{8}$/);
    expect(fingerprinter(key, nativeBlake3())(value)).toBe(fingerprinter(key, portableBlake3)(value));
    expect(fingerprinter(Buffer.alloc(32, 8))(value)).not.toBe(fingerprinter(key)(value));
    expect(() => fingerprinter(Buffer.alloc(31))).toThrowError(expect.objectContaining({ code: "LV_KEY_LENGTH" }) as Error);
  });
});

test("parts of a long secret take linear time, whatever it is made of (a square would not end in time)", () => {
  const size = 1 << 20;
  for (const unit of ["a", "a:", "x://", "x://@", "\n", "-----BEGIN A-----", "-----BEGIN A-----x-----END B-----", "password ", "k=v\n", "a=b;", "eyJ."]) {
    for (const text of [unit.repeat(size / unit.length), `${unit.repeat(size / unit.length)}\nmachine x`])
      expect(parts(Buffer.from(text), 256).length).toBeLessThanOrEqual(256);
  }
});

test("passwords of URLs and bodies of PEM blocks in the middle of other text", () => {
  const values = (text: string): string[] => parts(Buffer.from(text), 256).map(({ value }) => value.toString());
  expect(values("see git+ssh://deploy:p@ss%21word@host/x and 9://a:b@c")).toEqual(expect.arrayContaining(["p@ss%21word", "p@ss!word"]));
  expect(values("1://user:password@host")).not.toContain("password");
  expect(values("x -----BEGIN A B-----\nKey: v\n\nAAAA\nBBBB\n-----END A B----- y -----BEGIN C-----CCCC-----END C-----")).toEqual(
    expect.arrayContaining(["AAAABBBB", "CCCC"]),
  );
});
