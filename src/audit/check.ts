/**
 * Checks a chain line by line, and says which record is at fault where it breaks. Pure: fed with lines, in order, file by file.
 *
 * Where a line does not follow, what comes later tells why: the record that should have stood there comes later (moved, or something was put in before it) or never
 * (dropped); the next line follows the odd one (the one before it was rewritten) or not. So after a break lines are read on, with nothing kept but the odd one.
 */
import type { Blake3 } from "../blake3.js";
import { checkFormat } from "../format.js";
import { FORMAT, GENESIS, type Link, signedPart, type Unsealed, unseal } from "./chain.js";
import type { PublicKey } from "./keys.js";

/** Where a record stands. */
export interface Spot {
  readonly file: string;
  /** 1-based. */
  readonly line: number;
}

/**
 * What happened to the first record that is not as it was written. `cut`: it was the end of a file, or of all. `signature`: the chain is right, but not the one that
 * was signed.
 */
export interface Problem extends Spot {
  readonly kind: "changed" | "dropped" | "inserted" | "reordered" | "cut" | "signature";
  readonly seq: number;
  /** For people. Holds nothing of the line. */
  readonly why: string;
}

/** A record that is known from elsewhere. */
export interface Pin {
  readonly seq?: number;
  readonly hash?: string;
  /** Who says so, for messages. */
  readonly source: string;
}

/** A record of the chain with its place. */
export type Place = Link & Spot & { readonly time: string };

export interface CheckOptions {
  readonly blake3: Blake3;
  /** Keys whose signatures count; absent: signatures are not looked at. */
  readonly keys?: readonly PublicKey[];
  readonly pins?: readonly Pin[];
  /** Told of every good record. */
  readonly seen?: (record: Unsealed, place: Place) => void;
  /** `genesis`: the first record must be record 0, or follow files of which a signed record says that they were removed. `anywhere` (default): where the first file begins is believed. */
  readonly start?: "genesis" | "anywhere";
}

/** Where an audit begins whose oldest files were removed, and the record that says so. */
interface Beginning {
  readonly spot: Spot;
  /** The last record that was removed. */
  readonly before: Link;
  provedBy?: number;
}

interface Odd {
  readonly spot: Spot;
  /** Absent: the line is no record. */
  readonly record?: Unsealed;
  readonly why: string;
  /** The line behind it, once read. */
  following?: Unsealed | string;
}

export class ChainCheck {
  readonly #options: CheckOptions;
  #file = "";
  #line = 0;
  /** What the next record must be; undefined: anything. */
  #next: { readonly seq: number; readonly prev: string } | undefined;
  #odd: Odd | undefined;
  readonly #unmet: Set<Pin>;
  #beginning: Beginning | undefined;
  #lastPrev = "";
  #lastType = "";

  /** The first fault. */
  problem: Problem | undefined;
  first: Place | undefined;
  last: Place | undefined;
  /** The last checkpoint; if there are keys, one with a good signature. */
  checkpoint: Place | undefined;
  /** Bytes of the current file up to the end of its last good record. */
  acceptedBytes = 0;
  records = 0;
  /** `recovered` records: crashes that tore a line. */
  recoveries = 0;

  constructor(options: CheckOptions) {
    this.#options = options;
    this.#unmet = new Set(options.pins);
    if (options.start === "genesis") this.#next = { seq: 0, prev: GENESIS };
  }

  /** Whether the last record is one of a writer that was closed in order: `stop` and the checkpoint behind it. */
  get closed(): boolean {
    return this.#lastType === "stop";
  }

  /** The record that tells of the removal of what stood before the first one; undefined: there is none. */
  get prunedBy(): number | undefined {
    return this.#beginning?.provedBy;
  }

