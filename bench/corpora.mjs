/** Text to measure on: real logs where there are fixtures, seeded synthetic ones, and adversarial ones made from the needles' own secrets. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";

/** A reproducible stream of numbers below 2^32 (SHA-256 in counter mode). */
export function seeded(seed) {
  let block = Buffer.alloc(0);
  let count = 0;
  return () => {
    if (block.length < 4) block = createHash("sha256").update(`${seed}:${count++}`).digest();
    const value = block.readUInt32LE();
    block = block.subarray(4);
    return value;
  };
}

/** `n` secrets of 24–39 characters. */
export function secrets(n, seed) {
  const next = seeded(seed);
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
  return Array.from({ length: n }, (_, i) => ({ name: `S${i}`, value: Array.from({ length: 24 + (i % 16) }, () => alphabet[next() % 64]).join("") }));
}

function fixtureLogs() {
  const folder = process.env.LOGVEIL_FIXTURES ?? fileURLToPath(new URL("../../shared/fixtures", import.meta.url));
  const logs = join(folder, "logs");
  if (!existsSync(logs)) return undefined;
  return Buffer.concat(
    readdirSync(logs).flatMap((family) =>
      readdirSync(join(logs, family))
        .filter((name) => name.endsWith(".gz"))
        .map((name) => gunzipSync(readFileSync(join(logs, family, name)))),
    ),
  );
}

function synthetic(bytes) {
  const next = seeded("synthetic");
  const words =
    "compiling linking warning note src lib test build cache step docker npm install fetch layer digest commit ok failed in of the from ms to".split(" ");
  const lines = [];
  for (let size = 0; size < bytes;) {
    const line = `2026-11-21T0${next() % 10}:${10 + (next() % 50)}:${10 + (next() % 50)}.${next()}Z ${Array.from({ length: 3 + (next() % 12) }, () => words[next() % words.length]).join(" ")} ${next().toString(16)}\n`;
    lines.push(line);
    size += line.length;
  }
  return Buffer.from(lines.join(""));
}

/** `bytes` of pseudo-random data. */
function noise(bytes, seed) {
  const next = seeded(seed);
  const data = Buffer.alloc(bytes);
  for (let at = 0; at + 4 <= bytes; at += 4) data.writeUInt32LE(next(), at);
  return data;
}

/** Text that looks like secrets all over, or has nothing but control sequences: rows of name and bytes. */
export function dumps(size) {
  const data = noise(1 << 20, "dump");
  const wrapped = (text, width, before = "", after = "") => Buffer.from(text.replace(new RegExp(`.{1,${width}}`, "g"), `${before}$&${after}\n`));
  return [
    { name: "base64 dump", text: repeat(wrapped(data.toString("base64"), 76), size) },
    { name: "hex dump", text: repeat(wrapped(data.toString("hex"), 64), size) },
    { name: "lock file", text: repeat(wrapped(data.toString("base64"), 88, '      "integrity": "sha512-', '",'), size) },
    { name: "nothing but control sequences", text: repeat(Buffer.from("\x1b[1m\x1b[32m\x1b[0m\x1b[38;5;27m"), size) },
  ];
}

const repeat = (bytes, size) => Buffer.concat(Array.from({ length: Math.ceil(size / bytes.length) }, () => bytes)).subarray(0, size);

/** Header and start of the payload that thousands of tokens of one issuer share. */
const JWT_START = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwic3ViIjoi";

/** So many bytes of logs: real ones where there are fixtures. */
export function logText(size) {
  const real = fixtureLogs();
  return real === undefined ? synthetic(size).subarray(0, size) : repeat(real, size);
}

/** Rows: name, bytes, and secrets of its own besides the common ones. */
export function corpora(size, common) {
  const real = fixtureLogs();
  const near = Buffer.from(common.map(({ value }) => `${value.slice(0, -1)}~`).join(" "));
  const periodic = `${"ab".repeat(5000)}x`;
  return [
    ...(real === undefined ? [] : [{ name: "fixture logs", text: repeat(real, size), own: [] }]),
    { name: "synthetic logs", text: synthetic(size), own: [] },
    { name: "near-prefixes", text: repeat(near, size), own: [] },
    {
      name: "shared JWT header",
      text: repeat(Buffer.from(`${JWT_START}~~~~\n`), size),
      own: secrets(500, "jwt").map(({ name, value }) => ({ name: `J${name}`, value: `${JWT_START}${value}.${value}` })),
    },
    { name: "self-repeating secret, 10 KB", text: repeat(Buffer.from(`${"ab".repeat(4000)}b`), size), own: [{ name: "periodic", value: periodic }] },
    {
      name: "10 KB secret, coloured at every byte",
      text: repeat(Buffer.from("a\x1b[m"), size >> 2),
      own: [{ name: "periodic", value: "a".repeat(10_000) }],
      masked: "in part",
    },
    {
      name: "matches back to back",
      text: repeat(
        Buffer.from(
          common
            .slice(0, 100)
            .map(({ value }) => value)
            .join(""),
        ),
        size,
      ),
      own: [],
      masked: true,
    },
  ];
}
