/** What the first bytes of a file say: each format, whole and by the byte, and logs, which are none of them. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import zlib from "node:zlib";
import { describe, expect, test } from "vitest";
import { endsAsZip, FORMATS, HEAD_BYTES, recognise } from "../../src/codec/file-formats.js";

const bytes = (latin1: string): Buffer => Buffer.from(latin1, "latin1");
const filled = (latin1: string, length = 600): Buffer => Buffer.concat([bytes(latin1), Buffer.alloc(Math.max(0, length - latin1.length), 0xa5)]);

/** A tar of the seventh edition: no magic, a sum. */
function oldTar(): Buffer {
  const head = Buffer.alloc(512);
  head.write("build/log.txt\0", 0);
  head.write("0000644\0", 100);
  head.write("00000000012\0", 124);
  head.fill(" ", 148, 156);
  const sum = head.reduce((total, byte) => total + byte, 0);
  head.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return Buffer.concat([head, Buffer.alloc(1024, "x")]);
}

function binaryCpio(isLittle: boolean): Buffer {
  const head = Buffer.alloc(26);
  const write = (value: number, at: number): unknown => (isLittle ? head.writeUInt16LE(value, at) : head.writeUInt16BE(value, at));
  write(0o070707, 0);
  write(0o100644, 6);
  write(8, 20);
  return Buffer.concat([head, bytes("log.txt\0"), Buffer.alloc(600, "x")]);
}

const hex = (value: number): string => value.toString(16).padStart(8, "0");
const cpio = `070701${[1, 0o100644, 0, 0, 1, 0, 5, 8, 1, 0, 0, 8, 0].map(hex).join("")}log.txt\0`;
const cpioOctal = `070707${"0".repeat(70)}log.txt\0`;
const text = "2026-01-01 build started by someone\n";
const wide = (encoding: "utf16le", swap: boolean): Buffer => (swap ? Buffer.from(text, encoding).swap16() : Buffer.from(text, encoding));
const wide32 = (isLittle: boolean): Buffer =>
  Buffer.concat(Array.from(text, (each) => Buffer.from(isLittle ? [each.charCodeAt(0), 0, 0, 0] : [0, 0, 0, each.charCodeAt(0)])));

