/**
 * Tests of formats that have no fixed bytes at their beginning, or too few. Each decides by a number of bytes of its own, so that it says the same for every cut of the input.
 * What each compares is in the standard that its comment names.
 */
import zlib from "node:zlib";

/** `hold`: not yet clear, and text hardly begins like that; `watch`: not yet clear, and text may. */
export type Answer = "yes" | "no" | "hold" | "watch";

/** `isWhole`: nothing comes behind `head`. */
export type Test = (head: Uint8Array, isWhole: boolean) => Answer;

const view = (head: Uint8Array): DataView => new DataView(head.buffer, head.byteOffset, head.length);

/** All bytes of a range that are at hand satisfy `test`. */
function every(head: Uint8Array, from: number, to: number, test: (byte: number) => boolean): boolean {
  const end = Math.min(to, head.length);
  for (let i = from; i < end; i++) if (!test(head[i]!)) return false;
  return true;
}

const isOctal = (byte: number): boolean => byte >= 0x30 && byte <= 0x37;
const isHex = (byte: number): boolean => (byte >= 0x30 && byte <= 0x39) || ((byte & 0xdf) >= 0x41 && (byte & 0xdf) <= 0x46);

const TAR_HEADER = 512;
const TAR_NAME = 100;
const TAR_SUM = { start: 148, end: 156 };

/** POSIX ustar, GNU, pax and the seventh edition's: all have the sum of their header in it. */
export const TAR: Test = (head, isWhole) => {
  if (head.length >= TAR_HEADER) return isTarHeader(head) ? "yes" : "no";
  if (isWhole) return "no";
  const nul = head.subarray(0, TAR_NAME).indexOf(0);
  // A name ends with NULs up to the next field; text holds none.
  return nul > 0 && every(head, nul, TAR_NAME, (byte) => byte === 0) ? "hold" : "watch";
};

