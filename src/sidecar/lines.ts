/** Lines of a stream: where it may go on. */
import type { Finding } from "../types.js";
import type { Position } from "./segment.js";

export const LF = 0x0a;

/**
 * Where a stream may go on after a crash: at the start of a line that nothing unfinished reaches over. Masks keep every line end, so the n-th of the output is the n-th of
 * the input: that tells which byte of one became of which of the other.
 */
export class LineStarts {
  /** Offsets behind line ends since the last one that was answered. */
  private inputs: number[] = [];
  private outputs: number[] = [];
  /** Findings since then: lines that begin within one are no such place. */
  private found: { readonly start: number; readonly end: number }[] = [];

  constructor(
    private last: Position,
    private input = last.input,
    private output = last.output,
  ) {}

  takeInput(chunk: Uint8Array): void {
    this.input = collect(chunk, this.input, this.inputs);
  }

  takeOutput(pieces: readonly Uint8Array[]): void {
    for (const piece of pieces) this.output = collect(piece, this.output, this.outputs);
  }

  takeFinding({ offset, length }: Finding): void {
    const end = offset + length;
    // A million findings in one line are not remembered: only within which a line begins counts.
    const next = this.inputs[firstAbove(this.inputs, offset)];
    if (next !== undefined && next < end) this.found.push({ start: offset, end });
  }

  /** The last such place, if nothing unfinished begins before `settled`. */
  before(settled: number): Position {
    let count = 0;
    while (count < this.outputs.length && this.inputs[count]! <= settled) count++;
    while (count > 0 && this.found.some(({ start, end }) => start < this.inputs[count - 1]! && this.inputs[count - 1]! < end)) count--;
    if (count === 0) return this.last;
    this.found = this.found.filter(({ end }) => end > this.inputs[count - 1]!);
    this.last = { input: this.inputs[count - 1]!, output: this.outputs[count - 1]! };
    this.inputs.splice(0, count);
    this.outputs.splice(0, count);
    return this.last;
  }

  /** The end of everything. */
  get end(): Position {
    return { input: this.input, output: this.output };
  }
}

/** Index of the first number above `least`; numbers rise. */
function firstAbove(numbers: readonly number[], least: number): number {
  let [from, to] = [0, numbers.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (numbers[middle]! > least) to = middle;
    else from = middle + 1;
  }
  return from;
}

/** Adds the offsets behind line ends of `piece`, which begins at `offset`; answers where it ends. */
function collect(piece: Uint8Array, offset: number, into: number[]): number {
  for (let at = piece.indexOf(LF); at >= 0; at = piece.indexOf(LF, at + 1)) into.push(offset + at + 1);
  return offset + piece.length;
}
