/** "Did you mean …?": the nearest of the words that are known. Knows nothing of rules: the configuration asks too. */

/** The known word that differs least, if in no more than `most` letters; default: half of them. Case does not count. */
export function nearest(word: string, known: readonly string[], most = Math.max(2, word.length / 2)): string | undefined {
  const [best] = known.map((each) => ({ each, far: distance(word.toLowerCase(), each.toLowerCase()) })).toSorted((a, b) => a.far - b.far);
  return best !== undefined && best.far <= most ? best.each : undefined;
}

/** Levenshtein's distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}
