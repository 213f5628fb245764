/** Masks by scope: which text stands for a secret, proven not to complete another one. Made anew when the sets of a scope change. */
import type { Warning } from "../types.js";
import { type MaskFamilies, type MaskRisks, Masks } from "./mask.js";
import type { MatcherFactory, NeedleSet } from "./matcher.js";

/** A set of needles, and where masks may meet them. */
interface Group {
  readonly set: NeedleSet;
  readonly risks: MaskRisks;
}

export interface MaskContext {
  readonly factory: MatcherFactory;
  readonly families: MaskFamilies;
  readonly limits: { readonly maxGapBytes: number };
}

export class MaskTable {
  private readonly known = new Map<string, { readonly groups: readonly Group[]; readonly masks: Masks }>();

  constructor(
    private readonly context: MaskContext,
    private readonly warn: (warning: Warning) => void,
  ) {}

  of(scope: string, groups: readonly Group[]): Masks {
    const known = this.known.get(scope);
    if (known !== undefined && known.groups.length === groups.length && known.groups.every((group, i) => group === groups[i])) return known.masks;
    const risks = groups.map((group) => group.risks);
    const message = "every mask that logveil knows meets the start or end of some secret; choose another --mask or mask text";
    const mayCompose = (): void => this.warn({ code: "LV_MASK_MAY_COMPOSE", message });
    const masks = new Masks(this.context.families, risks, (text) => this.holdsNeedle(text, groups), mayCompose);
    this.known.set(scope, { groups, masks });
    return masks;
  }

  forget(scope: string): void {
    this.known.delete(scope);
  }

  private holdsNeedle(text: Buffer, groups: readonly Group[]): boolean {
    const { factory, limits } = this.context;
    const sets = groups.map((group) => group.set);
    const probe = factory.open(sets, 0, limits.maxGapBytes);
    // A line end on both sides: a token needle counts inside a mask only if the mask itself bounds it.
    const rows = probe.scan(Buffer.concat([Buffer.from("\n"), text, Buffer.from("\n")]));
    probe.release();
    return rows > 0;
  }
}
