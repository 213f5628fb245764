/** RE2, the only engine that sees log bytes: linear time whatever the pattern and the text. Loaded when the first pattern is compiled. */
import { createRequire } from "node:module";
import { LogveilError } from "../errors.js";

/** What a pattern found; `indices` with the flag `d`. */
export type PatternMatch = RegExpExecArray & { indices?: [number, number][] & { groups?: Record<string, [number, number]> } };

/** A compiled pattern over Latin-1 strings, one code unit a byte. */
export interface Pattern {
  test(text: string): boolean;
  exec(text: string): PatternMatch | null;
  lastIndex: number;
}

type Compiler = new (source: string, flags?: string) => Pattern;

let compiler: Compiler | undefined;

/** Loads the addon. Throws `LV_RE2_MISSING` where it cannot be loaded. */
export function requireRe2(): void {
  if (compiler !== undefined) return;
  try {
    compiler = createRequire(import.meta.url)("re2") as Compiler;
  } catch (cause) {
    throw new LogveilError("LV_RE2_MISSING", 'rules need the package re2, whose addon could not be loaded: run "npm rebuild re2", or switch rules off', {
      cause,
    });
  }
}

/** Compiles RE2 syntax. Throws `LV_RE2_MISSING`, and a SyntaxError for a bad pattern. */
export function compilePattern(source: string, flags = ""): Pattern {
  requireRe2();
  return new compiler!(source, flags);
}

/** A pattern that is compiled when it is first used. */
export function lazyPattern(source: string, flags?: string): () => Pattern {
  let pattern: Pattern | undefined;
  return () => (pattern ??= compilePattern(source, flags));
}
