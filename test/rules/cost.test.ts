/** No input makes rules look at it again and again: what is open is capped, what waits is judged when it can be decided. Counted in bytes looked at, not in time. */
import { describe, expect, test } from "vitest";
import { createEngine } from "../../src/index.js";
import { ENGINES } from "../support/engines.js";

const KEY_LINE = `${"MIIEowIBAAKCAQEAxk3vT9qLm2Rr8WyZs5bNd1Hc".repeat(2)}\n`;

/** Repeated, these took time in the square of their length, or at every chunk for all that waited. */
const UNITS: Readonly<Record<string, string>> = {
  "keys without an end": `-----BEGIN RSA PRIVATE KEY-----\n${KEY_LINE.repeat(8)}`,
  "begins of keys, a line each": "-----BEGIN PGP PRIVATE KEY BLOCK-----\n",
  "begins of keys on one line": "-----BEGIN PRIVATE KEY-----",
  "keys whose line ends are spelled": `k -----BEGIN RSA PRIVATE KEY-----\\n${KEY_LINE.repeat(3).replaceAll("\n", "\\n")}...\n`,
  "begins of keys with spelled line ends": "-----BEGIN PRIVATE KEY-----\\n",
  "begins of keys of two kinds": "PuTTY-User-Key-File-3: ssh-rsa\n-----BEGIN PRIVATE KEY-----\nstorePassword=:=0123456789abcdef0123456789abcdef\n",
  "first parts of tokens": "eyJhbGciOiJIUzI1NiJ9.",
  "escaped operators": "sig\\u003d\\n",
  "documents in documents": "kind: Secret\ndata:\n  a: kind: Secret\n",
  "documents on one line": "kind: Secret ",
  "documents ever deeper": " kind: Secret\n  kind: Secret\n   kind: Secret\n",
  "documents in strings": '"kind: Secret\\ndata:\\n  a: kind: Secret\\n',
  "anchors behind escapes": "\\u003d-secret",
  "names without values": "password=",
  "quotes that open": '_authToken="',
  "escaped quotes": 'access_token\\\\\\"',
  "values that hold escapes": "password='\\\"",
  "an encoded word that never ends": "CIVO_TOKEN%3D7faULlmiodENZ3Pef0e8w3XGtNREoocFQiaUthQkUsUsEnJb2p",
  "escapes in one word": "%41",
  "one letter": "a",
};

/** Bytes looked at in `bytes` bytes of a repeated unit, pushed in chunks of `size`. */
function workOf(engine: ReturnType<typeof createEngine>, unit: string, bytes: number, size: number): number {
  const text = Buffer.from(unit.repeat(Math.ceil(bytes / unit.length)).slice(0, bytes), "latin1");
  const stream = engine.stream();
  for (let at = 0; at < bytes; at += size) stream.push(text.subarray(at, at + size));
  const { work } = stream;
  stream.end();
  return work;
}

describe.each(ENGINES)("$engine", ({ engine: name }) => {
  const engine = createEngine({ engine: name });

  test.each(Object.entries(UNITS))("cost: %s is looked at a bounded number of times, however it is cut", (_, unit) => {
    for (const [size, bytes] of [
      [1, 16_384],
      [64, 32_768],
      [65_536, 65_536],
    ] as const) {
      const some = workOf(engine, unit, bytes, size);
      const twice = workOf(engine, unit, 2 * bytes, size);
      expect(some, `chunks of ${size}`).toBeGreaterThanOrEqual(bytes);
      expect(twice / some, `chunks of ${size}`).toBeLessThanOrEqual(2.2);
      expect(twice / (2 * bytes), `chunks of ${size}`).toBeLessThanOrEqual(MOST_LOOKS);
    }
  });
});

/** Most that a byte is looked at on average, by all rules together. */
const MOST_LOOKS = 2500;
