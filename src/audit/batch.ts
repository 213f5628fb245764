/** Records that go to the disk together: numbered, chained and signed from a place on. Changes nothing but itself: a batch that could not be written is made again. */
import type { Blake3 } from "../blake3.js";
import { type Draft, drafted, FORMAT, type Link, seal } from "./chain.js";
import { fileName } from "./folder.js";
import type { Signer } from "./keys.js";

/** Where the chain goes on. */
export interface Place {
  /** Of the next record. */
  readonly seq: number;
  readonly prev: string;
  /** File that records go into; empty: there was none yet. */
  readonly file: string;
  readonly fileBytes: number;
  /** When the file was begun, in milliseconds since the epoch. */
  readonly fileSince: number;
  /** No more goes into the file: the next record begins another one. */
  readonly isOver: boolean;
  /** Of the next file. */
  readonly number: number;
  /** Records since the last checkpoint. */
  readonly unsigned: number;
  /** Records that this writer has sealed. */
  readonly records: number;
}

export interface Sealing {
  readonly blake3: Blake3;
  readonly signer: Signer;
  /** A checkpoint follows after so many records. */
  readonly checkpointRecords: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Stands for a checkpoint among drafts. */
export const CHECKPOINT: Draft = { type: "checkpoint", time: "", body: "" };

export class Batch {
  readonly #sealing: Sealing;
  readonly #lines: Buffer[] = [];
  /** Where the chain goes on behind it. */
  place: Place;
  /** The line of its last checkpoint. */
  head: Buffer | undefined;

  constructor(place: Place, sealing: Sealing) {
    this.#sealing = sealing;
    this.place = place;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#lines);
  }

  /** How many these are. */
  get size(): number {
    return this.#lines.reduce((sum, { length }) => sum + length, 0);
  }

  get isEmpty(): boolean {
    return this.#lines.length === 0;
  }

  /** Begins a file, with its first checkpoint: a file without one was not written by us. */
  begin(drafts: readonly Draft[]): void {
    const { signer, now } = this.#sealing;
    const fileSince = now();
    const time = new Date(fileSince).toISOString();
    const { file: previous, number } = this.place;
    const file = fileName(time, number);
    this.place = { ...this.place, file, fileBytes: 0, fileSince, isOver: false, number: number + 1 };
    this.#seal(drafted("open", time, { format: FORMAT, file, ...(previous === "" ? {} : { previous }), key: signer.keyId }));
    for (const draft of drafts) this.#seal(draft);
    this.checkpoint();
  }

  add(draft: Draft): Link {
    if (draft === CHECKPOINT) return this.checkpoint();
    const link = this.#seal(draft);
    if (this.place.unsigned >= this.#sealing.checkpointRecords) this.checkpoint();
    return link;
  }

  checkpoint(): Link {
    const { signer, now } = this.#sealing;
    const draft = drafted("checkpoint", new Date(now()).toISOString(), { file: this.place.file, key: signer.keyId });
    const link = this.#seal(draft, (body) => signer.sign(body));
    this.head = this.#lines.at(-1)!;
    this.place = { ...this.place, unsigned: 0 };
    return link;
  }

  #seal(draft: Draft, sign?: (body: Buffer) => string): Link {
    const { place } = this;
    const { line, seq, hash } = seal(this.#sealing.blake3, place, draft, sign);
    this.#lines.push(line);
    this.place = {
      ...place,
      seq: seq + 1,
      prev: hash,
      fileBytes: place.fileBytes + line.length,
      unsigned: place.unsigned + 1,
      records: place.records + 1,
    };
    return { seq, hash };
  }
}
