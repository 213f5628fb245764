/**
 * What a file is, by its first bytes: a container or a compressed format, in which nothing can be masked as it lies there, media and programs, or text in UTF-16 and UTF-32.
 * One row per format, one test per way it begins; who comes to read a format takes its row out. Tests that compute are in file-format-tests.ts.
 *
 * Why not a library: `file-type` 22 needs Node 22, reads on without a bound for some formats, and answers from two printable bytes for others (`BM`, `MZ`, `ID3`), which
 * logs begin with; none of those tried tells "not yet" from "no", which a live pipe needs.
 */
import { CONTENT_CODINGS } from "./content.js";
import { type Answer, CLASS, CPIO, LZMA, MACH_O_FAT, PE, TAR, type Test, UTF16, UTF32, ZLIB } from "./file-format-tests.js";

/**
 * `coding`: decoded elsewhere, and told here where it stands in another one. `container`: holds other bytes than those that can be read: archives, compressed, encrypted
 * and structured files. `media`: pictures, sound, fonts, programs. `wide`: text of two or four bytes a character.
 */
export type FormatKind = "coding" | "container" | "media" | "wide";

export interface Format {
  readonly name: string;
  readonly kind: FormatKind;
  /** Any of them makes it one. */
  readonly tests: readonly Test[];
}

/** The most that a test asks for: the header of a tar. */
export const HEAD_BYTES = 512;

/** Any byte, in a magic. */
const X = "\u0100";

/** Bytes that a file begins with, one per character (Latin-1). */
function magic(text: string): Test {
  const wanted = Array.from(text, (each) => (each === X ? undefined : each.charCodeAt(0)));
  return (head) => {
    const length = Math.min(head.length, wanted.length);
    for (let i = 0; i < length; i++) if (wanted[i] !== undefined && wanted[i] !== head[i]) return "no";
    return length === wanted.length ? "yes" : "hold";
  };
}

const row = (kind: FormatKind, name: string, ...tests: readonly (string | Test)[]): Format => ({
  name,
  kind,
  tests: tests.map((test) => (typeof test === "string" ? magic(test) : test)),
});

const digits = (from: string, to: string): string[] => {
  const [first, last] = [from.charCodeAt(0), to.charCodeAt(0)];
  return Array.from({ length: last - first + 1 }, (_, i) => String.fromCharCode(first + i));
};

/**
 * Tests that need more bytes stand behind those that need fewer, so that the first one that says yes is the same for every cut of the input. Where all of a magic is
 * printable, a log that begins with it must be beyond belief.
 */