function isTarHeader(head: Uint8Array): boolean {
  const { start, end } = TAR_SUM;
  const field = Buffer.from(head.subarray(start, end)).toString("latin1");
  const [, octal] = /^ *([0-7]+)[ \0]/.exec(field) ?? [];
  if (octal === undefined || !head.subarray(0, TAR_HEADER).includes(0)) return false;
  const stored = Number.parseInt(octal, 8);
  let [unsigned, signed] = [0, 0];
  for (let i = 0; i < TAR_HEADER; i++) {
    // The sum counts its own field as blanks. Some programs took bytes for signed.
    const byte = i >= start && i < end ? 0x20 : head[i]!;
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  return stored === unsigned || stored === signed;
}

/** cpio(5): 13 numbers of two bytes in the order of the machine. The third is the mode of the first member, the eleventh the length of its name. */
const binaryCpio: Test = (head, isWhole) => {
  const [first, second] = head;
  if (first === undefined) return "watch";
  const isLittle = first === 0xc7 && (second ?? 0x71) === 0x71;
  if (!isLittle && !(first === 0x71 && (second ?? 0xc7) === 0xc7)) return "no";
  if (head.length < 26) return isWhole ? "no" : "hold";
  const mode = view(head).getUint16(6, isLittle);
  const nameBytes = view(head).getUint16(20, isLittle);
  return [1, 2, 4, 6, 8, 10, 12].includes(mode >> 12) && nameBytes > 1 && nameBytes <= 4096 ? "yes" : "no";
};

/** cpio(5). */
export const CPIO = {
  hex: numbers("07070", (byte, at) => (at === 5 ? byte === 0x31 || byte === 0x32 : isHex(byte)), 110),
  octal: numbers("070707", isOctal, 76),
  binary: binaryCpio,
} as const;

/** A header of `bytes` digits that begins with `start`: a log of the first of July 2007 begins like one. */
function numbers(start: string, isDigit: (byte: number, at: number) => boolean, bytes: number): Test {
  return (head, isWhole) => {
    const length = Math.min(head.length, bytes);
    for (let at = 0; at < length; at++) if (at < start.length ? head[at] !== start.charCodeAt(at) : !isDigit(head[at]!, at)) return "no";
    return length === bytes ? "yes" : isWhole ? "no" : "hold";
  };
}

const ZLIB_TRIAL = 64;

/** RFC 1950: two bytes, of which `x^` is text. So the beginning is decoded. */
export const ZLIB: Test = (head, isWhole) => {
  const [method, flags] = head;
  if (method === undefined) return "watch";
  if (method !== 0x78) return "no";
  if (flags === undefined) return "watch";
  if (![0x01, 0x5e, 0x9c, 0xda].includes(flags)) return "no";
  if (head.length < ZLIB_TRIAL && !isWhole) return flags === 0x5e ? "watch" : "hold";
  const { Z_FINISH, Z_SYNC_FLUSH } = zlib.constants;
  try {
    zlib.inflateSync(head.subarray(0, ZLIB_TRIAL), { finishFlush: isWhole && head.length <= ZLIB_TRIAL ? Z_FINISH : Z_SYNC_FLUSH, maxOutputLength: 1 << 20 });
    return "yes";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE" ? "yes" : "no";
  }
};

const LZMA_HEADER = 14;

/** The format before xz, as its tools recognise it: properties, size of the dictionary, size of what is in it, and the first byte of its coder, 0. */
export const LZMA: Test = (head, isWhole) => {
  const [properties] = head;
  if (properties === undefined) return "watch";
  if (properties >= 225) return "no";
  if (head.length < LZMA_HEADER) {
    if (isWhole) return "no";
    return head.subarray(1, 5).includes(0) && every(head, 1, 3, (byte) => byte === 0) ? "hold" : "watch";
  }
  const [dictionary, low, high] = [5, 9, 13].map((end) => view(head).getUint32(end - 4, true)) as [number, number, number];
  const top = 31 - Math.clz32(dictionary);
  const isUsual = dictionary === 0xffff_ffff || (dictionary >= 4096 && [2 ** top, 2 ** top + 2 ** (top - 1)].includes(dictionary));
  const isSize = (low === 0xffff_ffff && high === 0xffff_ffff) || high < 64;
  return isUsual && isSize && head[LZMA_HEADER - 1] === 0 ? "yes" : "no";
};

/** PE/COFF, and programs of DOS: `MZ` and a header of numbers. */
export const PE: Test = (head, isWhole) => {
  for (const [at, byte] of [0x4d, 0x5a].entries()) if (head[at] !== undefined && head[at] !== byte) return "no";
  if (head.length < 64) return isWhole ? "no" : head.length < 2 || every(head, 2, 64, (byte) => byte >= 0x20 && byte < 0x7f) ? "watch" : "hold";
  return head[62] === 0 && head[63] === 0 ? "yes" : "no";
};

/** Both begin alike: behind it, a class has its version, 45 or later; a program for several processors says for how many. */
const afterCafebabe =
  (isClass: boolean): Test =>
  (head, isWhole) => {
    for (const [at, byte] of [0xca, 0xfe, 0xba, 0xbe].entries()) if (head[at] !== undefined && head[at] !== byte) return "no";
    if (head.length < 8) return isWhole ? "no" : "hold";
    return view(head).getUint32(4) % 65536 >= 45 === isClass ? "yes" : "no";
  };
export const CLASS = afterCafebabe(true);
export const MACH_O_FAT = afterCafebabe(false);

/** Characters that a guess needs, unless there are fewer. */
const GUESS_UNITS = 8;
/** Of those, so many must look like Latin letters: the rest may be anything. */
const GUESS_LATIN = 6;

/** The byte order mark, if it is not that of UTF-32. */
const littleMark: Test = (head, isWhole) => {
  for (const [at, byte] of [0xff, 0xfe].entries()) if (head[at] !== undefined && head[at] !== byte) return "no";
  if (head.length >= 4 || (isWhole && head.length >= 2)) return head[2] === 0 && head[3] === 0 ? "no" : "yes";
  return isWhole ? "no" : "hold";
};

export const UTF16 = { mark: littleMark, guess: wide(2) } as const;
export const UTF32 = { guess: wide(4) } as const;

/** Text without a mark: the high bytes of most characters are 0, and only they. */
function wide(unit: 2 | 4): Test {
  return (head, isWhole) => {
    const units = Math.min(Math.floor(head.length / unit), GUESS_UNITS);
    const isEnough = units === GUESS_UNITS || isWhole;
    if (isEnough && (units < 2 || (units < GUESS_UNITS && head.length % unit !== 0))) return "no";
    if (units === 0) return "watch";
    const wanted = isEnough && units === GUESS_UNITS ? GUESS_LATIN : units;
    for (const low of [0, unit - 1]) {
      let latin = 0;
      for (let i = 0; i < units; i++) if (isLatin(head, i * unit, unit, low)) latin++;
      if (latin >= wanted) return isEnough ? "yes" : "hold";
    }
    return isEnough ? "no" : "watch";
  };
}

/** Of a character's bytes all are 0 but the low one. */
function isLatin(head: Uint8Array, start: number, unit: number, low: number): boolean {
  for (let i = 0; i < unit; i++) if ((head[start + i] === 0) === (i === low)) return false;
  return true;
}
