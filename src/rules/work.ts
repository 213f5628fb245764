/** How much rules look at: a count, for tests and benches that hold cost against what came in. Time would depend on the machine. */

/** Bytes that texts were asked for since the process began: a stream takes the difference. */
export const examined = { bytes: 0 };