const SAMPLES: readonly (readonly [name: string, kind: string, sample: Buffer])[] = [
  ["zip", "container", filled("PK\x03\x04")],
  ["zip", "container", bytes("PK\x05\x06").fill(0, 4) && Buffer.concat([bytes("PK\x05\x06"), Buffer.alloc(18)])],
  ["zip", "container", filled("PK\x07\x08PK\x03\x04")],
  ["zip", "container", filled("PK00PK\x03\x04")],
  ["tar", "container", oldTar()],
  ["7z", "container", filled("7z\xbc\xaf\x27\x1c\0\x04")],
  ["rar", "container", filled("Rar!\x1a\x07\0")],
  ["rar", "container", filled("Rar!\x1a\x07\x01\0")],
  ["xz", "container", filled("\xfd7zXZ\0")],
  ["bzip2", "container", filled("BZh91AY&SY")],
  ["bzip2", "container", bytes("BZh9\x17\x72\x45\x38\x50\x90\0\0\0\0")],
  ["lz4", "container", filled("\x04\x22\x4d\x18")],
  ["lz4", "container", filled("\x02\x21\x4c\x18")],
  ["lz4 or zstd", "container", filled("\x53\x2a\x4d\x18")],
  ["snappy", "container", filled("\xff\x06\0\0sNaPpY")],
  ["lzma", "container", filled("\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0")],
  ["lzip", "container", filled("LZIP\x01")],
  ["compress", "container", filled("\x1f\x9d\x90")],
  ["zlib", "container", zlib.deflateSync(text.repeat(100))],
  ["zlib", "container", zlib.deflateSync("x", { level: 1 })],
  ["ar", "container", filled("!<arch>\ndebian-binary   ")],
  ["cpio", "container", filled(cpio)],
  ["cpio", "container", filled(cpioOctal)],
  ["cpio", "container", binaryCpio(true)],
  ["cpio", "container", binaryCpio(false)],
  ["sqlite", "container", filled("SQLite format 3\0")],
  ["pdf", "container", filled("%PDF-1.7\n")],
  ["gzip", "coding", zlib.gzipSync(text)],
  ["zstd", "coding", filled("\x28\xb5\x2f\xfd")],
  ["UTF-16", "wide", Buffer.concat([bytes("\xff\xfe"), wide("utf16le", false)])],
  ["UTF-16", "wide", Buffer.concat([bytes("\xfe\xff"), wide("utf16le", true)])],
  ["UTF-16", "wide", wide("utf16le", false)],
  ["UTF-16", "wide", wide("utf16le", true)],
  ["UTF-16", "wide", bytes("\xff\xfea\0")],
  ["UTF-32", "wide", Buffer.concat([bytes("\xff\xfe\0\0"), wide32(true)])],
  ["UTF-32", "wide", Buffer.concat([bytes("\0\0\xfe\xff"), wide32(false)])],
  ["UTF-32", "wide", wide32(true)],
  ["UTF-32", "wide", wide32(false)],
  ["png", "media", filled("\x89PNG\r\n\x1a\n")],
  ["jpeg", "media", filled("\xff\xd8\xff\xe0")],
  ["gif", "media", filled("GIF89a")],
  ["webp", "media", filled("RIFF\x10\x20\0\0WEBP")],
  ["bmp", "media", filled("BM\x10\x20\0\0\0\0\0\0")],
  ["tiff", "media", filled("II*\0")],
  ["ico", "media", filled("\0\0\x01\0\x02\0")],
  ["ELF", "media", filled("\x7fELF\x02\x01")],
  ["Mach-O", "media", filled("\xcf\xfa\xed\xfe")],
  ["Mach-O", "media", filled("\xca\xfe\xba\xbe\0\0\0\x02")],
  ["Java class", "media", filled("\xca\xfe\xba\xbe\0\0\0\x41")],
  ["Windows program", "media", Buffer.concat([bytes("MZ\x90\0\x03\0"), Buffer.alloc(54), bytes("\x80\0\0\0"), Buffer.alloc(600, 0xa5)])],
  ["WebAssembly", "media", filled("\0asm\x01\0\0\0")],
];

/** What a stream of these bytes is seen as by whoever looks after every `step` bytes. */
function seenBy(sample: Buffer, step: number): string {
  let left = FORMATS;
  for (let end = step; end < Math.min(sample.length, HEAD_BYTES); end += step) {
    const seen = recognise(sample.subarray(0, end), false, left);
    if (seen.format !== undefined) return seen.format.name;
    ({ left } = seen);
  }
  const { format, state } = recognise(sample.subarray(0, HEAD_BYTES), sample.length <= HEAD_BYTES, left);
  return format?.name ?? state;
}

