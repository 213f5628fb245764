/** `logveil audit verify`: says whether an audit is as it was written, which record is not, and what the answer is worth. */
import { createReadStream, statSync } from "node:fs";
import type { Place } from "../audit/check.js";
import { digestLog, type LogDigest, verifyAudit, type Verification } from "../audit/verify.js";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import { EXIT } from "./options.js";

interface AuditCommandOptions {
  readonly publicKey?: string[];
  readonly expectSeq?: string;
  readonly expectHash?: string;
  readonly partial?: true;
  readonly log?: string;
  readonly json?: true;
}

/** An unfinished last line may be one that the sidecar is writing. */
const SETTLE_MS = 250;

export async function audit([verb, path, ...more]: string[], options: AuditCommandOptions): Promise<number> {
  if (verb !== "verify") throw new LogveilError("LV_USAGE", "audit: expected verify; logveil audit --help tells more");
  if (path === undefined || more.length > 0) throw new LogveilError("LV_USAGE", "audit verify: expected one audit file or folder");
  const { publicKey, expectSeq, expectHash } = options;
  if (expectSeq !== undefined && !/^\d{1,15}$/.test(expectSeq)) throw new LogveilError("LV_USAGE", "--expect-seq: expected the number of a record");
  if (expectHash !== undefined && !/^[0-9a-f]{64}$/.test(expectHash)) throw new LogveilError("LV_USAGE", "--expect-hash: expected 64 hex digits");
  const result = await verifyAudit(path, {
    settleMs: SETTLE_MS,
    ...(publicKey === undefined ? {} : { publicKeys: publicKey }),
    ...(expectSeq === undefined ? {} : { expectSeq: Number(expectSeq) }),
    ...(expectHash === undefined ? {} : { expectHash }),
    ...(options.log === undefined ? {} : { log: await readLog(options.log) }),
    ...(options.partial === true ? { start: "anywhere" } : {}),
  });
  process.stdout.write(
    options.json === true ? `${JSON.stringify(result)}\n` : tell(result, statSync(path).isDirectory(), expectSeq !== undefined || expectHash !== undefined),
  );
  return result.ok ? EXIT.OK : EXIT.FINDINGS;
}

async function readLog(file: string): Promise<LogDigest> {
  try {
    return await digestLog(file === "-" ? process.stdin : createReadStream(file));
  } catch (error) {
    throw new LogveilError("LV_IO", `--log: cannot read ${file}: ${reasonAndCure(error)}`, { cause: error });
  }
}

const at = ({ file, line }: Place): string => `${file}:${line}`;
const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`;

function tell(result: Verification, folder: boolean, pinned: boolean): string {
  const { problem, first, last, checkpoint, records, unsigned } = result;
  const lines: string[] = [];
  if (problem !== undefined) lines.push(`NOT OK  ${problem.file}:${problem.line}: record ${problem.seq} ${WORDS[problem.kind]}: ${problem.why}`);
  lines.push(
    `${problem === undefined ? "ok     " : "before "} ${counted(records, "record")}${first === undefined ? "" : `, ${first.seq} to ${last!.seq}`}, in ${counted(result.files, "file")}`,
  );
  if (result.recoveries > 0) lines.push(`crashes ${counted(result.recoveries, "torn tail")} put aside on restart (records of type recovered)`);
  if (first !== undefined && first.seq > 0)
    lines.push(
      result.prunedBy === undefined
        ? `start   record ${first.seq}: what stood before it was not looked at`
        : `start   record ${first.seq}: older files were removed (audit.maxAge or audit.maxBytes), as record ${result.prunedBy} says`,
    );
  lines.push(...result.gaps.map(({ from, until, code, seq }) => `gap     the audit could not be written from ${from} until ${until} (${code}; record ${seq})`));
  lines.push(...differences(result));
  lines.push(...signatures(result), ...logLines(result));
  if (last === undefined || problem !== undefined) return `${lines.join("\n")}\n`;
  lines.push(
    `last    record ${last.seq}, ${at(last)}, ${last.time}, hash ${last.hash}${result.closed ? ", closed in order" : ", not closed: running, crashed, or cut off"}`,
  );
  if (folder && !result.head) lines.push("caution audit.head is missing, which every start and checkpoint writes: was the end cut off?");
  if (!pinned) {
    lines.push(
      unsigned > 0 || !result.closed
        ? `caution records cut off behind the last checkpoint leave no trace here, nor do older copies of the whole folder: compare with what was kept elsewhere`
        : `caution an older copy of the whole folder would look as good: compare with what was kept elsewhere`,
    );
  }
  if (checkpoint !== undefined) lines.push(`keep    elsewhere, for the next time: --expect-seq ${checkpoint.seq} --expect-hash ${checkpoint.hash}`);
  return `${lines.join("\n")}\n`;
}

/** Streams whose records are not as many as they count. */
function differences({ differences: all }: Verification): string[] {
  return all.map(({ job, stream, counted: found, recorded, isOld, ...place }) => {
    const said = `job ${job ?? "-"}, stream ${stream} counts ${counted(found, "finding")}, and there are records of ${recorded} (record ${place.seq}, ${at(place)})`;
    return isOld ? `caution ${said}; format 1 does not tell streams of one name apart` : `NOT OK  ${said}`;
  });
}

const WORDS: Readonly<Record<NonNullable<Verification["problem"]>["kind"], string>> = {
  changed: "was changed",
  dropped: "was dropped",
  inserted: "was inserted",
  reordered: "was moved",
  cut: "was cut off",
  signature: "is not what was signed",
};

/** Whether the log is one that the audit tells of, and how much of it is signed. */
function logLines({ log, checkpoint }: Verification): string[] {
  if (log === undefined) return [];
  if (log.matches.length === 0) return [`NOT OK  the log (${log.bytes} bytes) is none of which a summary tells: it was changed, or its stream has not ended`];
  return log.matches.map(({ job, stream, seq, time, ...place }) => {
    const worth = checkpoint !== undefined && seq <= checkpoint.seq ? "" : ", only chained";
    return `log     of ${log.bytes} bytes: job ${job ?? "-"}, stream ${stream}, as it left by ${time} (record ${seq}, ${at({ seq, time, ...place })}${worth})`;
  });
}

function signatures({ key, keyIds, checkpoint, unsigned }: Verification): string[] {
  if (key === "none")
    return [
      "signed  NOT CHECKED: no public key; give the one that was kept elsewhere with --public-key. Without it anyone who may write the folder may have written all of this",
    ];
  const covers = checkpoint === undefined ? "nothing" : `up to record ${checkpoint.seq}, ${at(checkpoint)}, ${checkpoint.time}`;
  const lines = [`signed  ${covers}; key ${keyIds.join(", ")}; ${counted(unsigned, "record")} behind it only chained`];
  if (key === "folder")
    lines.push("caution the public key is the one in the folder itself: whoever can write there can replace it; give one kept elsewhere with --public-key");
  return lines;
}
