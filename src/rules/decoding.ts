/**
 * Decoding, over one stream: wherever base64, hex or escapes hide text, it is decoded, to depth 2, and the rules and the known secrets are tried on it. Where that
 * finds something, all of the encoded run is masked; of a word with escapes what spells the secret.
 *
 * Budget: behind each place that was found at most 4 KiB are read, each byte at most once per encoding and phase and in overlaps; there is one level more.
 */
import { type AnchorSet, type AnchorStream, HIT_SIZE } from "../core/anchors.js";
import { ENCODED, type EncodedStream } from "../core/encoded.js";
import { blockBegin, Blocks } from "./blocks.js";
import { AHEAD_BYTES, type Decoded, ESCAPES, isWord, readEscaped, readRun, wordStart } from "./decode.js";
import { evaluate } from "./evaluate.js";
import type { Confidence } from "./compile.js";
import type { RulePack } from "./pack.js";
import { StreamText } from "./text.js";
import { Wait } from "./waiting.js";

/** A secret in decoded text. */
export interface HiddenMatch {
  /** Number of the rule; of a known secret `known` says what is told of it. */
  readonly rule: number;
  readonly known?: KnownSecret;
  readonly confidence: Confidence;
  /** What hides it, the outermost first: `base64`, `escaped+hex`. */
  readonly variant: string;
  /** Its bytes as Latin-1; empty for a block. */
  readonly value: string;
  /** What is masked. */
  readonly start: number;
  readonly end: number;
}

/** A registered secret. */
export interface KnownSecret {
  readonly name: string;
  readonly fingerprint: string;
}

/** Where it stands in a text. */
export interface KnownPlace {
  readonly secret: KnownSecret;
  readonly start: number;
  readonly end: number;
}

/** What looks into streams. */
export interface Searches {
  /** Of the pack. */
  readonly anchors: AnchorSet;
  /** Absent: nothing is decoded. */
  encoded?(this: void): EncodedStream;
  /** The known secrets in a text. */
  known?(text: Buffer): readonly KnownPlace[];
}

const MAX_DEPTH = 2;
/** Bytes of an unfinished word that are kept back: an encoded run may begin with it. */
const MAX_WORD_BYTES = 4096;
/** Kinds of hits: those of {@link ENCODED}, and escapes. */
const ESCAPED = 2;
/** Between two texts that one stream is shown: nothing that is looked for holds it. */
const SEPARATOR = Buffer.alloc(1);

interface Hit {
  readonly kind: number;
  readonly at: number;
}

/** What was read last of a kind: what begins in it need not be read again. */
interface Read {
  readonly from: number;
  readonly until: number;
  readonly wrap: number;
}

/** Looks for what is encoded in one text, which may grow. */
class Level {
  /** Hits that wait for bytes. */
  pending: Hit[] = [];
  private reads = new Map<number, Read>();

  constructor(
    readonly encoded: EncodedStream,
    private readonly text: StreamText,
  ) {}

  /** Shows the next bytes, which the text has already; calls `each` with what they complete. */
  push(chunk: Buffer, each: (decoded: Decoded) => void): void {
    const base = this.text.total - chunk.length;
    const fresh: Hit[] = [];
    const count = this.encoded.scan(chunk);
    for (let i = 0; i < count * HIT_SIZE; i += HIT_SIZE) fresh.push({ kind: this.encoded.hits[i]!, at: this.text.total - this.encoded.hits[i + 1]! });
    for (const { first, second } of ESCAPES)
      for (let at = chunk.indexOf(first); at >= 0; at = chunk.indexOf(first, at + 1))
        if (at + 1 === chunk.length || second[chunk[at + 1]!] === 1) fresh.push({ kind: ESCAPED, at: base + at });
    if (fresh.length > 1) fresh.sort((a, b) => a.at - b.at || a.kind - b.kind);
    const { pending } = this;
    const first = pending[0];
    // What waits does so for the end of its word, or for as much as is read at once: without either nothing changes.
    if (first !== undefined && this.text.total - first.at < AHEAD_BYTES && chunk.every(isWord)) pending.push(...fresh);
    else if (first !== undefined || fresh.length > 0) {
      this.pending = [];
      this.read(pending.concat(fresh), each);
    }
  }

  /** Reads what hits begin, in order; those that depend on bytes to come wait, and so do others behind them, which may turn out to be read with them. */
  read(hits: readonly Hit[], each: (decoded: Decoded) => void): void {
    const waits = [false, false, false];
    for (const { kind, at } of hits) {
      let from = at;
      for (;;) {
        const decoded = waits[kind] ? "more" : this.isRead(kind, from) ? undefined : this.readAt(kind, from);
        if (decoded === "more") this.pending.push({ kind, at: from });
        waits[kind] ||= decoded === "more";
        if (decoded === undefined || decoded === "more") break;
        this.reads.set(keyOf(kind, from), { from, until: decoded.next ?? decoded.end, wrap: decoded.wrap });
        each(decoded);
        if (decoded.next === undefined || kind === ESCAPED) break;
        from = decoded.next;
      }
    }
  }

  /** As if the text ended here, without an effect on what follows. */
  peek(each: (decoded: Decoded) => void): void {
    const { pending, reads } = this;
    this.reads = new Map(reads);
    this.read(pending, each);
    this.pending = pending;
    this.reads = reads;
  }

  private readAt(kind: number, at: number): Decoded | "more" | undefined {
    return kind === ESCAPED ? readEscaped(this.text, at) : readRun(this.text, at, kind === ENCODED.HEX ? "hex" : "base64");
  }

