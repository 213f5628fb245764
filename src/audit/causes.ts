/**
 * Findings of one stream that wait to be recorded together: by their cause, in a few bytes each. A million findings of one body must cost no more than a log of the same
 * length, so nothing is made for a finding but a varint; text and digests are made when the record is.
 */
import type { Blake3 } from "../blake3.js";
import type { Finding } from "../types.js";
import { Column } from "./columns.js";

/** Findings of one cause as they are recorded: README.md tells what the fields say. */
export interface CauseFields {
  readonly kind: Finding["kind"];
  readonly secret: string;
  readonly rule?: string;
  readonly confidence?: string;
  readonly variant: string;
  readonly fingerprint?: string;
  readonly count: number;
  readonly line: number;
  readonly offset: number;
  readonly length?: number;
  readonly places?: string;
  readonly placesBlake3?: string;
  readonly lengths?: string;
  readonly lengthsBlake3?: string;
  readonly fingerprints?: string;
  readonly fingerprintsBlake3?: string;
}

/** Causes of one secret or rule that are told apart by their fingerprints; of further ones, findings share a cause in which each has its fingerprint. */
const MAX_FINGERPRINTS = 16;
/** Characters of a fingerprint as the engine makes them. */
const FINGERPRINT_CHARACTERS = 8;
/** From so many on the findings must be recorded: keeps their memory and their record small. */
export const MAX_PENDING_FINDINGS = 32_768;
/** The same for causes: a record of as many stays well under `MAX_LINE_BYTES`. */
export const MAX_PENDING_CAUSES = 512;

class Cause {
  count = 0;
  private last = 0;
  private places: Column | undefined;
  private lengths: Column | undefined;
  private readonly fingerprints: Column | undefined;

  constructor(
    readonly first: Finding,
    /** Findings of several fingerprints. */
    readonly isMixed: boolean,
  ) {
    if (isMixed) this.fingerprints = new Column();
  }

  /** Whether a finding has this cause. */
  has({ kind, secret, rule, confidence, variant, fingerprint }: Finding): boolean {
    const { first } = this;
    return (
      secret === first.secret &&
      variant === first.variant &&
      kind === first.kind &&
      rule === first.rule &&
      confidence === first.confidence &&
      (this.isMixed ? fingerprint.length === FINGERPRINT_CHARACTERS : fingerprint === first.fingerprint)
    );
  }

  add({ offset, length, fingerprint }: Finding): void {
    if (this.count > 0) (this.places ??= new Column()).difference(offset - this.last);
    if (this.lengths !== undefined) this.lengths.number(length);
    else if (length !== this.first.length) this.tellLengths(length);
    this.fingerprints?.text(fingerprint);
    this.last = offset;
    this.count++;
  }

  /** The first one that has another length. */
  private tellLengths(length: number): void {
    this.lengths = new Column();
    for (let i = 0; i < this.count; i++) this.lengths.number(this.first.length);
    this.lengths.number(length);
  }

  fields(blake3: Blake3): CauseFields {
    const { kind, secret, rule, confidence, variant, fingerprint, line, offset, length } = this.first;
    const [places, lengths, fingerprints] = [this.places, this.lengths, this.fingerprints].map((column) => column?.told(blake3));
    return {
      kind,
      secret,
      ...(rule !== undefined && { rule }),
      ...(confidence !== undefined && { confidence }),
      variant,
      ...(!this.isMixed && { fingerprint }),
      count: this.count,
      line,
      offset,
      ...(lengths === undefined && { length }),
      ...(places && { places: places.bytes.toString("base64"), ...(places.blake3 !== undefined && { placesBlake3: places.blake3 }) }),
      ...(lengths && { lengths: lengths.bytes.toString("base64"), ...(lengths.blake3 !== undefined && { lengthsBlake3: lengths.blake3 }) }),
      ...(fingerprints && {
        fingerprints: fingerprints.bytes.toString("latin1"),
        ...(fingerprints.blake3 !== undefined && { fingerprintsBlake3: fingerprints.blake3 }),
      }),
    };
  }
}

/** Findings that wait. */
export class Causes {
  /** By the name of the secret or rule. */
  #bySecret = new Map<string, Cause[]>();
  #all: Cause[] = [];
  /** The cause of the finding before: most often that of the next one too. */
  #last: Cause | undefined;
  /** Findings that wait. */
  count = 0;

  /** Whether they must be recorded before more come. */
  get isFull(): boolean {
    return this.count >= MAX_PENDING_FINDINGS || this.#all.length >= MAX_PENDING_CAUSES;
  }

  add(finding: Finding): void {
    let cause = this.#last;
    if (cause === undefined || !cause.has(finding)) this.#last = cause = this.#causeOf(finding);
    cause.add(finding);
    this.count++;
  }

  /** The first finding, if it is the only one. */
  get only(): Finding | undefined {
    return this.count === 1 ? this.#all[0]!.first : undefined;
  }

  /** The causes so far, each with its first finding; none wait any more. */
  take(blake3: Blake3): CauseFields[] {
    const fields = this.#all.map((cause) => cause.fields(blake3));
    this.#bySecret = new Map();
    this.#all = [];
    this.#last = undefined;
    this.count = 0;
    return fields;
  }

  #causeOf(finding: Finding): Cause {
    let causes = this.#bySecret.get(finding.secret);
    if (causes === undefined) this.#bySecret.set(finding.secret, (causes = []));
    const known = causes.find((cause) => cause.has(finding));
    if (known !== undefined) return known;
    const isMixed = causes.length >= MAX_FINGERPRINTS && finding.fingerprint.length === FINGERPRINT_CHARACTERS;
    const cause = new Cause(finding, isMixed);
    causes.push(cause);
    this.#all.push(cause);
    return cause;
  }
}
