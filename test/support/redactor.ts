/** A redactor over bare needles, and ways to run it. */
import { MIN_NEEDLE_BYTES, type MatcherFactory, type NeedleTable } from "../../src/core/matcher.js";
import { Redactor, type RedactorFinding } from "../../src/core/redactor.js";
import type { OracleNeedle } from "../oracle/oracle.js";

export function tableOf(needles: readonly OracleNeedle[]): NeedleTable {
  const offsets = new Uint32Array(needles.length + 1);
  needles.forEach(({ bytes }, i) => (offsets[i + 1] = offsets[i]! + bytes.length));
  return { bytes: Buffer.concat(needles.map(({ bytes }) => bytes)), offsets, flags: Uint8Array.from(needles, ({ flags }) => flags) };
}

export interface Run {
  readonly output: Buffer;
  readonly findings: RedactorFinding[];
}

export function redactorOver(
  factory: MatcherFactory,
  needles: readonly OracleNeedle[],
  mask: string,
  found: (finding: RedactorFinding) => void,
  maxGapBytes = 65536,
  set = factory.build(tableOf(needles)),
): Redactor {
  if (needles.some(({ bytes }) => bytes.length < MIN_NEEDLE_BYTES)) throw new Error("test needle too short");
  const plan = mask.length === 1 ? ({ kind: "fill", byte: mask.charCodeAt(0) } as const) : ({ kind: "text", bytes: Buffer.from(mask) } as const);
  return new Redactor({ factory, maxGapBytes, exposureWindowBytes: 64, needleBytes: (_, needle) => needles[needle]!.bytes.length, mask: () => plan, found }, [
    set,
  ]);
}

/** Runs `chunks` to the end. Pieces are copied at once: they may be views. */
export function run(factory: MatcherFactory, needles: readonly OracleNeedle[], chunks: readonly Buffer[], mask = "<M>", maxGapBytes?: number): Run {
  const findings: RedactorFinding[] = [];
  const set = factory.build(tableOf(needles));
  const redactor = redactorOver(factory, needles, mask, (finding) => findings.push(finding), maxGapBytes, set);
  const out: Buffer[] = [];
  for (const chunk of chunks) out.push(...redactor.push(Buffer.from(chunk)).map((piece) => Buffer.from(piece)));
  out.push(...redactor.end().map((piece) => Buffer.from(piece)));
  set.release();
  return { output: Buffer.concat(out), findings };
}

/** Cuts `input` at the given offsets. */
export function cut(input: Buffer, at: readonly number[]): Buffer[] {
  const cuts = [0, ...[...at].sort((a, b) => a - b), input.length];
  return cuts.slice(1).map((end, i) => input.subarray(cuts[i], end));
}

export const bytewise = (input: Buffer): Buffer[] => [...input].map((byte) => Buffer.from([byte]));
