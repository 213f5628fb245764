/**
 * `npm run fuzz -- cost [--seconds 600] [--engine native|portable] [--dist FOLDER] [--seed N] [--show N] [--keep no|FOLDER]`: searches for inputs that are slow to mask, and prints the worst.
 *
 * 1. Every piece of the grammar alone, in large and in small chunks. 2. Until the time is up: an input that is among the worst of its kind (which kinds of pieces it is made of, how it is cut, in which
 * framing) is changed, or crossed with another, and takes the place of the worst of its own kind if it costs more. 3. The worst are measured again, larger, and at twice the size. What is beyond the
 * bars becomes a file in corpus/cost, which the suite replays by the engine's counter of work.
 */
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { grammarOf, SPELLINGS } from "./cost/grammar.mjs";
import { DOUBLING, measurer, sizeOf } from "./cost/measure.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const CORPUS = join(root, "test/fuzz/corpus/cost");
/** Sizes at which the worst are measured again: doubled from the first on, up to the last, or until one takes so many microseconds. */
const JUDGE_BYTES = { large: [8 * 1024, 256 * 1024], small: [1024, 16 * 1024] };
const JUDGE_US = 150_000;
/** Parts of the time: for single pieces, and until the worst are measured again. */
const SEEDING = 0.25;
const SEARCHING = 0.8;
/** A piece without which an input costs at least so much of what it did says nothing. */
const SHRUNK = 0.7;
/** What takes less says nothing of twice as much. */
const DOUBLING_FROM_US = 3000;
const CHUNKS = [1, 1, 2, 7, 64, 200, 1024, 1024, 4096, 16_384, 65_536];
const FRAMINGS = ["text", "text", "text", "text", "text", "text", "text", "json", "ndjson", "form", "syslog"];
/** Time cannot tell a little more than twice from twice; the counter can. */
const DOUBLING_BY_TIME = 3;
const MOST_PIECES = 12;
const LONGEST_UNIT = 3000;

export function readOptions(args) {
  const options = { seconds: 600, engine: "native", dist: join(root, "dist"), seed: Date.now() % 1e9, show: 24, keep: CORPUS };
  for (let i = 0; i < args.length; i += 2) {
    const name = args[i].replace(/^--/, "");
    if (!(name in options) || args[i + 1] === undefined)
      throw new Error(`fuzz cost: expected --seconds, --engine, --dist, --seed, --show or --keep with a value, not ${args[i]}`);
    options[name] = typeof options[name] === "number" ? Number(args[i + 1]) : args[i + 1];
  }
  if (!(options.seconds > 0) || !Number.isSafeInteger(options.seed) || !(options.show > 0))
    throw new Error("fuzz cost: --seconds, --seed and --show must be numbers");
  if (!["native", "portable"].includes(options.engine)) throw new Error("fuzz cost: --engine must be native or portable");
  return { ...options, dist: resolve(options.dist) };
}

/** Numbers from a seed (mulberry32). */
function seeded(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (count) => Math.floor(next() * count);
  return { chance: (share) => next() < share, below, pick: (list) => list[below(list.length)] };
}

const chunkClass = (chunk) => (chunk === 1 ? "1" : chunk < 64 ? "2-63" : chunk < 1024 ? "64-1023" : "1 KiB+");

const kindsOf = (pieces) => [...new Set(pieces.map(({ kind }) => kind))].toSorted((a, b) => (a < b ? -1 : 1)).join("+");
const textOf = (pieces) => pieces.map(({ text }) => text).join("");

class Search {
  /** The worst of each kind. */
  worst = new Map();
  runs = 0;

  constructor(grammar, measure, random) {
    Object.assign(this, { grammar, measure, random, kinds: Object.keys(grammar) });
  }

  of(kind) {
    return { kind, ...this.random.pick(this.grammar[kind]), spellings: [] };
  }

  piece() {
    const kind = this.random.pick(this.kinds);
    return this.of(kind);
  }

  /** Measures an input and keeps it if it is the worst of its kind. */
  try(genes) {
    const [unit, head] = [textOf(genes.pieces), textOf(genes.head)];
    if (unit.length === 0 || unit.length > LONGEST_UNIT || head.length > LONGEST_UNIT) return;
    const { chunk, framing } = genes;
    const each = { head, unit, chunk, framing };
    const kind = `${chunkClass(chunk)} ${framing} ${kindsOf(genes.pieces)}`;
    const before = this.worst.get(kind);
    this.runs++;
    const excess = this.measure.quick(each);
    if (excess > (before?.excess ?? 0)) this.worst.set(kind, { excess, each, genes });
  }

