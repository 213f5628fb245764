/** An open-addressing table from a 32-bit gram to a number, behind a bit filter that answers most misses from cache. Insert first, then look up. */

const EMPTY = -1;
const MIX = 0x9e3779b1;

export class GramTable {
  readonly filter: Uint32Array;
  readonly filterShift: number;
  private readonly keys: Int32Array;
  private readonly values: Int32Array;
  private readonly shift: number;

  constructor(count: number) {
    // Half full at most; 32 filter bits per entry keep false alarms near 3 %.
    const bits = Math.max(4, 32 - Math.clz32(Math.max(1, count * 2 - 1)));
    this.shift = 32 - bits;
    this.keys = new Int32Array(1 << bits);
    this.values = new Int32Array(1 << bits).fill(EMPTY);
    const filterBits = Math.min(26, bits + 5);
    this.filterShift = 32 - filterBits;
    this.filter = new Uint32Array(1 << (filterBits - 5));
  }

  get memoryBytes(): number {
    return this.filter.byteLength + this.keys.byteLength + this.values.byteLength;
  }

  /** Value of `gram`, or -1. */
  get(gram: number): number {
    const key = gram | 0;
    const mask = this.keys.length - 1;
    for (let slot = Math.imul(key, MIX) >>> this.shift; ; slot = (slot + 1) & mask) {
      const value = this.values[slot]!;
      if (value === EMPTY || this.keys[slot] === key) return value;
    }
  }

  /** Sets the value (0 or more) of `gram`. */
  set(gram: number, value: number): void {
    const key = gram | 0;
    const hash = Math.imul(key, MIX) >>> 0;
    const mask = this.keys.length - 1;
    let slot = hash >>> this.shift;
    while (this.values[slot] !== EMPTY && this.keys[slot] !== key) slot = (slot + 1) & mask;
    this.keys[slot] = key;
    this.values[slot] = value;
    const bit = hash >>> this.filterShift;
    this.filter[bit >>> 5]! |= 1 << (bit & 31);
  }

  /** Whether `gram` may be in the table: no false negatives. */
  maybe(gram: number): boolean {
    const bit = Math.imul(gram, MIX) >>> this.filterShift;
    return (this.filter[bit >>> 5]! & (1 << (bit & 31))) !== 0;
  }
}
