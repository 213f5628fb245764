/**
 * `npm run quality`: what the rules find, leak and mask falsely. 1. every example of every rule in many contexts, at every cut, on both engines; 2. lines with and
 * without credentials that others collected; 3. real logs without any. Prints a table and every false mask's place; records nothing that was masked.
 */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { createEngine } from "../dist/index.js";
import { loadRules } from "../dist/rules/load.js";
import { cook } from "../dist/rules/recipes.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const fixtures = process.env.LOGVEIL_FIXTURES ?? join(root, "..", "shared", "fixtures");
const verbose = process.argv.includes("--verbose");
const only = process.argv.includes("--only") ? process.argv[process.argv.indexOf("--only") + 1] : undefined;

/** Contexts: what becomes of the text, piece by piece, and what stands around it. */
const lines = (prefix) => ({ each: (text) => text.replaceAll("\n", `\n${prefix}`), before: prefix });
const CONTEXTS = {
  bare: {},
  "ANSI colour": { before: "\x1b[32m", after: "\x1b[0m" },
  "colour on both sides": { before: "ok\x1b[1;31m", after: "\x1b[39;49mok" },
  "JSON string": { each: (text) => JSON.stringify(text).slice(1, -1), before: '{"log":"', after: '"}' },
  "URL query": { before: "GET /x?q=", after: "&y=1", fits: (text) => /^[\w.~-]+$/.test(text) },
  "set -x": { before: "+ echo " },
  "docker step": lines("#12 0.456 "),
  "GitHub timestamp": lines("2024-05-06T07:08:09.1234567Z "),
  CRLF: { each: (text) => text.replaceAll("\n", "\r\n"), after: "\r\n" },
  ...Object.fromEntries([",", ")", "]", "&"].map((next) => [`before ${next}`, { before: "(", after: next === "&" ? "&x=1" : `${next}x` }])),
};

function place({ text, spans }, { each = (part) => part, before = "", after = "" }) {
  let out = before;
  const placed = [];
  let at = 0;
  for (const { start, end } of spans) {
    out += each(text.slice(at, start));
    const from = out.length;
    out += each(text.slice(start, end));
    placed.push({ start: from, end: out.length });
    at = end;
  }
  return { text: out + each(text.slice(at)) + after, spans: placed };
}

/** Ranges that an engine masks in a text (Latin-1), given in pieces. */
function masked(engine, pieces) {
  const spans = [];
  const stream = engine.stream({ onFinding: ({ offset, length, secret }) => spans.push({ start: offset, end: offset + length, secret }) });
  for (const piece of pieces) stream.push(Buffer.from(piece, "latin1"));
  stream.end();
  return spans;
}

function compare(spans, found, text) {
  const want = new Uint8Array(text.length);
  const have = new Uint8Array(text.length);
  for (const { start, end } of spans) want.fill(1, start, end);
  for (const { start, end } of found) have.fill(1, start, end);
  let [leaked, over] = [0, 0];
  // Line ends inside a multi-line secret stand in the output as they are, spelled in a string too.
  for (const { index } of text.matchAll(/\\[rn]/g)) if (want[index] && !have[index]) want.fill(0, index, index + 2);
  for (let i = 0; i < text.length; i++) {
    if (want[i] && !have[i] && !/[\r\n]/.test(text[i])) leaked++;
    if (!want[i] && have[i]) over++;
  }
  return { leaked, over };
}

const rows = [];
const report = (set, columns) => rows.push({ set, ...columns });

function ownExamples() {
  const rules = loadRules([join(root, "patterns")]).filter(({ id }) => only === undefined || id === only);
  for (const name of ["native", "portable"]) {
    const engine = createEngine({ engine: name, rules: { minConfidence: "low", policy: {} } });
    for (const [context, how] of Object.entries(CONTEXTS)) {
      const sum = { texts: 0, missed: 0, leaked: 0, over: 0, cuts: 0, differ: 0 };
      for (const { id, examples } of rules) {
        for (const recipe of examples) {
          const example = cook(recipe, id);
          const multi = example.spans.length > 1 || /\n/.test(example.text);
          if (how.fits !== undefined && !how.fits(example.text)) continue;
          if (multi && how.each !== undefined && context !== "CRLF" && context !== "JSON string") continue;
          const { text, spans } = place(example, how);
          const found = masked(engine, [text]);
          const { leaked, over } = compare(spans, found, text);
          sum.texts++;
          sum.leaked += leaked;
          sum.over += over;
          if (leaked > 0) sum.missed++;
          if ((leaked > 0 || over > 0) && verbose)
            console.log(
              `${name}, ${context}: ${id} example ${examples.indexOf(recipe) + 1}: ${leaked} bytes leaked, ${over} too many; masked by ${[...new Set(found.map(({ secret }) => secret))].join(", ") || "nothing"}`,
            );
          const whole = JSON.stringify(found);
          const step = Math.max(1, Math.floor(text.length / 12));
          for (let cut = 1; cut < text.length; cut += step) {
            sum.cuts++;
            if (JSON.stringify(masked(engine, [text.slice(0, cut), text.slice(cut)])) !== whole) {
              sum.differ++;
              if (verbose && sum.differ < 20) console.log(`${name}, ${context}: ${id}: another answer when cut at ${cut} of ${text.length}`);
            }
          }
        }
      }
      report(`own examples, ${context}, ${name}`, {
        texts: sum.texts,
        found: percent(sum.texts - sum.missed, sum.texts),
        "leaked bytes": sum.leaked,
        "over-masked": sum.over,
        "cuts that differ": `${sum.differ}/${sum.cuts}`,
      });
    }
  }
}

