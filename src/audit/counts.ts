/**
 * Whether the summaries of streams count as many findings as there are records of. Fed with the records of a chain that holds; an account is one stream of one writer, from where it
 * was opened to its summary. Pure.
 */
import type { Unsealed } from "./chain.js";
import type { Place } from "./check.js";
import { numbersOf } from "./columns.js";

/** A stream whose records are fewer, or more, than it counts. */
export interface CountDifference extends Place {
  readonly job?: string;
  readonly stream: string;
  /** Findings as the record counts them. */
  readonly counted: number;
  /** Findings of which there are records. */
  readonly recorded: number;
  /** Of an audit of format 1, where streams of the same name cannot be told apart. */
  readonly isOld: boolean;
}

/** Most differences that are listed. */
const MAX_LISTED = 1000;
/** Characters of one fingerprint. */
const FINGERPRINT_CHARACTERS = 8;

export class CountCheck {
  /** Findings so far by account; by job and stream in format 1. */
  readonly #totals = new Map<number | string, number>();
  /** There may have been records of these accounts before the first one that was seen. */
  #isPartial: boolean;
  readonly differences: CountDifference[] = [];

  constructor(isPartial: boolean) {
    this.#isPartial = isPartial;
  }

  seen({ type, fields }: Unsealed, place: Place): void {
    if (type === "start") {
      // Another writer: its accounts are others.
      this.#totals.clear();
      this.#isPartial = false;
    }
    if (type !== "finding" && type !== "findings" && type !== "summary") return;
    const count = type === "finding" ? 1 : countOf(fields["causes"]);
    const { account } = fields;
    if (typeof account === "number") this.#take(account, type === "summary", count, fields, place);
    else this.#takeOld(type === "summary", count, fields, place);
  }

  #take(account: number, isSummary: boolean, count: number, fields: Fields, place: Place): void {
    const counted = Number(fields["total"]);
    const before = this.#totals.get(account) ?? (this.#isPartial ? counted - count : 0);
    const recorded = before + count;
    if (recorded !== counted || (isSummary && sumOf(fields["kinds"]) !== counted)) this.#differ(fields, place, counted, recorded, false);
    // What differs is told once.
    if (isSummary) this.#totals.delete(account);
    else this.#totals.set(account, counted);
  }

  #takeOld(isSummary: boolean, count: number, fields: Fields, place: Place): void {
    const name = JSON.stringify([fields["job"], fields["stream"]]);
    const recorded = (this.#totals.get(name) ?? 0) + count;
    if (!isSummary) return void this.#totals.set(name, recorded);
    this.#totals.delete(name);
    const counted = sumOf(fields["kinds"]);
    // One that went on after a crash counts from there on only.
    if (recorded !== counted && !this.#isPartial && fields["resumedAt"] === undefined) this.#differ(fields, place, counted, recorded, true);
  }

  #differ(fields: Fields, place: Place, counted: number, recorded: number, isOld: boolean): void {
    if (this.differences.length >= MAX_LISTED) return;
    const { job, stream } = fields as { job?: string; stream: string };
    this.differences.push({ ...place, ...(job === undefined ? {} : { job }), stream, counted, recorded, isOld });
  }
}

type Fields = Readonly<Record<string, unknown>>;

function sumOf(kinds: unknown): number {
  return Object.values((kinds ?? {}) as Record<string, number>).reduce((sum, count) => sum + count, 0);
}

/** Findings that causes hold. */
function countOf(causes: unknown): number {
  return Array.isArray(causes) ? (causes as Fields[]).reduce((sum, cause) => sum + countOfCause(cause), 0) : 0;
}

/** Findings of a cause: as many as it has places, where it has them all. Undecodable columns hold none. */
function countOfCause(cause: Fields): number {
  const { count, places, placesBlake3, lengths, lengthsBlake3, fingerprints, fingerprintsBlake3 } = cause as Record<string, string | undefined>;
  const counts = [
    ...(placesBlake3 === undefined ? [1 + numbersIn(places)] : []),
    ...(lengths === undefined || lengthsBlake3 !== undefined ? [] : [numbersIn(lengths)]),
    ...(fingerprints === undefined || fingerprintsBlake3 !== undefined ? [] : [fingerprints.length / FINGERPRINT_CHARACTERS]),
  ];
  const wrong = counts.find((found) => found !== Number(count));
  return wrong ?? Number(count);
}

const numbersIn = (column: string | undefined): number => (column === undefined ? 0 : (numbersOf(Buffer.from(column, "base64"))?.length ?? 0));
