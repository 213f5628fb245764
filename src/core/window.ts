/**
 * The recent input of one stream: what is held back, and some of what was released, so that a late secret can be looked for in both.
 * Bytes are copied in (the caller's chunk is not kept).
 */

const BLOCK_BYTES = 1 << 16;
const SMALL_BLOCK_BYTES = 4096;

interface Block {
  /** Offset of the first byte. */
  readonly start: number;
  /** State of the byte classifier before it. */
  readonly parser: number;
  readonly bytes: Buffer;
  length: number;
}

export class Window {
  private blocks: Block[] = [];
  private end = 0;
  /** A block's memory to use again: fresh memory costs a page fault every 4 KiB. */
  private spare: Buffer | undefined;

  /** Offset of the oldest byte kept. */
  get start(): number {
    return this.blocks[0]?.start ?? this.end;
  }

  /** State of the byte classifier at {@link start}. */
  get parser(): number {
    return this.blocks[0]?.parser ?? 0;
  }

  /** Appends a copy of `chunk`; `parser` is the state of the byte classifier before it. */
  append(chunk: Uint8Array, parser: number): void {
    let block = this.blocks.at(-1);
    if (block === undefined || block.bytes.length - block.length < chunk.length) {
      block = { start: this.end, parser, bytes: this.memory(chunk.length), length: 0 };
      this.blocks.push(block);
    }
    block.bytes.set(chunk, block.length);
    block.length += chunk.length;
    this.end += chunk.length;
  }

  /** Forgets everything and goes on at `offset`. */
  restart(offset: number): void {
    this.drop(this.blocks.length);
    this.end = offset;
  }

  /** Drops whole blocks that lie before `offset`. */
  dropBefore(offset: number): void {
    let drop = 0;
    while (drop < this.blocks.length && this.blocks[drop]!.start + this.blocks[drop]!.length <= offset) drop++;
    if (drop > 0) this.drop(drop);
  }

  /** Calls `each` with the bytes of `[from, to)`, piece by piece. The pieces are valid during the call and must not be changed. */
  slices(from: number, to: number, each: (piece: Buffer) => void): void {
    let at = this.blocks.length - 1;
    while (at > 0 && this.blocks[at]!.start > from) at--;
    for (; at >= 0 && at < this.blocks.length; at++) {
      const block = this.blocks[at]!;
      const a = Math.max(from, block.start);
      const b = Math.min(to, block.start + block.length);
      if (a < b) each(block.bytes.subarray(a - block.start, b - block.start));
    }
  }

  /** Forgets everything, its memory included. */
  clear(): void {
    this.blocks = [];
    this.spare = undefined;
  }

  private memory(bytes: number): Buffer {
    const { spare } = this;
    if (spare !== undefined && spare.length >= bytes) {
      this.spare = undefined;
      return spare;
    }
    return Buffer.allocUnsafeSlow(Math.max(bytes, bytes < SMALL_BLOCK_BYTES ? SMALL_BLOCK_BYTES : BLOCK_BYTES));
  }

  private drop(count: number): void {
    for (const { bytes } of this.blocks.splice(0, count)) if (this.spare === undefined || this.spare.length < bytes.length) this.spare = bytes;
  }
}
