/** The self-test: a made-up secret goes through the engine in every spelling. If one comes out, nothing here can be trusted. */
import { randomBytes, randomInt } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import type { Engine } from "../engine.js";
import { spellingsOf, VARIANTS } from "../secrets/variants.js";

/** Bytes of the made-up secret. */
const CANARY_BYTES = 24;
/** What stands around it in a log. */
const [BEFORE, BEHIND] = [Buffer.from("step 1: "), Buffer.from("\ndone\n")];

/** Names of the spellings that came out, whole or cut in two; none if all is well. Others have their turn meanwhile. */
export async function runCanary(engine: Engine): Promise<string[]> {
  const value = `cnry/${randomBytes(CANARY_BYTES).toString("base64url")}+"$&`;
  const plain = Buffer.from(value);
  const spellings = [
    { name: "plain", bytes: plain },
    ...VARIANTS.flatMap((variant) => spellingsOf(variant, plain).map((bytes) => ({ name: variant.name, bytes }))),
  ];
  const scope = engine.scope(`\0canary\0${randomBytes(8).toString("hex")}`);
  const seen = new Set<string>();
  try {
    await scope.addSecrets([{ name: "canary", value }]);
    const log = Buffer.concat(spellings.flatMap(({ bytes }) => [BEFORE, bytes, BEHIND]));
    for (const cuts of [[], cutsOf(spellings.map(({ bytes }) => bytes.length))]) {
      const stream = scope.stream({ name: "canary" });
      const out: Buffer[] = [];
      const take = (pieces: readonly Uint8Array[]): void => void out.push(...pieces.map((piece) => Buffer.from(piece)));
      let from = 0;
      for (const to of [...cuts, log.length]) {
        take(stream.push(log.subarray(from, to)));
        from = to;
        await setImmediate();
      }
      take(stream.end());
      const text = Buffer.concat(out);
      for (const { name, bytes } of spellings) if (text.includes(bytes)) seen.add(name);
    }
    return [...seen];
  } finally {
    scope.close();
  }
}

/** A place within each spelling, by their lengths. */
function cutsOf(lengths: readonly number[]): number[] {
  let end = 0;
  return lengths.map((length) => {
    const start = end + BEFORE.length;
    end = start + length + BEHIND.length;
    return start + randomInt(1, length);
  });
}
