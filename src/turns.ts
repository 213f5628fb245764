/** Long work in pieces: a generator that yields how many bytes it worked on since the last time, run at once or with turns for everything else in between. */

/** Bytes after which others have their turn: one to three milliseconds. */
const TURN_BYTES = 512 << 10;
/** What a piece costs at least, in bytes: making one takes time whatever is in it. */
const PIECE_COST = 2 << 10;

/** Lets everything else that waits have its turn. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export function atOnce<T>(work: Generator<number, T>): T {
  for (;;) {
    const { done, value } = work.next();
    if (done === true) return value;
  }
}

export async function inTurns<T>(work: Generator<number, T>): Promise<Awaited<T>> {
  for (let spent = 0; ;) {
    const { done, value } = work.next();
    if (done === true) return await value;
    spent += value + PIECE_COST;
    if (spent < TURN_BYTES) continue;
    spent = 0;
    await turn();
  }
}
