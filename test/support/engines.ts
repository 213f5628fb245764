/** The engines under test: the one that `LOGVEIL_ENGINE` names, else all that load. */
import type { MatcherFactory } from "../../src/core/matcher.js";
import { portable } from "../../src/core/portable.js";
import { loadMatcher } from "../../src/native/loader.js";

function available(): MatcherFactory[] {
  const forced = process.env["LOGVEIL_ENGINE"];
  if (forced === "portable") return [portable];
  if (forced === "native") return [loadMatcher("native")];
  const best = loadMatcher("auto");
  return best.engine === "native" ? [best, portable] : [portable];
}

export const ENGINES: readonly MatcherFactory[] = available();
