/** Whether the rules that a configuration names exist. Apart from loading it: this reads all rules, which the sidecar does anyway when it makes its engine. */
import { builtinSources } from "../rules/builtin.js";
import { CONFIDENCES } from "../rules/compile.js";
import { loadRules } from "../rules/load.js";
import { nearest } from "../rules/nearest.js";
import { type LoadedConfig, printPlace, refuse } from "./load.js";

/** Throws `LV_CONFIG` where a field names a rule that is none, `LV_RULES` and `LV_IO` where a file of rules is wrong. */
export function checkRules({ config, origins }: LoadedConfig): void {
  const { files, disable, policy } = config.rules;
  const own = files.length === 0 ? [] : loadRules(files);
  const ids = [...builtinSources(), ...own].map(({ id }) => id);
  const unknown = (path: string, names: readonly string[], known: readonly string[]): string[] =>
    names
      .filter((name) => !known.includes(name))
      .map((name) => {
        const near = nearest(name, known);
        const hint = near === undefined ? '"logveil rules list" names them' : `did you mean ${near}?`;
        return `${printPlace(path, origins.get(path))}: there is no rule ${name}; ${hint}`;
      });
  refuse([
    ...unknown("rules.disable", disable, ids),
    ...unknown("rules.policy", Object.keys(policy), [...CONFIDENCES, ...ids]),
    ...unknown("onFinding.actions", Object.keys(config.onFinding.actions), [...CONFIDENCES, ...ids]),
  ]);
}
