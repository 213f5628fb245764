/** Which known secrets stand in a text of its own? For what rules decode: not a stream, nothing to mask. */
import { type MatcherFactory, ROW, ROW_SIZE } from "../core/matcher.js";
import type { Group, SecretMeta } from "./registry.js";

/** A secret that stands whole in `[start, end)`. */
export interface Place {
  readonly secret: SecretMeta;
  readonly start: number;
  readonly end: number;
}

/** All needles that stand whole in `text` (at most 16 MiB). */
export function placesIn(factory: MatcherFactory, groups: readonly Group[], maxGapBytes: number, text: Uint8Array): Place[] {
  if (groups.length === 0) return [];
  const sets = groups.map(({ set }) => set);
  const stream = factory.open(sets, 0, maxGapBytes);
  const places: Place[] = [];
  for (const finish of [() => stream.scan(text), () => stream.end()]) {
    const count = finish();
    const { rows } = stream;
    for (let i = 0; i < count * ROW_SIZE; i += ROW_SIZE) {
      const kind = rows[i]!;
      if (kind !== ROW.RAW && kind !== ROW.LANE && (kind !== ROW.TOKEN || rows[i + 5] !== 0)) continue;
      const secret = groups[rows[i + 1]!]!.owners[rows[i + 2]!]!;
      places.push({ secret, start: text.length - rows[i + 3]!, end: text.length - rows[i + 4]! });
    }
  }
  stream.release();
  return places;
}
