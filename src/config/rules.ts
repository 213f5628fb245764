/** Whether the rules that a configuration names exist. Apart from loading it: this reads all rules, which the sidecar does anyway when it makes its engine. */
import { builtinSources } from "../rules/builtin.js";
import { CONFIDENCES } from "../rules/compile.js";
import { loadRules } from "../rules/load.js";
import { nearest } from "../rules/nearest.js";
import { type LoadedConfig, printPlace, refuse } from "./load.js";

/**
 * Throws `LV_CONFIG` where a field names a rule that is none, `LV_RULES` and `LV_IO` where a file of rules is wrong. Answers warnings: actions for rules that are left out, and so
 * find nothing.
 */
export function checkRules({ config, origins }: LoadedConfig): string[] {
  const { files, disable, minConfidence, policy } = config.rules;
  const own = files.length === 0 ? [] : loadRules(files);
  const sources = [...builtinSources(), ...own];
  const ids = sources.map(({ id }) => id);
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
  const place = printPlace("onFinding.actions", origins.get("onFinding.actions"));
  const levels: readonly string[] = CONFIDENCES;
  return Object.keys(config.onFinding.actions).flatMap((id) => {
    const rule = sources.find((each) => each.id === id);
    if (rule === undefined) return [];
    const isLow = levels.indexOf(rule.confidence) < levels.indexOf(minConfidence);
    const by = disable.includes(id) ? "rules.disable" : isLow ? "rules.minConfidence" : undefined;
    return by === undefined ? [] : [`${place}: the rule ${id} is left out by ${by}, so nothing is done about what it would find`];
  });
}
