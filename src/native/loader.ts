/**
 * Finds and loads the native addon, in this order: the file that `LOGVEIL_NATIVE` names; beside this file, or in `native/` beside its folder (the
 * published package, its command included); `native/` of a checkout. `LOGVEIL_ENGINE=native|portable` forces an engine,
 * `LOGVEIL_SIMD=scalar|avx2` the native one's scan loop. Bundled into one file without the addon, logveil runs on the portable engine.
 */
import { createRequire } from "node:module";
import { LogveilError } from "../errors.js";
import type { MatcherFactory } from "../core/matcher.js";
import { portable } from "../core/portable.js";
import { type Addon, nativeMatcher } from "./matcher.js";

export type EngineChoice = "auto" | "native" | "portable";

let loaded: { addon: Addon | undefined; tried: string[]; failure: unknown } | undefined;

/** The engine for `want`; the environment wins over `auto`. Throws `LV_NATIVE_MISSING`, or `LV_USAGE` for an unknown word. */
export function loadMatcher(want: EngineChoice = "auto"): MatcherFactory {
  const forced = process.env["LOGVEIL_ENGINE"];
  if (forced !== undefined && forced !== "" && forced !== "native" && forced !== "portable" && forced !== "auto") {
    throw new LogveilError("LV_USAGE", "LOGVEIL_ENGINE must be native, portable or auto");
  }
  const choice = want === "auto" && forced ? forced : want;
  if (choice === "portable") return portable;
  const { addon, tried, failure } = load();
  if (addon !== undefined) {
    checkSimd(addon);
    return nativeMatcher(addon);
  }
  if (choice === "native") {
    throw new LogveilError(
      "LV_NATIVE_MISSING",
      `the native engine was demanded but no addon could be loaded; tried ${tried.join(", ")}. Build it with "npm run build" (needs cargo), or use the portable engine`,
      { cause: failure, facts: { tried } },
    );
  }
  return portable;
}

let isPortableTold = false;

/** What to tell, once per process, where the portable engine runs because no addon could be loaded. */
export function portableNotice(want: EngineChoice | undefined, engine: MatcherFactory["engine"]): string | undefined {
  if ((want ?? "auto") !== "auto" || engine !== "portable" || process.env["LOGVEIL_ENGINE"] || !nativeMissing() || isPortableTold) return undefined;
  isPortableTold = true;
  return "no native addon for this platform: masking runs on the portable engine, with the same results but slower";
}

function checkSimd(addon: Addon): void {
  try {
    addon.simd();
  } catch (cause) {
    throw new LogveilError("LV_USAGE", "LOGVEIL_SIMD names no scan loop that this machine can run: use scalar, avx2 (x86-64), or leave it unset", { cause });
  }
}

/** Whether `auto` falls back to the portable engine because no addon could be loaded. */
export function nativeMissing(): boolean {
  return load().addon === undefined;
}

/** Keeps this process out of core dumps and debuggers, as far as the system allows. False without the addon. */
export function hardenProcess(): boolean {
  try {
    return load().addon?.hardenProcess() ?? false;
  } catch {
    return false;
  }
}

/** Gives memory that was freed back to the system: after building large sets. False without the addon, or where there is none. */
export function trimMemory(): boolean {
  return load().addon?.trimMemory() ?? false;
}

/** Makes the pipe behind `descriptor` as large as any process may: fewer and larger reads. False without the addon, or where there is no such thing. */
export function growPipe(descriptor: number): boolean {
  return load().addon?.growPipe(descriptor) ?? false;
}

function load(): NonNullable<typeof loaded> {
  if (loaded !== undefined) return loaded;
  const tried: string[] = [];
  let failure: unknown;
  const base: string | undefined = import.meta.url;
  if (base !== undefined && base !== "") {
    const require = createRequire(base);
    const given = process.env["LOGVEIL_NATIVE"];
    for (const file of [...(given ? [given] : []), ...addonNames().flatMap((name) => [`./${name}`, `../native/${name}`, `../../native/${name}`])]) {
      tried.push(file);
      try {
        const addon = require(file) as Addon;
        return (loaded = { addon, tried, failure: undefined });
      } catch (error) {
        failure = error;
      }
    }
  }
  return (loaded = { addon: undefined, tried, failure });
}

/** `logveil.<platform>-<arch>[-<abi>].node`, as napi-rs names targets. Which libc is cheaper to try than to ask. */
function addonNames(): string[] {
  const { platform, arch } = process;
  if (platform === "linux") return [`logveil.linux-${arch}-gnu.node`, `logveil.linux-${arch}-musl.node`];
  return [platform === "win32" ? `logveil.win32-${arch}-msvc.node` : `logveil.${platform}-${arch}.node`];
}
