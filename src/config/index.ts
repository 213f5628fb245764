/** What the rest of logveil uses of the configuration: re-exports only. */
export { changesOf } from "./changes.js";
export { configSchema, type Field, FIELDS, fieldsFromOptions } from "./fields.js";
export { type LoadedConfig, loadConfig, type LoadOptions, type Origin, printOrigin } from "./load.js";
export { checkRules } from "./rules.js";
export { type Config, configFolders } from "./schema.js";
export { printConfig } from "./show.js";
export { type Address, printAddress, printServer } from "./units.js";
