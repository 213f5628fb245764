/** Where blocks and mappings begin in a stream, in order: read line by line, each line once, however many begin in it. */

/** What begins: its anchor's offset, and who is told of what it hides. */
export interface Begin {
  readonly at: number;
  /** Behind what begins it. */
  readonly end: number;
  readonly mask: (start: number, end: number) => void;
}

export class Begins {
  private queue: Begin[] = [];
  private head = 0;
  /** Offset of the last one that was taken. */
  private last = -1;

  get first(): Begin | undefined {
    return this.queue[this.head];
  }

  /** Takes it, unless one at the same place is known. */
  add(begin: Begin): boolean {
    let index = this.queue.length;
    while (index > this.head && this.queue[index - 1]!.at > begin.at) index--;
    if (begin.at <= this.last || (index > this.head && this.queue[index - 1]!.at === begin.at)) return false;
    this.queue.splice(index, 0, begin);
    return true;
  }

  /** Takes the first one out if it stands before `end`. */
  shift(end = Infinity): Begin | undefined {
    const { first } = this;
    if (first === undefined || first.at >= end) return undefined;
    this.last = first.at;
    if (++this.head === this.queue.length) {
      this.queue = [];
      this.head = 0;
    }
    return first;
  }
}
