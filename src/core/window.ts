/**
 * The recent input of one stream: what is held back, and some of what was released, so that a late secret can be looked for in both.
 * Bytes are copied in (the caller's chunk is not kept) into blocks that are never overwritten, so slices of them may be handed out.
 */

const BLOCK_BYTES = 1 << 16;

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
      block = { start: this.end, parser, bytes: Buffer.allocUnsafeSlow(Math.max(chunk.length, chunk.length < 4096 ? 4096 : BLOCK_BYTES)), length: 0 };
      this.blocks.push(block);
    }
    block.bytes.set(chunk, block.length);
    block.length += chunk.length;
    this.end += chunk.length;
  }

  /** Drops whole blocks that lie before `offset`. */
  dropBefore(offset: number): void {
    let drop = 0;
    while (drop < this.blocks.length && this.blocks[drop]!.start + this.blocks[drop]!.length <= offset) drop++;
    if (drop > 0) this.blocks.splice(0, drop);
  }

  /** Calls `each` with the bytes of `[from, to)`, piece by piece. The pieces stay valid and must not be changed. */
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

  /** Forgets everything. Slices handed out stay valid. */
  clear(): void {
    this.blocks = [];
  }
}
