/** Puts the pieces of one push together, so that no more writes come out than went in. */
export function join(pieces: readonly Uint8Array[]): Buffer | undefined {
  if (pieces.length === 0) return undefined;
  const first = pieces[0]!;
  return pieces.length === 1 ? Buffer.from(first.buffer, first.byteOffset, first.byteLength) : Buffer.concat(pieces);
}
