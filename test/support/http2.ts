/** An HTTP/2 client made of frames: it can do what no well-behaved one does. Header fields are HPACK literals without compression. */
import { connect, type Socket } from "node:net";
import { onTestFinished } from "vitest";

export const DATA = 0;
export const HEADERS = 1;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const GOAWAY = 7;
export const CONTINUATION = 9;
export const END_STREAM = 1;
export const END_HEADERS = 4;

export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

export const code = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

/** An integer of HPACK with a prefix of 7 bits (RFC 7541 §5.1). */
function integer(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest >>>= 7) bytes.push((rest & 127) | 128);
  return Buffer.from([...bytes, rest]);
}

const text = (value: string): Buffer => Buffer.concat([integer(Buffer.byteLength(value, "latin1")), Buffer.from(value, "latin1")]);

export const fields = (list: readonly (readonly [string, string])[]): Buffer =>
  Buffer.concat(list.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));

/** The fields of a request. */
export const head = (method: string, path: string, more: readonly (readonly [string, string])[] = []): Buffer =>
  fields([[":method", method], [":scheme", "http"], [":path", path], [":authority", "localhost"], ...more]);

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export interface Raw {
  readonly socket: Socket;
  /** What has come so far. */
  readonly frames: Frame[];
  /** Resolves when the connection is closed. */
  readonly closed: Promise<void>;
}

/** A connection that has said its preface and settings, and acknowledges nothing. */
export function rawHttp2(port: number): Raw {
  const frames: Frame[] = [];
  const socket = connect(port, "127.0.0.1");
  let rest = Buffer.alloc(0);
  socket.on("error", () => undefined);
  socket.on("data", (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const end = 9 + rest.readUIntBE(0, 3);
      frames.push({ type: rest[3]!, flags: rest[4]!, stream: rest.readUInt32BE(5), payload: rest.subarray(9, end) });
      rest = rest.subarray(end);
    }
  });
  onTestFinished(() => void socket.destroy());
  socket.write(Buffer.concat([PREFACE, frame(SETTINGS, 0, 0)]));
  return { socket, frames, closed: new Promise((resolve) => socket.once("close", () => resolve())) };
}

/** What became of a stream: its status as far as it is in the static table or a literal, or the code it was reset with. */
export function outcome({ frames }: Raw, stream: number): string | undefined {
  for (const { type, stream: id, payload } of frames) {
    if (type === GOAWAY) return `goaway ${payload.readUInt32BE(4)}`;
    if (id !== stream) continue;
    if (type === RST_STREAM) return `reset ${payload.readUInt32BE(0)}`;
    if (type === HEADERS) return statusOf(payload);
  }
  return undefined;
}

/** Indexed fields of RFC 7541, appendix A. */
const STATUSES: Readonly<Record<number, string>> = { 0x88: "200", 0x89: "204", 0x8a: "206", 0x8b: "304", 0x8c: "400", 0x8d: "404", 0x8e: "500" };

function statusOf(block: Buffer): string {
  // A change of the table's size may come first.
  let at = 0;
  while ((block[at]! & 0xe0) === 0x20) at++;
  if (STATUSES[block[at]!] !== undefined) return STATUSES[block[at]!]!;
  // A literal with the name of an indexed field: three digits, Huffman-coded in two bytes or plain.
  const length = block[at + 1]! & 0x7f;
  const value = block.subarray(at + 2, at + 2 + length);
  return (block[at + 1]! & 0x80) === 0 ? value.toString() : huffmanDigits(value);
}

/** Codes of the digits in RFC 7541, appendix B: 0 to 2 have five bits, the others six. */
function huffmanDigits(bytes: Buffer): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  let digits = "";
  for (let at = 0; digits.length < 3;) {
    const short = Number.parseInt(bits.slice(at, at + 5), 2);
    if (short < 3) digits += short;
    else digits += Number.parseInt(bits.slice(at, at + 6), 2) - 0x19 + 3;
    at += short < 3 ? 5 : 6;
  }
  return digits;
}