/** Rules of that tool that find names, not credentials: hosts, buckets, ARNs, accounts, client ids, public keys, users without a password. */
const NAMES = /^np\.(?:s3|arn|gcs|shopify|age|linkedin)\.|^np\.(?:aws\.3|google\.1|reactapp\.1|twitter\.1)$/;

function noseyparker() {
  const file = join(fixtures, "rules", "noseyparker.jsonl.gz");
  if (!existsSync(file)) return console.log(`(no ${file}: skipped)`);
  const engine = createEngine();
  const sum = { positives: 0, found: 0, any: 0, credentials: 0, seen: 0, negatives: 0, masked: 0, leaked: 0 };
  for (const line of gunzipSync(readFileSync(file)).toString().trim().split("\n")) {
    const { rule, input, span, mask } = JSON.parse(line);
    const text = Buffer.from(input).toString("latin1");
    const found = masked(engine, [text]);
    const [start, end] = mask ? [Buffer.byteLength(input.slice(0, span[0])), Buffer.byteLength(input.slice(0, span[1]))] : [0, 0];
    if (mask) {
      sum.positives++;
      const hit = found.some((each) => each.start < end && each.end > start);
      if (hit) sum.found++;
      if (found.length > 0) sum.any++;
      if (!NAMES.test(rule)) sum.credentials++;
      if (!NAMES.test(rule) && found.length > 0) sum.seen++;
      if (hit) sum.leaked += compare([{ start, end }], found, text).leaked;
      if (verbose && !hit)
        console.log(
          `${found.length > 0 ? "elsewhere" : "missed"} ${rule}: ${JSON.stringify(text.slice(Math.max(0, start - 60), end + 20))} @ ${JSON.stringify(text.slice(start, end))}`,
        );
    } else {
      sum.negatives++;
      if (found.length > 0) {
        sum.masked++;
        if (verbose)
          console.log(
            `negative ${rule}: ${JSON.stringify(found.map(({ start: from, end: to, secret }) => `${secret}: ${text.slice(Math.max(0, from - 20), to)}`))}`,
          );
      }
    }
  }
  report("noseyparker positives", {
    texts: sum.positives,
    found: percent(sum.found, sum.positives),
    "anything found": percent(sum.any, sum.positives),
    "leaked bytes": sum.leaked,
  });
  report("noseyparker positives but for names", { texts: sum.credentials, "anything found": percent(sum.seen, sum.credentials) });
  report("noseyparker negatives", { texts: sum.negatives, found: percent(sum.masked, sum.negatives) });
}

function cleanLogs(folder) {
  if (!existsSync(folder)) return console.log(`(no ${folder}: skipped)`);
  const engine = createEngine();
  let bytes = 0;
  const all = [];
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true }).filter((each) => each.isFile() && each.name.endsWith(".gz"))) {
    const path = join(entry.parentPath, entry.name);
    const text = gunzipSync(readFileSync(path)).toString("latin1");
    bytes += text.length;
    for (const { start, end, secret } of masked(engine, [text])) {
      all.push(secret);
      console.log(
        `false mask: ${path.slice(folder.length + 1)} offset ${start}, ${end - start} bytes, ${secret}${verbose ? ` ${JSON.stringify(text.slice(Math.max(0, start - 60), end))}` : ""}`,
      );
    }
  }
  report(`clean logs, ${(bytes / 1e6).toFixed(1)} MB`, { "false masks": all.length, "per 10 MB": ((all.length / bytes) * 1e7).toFixed(2) });
}

const percent = (part, all) => (all === 0 ? "–" : `${((100 * part) / all).toFixed(1)} %`);

if (!process.argv.includes("--no-examples")) ownExamples();
noseyparker();
cleanLogs(join(fixtures, "logs"));
console.table(Object.fromEntries(rows.map(({ set, ...columns }) => [set, columns])));
