/** The rules: loading, all of them over real logs, lines that nearly are findings, one endless line; against RE2 without anchors. */
import { createRequire } from "node:module";
import { createEngine } from "../dist/index.js";
import { packOf } from "../dist/rules/builtin.js";
import { seeded } from "./corpora.mjs";
import { check, median, record, smoke } from "./lib.mjs";
import { inputOf, worstInputs } from "./worst.mjs";

const ROUNDS = smoke ? 1 : 5;
const CHUNK = 256 * 1024;
/** Of inputs that are made to be slow: in large chunks, and in chunks of less than 1 KiB. */
const SLOW_BYTES = smoke ? { large: 4096, small: 256 } : { large: 256 * 1024, small: 16 * 1024 };
/** What such inputs may cost: MB/s in chunks of 1 KiB and more; beside that so many microseconds a push in smaller ones. */
const SLOW_BARS = { native: { speed: 2, pushUs: 10 }, portable: { speed: 1, pushUs: 20 } };
/** An input is given up after so many milliseconds: it is slow enough to know. */
const SLOW_MS = 5000;
/** Enough to see what one evaluation costs. */
const WORST_BYTES = 4096;
/** Times the fixture logs, about 1 GB. */
const LARGE = smoke ? 2 : 84;

/** MB/s of one pass, and what was found. */
function pass(engine, text) {
  let findings = 0;
  const stream = engine.stream({ onFinding: () => findings++ });
  const started = performance.now();
  for (let at = 0; at < text.length; at += CHUNK) stream.push(text.subarray(at, at + CHUNK));
  stream.end();
  return { speed: text.length / 1e3 / (performance.now() - started), findings };
}

/** Every line has a name that says key, token or password, an operator and a value of 8 bytes or more; none is a secret. */
function nearlyFindings(bytes) {
  const next = seeded("nearly");
  const names = ["cache_key", "auth_mode", "token_type", "secret_name", "password_policy", "api_key_id", "credential_source"];
  const values = ["linux-amd64-v2", "authorization_code", "application/json", "minimum-length-12", "projects/builds/one", "us-east-1-default"];
  const lines = [];
  for (let length = 0; length < bytes;) {
    const line = `2026-11-21T09:00:00Z [step ${next() % 90}] configure ${names[next() % names.length]}=${values[next() % values.length]} done\n`;
    lines.push(line);
    length += line.length;
  }
  return Buffer.from(lines.join(""));
}

/** The slowest logs that rules make: nothing but one anchor, for each of them, alone and with a blank between. MB/s and the anchor. */
function worstAnchor(engine, { table }) {
  let worst = { speed: Infinity, literal: "" };
  const built = createEngine({ engine, rules: { learn: false } });
  for (let anchor = 0; anchor + 1 < table.offsets.length; anchor += smoke ? 100 : 1) {
    const literal = Buffer.from(table.bytes.subarray(table.offsets[anchor], table.offsets[anchor + 1])).toString("latin1");
    for (const fill of ["", " "]) {
      const log = Buffer.from((literal + fill).repeat(Math.ceil(WORST_BYTES / literal.length)), "latin1");
      // The first run compiles the expressions.
      pass(built, log.subarray(0, 200));
      const { speed } = pass(built, log);
      if (speed < worst.speed) worst = { speed, literal: literal + fill };
    }
  }
  built.close();
  return worst;
}

/** Logs of nothing but encoded text, which is decoded and holds no secret. */
function encodedLogs(bytes) {
  const text = "an ordinary line of some log, nothing secret about it; ";
  const fill = (piece) => Buffer.from(piece.repeat(Math.ceil(bytes / piece.length)));
  return {
    "base64 in one line": fill(Buffer.from(text.repeat(3)).toString("base64")),
    "base64, a word a line": fill(`${Buffer.from(text).toString("base64")}\n`),
    "hex, a word a line": fill(`${Buffer.from(text).toString("hex")}\n`),
    "percent escapes": fill(`${text.replaceAll(/[^a-z]/g, (char) => `%${char.charCodeAt(0).toString(16)}`)}\n`),
  };
}

