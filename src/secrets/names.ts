/** Names of secrets stand in masks, findings, logs and on disk: one that holds a value would give it away wherever it is shown. */
import type { MatcherFactory } from "../core/matcher.js";
import { LogveilError } from "../errors.js";
import { type Place, placesIn } from "./known.js";
import type { Group } from "./registry.js";

/** Bytes of names that are looked at in a piece of work. */
const PIECE_BYTES = 64 << 10;

/** Between names: so that no two of them are one text. */
const SEPARATOR = "\n;\n";

interface Piece {
  readonly names: string[];
  length: number;
  /** The names as they are looked at; absent: one has been added since. */
  text?: Buffer;
}

/** Names, laid out so that looking at all of them again costs no more than reading them. */
export class NameList {
  private readonly pieces: Piece[] = [];

  constructor(names: Iterable<string> = []) {
    for (const name of names) this.add(name);
  }

  add(name: string): void {
    let last = this.pieces.at(-1);
    if (last === undefined || last.length >= PIECE_BYTES) this.pieces.push((last = { names: [], length: 0 }));
    last.names.push(name);
    last.length += name.length + SEPARATOR.length;
    delete last.text;
  }

  clear(): void {
    this.pieces.length = 0;
  }

  /** Throws `LV_SECRET_NAME` if a needle of `groups` stands in one of them. Yields how many bytes were looked at since the last time. */
  *check(groups: readonly Group[], factory: MatcherFactory, maxGapBytes: number): Generator<number, void> {
    if (groups.length === 0) return;
    const find = (text: Buffer): Place[] => placesIn(factory, groups, maxGapBytes, text);
    for (const piece of this.pieces) {
      piece.text ??= Buffer.from(piece.names.join(SEPARATOR));
      // Most hold nothing: each is looked at by itself only where some do.
      if (find(piece.text).length > 0) piece.names.forEach((name) => checkName(name, find));
      yield piece.text.length;
    }
  }
}

function checkName(name: string, find: (text: Buffer) => Place[]): void {
  const places = find(Buffer.from(name));
  if (places.length === 0) return;
  const owner = places[0]!.secret.name;
  throw nameError(hidden(name, places), hidden(owner, find(Buffer.from(owner))));
}

function nameError(shown: string, owner: string): LogveilError {
  const whose = shown === owner ? "of a secret" : `of secret ${owner}`;
  return new LogveilError(
    "LV_SECRET_NAME",
    `secret ${shown}: the name contains the value ${whose}, and logveil prints names; rename it, or leave one of them out`,
    {
      facts: { name: shown, secret: owner },
    },
  );
}

/** A name with `***` for the values in it. */
function hidden(name: string, places: readonly Place[]): string {
  const bytes = Buffer.from(name);
  let text = "";
  let at = 0;
  for (const { start, end } of places.toSorted((a, b) => a.start - b.start)) {
    if (start >= at) text += `${bytes.toString("utf8", at, start)}***`;
    at = Math.max(at, end);
  }
  return text + bytes.toString("utf8", at);
}
