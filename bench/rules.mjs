/** The rules: loading, all of them over real logs, lines that nearly are findings, one endless line; against RE2 without anchors. */
import { createRequire } from "node:module";
import { createEngine } from "../dist/index.js";
import { packOf } from "../dist/rules/builtin.js";
import { seeded } from "./corpora.mjs";
import { check, median, record, smoke } from "./lib.mjs";

const ROUNDS = smoke ? 1 : 5;
const CHUNK = 256 * 1024;

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

export function benchRules(text, secrets) {
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
  }

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