/** Inputs that were made to be slow: MB/s of large chunks, and microseconds a push of small ones; how much work the engine counted for a byte. */
function slowInputs(engine, inputs) {
  const built = createEngine({ engine });
  const { speed, pushUs } = SLOW_BARS[engine];
  for (const input of inputs) {
    const isSmall = input.chunk < 1024;
    const text = inputOf(input, isSmall ? SLOW_BYTES.small : SLOW_BYTES.large);
    // Compiles the expressions.
    pass(built, inputOf(input, 1024));
    const runs = Array.from({ length: ROUNDS }, () => {
      const stream = built.stream();
      const started = performance.now();
      let at = 0;
      for (; at < text.length && performance.now() - started < SLOW_MS; at += input.chunk) stream.push(text.subarray(at, at + input.chunk));
      stream.end();
      return { ms: performance.now() - started, bytes: Math.min(at, text.length), work: stream.work };
    });
    const ms = median(runs.map((run) => run.ms / run.bytes));
    const work = runs[0].work === undefined ? "" : `, ${(runs[0].work / runs[0].bytes).toFixed(1)} bytes looked at for each`;
    const name = `slow, ${engine}: ${input.name}${work}`;
    if (isSmall) record(name, 1000 * ms * input.chunk, "us", ["<=", pushUs + input.chunk / speed]);
    else record(name, 1e-3 / ms, "MB/s", [">=", speed]);
  }
  built.close();
}

export async function benchRules(text, secrets) {
  const inputs = await worstInputs();
  const times = Array.from({ length: ROUNDS }, (_, i) => {
    const started = performance.now();
    // Another set each time: equal ones are made once.
    packOf({
      disable: [["github-token"], ["npm-token"], ["pem-private-key"], ["url-token"], ["bearer-token"]][i % 5].filter((id) => i > 0 && id !== "npm-token"),
    });
    return performance.now() - started;
  });
  record("rules: loading and compiling all packs", times[0], "ms", ["<=", 150]);
  const { rules, anchors } = packOf({});
  console.log(`  (${rules.length} rules, ${anchors.length} anchors)`);
  for (const engine of ["native", "portable"]) {
    const measure = (name, options, corpus, bar, most) => {
      const built = createEngine({ engine, ...options });
      const runs = Array.from({ length: ROUNDS }, () => pass(built, corpus));
      for (const run of runs) check(`${engine}, ${name}`, run.findings <= most);
      record(`rules, ${engine}: ${name}`, median(runs.map(({ speed }) => speed)), "MB/s", engine === "native" && bar !== undefined ? [">=", bar] : undefined);
      built.close();
    };
    measure("fixture logs, all rules", {}, text, undefined, 20);
    measure(`fixture logs, all rules and ${secrets.length} secrets`, { secrets }, text, 600, 20);
    const nearly = nearlyFindings(smoke ? 1 << 16 : 4 << 20);
    measure("every line nearly a finding", {}, nearly, 40, 0);
    measure("the same as one line", {}, Buffer.from(nearly.toString("latin1").replaceAll("\n", " "), "latin1"), 40, 0);
    for (const [name, log] of Object.entries(encodedLogs(smoke ? 1 << 14 : 1 << 20))) measure(name, {}, log, undefined, 0);
    const { speed, literal } = worstAnchor(engine, packOf({}));
    record(`rules, ${engine}: nothing but one anchor, the slowest (${JSON.stringify(literal)})`, speed, "MB/s");
    slowInputs(engine, inputs);
  }

  const large = createEngine();
  const [one, many] = [1, LARGE].map((rounds) => {
    const stream = large.stream();
    const started = performance.now();
    for (let round = 0; round < rounds; round++) for (let at = 0; at < text.length; at += CHUNK) stream.push(text.subarray(at, at + CHUNK));
    stream.end();
    return (rounds * text.length) / (performance.now() - started);
  });
  record(`rules: speed of ${LARGE} times the fixture logs to that of one`, many / one, "", [">=", 0.9]);
  large.close();

  const RE2 = createRequire(import.meta.url)("re2");
  const part = text.subarray(0, smoke ? 1 << 14 : 1 << 20);
  const latin1 = part.toString("latin1");
  const sources = rules.flatMap(({ source }) => (source.regex === undefined ? [] : [source.regex]));
  const all = sources.map((source) => new RE2(source, "g"));
  let started = performance.now();
  for (const each of all) for (each.lastIndex = 0; each.exec(latin1) !== null;);
  record(`rival: each of ${all.length} expressions over the text, RE2`, part.length / 1e3 / (performance.now() - started), "MB/s");
  // More do not compile in one set.
  const set = new RE2.Set(sources.slice(0, 50));
  started = performance.now();
  for (const line of latin1.split("\n")) set.match(line);
  record("rival: RE2.Set of 50 expressions, line by line", part.length / 1e3 / (performance.now() - started), "MB/s");
}
