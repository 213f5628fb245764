/** Every code of the system is told in words. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { reasonAndCure, reasonOf } from "../../src/io-error.js";

test("a reason: words first, the code beside them, and what to do if that is known", () => {
  try {
    readFileSync("/nowhere/at/all");
  } catch (error) {
    expect(reasonAndCure(error)).toBe("no such file or folder (ENOENT); check the path");
  }
  expect(reasonOf("EACCES")).toBe("permission denied (EACCES)");
  expect(reasonAndCure({ code: "EPIPE" })).toBe("the reader is gone (EPIPE)");
});

test("a reason: codes without words, and errors without codes, are said to be such; messages are never quoted", () => {
  expect(reasonOf({ code: "EWEIRD" })).toBe("an error of the system (EWEIRD)");
  for (const error of [new Error("a secret"), undefined, null, { code: 7 }]) expect(reasonOf(error)).toBe("an unknown error");
});
