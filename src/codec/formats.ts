/**
 * What comes where syslog is expected and is none: compressed and binary messages, known by how they begin. Text cannot be found in them, so whatever passed would pass unmasked.
 * A new format is a row.
 */
import { firstInvalidUtf8, unfinishedUtf8 } from "./utf8.js";

/** Most bytes of the beginning of a message that are looked at. */
export const FORMAT_HEAD_BYTES = 64;

export interface BinaryFormat {
  readonly name: string;
  /** What to do about it. */
  readonly advice: string;
}

/** A byte, or a test of one. */
type Step = number | ((byte: number) => boolean);

interface Row extends BinaryFormat {
  readonly magic: readonly Step[];
  /** The magic may also begin text: the bytes behind it must not look like it. */
  readonly isWeak?: true;
}

const between =
  (low: number, high: number) =>
  (byte: number): boolean =>
    byte >= low && byte <= high;
/** The second byte of the head of zlib, whose first is 0x78 (RFC 1950 §2.2). */
const zlibFlags = (byte: number): boolean => (0x7800 + byte) % 31 === 0;
const msgpackText = (byte: number): boolean => between(0xa0, 0xbf)(byte) || between(0xd9, 0xdb)(byte);
const bytes = (text: string): number[] => [...Buffer.from(text, "latin1")];

const RSYSLOG = 'set compression.mode="none" in omfwd of rsyslog';
const GELF = "have the client send GELF without compression (docker: gelf-compression-type=none), or syslog";
const FLUENT = "Fluent's forward protocol is not syslog: use its syslog output";
const PLAIN = "have the client send plain syslog";

const ROWS: readonly Row[] = [
  { name: "compressed syslog (z and zlib, as rsyslog sends it)", advice: RSYSLOG, magic: [...bytes("zx"), zlibFlags], isWeak: true },
  { name: "zlib (GELF, or a compressed stream of rsyslog)", advice: `${GELF}; or ${RSYSLOG}`, magic: [0x78, zlibFlags], isWeak: true },
  { name: "gzip (GELF)", advice: GELF, magic: [0x1f, 0x8b] },
  { name: "GELF in chunks", advice: "have the client send GELF over TCP, or syslog", magic: [0x1e, 0x0f] },
  { name: "Fluent forward (msgpack)", advice: FLUENT, magic: [between(0x92, 0x94), msgpackText] },
  { name: "Fluent forward (msgpack)", advice: FLUENT, magic: [0xdc, 0, between(2, 4), msgpackText] },
  { name: "TLS", advice: "have the client speak plain syslog here, or use the port of syslog.tls", magic: [0x16, 3, between(0, 4)] },
  { name: "Beats (lumberjack)", advice: "the protocol of Beats is not syslog: use another output", magic: [between(0x31, 0x32), 0x57, 0, 0] },
  { name: "zstd", advice: PLAIN, magic: [0x28, 0xb5, 0x2f, 0xfd] },
  { name: "lz4", advice: PLAIN, magic: [0x04, 0x22, 0x4d, 0x18] },
  { name: "snappy", advice: PLAIN, magic: [0xff, 0x06, 0, 0, ...bytes("sNaPpY")] },
  { name: "bzip2", advice: PLAIN, magic: [...bytes("BZh"), between(0x31, 0x39), ...bytes("1AY&SY")] },
  { name: "xz", advice: PLAIN, magic: [0xfd, ...bytes("7zXZ"), 0] },
];
const BINARY: BinaryFormat = { name: "binary data", advice: PLAIN };

/** Rows by first byte. */
const BY_FIRST: readonly (readonly Row[])[] = Array.from({ length: 256 }, (_, byte) => ROWS.filter(({ magic: [first] }) => fits(first!, byte)));
/** Digits may be a count before a compressed message: rsyslog counts those alone where it sends one message a line. */
const isDigit = between(0x30, 0x39);
const MAX_DIGITS = 10;
const SPACE = 0x20;

function fits(step: Step, byte: number): boolean {
  return typeof step === "number" ? step === byte : step(byte);
}

/** Bytes behind a weak magic that tell. */
const WEAK_BYTES = 16;
/** Control characters that no terminal and no text uses. NUL is in UTF-16. */
const ODD = Uint8Array.from({ length: 256 }, (_, byte) => (byte < 0x20 && ![0, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x1b].includes(byte) ? 1 : 0));
/** So many of them in the beginning of a message, together with what is not UTF-8, make it binary: random bytes have five, text none. */
const MOST_ODD = 3;

/** First bytes with which no format begins. */
const IS_PLAIN = Uint8Array.from({ length: 256 }, (_, byte) => (BY_FIRST[byte]!.length === 0 && !isDigit(byte) ? 1 : 0));

/** Whether a message of UTF-8 that begins with this byte is text: a quick yes for nearly all of them; else {@link formatOf} is to tell. */
export const isPlainStart = (byte: number): boolean => IS_PLAIN[byte] === 1;

/**
 * The format of a message by its first bytes. `isAll`: no more of them come, as the message ends or {@link FORMAT_HEAD_BYTES} are there. Undefined: it is text, or at least may
 * go on; `"more"`: more bytes are needed to tell, and none may go on till then.
 */
export function formatOf(head: Uint8Array, isAll: boolean): BinaryFormat | "more" | undefined {
  if (head.length === 0) return undefined;
  let isOpen = false;
  for (const row of BY_FIRST[head[0]!]!) {
    const verdict = judge(row, head, 0);
    if (verdict === true) return row;
    isOpen ||= verdict === undefined;
  }
  if (isDigit(head[0]!)) {
    let at = 1;
    while (at < head.length && at < MAX_DIGITS && isDigit(head[at]!)) at++;
    if (at === head.length) isOpen ||= at < MAX_DIGITS;
    else if (head[at] === SPACE) {
      const verdict = judge(ROWS[0]!, head, at + 1);
      if (verdict === true) return ROWS[0];
      isOpen ||= verdict === undefined;
    }
  }
  if (isOpen && !isAll) return "more";
  return isAll && isBinary(head) ? BINARY : undefined;
}

/** Undefined: more bytes are needed. At the end of a message that is a no. */
function judge({ magic, isWeak }: Row, head: Uint8Array, from: number): boolean | undefined {
  for (const [i, step] of magic.entries()) {
    const byte = head[from + i];
    if (byte === undefined) return undefined;
    if (!fits(step, byte)) return false;
  }
  if (isWeak !== true) return true;
  if (!isText(head, from)) return true;
  return head.length < from + magic.length + WEAK_BYTES ? undefined : false;
}

const isText = (head: Uint8Array, from: number): boolean => oddBytes(head, from) === 0 && isUtf8(head, from);
const isBinary = (head: Uint8Array): boolean => oddBytes(head, 0) >= MOST_ODD && !isUtf8(head, 0);

function oddBytes(head: Uint8Array, from: number): number {
  let odd = 0;
  for (let at = from; at < head.length; at++) odd += ODD[head[at]!]!;
  return odd;
}

/** Whether it is UTF-8, perhaps cut off. */
const isUtf8 = (head: Uint8Array, from: number): boolean => firstInvalidUtf8(head, from, head.length - unfinishedUtf8(head, from, head.length)) < 0;