  beginFile(name: string): void {
    if (this.#file !== "") this.endFile();
    this.#file = name;
    this.#line = 0;
    this.acceptedBytes = 0;
  }

  /** Call after the last line of the last file. */
  endFile(): void {
    if (this.#line === 0 && this.#file !== "" && this.#odd === undefined)
      this.#fail("cut", { file: this.#file, line: 1 }, this.#next?.seq ?? 0, "the file is empty");
  }

  /** A line without its LF. False: nothing more needs to be read. */
  line(bytes: Buffer): boolean {
    if (this.problem !== undefined) return false;
    const spot = { file: this.#file, line: ++this.#line };
    const record = unseal(this.#options.blake3, bytes);
    if (this.#odd !== undefined) return this.#seek(this.#odd, record);
    if (typeof record === "string") {
      this.#odd = { spot, why: record };
      return true;
    }
    if (!this.#follows(record) && !this.#begins(spot, record)) {
      this.#odd = { spot, record, why: "it does not follow the record before it" };
      return true;
    }
    return this.#accept(spot, record, bytes);
  }

  /** The file ends within a line. */
  torn(): void {
    this.#line++;
    if (this.#odd === undefined) this.#fail("cut", { file: this.#file, line: this.#line }, this.#next?.seq ?? 0, "the line is unfinished");
  }

  /** After the last file: judges what is still open. */
  finish(): void {
    this.endFile();
    if (this.problem === undefined && this.#odd !== undefined) this.#judge(this.#odd, false);
    if (this.problem !== undefined || this.last === undefined) return;
    const begun = this.#beginning;
    if (begun !== undefined && !this.#isProved(begun)) {
      const missing = begun.before.seq === 0 ? "record 0 is" : `records 0 to ${begun.before.seq} are`;
      return this.#fail("dropped", begun.spot, 0, `${missing} missing before this line, and no signed record says that they were removed`);
    }
    for (const pin of this.#unmet) {
      const { first, last } = this;
      const end = { file: last.file, line: last.line + 1 };
      if (pin.seq === undefined) return this.#fail("cut", end, last.seq + 1, `no record has the hash that ${pin.source} says`);
      if (pin.seq > last.seq) return this.#fail("cut", end, last.seq + 1, `${pin.source} says that records up to ${pin.seq} were written`);
      const removed = begun === undefined ? "" : `, which was removed as record ${begun.provedBy} says`;
      return this.#fail("dropped", first!, pin.seq, `${pin.source} names a record before the first one here${removed}`);
    }
    if (this.#options.keys !== undefined && this.checkpoint === undefined)
      this.#fail("signature", this.first!, this.first!.seq, "there is no signed checkpoint, though every file begins with one");
  }

  #follows({ seq, prev }: Unsealed): boolean {
    return this.#next === undefined || (seq === this.#next.seq && prev === this.#next.prev);
  }

  /** Whether what stood before the first record may have been removed: that must be on record, which only the records behind tell. */
  #begins(spot: Spot, { seq, prev, type }: Unsealed): boolean {
    if (this.last !== undefined || spot.line !== 1 || type !== "open" || seq === 0) return false;
    this.#beginning = { spot, before: { seq: seq - 1, hash: prev } };
    return true;
  }

  /** Takes what a record says of files that were removed. */
  #pruned({ seq, fields }: Unsealed): void {
    const { before } = this.#beginning ?? {};
    const files = (fields["files"] ?? []) as readonly Link[];
    if (files.some((file) => file.seq === before?.seq && file.hash === before.hash)) this.#beginning!.provedBy = seq;
  }

  #isProved({ provedBy }: Beginning): boolean {
    const { keys } = this.#options;
    return provedBy !== undefined && (keys === undefined || (this.checkpoint !== undefined && this.checkpoint.seq > provedBy));
  }

  #fail(kind: Problem["kind"], { file, line }: Spot, seq: number, why: string): void {
    this.problem ??= { kind, file, line, seq, why };
  }

  /** Takes a record that follows, if what it says of itself is right too. */
  #accept(spot: Spot, record: Unsealed, bytes: Buffer): boolean {
    const { seq, hash, prev, type, time, fields } = record;
    if (type === "open") checkFormat(fields["format"], { path: spot.file, what: "the audit", supported: FORMAT });
    const wrong = (spot.line === 1) === (type === "open") ? this.#misplaced(spot, record) : spot.line === 1 ? NO_OPEN : "an open record stands inside a file";
    if (wrong !== undefined) this.#fail(wrong === NO_OPEN && this.last === undefined ? "dropped" : "changed", spot, seq, wrong);
    if (type === "checkpoint") this.#signature(spot, record, bytes);
    for (const pin of this.#unmet) {
      if (pin.seq !== seq && pin.hash !== hash) continue;
      if ((pin.seq ?? seq) !== seq || (pin.hash ?? hash) !== hash) this.#fail("changed", spot, seq, `it is not the record that ${pin.source} names`);
      this.#unmet.delete(pin);
    }
    if (this.problem !== undefined) return false;
    const place = { seq, hash, time, ...spot };
    if (type === "checkpoint") this.checkpoint = place;
    else this.#lastType = type;
    if (type === "recovered") this.recoveries++;
    if (type === "pruned") this.#pruned(record);
    this.#options.seen?.(record, place);
    this.first ??= place;
    this.last = place;
    this.#lastPrev = prev;
    this.#next = { seq: seq + 1, prev: hash };
    this.records++;
    this.acceptedBytes += bytes.length + 1;
    return true;
  }

  /** What an `open` record and a checkpoint say of the file they stand in. */
  #misplaced(spot: Spot, { type, fields }: Unsealed): string | undefined {
    if ((type === "open" || type === "checkpoint") && fields["file"] !== spot.file) return "it was written into a file of another name";
    if (type === "open" && this.last !== undefined && fields["previous"] !== this.last.file) return "it was written after a file of another name";
    return undefined;
  }

  #signature(spot: Spot, { seq, fields }: Unsealed, bytes: Buffer): void {
    const { keys } = this.#options;
    if (keys === undefined) return;
    const part = signedPart(bytes);
    const key = keys.find(({ id }) => id === fields["key"]);
    if (part === undefined) this.#fail("signature", spot, seq, "it has no signature");
    else if (key === undefined) this.#fail("signature", spot, seq, "it is signed by a key that was not given");
    else if (!key.verify(part.body, part.signature)) {
      const since = this.checkpoint === undefined ? "" : ` (or a record since ${this.checkpoint.seq})`;
      this.#fail("signature", spot, seq, `its signature is wrong: it${since} was rewritten`);
    }
  }

