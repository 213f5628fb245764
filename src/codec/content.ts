/**
 * Content codings, one row each: how they are recognised, decoded and encoded again. Of files (the command line) by their first bytes, of HTTP bodies by `Content-Encoding`
 * ({@link contentCodings}); layers and limits of the latter: layers.ts.
 */
import { createRequire } from "node:module";
import type { Duplex, Transform } from "node:stream";
import zlib from "node:zlib";
import { LogveilError } from "../errors.js";
import { decodeError, DeflateStage, type Stage, StreamStage, type ZstdDecoder, ZstdStage } from "./stage.js";

export interface ContentCoding {
  readonly name: "identity" | "gzip" | "deflate" | "br" | "zstd";
  /** Names in `Content-Encoding`, lower case (RFC 9110 §8.4.1). */
  readonly tokens: readonly string[];
  /** First bytes of a coded file; absent: files do not tell. */
  readonly magic?: readonly number[];
  /** Streams for files; undefined: nothing is to be done. */
  decoder(): Duplex | undefined;
  encoder(): Duplex | undefined;
  /** Stages for bodies; `zstdWindowBytes`: the largest window of a zstd body; what lies between two powers of 2 counts as the lower. */
  decode(zstdWindowBytes: number): Stage | undefined;
  encode(): Stage | undefined;
}

/** 2.4 times as fast as zlib's default of 16 KiB. */
const CHUNK_BYTES = 256 * 1024;
const LARGE = { chunkSize: CHUNK_BYTES };
/** The smallest there is (RFC 8878 §3.1.1.1.2). */
const MIN_ZSTD_WINDOW_BYTES = 1024;
/** For bodies, of which there are many at once. */
const BODY = { chunkSize: 64 * 1024 };
/** The default quality, 11, is for what is coded once and read often. */
const BROTLI = { ...BODY, params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 5 } };

const decoding = (name: string, stream: Transform): Stage => new StreamStage(name, stream, "decode");
const encoding = (name: string, stream: Transform): Stage => new StreamStage(name, stream, "encode");

export const CONTENT_CODINGS: readonly ContentCoding[] = [
  // RFC 1952
  {
    name: "gzip",
    tokens: ["gzip", "x-gzip"],
    magic: [0x1f, 0x8b],
    decoder: () => zlib.createGunzip(LARGE),
    encoder: () => zlib.createGzip(LARGE),
    decode: () => decoding("gzip", zlib.createGunzip(BODY)),
    encode: () => encoding("gzip", syncFlushing(zlib.createGzip(BODY))),
  },
  // RFC 8878
  {
    name: "zstd",
    tokens: ["zstd"],
    magic: [0x28, 0xb5, 0x2f, 0xfd],
    decoder: () => zstd().decoder(),
    encoder: () => zstd().encoder(),
    decode: zstdStage,
    encode: () => encoding("zstd", zstd().encoder()),
  },
  // RFC 1950, RFC 1951
  {
    name: "deflate",
    tokens: ["deflate"],
    decoder: () => zlib.createInflate(LARGE),
    encoder: () => zlib.createDeflate(LARGE),
    decode: () =>
      new DeflateStage(
        () => decoding("deflate", zlib.createInflate(BODY)),
        () => decoding("deflate", zlib.createInflateRaw(BODY)),
      ),
    encode: () => encoding("deflate", syncFlushing(zlib.createDeflate(BODY))),
  },
  // RFC 7932
  {
    name: "br",
    tokens: ["br"],
    decoder: () => zlib.createBrotliDecompress(LARGE),
    encoder: () => zlib.createBrotliCompress(LARGE),
    decode: () => decoding("br", zlib.createBrotliDecompress(BODY)),
    encode: () => encoding("br", zlib.createBrotliCompress(BROTLI)),
  },
  {
    name: "identity",
    tokens: ["identity", ""],
    magic: [],
    decoder: () => undefined,
    encoder: () => undefined,
    decode: () => undefined,
    encode: () => undefined,
  },
];

/** Tokens of `Content-Encoding` that bodies can be decoded and encoded in here. */
export function servedTokens(): string[] {
  return CONTENT_CODINGS.filter(({ name }) => name !== "zstd" || hasZstd()).flatMap(({ tokens }) => tokens.filter((token) => token !== ""));
}

function hasZstd(): boolean {
  try {
    zstdStage(MIN_ZSTD_WINDOW_BYTES).destroy();
    zstd();
    return true;
  } catch {
    return false;
  }
}

/** The coding of a file that begins with `head`. */
export function codingOf(head: Uint8Array): ContentCoding {
  return CONTENT_CODINGS.find(({ magic }) => magic?.every((byte, i) => head[i] === byte))!;
}

/** Whether more bytes may make a coded file of one that begins with `head`, and is none so far. */
export function mayBeCoded(head: Uint8Array): boolean {
  return head.length > 0 && CONTENT_CODINGS.some(({ magic = [] }) => magic.length > head.length && head.every((byte, i) => byte === magic[i]));
}

/**
 * The codings of a `Content-Encoding` field (RFC 9110 §8.4), in the order in which they were applied, without `identity`. Throws `LV_DECODE` for one that is not known.
 */
export function contentCodings(field: string | undefined): ContentCoding[] {
  const tokens = (field ?? "").toLowerCase().split(",");
  return tokens
    .map((token) => {
      const coding = CONTENT_CODINGS.find((row) => row.tokens.includes(token.trim()));
      if (coding === undefined) throw decodeError("unknown", "unknown");
      return coding;
    })
    .filter(({ name }) => name !== "identity");
}

/** Flushes so that the receiver can read on, and keeps what it has learned. */
function syncFlushing(stream: zlib.Gzip | zlib.Deflate): Transform {
  const flush = stream.flush.bind(stream) as (kind: number, done: () => void) => void;
  return Object.assign(stream, { flush: (done: () => void) => flush(zlib.constants.Z_SYNC_FLUSH, done) });
}

const load = createRequire(import.meta.url);

/**
 * By the optional package: Node's own decoder (22.15 and later) stops at the end of the first frame and drops what follows, so that of a file that was appended to only the
 * beginning was left; and in version 22 it takes a file that is cut off for a whole one. Throws `LV_IO` where there is no such package.
 */
function zstd(): { decoder(): Duplex; encoder(): Transform } {
  const addon = zstdNapi("zstd-napi") as typeof import("zstd-napi");
  return { decoder: () => new addon.DecompressStream(), encoder: () => new addon.CompressStream() };
}

function zstdStage(windowBytes: number): Stage {
  const { DCtx, DParameter } = zstdNapi("zstd-napi/binding.js") as typeof import("zstd-napi/binding.js");
  const decoder = new DCtx();
  decoder.setParameter(DParameter.windowLogMax, Math.floor(Math.log2(windowBytes)));
  return new ZstdStage(decoder satisfies ZstdDecoder);
}

function zstdNapi(name: string): unknown {
  try {
    return load(name);
  } catch (error) {
    throw new LogveilError("LV_IO", "zstd needs the optional package zstd-napi (npm install zstd-napi)", {
      cause: error,
    });
  }
}
