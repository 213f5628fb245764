/** Sizes, times and addresses: exact in both directions, and nothing else is taken. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseAddress, parseQuantity, printAddress, printQuantity, SIZE_UNITS, TIME_UNITS } from "../../src/config/units.js";

test.each([
  ["64MiB", 67_108_864],
  ["0B", 0],
  ["1B", 1],
  ["8191TiB", 8191 * 2 ** 40],
])("the size %s", (text, bytes) => expect(parseQuantity(text, SIZE_UNITS)).toBe(bytes));

test.each([
  ["250ms", 250],
  ["5s", 5000],
  ["10m", 600_000],
  ["2h", 7_200_000],
  ["30d", 2_592_000_000],
])("the time %s", (text, ms) => expect(parseQuantity(text, TIME_UNITS)).toBe(ms));

test.each([
  "",
  "64",
  "MiB",
  "64 MiB",
  "64MB",
  "64mib",
  "1.5MiB",
  "-1B",
  "+1B",
  "01B",
  "1e3B",
  "64MiBB",
  "8192TiB",
  "9007199254740993B",
  "1constructor",
  "٣B",
  "1B\n",
])("no size: %j", (text) => expect(parseQuantity(text, SIZE_UNITS)).toBeUndefined());

test("what is printed is what is read, for every number", () => {
  for (const units of [SIZE_UNITS, TIME_UNITS]) {
    const numbers = fc.oneof(
      fc.maxSafeNat(),
      fc.tuple(fc.integer({ min: 0, max: 5000 }), fc.constantFrom(...Object.values(units))).map(([a, b]) => a * b),
    );
    fc.assert(
      fc.property(numbers, (value) => {
        expect(parseQuantity(printQuantity(value, units), units)).toBe(value);
      }),
    );
  }
});

test.each(["127.0.0.1:8514", "0.0.0.0:0", "[::1]:8514", "[fe80::1]:65535", "unix:/run/logveil/a.sock"])("the address %s comes out as it went in", (text) =>
  expect(printAddress(parseAddress(text)!)).toBe(text),
);

test.each([
  "",
  "8514",
  ":8514",
  "localhost:1",
  "127.0.0.1",
  "127.0.0.1:",
  "127.0.0.1:65536",
  "127.0.0.1:01",
  "1.2.3:4",
  "256.0.0.1:1",
  "::1:8514",
  "[127.0.0.1]:1",
])("no address: %j", (text) => expect(parseAddress(text)).toBeUndefined());

test("a socket's path has an end", () => {
  expect(parseAddress(`unix:/${"a".repeat(106)}`)).toBeDefined();
  for (const path of [`/${"a".repeat(107)}`, `/${"ä".repeat(54)}`, "a.sock", "", "/a\0b"]) expect(parseAddress(`unix:${path}`)).toBeUndefined();
});