  /** After a break: waits for the record that should have come. */
  #seek(odd: Odd, record: Unsealed | string): boolean {
    const isNext = odd.following === undefined;
    odd.following ??= record;
    const found = this.#next !== undefined && typeof record !== "string" && this.#follows(record);
    // Of a line that is no record the next one tells all.
    if (!found && odd.record !== undefined) return true;
    this.#judge(odd, found && (isNext || odd.record !== undefined));
    return false;
  }

  /** Names the fault. `found`: the record that should have stood in the odd one's place came later. */
  #judge({ spot, record, why, following }: Odd, found: boolean): void {
    const next = this.#next ?? { seq: record?.seq ?? 0, prev: "" };
    if (record === undefined)
      return found ? this.#fail("inserted", spot, next.seq, "a line that is no record stands before this one") : this.#fail("changed", spot, next.seq, why);
    const { last } = this;
    const followed = typeof following === "object" && following.prev === record.hash;
    if (found) return this.#fail(record.seq > next.seq ? "reordered" : "inserted", spot, record.seq, `record ${next.seq} should stand here and comes later`);
    if (record.seq > next.seq) {
      const missing = record.seq === next.seq + 1 ? `record ${next.seq} is` : `records ${next.seq} to ${record.seq - 1} are`;
      const cut = last !== undefined && spot.line === 1 && record.fields["previous"] === last.file;
      return cut
        ? this.#fail("cut", { file: last.file, line: last.line + 1 }, next.seq, `${missing} missing at the end of the file`)
        : this.#fail("dropped", spot, next.seq, `${missing} missing before this line`);
    }
    if (record.seq === next.seq) {
      // A checkpoint whose signature was checked is as it was written.
      const signed = this.#options.keys !== undefined && last !== undefined && this.checkpoint?.seq === last.seq;
      const rewritten = last !== undefined && !signed && (followed || following === undefined);
      return rewritten
        ? this.#fail(
            "changed",
            last,
            last.seq,
            following === undefined ? "it or the record behind it was rewritten" : "the record behind it follows another one: it was rewritten",
          )
        : this.#fail("changed", spot, record.seq, why);
    }
    if (last !== undefined && record.seq === last.seq && record.prev === this.#lastPrev && followed)
      return this.#fail("inserted", last, last.seq, "the records behind it follow another one of its number");
    return this.#fail("inserted", spot, record.seq, `record ${next.seq} should stand here`);
  }
}

const NO_OPEN = "a file begins with an open record, which is missing here";
