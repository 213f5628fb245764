/**
 * Content codings of an HTTP body in layers, and how much a body may grow when it is decoded. Limits are checked piece by piece, before the next one is made.
 *
 *     for await (const piece of decoder.push(chunk)) for await (const coded of encoder.push(mask(piece))) send(coded)
 */
import { type ContentCoding, contentCodings } from "./content.js";
import { decodeError, type Stage } from "./stage.js";

export interface DecodeLimits {
  /** Most codings in one another. */
  readonly maxLayers: number;
  /** Most bytes that any layer may decode a body to. */
  readonly maxDecodedBytes: number;
  /** Most bytes decoded, of any layer, for each byte that was received. Deflate reaches 1032 at most, text not 100. */
  readonly maxRatio: number;
  /** Decoded bytes up to which the ratio does not count. */
  readonly ratioFromBytes: number;
  /** Largest window of a zstd body. */
  readonly zstdWindowBytes: number;
}

export const DEFAULT_DECODE_LIMITS: DecodeLimits = Object.freeze({
  maxLayers: 3,
  maxDecodedBytes: 1 << 30,
  maxRatio: 1024,
  ratioFromBytes: 1 << 20,
  zstdWindowBytes: 8 << 20,
});

/** Decodes a body whose `Content-Encoding` is `field`. Throws `LV_DECODE`: coding not known, too many layers. */
export function openDecoder(field: string | undefined, given: Partial<DecodeLimits> = {}): Stage {
  const limits = { ...DEFAULT_DECODE_LIMITS, ...given };
  const codings = checked(field, limits.maxLayers).toReversed();
  let received = 0;
  const layers = codings.map((coding) => guarded(coding, limits, () => received));
  const chain = chained(layers);
  return {
    ...chain,
    push(chunk) {
      received += chunk.length;
      return chain.push(chunk);
    },
  };
}

/** Encodes a body as `field` says. Throws `LV_DECODE` as {@link openDecoder} does. `deflate` comes out with the head of zlib however it came in. */
export function openEncoder(field: string | undefined, { maxLayers = DEFAULT_DECODE_LIMITS.maxLayers }: Partial<DecodeLimits> = {}): Stage {
  return chained(checked(field, maxLayers).map((coding) => coding.encode()!));
}

function checked(field: string | undefined, maxLayers: number): ContentCoding[] {
  const codings = contentCodings(field);
  if (codings.length > maxLayers) throw decodeError(codings[maxLayers]!.name, "layers");
  return codings;
}

/** A decoder that stops where its layer grows beyond the limits. */
function guarded(coding: ContentCoding, limits: DecodeLimits, received: () => number): Stage {
  const stage = coding.decode(limits.zstdWindowBytes)!;
  let made = 0;
  async function* watch(pieces: AsyncGenerator<Buffer, void, void>): AsyncGenerator<Buffer, void, void> {
    for await (const piece of pieces) {
      made += piece.length;
      if (made > limits.maxDecodedBytes) throw decodeError(coding.name, "size");
      if (made > limits.ratioFromBytes && made > limits.maxRatio * received()) throw decodeError(coding.name, "ratio");
      yield piece;
    }
  }
  return {
    push: (chunk) => watch(stage.push(chunk)),
    flush: () => watch(stage.flush()),
    end: () => watch(stage.end()),
    destroy: () => stage.destroy(),
  };
}

/** Stages one behind the other. Whoever stops reading, or an error, frees all of them. */
function chained(stages: readonly Stage[]): Stage {
  const destroy = (): void => {
    for (const stage of stages) stage.destroy();
  };
  async function* from(first: number, pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Buffer, void, void> {
    for await (const piece of pieces) {
      const stage = stages[first];
      if (stage === undefined) yield Buffer.from(piece.buffer, piece.byteOffset, piece.length);
      else yield* from(first + 1, stage.push(piece));
    }
  }
  async function* safely(work: () => AsyncGenerator<Buffer, void, void>): AsyncGenerator<Buffer, void, void> {
    let isDone = false;
    try {
      yield* work();
      isDone = true;
    } finally {
      if (!isDone) destroy();
    }
  }
  async function* each(step: "flush" | "end"): AsyncGenerator<Buffer, void, void> {
    for (const [i, stage] of stages.entries()) yield* from(i + 1, stage[step]());
  }
  return {
    push: (chunk) => safely(() => from(0, [chunk])),
    flush: () => safely(() => each("flush")),
    end: () => safely(() => each("end")),
    destroy,
  };
}
