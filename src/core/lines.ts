/** Line numbers of a stream, found when a finding needs one: by counting from the last place whose line is known. */

const LF = 0x0a;

/** Line feeds in `piece`. */
export function countLines(piece: Uint8Array): number {
  let count = 0;
  for (let at = piece.indexOf(LF); at >= 0; at = piece.indexOf(LF, at + 1)) count++;
  return count;
}

export class Lines {
  private offset = 0;
  private before = 0;

  /** `slices` hands out the bytes of a range. */
  constructor(private readonly slices: (from: number, to: number, each: (piece: Uint8Array) => void) => void) {}

  /** Tells that `lines` line feeds stand before `offset`. */
  mark(offset: number, lines: number): void {
    this.offset = offset;
    this.before = lines;
  }

  /** The 1-based line of `offset`. */
  at(offset: number): number {
    if (offset >= this.offset) this.slices(this.offset, offset, (piece) => (this.before += countLines(piece)));
    else this.slices(offset, this.offset, (piece) => (this.before -= countLines(piece)));
    this.offset = offset;
    return this.before + 1;
  }
}
