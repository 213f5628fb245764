/** The native boundary refuses what its contract (native/README.md) forbids, by a coded error without bytes, and goes on afterwards. */
import { expect, test } from "vitest";
import { NEEDLE, ROW_SIZE } from "../../src/core/matcher.js";
import { loadMatcher } from "../../src/native/loader.js";
import { ENGINES } from "../support/engines.js";
import { tableOf } from "../support/redactor.js";

const VALUE = "hunter2-hunter2";
const needles = [{ bytes: Buffer.from(VALUE), flags: NEEDLE.WRAPPED }];

test.runIf(ENGINES.some(({ engine }) => engine === "native"))("bad arguments of the native engine", () => {
  const native = loadMatcher("native");
  const table = tableOf(needles);
  const set = native.build(table);
  const bad: [string, () => unknown][] = [
    ["gap below zero", () => native.open([set], 0, -1)],
    ["gap not whole", () => native.open([set], 0, 1.5)],
    ["gap too large", () => native.open([set], 0, 2 ** 32)],
    ["parser unknown", () => native.open([set], 4711, 65536)],
    ["parser below zero", () => native.open([set], -1, 65536)],
    ["needle too short", () => native.build(tableOf([{ bytes: Buffer.from("abc"), flags: 0 }]))],
    ["offsets past the bytes", () => native.build({ ...table, offsets: new Uint32Array([0, 99]) })],
    ["offsets backwards", () => native.build({ ...table, offsets: new Uint32Array([9, 2]) })],
    ["flags missing", () => native.build({ ...table, flags: new Uint8Array(0) })],
    ["flags that exclude each other", () => native.build({ ...table, flags: Uint8Array.of(NEEDLE.WRAPPED | NEEDLE.SPACED) })],
    ["chunk too large", () => native.open([set], 0, 65536).scan(Buffer.alloc((16 << 20) + 1))],
  ];
  for (const [name, call] of bad) {
    const error = (() => {
      try {
        call();
      } catch (caught) {
        return caught as Error;
      }
      return undefined;
    })();
    expect(error?.message, name).toMatch(/^LV_NATIVE_ARGUMENT: /);
    expect(error?.message.includes(VALUE), name).toBe(false);
  }
  const stream = native.open([set], 0, 65536);
  expect(stream.scan(Buffer.from(`x ${VALUE} y`))).toBe(1);
  stream.release();
  expect(() => stream.scan(Buffer.from("x"))).toThrow(/^LV_NATIVE_ARGUMENT: the stream has been released/);
  set.release();
  expect(() => native.open([set], 0, 65536)).toThrow(/^LV_NATIVE_ARGUMENT: the set has been released/);
});

test.each(ENGINES)("$engine: more rows than the array holds come whole", (factory) => {
  const set = factory.build(tableOf(needles));
  const stream = factory.open([set], 0, 65536);
  const count = stream.scan(Buffer.from(`${VALUE} `.repeat(500)));
  expect(count).toBe(500);
  const starts = Array.from({ length: count }, (_, i) => stream.rows[i * ROW_SIZE + 3]);
  expect(starts).toEqual(Array.from({ length: count }, (_, i) => (500 - i) * (VALUE.length + 1)));
  stream.release();
});
