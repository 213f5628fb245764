/** The self-test: a made-up secret goes through the engine in every spelling. If one comes out, nothing here can be trusted. */
import { randomBytes } from "node:crypto";
import type { Engine } from "../engine.js";
import { VARIANTS } from "../secrets/variants.js";

/** Bytes of the made-up secret. */
const CANARY_BYTES = 24;
/** Sizes of the chunks that it is cut into. */
const CHUNKS = [1, 7, 1 << 16];

/** Names of the spellings that came out; none if all is well. */
export async function runCanary(engine: Engine): Promise<string[]> {
  const value = `cnry/${randomBytes(CANARY_BYTES).toString("base64url")}+"$&`;
  const scope = engine.scope(`\0canary\0${randomBytes(8).toString("hex")}`);
  const seen = new Set<string>();
  try {
    await scope.addSecrets([{ name: "canary", value }]);
    const plain = { name: "plain", encode: (bytes: Buffer): readonly Buffer[] => [bytes] };
    for (const variant of [plain, ...VARIANTS]) {
      for (const spelling of variant.encode(Buffer.from(value))) {
        const log = Buffer.concat([Buffer.from("step 1: "), spelling, Buffer.from("\ndone\n")]);
        for (const size of CHUNKS) {
          const stream = scope.stream({ name: "canary" });
          const out: Uint8Array[] = [];
          for (let at = 0; at < log.length; at += size) out.push(...stream.push(log.subarray(at, at + size)).map((piece) => Buffer.from(piece)));
          out.push(...stream.end());
          if (Buffer.concat(out).includes(spelling)) seen.add(variant.name);
        }
      }
    }
    return [...seen];
  } finally {
    scope.close();
  }
}
