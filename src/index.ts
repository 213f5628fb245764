/** The public surface: re-exports only. */
export { createEngine } from "./engine.js";
export type { Chunk, Engine, EngineOptions, Masker, Scope, SharedSecrets } from "./engine.js";
export type { RedactorStream, StreamOptions } from "./live.js";
export { LogveilError } from "./errors.js";
export type { ErrorCode } from "./errors.js";
export { DEFAULT_LIMITS } from "./limits.js";
export type { Limits } from "./limits.js";
export type { EngineChoice } from "./native/loader.js";
export { installationKey } from "./secrets/fingerprint.js";
export type { RulesOptions } from "./rules/builtin.js";
export { loadRules } from "./rules/load.js";
export type { RuleSource } from "./rules/schema.js";
export { DEFAULT_SALIENCE } from "./secrets/salience.js";
export type { SalienceOptions } from "./secrets/salience.js";
export type { EngineStats, Finding, MaskOptions, MaskStyle, SecretInput, SecretReport, Warning } from "./types.js";