  /** Each piece alone, the kinds in turn: most have a few dozen, anchors and hits thousands. */
  seed(until) {
    const left = this.kinds.map((kind) =>
      this.grammar[kind].flatMap((piece) =>
        [1, 64, 65_536].map((chunk) => ({ pieces: [{ kind, ...piece, spellings: [] }], head: [], chunk, framing: "text" })),
      ),
    );
    while (left.some((all) => all.length > 0) && Date.now() < until) {
      for (const all of left.filter(({ length }) => length > 0)) {
        const at = this.random.below(all.length);
        this.try(all[at]);
        all[at] = all.at(-1);
        all.pop();
      }
    }
  }

  parent() {
    const ranked = this.ranked();
    // Half of the time one of the worst; else any.
    return ranked[this.random.chance(0.5) ? this.random.below(Math.min(12, ranked.length)) : this.random.below(ranked.length)].genes;
  }

  ranked() {
    return [...this.worst.values()].sort((a, b) => b.excess - a.excess);
  }

  step() {
    const { random } = this;
    const genes = structuredClone(this.parent());
    for (let changes = 1 + random.below(3); changes > 0; changes--) this.change(genes);
    this.try(genes);
  }

  spell(piece, way) {
    piece.text = SPELLINGS[way](piece.text);
    piece.spellings.push(way);
  }

  change(genes) {
    const { random } = this;
    const { pieces } = genes;
    const at = random.below(pieces.length);
    const ways = [
      () => pieces.length < MOST_PIECES && pieces.splice(random.below(pieces.length + 1), 0, this.piece()),
      () => pieces.length < MOST_PIECES && pieces.splice(random.below(pieces.length + 1), 0, this.piece()),
      () => pieces.length > 1 && pieces.splice(at, 1),
      () => (pieces[at] = this.piece()),
      () => (pieces[at] = this.of(pieces[at].kind)),
      () => pieces.length < MOST_PIECES && pieces.splice(at, 0, { ...pieces[at] }),
      () => this.spell(pieces[at], random.pick(Object.keys(SPELLINGS))),
      () => pieces.length < MOST_PIECES && pieces.push({ kind: "control", text: "\n", spellings: [] }),
      () => (genes.chunk = random.pick(CHUNKS)),
      () => (genes.framing = random.pick(FRAMINGS)),
      () => (genes.head = random.chance(0.3) ? [] : [...genes.head, this.piece()].slice(-4)),
      () => {
        const other = this.parent().pieces;
        const [from, to] = [random.below(pieces.length + 1), random.below(other.length + 1)];
        genes.pieces = [...pieces.slice(0, from), ...structuredClone(other.slice(to))].slice(0, MOST_PIECES);
        if (genes.pieces.length === 0) genes.pieces = [this.piece()];
      },
    ];
    random.pick(ways)();
  }
}

/** Leaves out the pieces that an input does not need to be slow. */
function shrunk(measure, { genes }) {
  const costOf = ({ pieces, head, chunk, framing }) => {
    const each = { unit: textOf(pieces), head: textOf(head), chunk, framing };
    return each.unit === "" ? 0 : measure.quick(each);
  };
  let least = { ...genes };
  const enough = SHRUNK * costOf(least);
  const attempts = [{ framing: "text" }, { head: [] }];
  for (const change of attempts) if (costOf({ ...least, ...change }) >= enough) least = { ...least, ...change };
  for (let at = 0; at < least.pieces.length;) {
    const less = { ...least, pieces: least.pieces.toSpliced(at, 1) };
    if (costOf(less) >= enough) least = less;
    else at++;
  }
  const { chunk, framing } = least;
  return {
    each: { head: textOf(least.head), unit: textOf(least.pieces), chunk, framing, genes: least },
    kind: `${chunkClass(chunk)} ${kindsOf(least.pieces)}`,
  };
}

