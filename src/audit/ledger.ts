/**
 * The account of one stream: what came in, what went out, what was found. Findings are gathered and become a record when they are asked for; at the end the account becomes
 * the stream's `summary` record, with the findings that no record has yet. No log bytes outlive a digest.
 */
import { type Blake3, type Blake3Stream, fastBlake3 } from "../blake3.js";
import type { Finding } from "../types.js";
import { type CauseFields, Causes } from "./causes.js";
import type { FindingEntry, FindingsEntry, SummaryEntry } from "./records.js";

/** The addon hashes 64 KiB at 5.4 GB/s and 4 KiB at 1.2: small pieces are gathered up to this by default. */
const GATHER_BYTES = 1 << 16;
/** Most names in a summary; keeps its line well under `MAX_LINE_BYTES`. */
const MAX_NAMES = 1000;

const NOTHING = new Uint8Array(0);

/** Which stream an account is of. */
export interface LedgerOptions {
  readonly job?: string;
  readonly stream: string;
  readonly policy?: string;
  /** Tells this account from others of the same writer, whatever their streams are called. */
  readonly account: number;
  /** Offset of the input at which a stream goes on that was there before; its output of before is to be fed again. Default 0. */
  readonly resumedAt?: number;
  /** Bytes of output that are kept to be hashed together. */
  readonly gatherBytes?: number;
  readonly blake3?: Blake3;
}

export class Ledger {
  readonly #options: LedgerOptions;
  readonly #blake3: Blake3;
  /** Made when more is to be hashed than is gathered. */
  #hash: Blake3Stream | undefined;
  readonly #gatherBytes: number;
  /** Made with the first small piece: most streams are short, many are written in large pieces. */
  #gathered: Buffer | undefined;
  #filled = 0;
  #inputBytes: number;
  #outputBytes = 0;
  readonly #causes = new Causes();
  /** Findings that records were made of. */
  #total = 0;
  readonly #kinds = new Map<string, number>();
  readonly #secrets = new Map<string, number>();
  readonly #rules = new Map<string, number>();

  constructor(options: LedgerOptions) {
    this.#options = options;
    this.#inputBytes = options.resumedAt ?? 0;
    this.#gatherBytes = options.gatherBytes ?? GATHER_BYTES;
    this.#blake3 = options.blake3 ?? fastBlake3();
  }

  /** Counts bytes of the log as it came; of none more than the length is taken. */
  input(bytes: Uint8Array): void {
    this.#inputBytes += bytes.length;
  }

  /** Takes a piece of the masked log, in order. It is the caller's again when this returns. */
  output(piece: Uint8Array): void {
    this.#outputBytes += piece.length;
    if (this.#filled + piece.length > this.#gatherBytes) this.#flush();
    if (piece.length >= this.#gatherBytes) {
      this.#stream().update(piece);
      return;
    }
    this.#gathered ??= Buffer.allocUnsafeSlow(this.#gatherBytes);
    this.#gathered.set(piece, this.#filled);
    this.#filled += piece.length;
  }

  /** Takes a finding, which is the caller's again when this returns. */
  finding(finding: Finding): void {
    this.#causes.add(finding);
  }

  /** Findings of which no record was made yet. */
  get pending(): number {
    return this.#causes.count;
  }

  /** Whether findings must be recorded before more come. */
  get isFull(): boolean {
    return this.#causes.isFull;
  }

  /** The findings of which no record was made yet, as an entry to append; undefined: there are none. */
  findings(): FindingEntry | FindingsEntry | undefined {
    const { only } = this.#causes;
    const causes = this.#take();
    if (causes.length === 0) return undefined;
    const place = { ...this.#place(), account: this.#options.account, total: this.#total };
    return only === undefined ? { type: "findings", ...place, causes } : { type: "finding", ...only, ...place };
  }

  #place(): { job?: string; stream: string; policy?: string } {
    const { job, stream, policy } = this.#options;
    return { ...(job === undefined ? {} : { job }), stream, ...(policy === undefined ? {} : { policy }) };
  }

  #take(): CauseFields[] {
    const causes = this.#causes.take(this.#blake3);
    for (const { kind, secret, rule, count } of causes) {
      this.#total += count;
      add(this.#kinds, kind, count);
      if (rule === undefined) add(this.#secrets, secret, count);
      else add(this.#rules, rule, count);
    }
    return causes;
  }

  /** The account as an entry to append. Called once, after the last piece: the digest ends with it. */
  summary(): SummaryEntry {
    const outputBlake3 = this.#digest();
    const causes = this.#take();
    const { account, resumedAt = 0 } = this.#options;
    const secrets = frequent(this.#secrets);
    const rules = frequent(this.#rules);
    const others = secrets.others + rules.others;
    return {
      type: "summary",
      ...this.#place(),
      account,
      total: this.#total,
      inputBytes: this.#inputBytes,
      outputBytes: this.#outputBytes,
      outputBlake3,
      kinds: Object.fromEntries(this.#kinds),
      secrets: secrets.counts,
      rules: rules.counts,
      ...(others === 0 ? {} : { others }),
      ...(resumedAt === 0 ? {} : { resumedAt }),
      ...(causes.length === 0 ? {} : { causes }),
    };
  }

  #flush(): void {
    if (this.#gathered === undefined || this.#filled === 0) return;
    this.#stream().update(this.#gathered.subarray(0, this.#filled));
    this.#filled = 0;
  }

  #stream(): Blake3Stream {
    return (this.#hash ??= this.#blake3.stream());
  }

  #digest(): string {
    if (this.#hash === undefined) return this.#blake3.hashHex(this.#gathered?.subarray(0, this.#filled) ?? NOTHING);
    this.#flush();
    return this.#hash.digestHex();
  }
}

const add = (counts: Map<string, number>, name: string, count: number): void => void counts.set(name, (counts.get(name) ?? 0) + count);

/** The most frequent names with their counts, and how many findings the rest has. */
function frequent(counts: ReadonlyMap<string, number>): { counts: Record<string, number>; others: number } {
  const sorted = counts.size <= MAX_NAMES ? [...counts] : [...counts].toSorted(([, a], [, b]) => b - a);
  return { counts: Object.fromEntries(sorted.slice(0, MAX_NAMES)), others: sorted.slice(MAX_NAMES).reduce((sum, [, count]) => sum + count, 0) };
}
