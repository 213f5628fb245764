/** What an input costs: CPU per byte and per push, and the engine's own counter of bytes looked at where there is one. */
import { SECRETS } from "./grammar.mjs";

/** What a byte and a push may cost, in microseconds: 2 MB/s in chunks of 1 KiB or more; 10 µs a push beside that for smaller ones. Half of both for the portable engine. */
const BARS = { native: { byteUs: 0.5, pushUs: 10 }, portable: { byteUs: 1, pushUs: 20 } };
const SMALL_BYTES = 1024;
/** Twice the input may be at most so many times the work. */
export const DOUBLING = 2.2;
/** A run is broken off after so much CPU, in microseconds: it is slow enough to know. */
const MOST_US = 250_000;

/** Bytes of a run of the search, and of one before it; of small chunks fewer tell as much. */
const SEARCH_BYTES = { large: [2 * 1024, 8 * 1024], small: [256, 1024] };
/** Such a run is broken off after so many microseconds: it is slow enough to know. */
const SEARCH_US = 20_000;

export const sizeOf = (chunk) => (chunk < 64 ? "small" : "large");

export async function measurer(dist, engineName) {
  const [{ createEngine }, { FRAMINGS }, { StructuredDataMasker }] = await Promise.all(
    ["index", "codec/framing", "codec/structured"].map((name) => import(`${dist}/${name}.js`)),
  );
  const engine = createEngine({ engine: engineName, secrets: SECRETS, onWarning: () => undefined });
  const { byteUs, pushUs } = BARS[engineName];
  const framings = Object.fromEntries(FRAMINGS.map((framing) => [framing.name, framing]));

  /** The bytes of a case, repeated up to a length. */
  const build = ({ head = "", unit, framing }, bytes) => {
    const text = head + unit.repeat(Math.ceil(Math.max(0, bytes - head.length) / unit.length));
    if (framing === "json") return Buffer.from(`["${JSON.stringify(text).slice(1, -1)}"]`);
    if (framing === "ndjson") return Buffer.from(`{"log":${JSON.stringify(head + unit)}}\n`.repeat(Math.ceil(bytes / (head.length + unit.length + 10))));
    if (framing === "form") return Buffer.from(`log=${[...Buffer.from(text, "latin1")].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("")}`);
    return Buffer.from(text, "latin1");
  };

  /** A framing may open several streams. */
  const openMasker = (framing = "text") => {
    const streams = [];
    const open = (options) => {
      const stream = engine.stream(options);
      streams.push(stream);
      return stream;
    };
    const masker = framing === "syslog" ? new StructuredDataMasker(open({}), 1 << 16) : framings[framing].open(open);
    return { masker, work: () => streams.reduce((sum, stream) => sum + stream.work, 0) || undefined };
  };

  /** Runs a case once. Answers microseconds, bytes that went in, pushes, work (undefined without a counter), and whether it came to its end. */
  const run = (each, bytes, mostUs = MOST_US) => {
    const input = build(each, bytes);
    const { masker, work } = openMasker(each.framing);
    const { chunk } = each;
    const every = Math.max(1, Math.ceil(128 / chunk));
    let at = 0;
    let pushes = 0;
    let isWhole = true;
    const before = process.cpuUsage();
    const spent = () => {
      const { user, system } = process.cpuUsage(before);
      return user + system;
    };
    for (; at < input.length; at += chunk, pushes++) {
      masker.push(input.subarray(at, at + chunk));
      if (pushes % every === 0 && spent() > mostUs) {
        isWhole = false;
        at += chunk;
        pushes++;
        break;
      }
    }
    if (isWhole) masker.end();
    else masker.close();
    return { us: spent(), bytes: Math.min(at, input.length), pushes, work: work(), isWhole };
  };

  /** How many times more a run cost than it may. */
  const excess = ({ us, bytes, pushes }, chunk) => us / (bytes * byteUs + (chunk < SMALL_BYTES ? pushes * pushUs : 0));

  return {
    counts: engine.stream().work !== undefined,
    run,
    excess,
    /** About how many times more a case costs than it may. */
    quick(each) {
      let least = Infinity;
      for (const bytes of SEARCH_BYTES[sizeOf(each.chunk)]) {
        const first = run(each, bytes, SEARCH_US);
        // Again: a first run compiles expressions, and the machine has other things to do.
        const again = excess(first, each.chunk) < 0.5 ? first : run(each, bytes, SEARCH_US);
        least = excess(first.us < again.us ? first : again, each.chunk);
        if (Math.min(first.us, again.us) > SEARCH_US) break;
      }
      return least;
    },
    /** The best of several runs: the others waited for the machine, or compiled expressions. */
    best(each, bytes, times, mostUs = MOST_US) {
      let best;
      for (let i = 0; i < times; i++) {
        const one = run(each, bytes, mostUs);
        if (best === undefined || one.us < best.us) best = one;
        if (!one.isWhole) break;
      }
      return best;
    },
    close: () => engine.close(),
  };
}
