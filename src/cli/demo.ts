/** `logveil demo`: plants a made-up secret in many spellings into a log, masks it, and shows before, after, findings and speed. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createEngine } from "../engine.js";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import type { EngineChoice } from "../native/loader.js";
import type { Finding } from "../types.js";

const SAMPLE = `$ npm ci\nadded 118 packages in 3m\n$ npm run build\n> tsc -p tsconfig.build.json\nsrc/index.ts compiled\n$ npm test\n 42 passed\n$ docker build -t app .\nStep 1/4 : FROM node:22\nStep 2/4 : COPY . .\nStep 3/4 : RUN npm ci\nStep 4/4 : CMD ["node", "."]\nSuccessfully built\n`;

/** Ways in which a secret reaches a log. */
const PLANTS: readonly { readonly what: string; readonly plant: (secret: string) => string }[] = [
  { what: "plain, by set -x", plant: (secret) => `+ curl -H 'Authorization: Bearer ${secret}' https://api.example/deploy` },
  { what: "base64", plant: (secret) => `auth: ${Buffer.from(`user:${secret}`).toString("base64")}` },
  { what: "base64, twice", plant: (secret) => Buffer.from(Buffer.from(`{"token":"${secret}"}`).toString("base64")).toString("base64") },
  {
    what: "base64, wrapped at 76",
    plant: (secret) =>
      Buffer.from(`${"deploy key for the staging cluster: ".repeat(2)}${secret}`)
        .toString("base64")
        .replace(/.{76}/g, "$&\n"),
  },
  { what: "hex dump", plant: (secret) => `0000: ${Buffer.from(secret).toString("hex")}` },
  { what: "hex pairs", plant: (secret) => `key ${(Buffer.from(secret).toString("hex").match(/../g) ?? []).join(":")}` },
  { what: "URL", plant: (secret) => `GET https://deploy:${encodeURIComponent(secret)}@registry.example/v2/` },
  { what: "JSON in JSON", plant: (secret) => JSON.stringify({ body: JSON.stringify({ password: secret }) }) },
  {
    what: "XML",
    plant: (secret) => `<password>${secret.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;").replaceAll("'", "&apos;")}</password>`,
  },
  { what: "shell quotes", plant: (secret) => `+ echo '${secret.replaceAll("'", `'\\''`)}'` },
  { what: "cut by a colour", plant: (secret) => `token \x1b[32m${secret.slice(0, 9)}\x1b[1m${secret.slice(9)}\x1b[0m ok` },
  { what: "wrapped by a terminal", plant: (secret) => `password is ${secret.slice(0, 11)}\r\n${secret.slice(11)}` },
  { what: "Windows cmd", plant: (secret) => `echo ${secret.replace(/[&|<>^]/g, "^$&")}` },
  { what: "GitHub logging command", plant: (secret) => `::debug::${secret.replaceAll("%", "%25")}` },
];

const CHUNK_BYTES = 64 * 1024;

export function demo(file: string | undefined, options: { readonly engine?: EngineChoice }): number {
  const lines = readLog(file).split("\n");
  // Every kind of character that some tool would quote.
  const secret = `hunter2-${randomBytes(9).toString("base64url")}&<'"%$`;
  const step = Math.max(1, Math.floor(lines.length / (PLANTS.length + 1)));
  const planted = PLANTS.map(({ what, plant }, i) => ({ what, text: plant(secret), at: Math.min(lines.length, (i + 1) * step) }));
  const log = [...lines];
  for (const { text, at } of planted.toReversed()) log.splice(at, 0, text);
  const input = Buffer.from(log.join("\n"));

  const findings: Finding[] = [];
  const engine = createEngine({
    secrets: [{ name: "DEPLOY_TOKEN", value: secret }],
    engine: options.engine ?? "auto",
    onFinding: (finding) => findings.push(finding),
  });
  const stream = engine.stream({ name: file ?? "sample" });
  const started = performance.now();
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < input.length; at += CHUNK_BYTES) pieces.push(...stream.push(input.subarray(at, at + CHUNK_BYTES)));
  pieces.push(...stream.end());
  const seconds = (performance.now() - started) / 1000;
  const output = Buffer.concat(pieces).toString();

  const print = (text: string): void => void process.stdout.write(`${text}\n`);
  const outputLines = output.split("\n");
  print(`A made-up secret DEPLOY_TOKEN, planted into ${file ?? "a sample log"} (${lines.length} lines) in ${planted.length} spellings:\n`);
  let shift = 0;
  for (const { what, text, at } of planted) {
    const height = text.split("\n").length;
    print(`  ${what}`);
    for (const line of text.split("\n")) print(`    before  ${printable(line)}`);
    for (const line of outputLines.slice(at + shift, at + shift + height)) print(`    after   ${printable(line)}`);
    shift += height;
  }
  print(`\n  line   offset  length  secret        fingerprint  found as`);
  for (const { line, offset, length, secret: name, fingerprint, variant } of findings) {
    print(
      `  ${String(line).padStart(4)} ${String(offset).padStart(8)} ${String(length).padStart(7)}  ${name.padEnd(12)}  ${fingerprint.padEnd(11)}  ${variant}`,
    );
  }
  const leaked = planted.filter(({ text }) => output.includes(text)).length;
  const { needles } = engine.stats();
  print(`\n  ${findings.length} findings, ${leaked} of ${planted.length} spellings left; ${needles} needles, ${engine.engine} engine,`);
  print(`  ${(input.length / 1e6).toFixed(2)} MB in ${(seconds * 1000).toFixed(1)} ms: ${(input.length / 1e6 / seconds).toFixed(0)} MB/s`);
  engine.close();
  return leaked === 0 ? 0 : 70;
}

function readLog(file: string | undefined): string {
  if (file === undefined) return SAMPLE;
  try {
    return readFileSync(file, "latin1");
  } catch (error) {
    throw new LogveilError("LV_IO", `${file}: cannot be read: ${reasonAndCure(error)}`, { cause: error });
  }
}

/** A line as a terminal can show it safely. */
function printable(line: string): string {
  return JSON.stringify(line).slice(1, -1).replaceAll('\\"', '"').replaceAll("\\\\", "\\").slice(0, 160);
}
