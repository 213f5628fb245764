/** The slow obvious reading of src/core/README.md: what must be masked and what kept. No automata, no streams, no cleverness. */
import { NEEDLE } from "../../src/core/matcher.js";
import { classify, KIND } from "../../src/core/projection.js";

export interface OracleNeedle {
  readonly bytes: Buffer;
  readonly flags: number;
}

const isWord = (byte: number | undefined): boolean => byte !== undefined && /[A-Za-z0-9_]/.test(String.fromCharCode(byte));
const isBlank = (byte: number): boolean => byte === 32 || (byte >= 9 && byte <= 13);

/** The output for `input` with `mask` in place of every span. */
export function oracle(input: Buffer, needles: readonly OracleNeedle[], mask: string): Buffer {
  const masked = new Uint8Array(input.length);
  const rawMasked = new Uint8Array(input.length);
  const kinds = new Uint8Array(input.length);
  let state = 0;
  input.forEach((byte, i) => {
    const next = classify(state, byte);
    kinds[i] = next >> 4;
    state = next & 15;
  });
  const spans: { start: number; end: number; firm: boolean; sides: number; raw: boolean }[] = [];
  const lanes = ["raw", "visible", "unwrapped", "spaced"];
  for (const lane of lanes) {
    const wanted = needles.filter(({ flags }) => (lane === "spaced") === Boolean(flags & NEEDLE.SPACED) && (lane !== "unwrapped" || flags & NEEDLE.WRAPPED));
    let seen: { byte: number; at: number }[] = [];
    let canPop = false;
    let lastBlank = false;
    input.forEach((byte, at) => {
      const kind = kinds[at]!;
      if (lane !== "raw" && kind === KIND.BACKSPACE) {
        if (canPop && !(lane === "spaced" && lastBlank)) seen.pop();
        canPop = false;
        return;
      }
      if (kind === KIND.TEXT) [canPop, lastBlank] = [true, isBlank(byte)];
      if (kind === KIND.NEWLINE) canPop = false;
      if (lane !== "raw" && kind >= KIND.SEQUENCE) return;
      if ((lane === "unwrapped" && kind === KIND.NEWLINE) || (lane === "spaced" && isBlank(byte))) return;
      seen.push({ byte, at });
      for (const { bytes, flags } of wanted) {
        const tail = seen.slice(-bytes.length);
        if (tail.length < bytes.length || !tail.every((entry, i) => entry.byte === bytes[i])) continue;
        const start = tail[0]!.at;
        const cut = at + 1 - start > bytes.length;
        if (lane === "visible" && flags & NEEDLE.TOKEN && !cut) continue;
        const bounds = (edge: number, next: number): boolean => isWord(edge) && isWord(input[next]) && kinds[next] !== KIND.SEQUENCE;
        const sides = flags & NEEDLE.TOKEN && !cut ? (bounds(bytes[0]!, start - 1) ? 1 : 0) | (bounds(bytes.at(-1)!, at + 1) ? 2 : 0) : 0;
        spans.push({ start, end: at + 1, firm: sides === 0, sides, raw: lane === "raw" });
      }
    });
    for (let length = seen.length; length >= 4; length--) {
      const tail = seen.slice(-length);
      if (!wanted.some(({ bytes }) => bytes.length > length && tail.every((entry, i) => entry.byte === bytes[i]))) continue;
      spans.push({ start: tail[0]!.at, end: tail.at(-1)!.at + 1, firm: true, sides: 0, raw: lane === "raw" });
      break;
    }
  }
  const firm = spans.filter((span) => span.firm);
  const covered = (at: number): boolean => firm.some(({ start, end }) => start <= at && at < end);
  for (const { start, end, sides, raw } of spans) {
    if ((sides & 1 && !covered(start - 1)) || (sides & 2 && !covered(end))) continue;
    masked.fill(1, start, end);
    if (raw) rawMasked.fill(1, start, end);
  }
  const out: Buffer[] = [];
  for (let at = 0; at < input.length; at++) {
    const kept = input[at] === 10 || input[at] === 13 || (kinds[at]! >= KIND.SEQUENCE && rawMasked[at] === 0);
    if (masked[at] === 1 && !(masked[at - 1] === 1)) out.push(Buffer.from(mask));
    if (masked[at] === 0 || kept) out.push(input.subarray(at, at + 1));
  }
  return Buffer.concat(out);
}