/** The worst, each without what it does not need, one of a kind. */
function distinct(measure, ranked, count, until) {
  const found = new Map();
  for (const one of ranked) {
    if (found.size === count || Date.now() > until) break;
    const { each, kind } = shrunk(measure, one);
    if (!found.has(kind)) found.set(kind, each);
  }
  return [...found.values()];
}

/** Measures one of the worst again, larger and larger. */
function judge(measure, each) {
  const [first, last] = JUDGE_BYTES[sizeOf(each.chunk)];
  let once = measure.best(each, first, 3);
  let doubling = 0;
  for (let bytes = 2 * first; bytes <= last && once.isWhole && once.us < JUDGE_US; bytes *= 2) {
    const twice = measure.best(each, bytes, 3);
    if (!twice.isWhole) doubling = Infinity;
    else if (measure.counts) doubling = Math.max(doubling, twice.work / once.work);
    else if (once.us > DOUBLING_FROM_US) doubling = Math.max(doubling, twice.us / once.us);
    once = twice;
  }
  const excess = measure.excess(once, each.chunk);
  return {
    each,
    excess,
    doubling,
    speed: once.bytes / once.us,
    pushUs: once.us / once.pushes,
    work: once.work === undefined ? undefined : once.work / once.bytes,
    isBad: excess > 1 || doubling > (measure.counts ? DOUBLING : DOUBLING_BY_TIME),
  };
}

const shown = ({ head, unit }) => {
  const text = JSON.stringify(head === "" ? unit : `${head} … ${unit}`);
  return text.length > 90 ? `${text.slice(0, 86)} …"` : text;
};

function print(judged) {
  console.log("| MB/s | µs a push | chunk | framing | twice the input | work a byte | over the bar | input, repeated |\n|---|---|---|---|---|---|---|---|");
  for (const { each, excess, doubling, speed, pushUs, work } of judged)
    console.log(
      `| ${speed.toFixed(3)} | ${pushUs.toFixed(1)} | ${each.chunk} | ${each.framing} | ${doubling.toFixed(2)} × | ${work?.toFixed(1) ?? "-"} | ${excess.toFixed(2)} × | \`${shown(each).replaceAll("|", "\\|")}\` |`,
    );
}

/** Writes a case down: what a rule finds by the rule's name. */
function keep(folder, { each }, engine) {
  const { pieces, head, chunk, framing } = each.genes;
  const named = (all) => all.map(({ text, rule, spellings }) => (rule === undefined ? { text } : { rule, spellings }));
  const json = `${JSON.stringify({ head: named(head), pieces: named(pieces), chunk, framing, foundBy: engine })}\n`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${createHash("sha256").update(json).digest("hex").slice(0, 12)}.json`), json);
}

/** Searches; answers the exit code: 1 if something is beyond the bars. */
export async function searchCost(options) {
  const { seconds, engine, dist, seed } = options;
  const measure = await measurer(dist, engine);
  const search = new Search(await grammarOf(dist), measure, seeded(seed));
  const started = Date.now();
  const part = (share) => started + share * seconds * 1000;
  search.seed(part(SEEDING));
  console.log(`fuzz cost: ${engine}, seed ${seed}: ${search.runs} runs of single pieces, ${search.worst.size} kinds`);
  let told = Date.now();
  while (Date.now() < part(SEARCHING)) {
    search.step();
    if (Date.now() - told < 60_000) continue;
    told = Date.now();
    const [worst] = search.ranked();
    console.log(`fuzz cost: ${search.runs} runs, ${search.worst.size} kinds; worst ${worst.excess.toFixed(2)} × the bar: ${shown(worst.each)}`);
  }
  const judged = distinct(measure, search.ranked(), options.show, part(1))
    .map((each) => judge(measure, each))
    .sort((a, b) => b.excess - a.excess);
  print(judged);
  const bad = judged.filter(({ isBad }) => isBad);
  const isKept = options.keep !== "no" && bad.length > 0;
  if (isKept) for (const each of bad) keep(resolve(options.keep), each, engine);
  console.log(
    bad.length === 0
      ? `fuzz cost: ${search.runs} runs, nothing beyond the bars`
      : `fuzz cost: ${search.runs} runs, ${bad.length} inputs beyond the bars${isKept ? `; they are files in ${options.keep} now: those in test/fuzz/corpus/cost are replayed by npm test, commit them with the mend` : ""}`,
  );
  measure.close();
  return bad.length === 0 ? 0 : 1;
}
