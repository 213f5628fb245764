/** Proof of a rule by its own record: its expressions compile in RE2, its examples give exactly their spans, its negatives nothing. */
import { PortableAnchors } from "../core/anchors.js";
import { type Rule, RuleFault } from "./compile.js";
import { Detector } from "./detector.js";
import { makePack, type RulePack } from "./pack.js";
import { cook, type Example } from "./recipes.js";
import { compilePattern } from "./re2.js";

/** Throws {@link RuleFault} if the rule does not do what its record says. */
export function proveRule(rule: Rule): void {
  const { source } = rule;
  for (const [field, expressions] of [
    ["regex", source.regex === undefined ? [] : [source.regex]] as const,
    ["allow", source.allow ?? []] as const,
    ["begin", source.begin === undefined ? [] : [source.begin]] as const,
  ]) {
    for (const expression of expressions) tryOut(field, () => compilePattern(expression));
  }
  const pack = makePack([rule], { minConfidence: "low" });
  source.examples.forEach((recipe, index) => {
    const example = tryOut("examples", () => cook(recipe, rule.id));
    const spans = spansIn(pack, example.text);
    const wanted = merged(example.spans);
    if (JSON.stringify(spans) !== JSON.stringify(wanted))
      throw new RuleFault("examples", `number ${index + 1}: expected ${show(wanted)} of ${example.text.length} bytes, found ${show(spans)}`);
  });
  (source.negatives ?? []).forEach((recipe, index) => {
    const { text } = tryOut("negatives", () => cook(recipe, rule.id));
    const spans = spansIn(pack, text);
    if (spans.length > 0) throw new RuleFault("negatives", `number ${index + 1}: expected nothing, found ${show(spans)}`);
  });
}

/** What the rules of a pack mask in a text (Latin-1), merged. */
export function spansIn(pack: RulePack, text: string): Example["spans"] {
  const spans: { start: number; end: number }[] = [];
  const detector = new Detector(pack, { anchors: new PortableAnchors(pack.table) }, { mask: (start, end) => spans.push({ start, end }), found() {} });
  detector.push(Buffer.from(text, "latin1"));
  detector.end();
  return merged(spans);
}

function merged(spans: Example["spans"]): Example["spans"] {
  const all: { start: number; end: number }[] = [];
  for (const { start, end } of spans.toSorted((a, b) => a.start - b.start)) {
    const last = all.at(-1);
    if (last !== undefined && start <= last.end) last.end = Math.max(last.end, end);
    else all.push({ start, end });
  }
  return all;
}

const show = (spans: Example["spans"]): string => (spans.length === 0 ? "nothing" : spans.map(({ start, end }) => `${start}–${end}`).join(", "));

function tryOut<T>(field: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof Error && !(error instanceof RuleFault)) throw new RuleFault(field, error.message);
    throw error;
  }
}
