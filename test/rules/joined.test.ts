/** Rules over structured bodies: a key and its value are an assignment, as they are in the text of the same body; at every chunking, on both engines. */
import { describe, expect, test } from "vitest";
import { type Framing, FRAMINGS } from "../../src/codec/framing.js";
import { createEngine, type Engine } from "../../src/index.js";
import { ENGINES } from "../support/engines.js";

const VALUE = "vX9!kQ2#mZ7pLw4e";
const MASK = "[REDACTED:PW]";

/** What must come out, for bodies in which VALUE stands where a rule looks. */
const CASES: readonly (readonly [Framing["name"], string, string?])[] = [
  ["json", `{"password":"${VALUE}"}`],
  ["json", `{ "user" : "me", "db_password" :\n "${VALUE}" , "port": 5432 }`],
  ["json", `{"env":{"a":1,"api_secret":"${VALUE}","b":[true,null]}}`],
  ["json", `[{"password":"${VALUE}"},{"password":"other-${VALUE}"}]`, `[{"password":"${MASK}"},{"password":"${MASK}"}]`],
  ["json", String.raw`{"password":"vX9k\\Q2\"mZ\"7\u0070Lw4e"}`, `{"password":"${MASK}"}`],
  ["json", String.raw`{"log":"export DB_PASSWORD=\"${VALUE}\" next=\"word\"","x":"y"}`],
  ["json", String.raw`{"log":"{\"password\":\"${VALUE}\",\"level\":\"information\"}"}`],
  [
    "ndjson",
    `{"password":"${VALUE}"}\n{"level":"information","password":"x${VALUE}"}\n`,
    `{"password":"${MASK}"}\n{"level":"information","password":"${MASK}"}\n`,
  ],
  ["form", `user=me&password=${encodeURIComponent(VALUE)}&next=/home`, `user=me&password=${encodeURIComponent(MASK)}&next=/home`],
];

/** What is no assignment: nothing may change. */
const UNCHANGED: readonly (readonly [Framing["name"], string])[] = [
  ["json", `{"password":null,"username":"${VALUE}"}`],
  ["json", `{"password":{"description":"${VALUE}"}}`],
  ["json", `{"password":[],"${VALUE}":1}`],
  ["json", `["password","${VALUE}"]`],
  ["json", `{"password":true,"${VALUE}":"x"}`],
  ["json", `{"a":"password","${VALUE}":"x"}`],
  ["json", `{"a":"password:","b":"${VALUE}"}`],
  ["form", `password&user=${encodeURIComponent(VALUE)}`],
];

const through = (engine: Engine, name: Framing["name"], body: string, size: number): string => {
  const masker = FRAMINGS.find((framing) => framing.name === name)!.open((options) => engine.stream(options));
  const bytes = Buffer.from(body);
  const out: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) out.push(...masker.push(bytes.subarray(at, at + size)).map((piece) => Buffer.from(piece)));
  return Buffer.concat([...out, ...masker.end()]).toString();
};

/** Any mask as one text: which of several rules was first is not the point. */
const unnamed = (text: string): string => decodeURIComponent(text).replace(/\[REDACTED:[^\]]*\]/g, MASK);

describe.each(ENGINES)("$engine", ({ engine: name }) => {
  const engine = createEngine({ engine: name, rules: { learn: false } });

  test.each([1, 7, 1e6])("a key and its value are an assignment, chunks of %d", (size) => {
    for (const [framing, body, masked = body.replace(VALUE, MASK)] of CASES)
      expect(unnamed(through(engine, framing, body, size)), body).toBe(decodeURIComponent(masked));
  });

  test.each([1, 7, 1e6])("what only stands near each other is none, chunks of %d", (size) => {
    for (const [framing, body] of UNCHANGED) expect(through(engine, framing, body, size)).toBe(body);
  });
});
