/** Throws what broke a promise. */
export function must(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what);
}
