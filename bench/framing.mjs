/** The framings: log JSON as NDJSON and as one document, a long string, one with many escapes; against the same bytes as text, against no masking, against JSON.parse. */
import { createEngine } from "../dist/index.js";
import { FRAMINGS } from "../dist/codec/framing.js";
import { check, median, record, smoke } from "./lib.mjs";

const ROUNDS = smoke ? 1 : 5;
const LINES = smoke ? 200 : 40_000;
/** As bodies come from a socket. */
const CHUNK = 64 * 1024;

/** A text channel that masks nothing: what is left is the framing's own cost. */
const nothing = { push: (chunk) => [chunk], idle: () => [], end: () => [], close: () => undefined };

const line = (i) => ({
  timestamp: new Date(1.7e12 + i * 1000).toISOString(),
  level: ["info", "warn", "debug"][i % 3],
  logger: "com.example.build.Step",
  thread: `worker-${i % 8}`,
  message: `Downloaded https://repo.example.org/maven2/org/foo/${i}/bar-${i}.jar (${(i * 37) % 9999} kB at ${i % 77}.${i % 10} MB/s)\n`,
  duration_ms: i % 1000,
  ok: true,
  attributes: { job: i, path: "/builds/group/project/src/main/java/App.java" },
});

function pass(name, openText, bytes) {
  const body = FRAMINGS.find((framing) => framing.name === name).open(openText);
  const started = performance.now();
  let at = 0;
  let same = true;
  const take = (pieces) => {
    for (const piece of pieces) same &&= bytes.compare(piece, 0, piece.length, at, (at += piece.length)) === 0;
  };
  for (let from = 0; from < bytes.length; from += CHUNK) take(body.push(bytes.subarray(from, from + CHUNK)));
  take(body.end());
  const speed = bytes.length / 1e3 / (performance.now() - started);
  check(`${name}: bytes without a finding come out as they were`, same && at === bytes.length);
  return speed;
}

const speedOf = (run) => median(Array.from({ length: ROUNDS }, run));

/** Measures with `secrets` and without rules. */
export function benchFramings(engines, secrets) {
  const lines = Array.from({ length: LINES }, (_, i) => JSON.stringify(line(i)));
  const ndjson = Buffer.from(`${lines.join("\n")}\n`);
  const texts = [
    { framing: "ndjson", what: "log lines as NDJSON", bytes: ndjson },
    { framing: "json", what: "log lines as one JSON array", bytes: Buffer.from(`[${lines.join(",")}]`) },
    { framing: "json", what: "one long string", bytes: Buffer.from(JSON.stringify({ log: lines.join(" ").replaceAll('"', "'") })) },
    { framing: "json", what: "one long string, escapes everywhere", bytes: Buffer.from(JSON.stringify({ log: lines.join("\n") })) },
  ];
  for (const name of engines) {
    const engine = createEngine({ engine: name, rules: false });
    const full = createEngine({ engine: name, rules: false, secrets });
    for (const { framing, what, bytes } of texts) {
      const alone = speedOf(() => pass(framing, () => nothing, bytes));
      if (name === engines[0]) record(`framing, no masking: ${what}`, alone, "MB/s");
      record(
        `${name}: ${what}, no secrets`,
        speedOf(() => pass(framing, () => engine.stream(), bytes)),
        "MB/s",
        name === "native" ? [">=", 150] : undefined,
      );
      record(
        `${name}: ${what}, ${secrets.length} secrets`,
        speedOf(() => pass(framing, () => full.stream(), bytes)),
        "MB/s",
      );
    }
    record(
      `${name}: the NDJSON as text, ${secrets.length} secrets`,
      speedOf(() => pass("text", () => full.stream(), ndjson)),
      "MB/s",
    );
    engine.close();
    full.close();
  }
  const parse = () => {
    const started = performance.now();
    JSON.parse(texts[1].bytes.toString());
    return texts[1].bytes.length / 1e3 / (performance.now() - started);
  };
  record("rival: JSON.parse of the array", speedOf(parse), "MB/s");
}
