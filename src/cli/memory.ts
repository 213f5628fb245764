/** A process that stays for days should not keep what its start took. */
import { setFlagsFromString } from "node:v8";
import { trimMemory } from "../native/loader.js";

/** After so long what starting allocated has been collected. */
const SETTLED_MS = 5000;

/**
 * Call before starting, and what it answers afterwards. Starting makes much garbage: V8 would answer with a young generation of 48 MiB, which it keeps; and the
 * allocator keeps what building the automaton freed. Measured with 1,000 secrets: 109 MiB of its own without, 82 MiB with both.
 */
export function startSmall(): () => void {
  setFlagsFromString("--semi-space-growth-factor=1");
  return () => {
    setFlagsFromString("--semi-space-growth-factor=2");
    setTimeout(trimMemory, SETTLED_MS).unref();
  };
}