  private isRead(kind: number, at: number): boolean {
    const same = this.reads.get(keyOf(kind, at));
    if (same !== undefined && same.from <= at && at < same.until) return true;
    // A line end within a run moves the phase of what follows.
    for (const [key, { wrap, until }] of this.reads) if (key >> 2 === kind && wrap < at && at < until) return true;
    return false;
  }
}

/** Kind and phase of what begins at `at`. */
const keyOf = (kind: number, at: number): number => (kind << 2) | (kind === ESCAPED ? 0 : at & (kind === ENCODED.HEX ? 1 : 3));

/** Decodes what stands in one stream. */
export class Decoding {
  private readonly level: Level;
  /** The word that the text ends with; empty if it ends with none. */
  private readonly word = { start: 0, end: 0 };
  /** By depth what looks into decoded text: made when there is some, and shown one text behind the other. */
  private readonly anchors: AnchorStream[] = [];
  private readonly encoded: EncodedStream[] = [];

  constructor(
    private readonly pack: RulePack,
    private readonly searches: Required<Pick<Searches, "encoded">> & Searches,
    private readonly text: StreamText,
    private readonly found: (match: HiddenMatch) => void,
  ) {
    this.level = new Level(searches.encoded(), text);
  }

  /** Shows the next bytes, which the text has already. */
  push(chunk: Uint8Array): void {
    this.followWord(chunk);
    this.level.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length), this.report);
  }

  /** What waits for bytes is read as if none came; it is read again when some come. */
  idle(): void {
    this.level.peek(this.report);
  }

  end(): void {
    const waiting = this.level.pending;
    this.level.pending = [];
    this.level.read(waiting, this.report);
  }

  release(): void {
    for (const stream of [this.level.encoded, ...this.anchors, ...this.encoded]) stream?.release();
  }

  /** Everything before it may leave: what follows is an unfinished word, or was found and waits. */
  get hold(): number {
    const { word, text } = this;
    const unfinished = word.end === text.total ? Math.max(word.start, text.total - MAX_WORD_BYTES) : text.total;
    const [first] = this.level.pending;
    if (first === undefined) return unfinished;
    const start = first.at >= word.start && first.at < word.end ? Math.max(word.start, first.at - MAX_WORD_BYTES) : wordStart(text, first.at, MAX_WORD_BYTES);
    return Math.min(unfinished, start);
  }

  /** Follows the word that the text ends with: it may go on for ever, and is not read again. */
  private followWord(chunk: Uint8Array): void {
    const base = this.text.total - chunk.length;
    let at = chunk.length;
    while (at > 0 && isWord(chunk[at - 1]!)) at--;
    if (at > 0 || this.word.end !== base) this.word.start = base + at;
    this.word.end = this.text.total;
  }

  private readonly report = (decoded: Decoded): void => {
    for (const match of this.search(decoded, 1)) this.found(match);
  };

  /** What the rules and the known secrets are found at in decoded text. */
  private search(decoded: Decoded, depth: number): HiddenMatch[] {
    const { bytes, encoding, places } = decoded;
    const text = new StreamText();
    text.push(bytes);
    text.ended = true;
    const matches: HiddenMatch[] = [];
    const add = (match: HiddenMatch): void => {
      const [start, end] = places === undefined ? [decoded.start, decoded.end] : [places[match.start]!, places[match.end]!];
      matches.push({ ...match, start, end, variant: match.variant === "" ? encoding : `${encoding}+${match.variant}` });
    };
    this.searchRules(bytes, text, depth, add);
    for (const { secret, start, end } of this.searches.known?.(bytes) ?? [])
      add({ rule: -1, known: secret, confidence: "certain", variant: "", value: "", start, end });
    if (depth < MAX_DEPTH) {
      const encoded = (this.encoded[depth] ??= this.searches.encoded());
      new Level(encoded, text).push(bytes, (each) => this.search(each, depth + 1).forEach(add));
      encoded.scan(SEPARATOR);
    }
    return matches;
  }

  private searchRules(bytes: Buffer, text: StreamText, depth: number, add: (match: HiddenMatch) => void): void {
    const { pack } = this;
    const anchors = (this.anchors[depth] ??= this.searches.anchors.open());
    const count = anchors.scan(bytes);
    const hits = anchors.hits.slice(0, count * HIT_SIZE);
    anchors.scan(SEPARATOR);
    const begun = new Map<number, { readonly blocks: Blocks; readonly found: HiddenMatch[] }>();
    for (let i = 0; i < hits.length; i += HIT_SIZE) {
      const anchor = pack.anchors[hits[i]!]!;
      for (const number of anchor.rules) {
        const rule = pack.rules[number]!;
        if (rule.source.decode === false) continue;
        const at = bytes.length - hits[i + 1]!;
        const base = { rule: number, variant: "" };
        if (rule.kind === "block") {
          const begin = blockBegin(rule, text, at);
          if (typeof begin !== "number") continue;
          let own = begun.get(number);
          if (own === undefined) begun.set(number, (own = { blocks: new Blocks(rule), found: [] }));
          const found = { ...base, confidence: rule.confidence, value: "", start: at, end: begin };
          const mask = (_: number, end: number): void => void (found.end = Math.max(found.end, end));
          if (own.blocks.add({ at, end: begin, mask })) own.found.push(found);
          continue;
        }
        const match = evaluate(rule, text, at, anchor);
        if (match === undefined || match instanceof Wait) continue;
        const { start, end, confidence } = match;
        add({ ...base, confidence, value: text.latin1(start, end), start, end });
      }
    }
    for (const { blocks, found } of begun.values()) {
      blocks.go(text);
      found.forEach(add);
    }
  }
}