describe("file formats", () => {
  test.each(SAMPLES)("%s (%s) is recognised at any chunking", (name, kind, sample) => {
    for (const step of [1, 2, 3, 7, 64, 511, 100_000]) expect(seenBy(sample, step), `by ${step} bytes`).toBe(name);
    expect(recognise(sample.subarray(0, HEAD_BYTES), sample.length <= HEAD_BYTES).format).toMatchObject({ name, kind });
  });

  test("every row has a name, a kind and a test; codings are those that files are decoded from", () => {
    expect(FORMATS.filter(({ kind }) => kind === "coding").map(({ name }) => name)).toEqual(["gzip", "zstd"]);
    for (const { tests } of FORMATS) expect(tests.length).toBeGreaterThan(0);
  });

  const programs: readonly (readonly [string, string, readonly string[]])[] = [
    ["tar", "tar", ["--format=gnu", "-cf", "-", "log.txt"]],
    ["tar", "tar", ["--format=pax", "-cf", "-", "log.txt"]],
    ["tar", "tar", ["--format=v7", "-cf", "-", "log.txt"]],
    ["tar", "tar", ["--format=ustar", "-cf", "-", "log.txt"]],
    ["xz", "xz", ["-c", "log.txt"]],
    ["lzma", "xz", ["--format=lzma", "-c", "log.txt"]],
    ["bzip2", "bzip2", ["-c", "log.txt"]],
    ["lz4", "lz4", ["-c", "log.txt"]],
    ["zip", "zip", ["-q", "-0", "-", "log.txt"]],
    ["zlib", "python3", ["-c", "import sys,zlib;sys.stdout.buffer.write(zlib.compress(open('log.txt','rb').read()))"]],
  ];
  const folder = mkdtempSync(join(tmpdir(), "logveil-formats-"));
  writeFileSync(join(folder, "log.txt"), text.repeat(20));

  test.each(programs)("%s as %s writes it", (name, program, args) => {
    if (spawnSync(program, ["--version"]).error !== undefined) return;
    expect(seenBy(execFileSync(program, args, { cwd: folder, stdio: ["ignore", "pipe", "ignore"] }), 100)).toBe(name);
  });

  const LOGS = [
    "P",
    "PK is not a zip\n",
    "BM",
    "BMW drives\n",
    "MZ: a name\n".repeat(80),
    "ID3 tags\n",
    "x^2 + y^2 = z^2, as everyone knows, and much more than that is known of it\n".repeat(10),
    "070701 12:00:00 mysqld started\n",
    "070707\n",
    "Rar!\n",
    "RIFF of the day\n",
    "%PDF",
    "II*",
    "]\n",
    "LZIP is a format\n",
    "a\0b/c\0d/e/f\0",
    "name\0\0\0 and then a log\n".repeat(40),
    "Ünïcode ☃ 가나다\n",
    "`가나다`\n",
    "qǇ and more of it, to fill a header of twenty-six bytes\n",
    "\x1b[32mgreen\x1b[0m\n",
    "\ufeffwith a mark\n",
    "0000644 0000000 0000000 00000001234 12345670123 012345 0\n".repeat(20),
    "",
  ];
  test.each(LOGS.map((log) => [JSON.stringify(log).slice(0, 40), Buffer.from(log)] as const))("text is text: %s", (_, log) => {
    for (const step of [1, 5, 100_000]) expect(seenBy(log, step)).toMatch(/^(no|watch)$/);
  });

  test("logs of real systems are text, and none of their bytes but a few is held", () => {
    const root = fileURLToPath(new URL("../../../shared/fixtures/logs", import.meta.url));
    const logs = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".gz"));
    expect(logs.length).toBeGreaterThan(10);
    for (const name of logs) {
      const log = zlib.gunzipSync(readFileSync(join(root, name)));
      expect(seenBy(log, 1), name).toMatch(/^(no|watch)$/);
      for (let end = 8; end <= HEAD_BYTES; end++) expect(recognise(log.subarray(0, end), false).state, `${name}, ${end} bytes`).not.toBe("hold");
    }
  });

  test("a zip archive behind a program is told by its end, with a comment too", () => {
    const directory = Buffer.concat([bytes("PK\x01\x02"), Buffer.alloc(42)]);
    const end = (comment: string): Buffer => {
      const record = Buffer.concat([bytes("PK\x05\x06"), Buffer.alloc(18), bytes(comment)]);
      record.writeUInt32LE(directory.length, 12);
      record.writeUInt16LE(comment.length, 20);
      return record;
    };
    const stub = Buffer.from('#!/bin/sh\nexec unzip "$0"\n');
    expect(endsAsZip(Buffer.concat([stub, directory, end("")]))).toBe(true);
    expect(endsAsZip(Buffer.concat([stub, directory, end("a comment with PK\x05\x06 in it, long enough for a record")]))).toBe(true);
    expect(endsAsZip(Buffer.concat([stub, directory, end(""), bytes("\n")]))).toBe(false);
    expect(endsAsZip(Buffer.concat([stub, end("")]))).toBe(false);
    expect(endsAsZip(Buffer.from("a log that says PK\x05\x06\n"))).toBe(false);
  });
});