export const FORMATS: readonly Format[] = [
  ...CONTENT_CODINGS.filter(({ magic: bytes }) => bytes !== undefined && bytes.length > 0).map(({ name, magic: bytes }) =>
    row("coding", name, String.fromCharCode(...bytes!)),
  ),
  row("wide", "UTF-32", "\xff\xfe\0\0", "\0\0\xfe\xff"),
  row("wide", "UTF-16", UTF16.mark, "\xfe\xff"),

  // Archives. PKWARE APPNOTE 4.3: a member, the end of an empty archive, a part of a split one, a split one of one part.
  row("container", "zip", "PK\x03\x04", "PK\x05\x06", "PK\x07\x08", "PK00PK\x03\x04"),
  row("container", "7z", "7z\xbc\xaf\x27\x1c"),
  row("container", "rar", "Rar!\x1a\x07\0", "Rar!\x1a\x07\x01\0", "RE~^"),
  row("container", "ar", "!<arch>\n", "!<thin>\n"),
  row("container", "cab", "MSCF\0\0\0\0"),
  row("container", "rpm", "\xed\xab\xee\xdb"),
  row("container", "xar", "xar!\0"),
  row("container", "squashfs", `hsqs${X.repeat(24)}\x04\0`),

  // Compressed.
  row("container", "xz", "\xfd7zXZ\0"),
  row("container", "bzip2", ...digits("1", "9").flatMap((level) => [`BZh${level}1AY&SY`, `BZh${level}\x17\x72\x45\x38\x50\x90`])),
  row("container", "lz4", "\x04\x22\x4d\x18", "\x02\x21\x4c\x18"),
  // RFC 8878 §3.1.2: frames to be skipped are the same in both.
  row("container", "lz4 or zstd", ...digits("P", "_").map((first) => `${first}*M\x18`)),
  row("container", "snappy", "\xff\x06\0\0sNaPpY"),
  row("container", "lzip", "LZIP\0", "LZIP\x01"),
  row("container", "lzop", "\x89LZO\0\r\n\x1a\n"),
  row("container", "lrzip", "LRZI\0"),
  row("container", "compress", ...digits("\x09", "\x10").flatMap((bits) => [`\x1f\x9d${bits}`, `\x1f\x9d${String.fromCharCode(bits.charCodeAt(0) | 0x80)}`])),

  // Structured or encrypted: a mask would move what their tables point at.
  row("container", "pdf", "%PDF-"),
  row("container", "sqlite", "SQLite format 3\0"),
  row("container", "systemd journal", `LPKSHHRH${X.repeat(3)}\0`),
  row("container", "Windows event log", "ElfFile\0"),
  row("container", "Office or OLE document", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
  row("container", "parquet", "PAR1\x15"),
  row("container", "avro", "Obj\x01"),
  row("container", "hdf5", "\x89HDF\r\n\x1a\n"),
  row("container", "git pack", "PACK\0\0\0\x02", "PACK\0\0\0\x03"),
  row("container", "network capture", "\xd4\xc3\xb2\xa1", "\xa1\xb2\xc3\xd4", "\x4d\x3c\xb2\xa1", "\xa1\xb2\x3c\x4d", `\n\r\r\n${X.repeat(4)}\x4d\x3c\x2b\x1a`),
  row("container", "encrypted by openssl", "Salted__"),
  row("container", "encrypted by age", "age-encryption.org/v1\n"),
  row("container", "LUKS", "LUKS\xba\xbe"),

  // Pictures, sound, fonts.
  row("media", "png", "\x89PNG\r\n\x1a\n"),
  row("media", "jpeg", "\xff\xd8\xff"),
  row("media", "gif", "GIF87a", "GIF89a"),
  row("media", "webp", `RIFF${X.repeat(4)}WEBP`),
  row("media", "bmp", `BM${X.repeat(4)}\0\0\0\0`),
  row("media", "tiff", "II*\0", "MM\0*", "II+\0", "MM\0+"),
  row("media", "ico", `\0\0\x01\0${X}\0`, `\0\0\x02\0${X}\0`),
  row("media", "psd", "8BPS\0\x01", "8BPS\0\x02"),
  row("media", "mp4, heic or avif", `\0\0\0${X}ftyp`),
  row("media", "matroska", "\x1a\x45\xdf\xa3"),
  row("media", "wav", `RIFF${X.repeat(4)}WAVE`),
  row("media", "avi", `RIFF${X.repeat(4)}AVI `),
  row("media", "ogg", "OggS\0"),
  row("media", "flac", "fLaC\0"),
  row("media", "mp3", "ID3\x02\0", "ID3\x03\0", "ID3\x04\0", "\xff\xfb", "\xff\xf3", "\xff\xf2"),
  row("media", "font", "wOFF\0\x01\0\0", "wOFFOTTO", "wOF2\0\x01\0\0", "wOF2OTTO", "OTTO\0", `\0\x01\0\0\0${X.repeat(3)}\0${X}`),

  // Programs.
  row("media", "ELF", "\x7fELF"),
  row("media", "Mach-O", "\xfe\xed\xfa\xce", "\xfe\xed\xfa\xcf", "\xce\xfa\xed\xfe", "\xcf\xfa\xed\xfe", MACH_O_FAT),
  row("media", "Java class", CLASS),
  row("media", "WebAssembly", "\0asm"),
  row("media", "LLVM bitcode", "BC\xc0\xde"),
  row("media", "dex", `dex\n0${X}${X}\0`),
  row("media", "Windows program", PE),

  // What is computed.
  row("wide", "UTF-16", UTF16.guess),
  row("wide", "UTF-32", UTF32.guess),
  row("container", "lzma", LZMA),
  row("container", "zlib", ZLIB),
  row("container", "cpio", CPIO.hex, CPIO.octal, CPIO.binary),
  row("container", "tar", TAR),
];

/** What is known after some bytes. */
export interface Recognised {
  readonly format?: Format;
  /** `hold`: it may still become one of `left`, and text hardly begins like that; `watch`: text may; `no`: it is none of them. */
  readonly state: Exclude<Answer, "yes"> | "known";
  /** Those that it may still become. */
  readonly left: readonly Format[];
}

/** Says which of `candidates` begins with `head`; with `isWhole` there is nothing behind it. Looks at {@link HEAD_BYTES} at most. */
export function recognise(head: Uint8Array, isWhole: boolean, candidates: readonly Format[] = FORMATS): Recognised {
  const left: Format[] = [];
  let state: "hold" | "watch" | "no" = "no";
  for (const format of candidates) {
    const answers = format.tests.map((test) => test(head, isWhole));
    if (answers.includes("yes")) return { format, state: "known", left: [] };
    if (isWhole || answers.every((answer) => answer === "no")) continue;
    left.push(format);
    if (state !== "hold") state = answers.includes("hold") ? "hold" : "watch";
  }
  return { state, left };
}

/** Where the end of a zip archive lies that begins with something else, such as a program that unpacks itself. */
const END_OF_ZIP = Buffer.from("PK\x05\x06");
const END_OF_ZIP_BYTES = 22;
/** As far from the end as that record can stand: its comment has a length of two bytes. */
export const TAIL_BYTES = END_OF_ZIP_BYTES + 0xffff;

/** Whether a file whose last {@link TAIL_BYTES} are `tail` is a zip archive behind something else (PKWARE APPNOTE 4.3.16). */
export function endsAsZip(tail: Buffer): boolean {
  for (let at = tail.lastIndexOf(END_OF_ZIP); at >= 0; at = at === 0 ? -1 : tail.lastIndexOf(END_OF_ZIP, at - 1)) {
    if (at + END_OF_ZIP_BYTES > tail.length || at + END_OF_ZIP_BYTES + tail.readUInt16LE(at + 20) !== tail.length) continue;
    const directoryBytes = tail.readUInt32LE(at + 12);
    // Its directory must be there, unless it begins before what is at hand.
    if (directoryBytes === 0 || (directoryBytes > at ? tail.length === TAIL_BYTES : tail.readUInt32LE(at - directoryBytes) === 0x02014b50)) return true;
  }
  return false;
}
