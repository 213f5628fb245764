/** What the masking commands share: an engine from options, its notices, its report, and the exit code. */
import { closeSync, openSync, writeSync } from "node:fs";
import { createEngine, type Engine } from "../engine.js";
import type { RedactorStream } from "../live.js";
import { LogveilError } from "../errors.js";
import { reasonAndCure } from "../io-error.js";
import type { EngineChoice } from "../native/loader.js";
import { hardenProcess } from "../native/loader.js";
import type { RulesOptions } from "../rules/builtin.js";
import type { Confidence } from "../rules/compile.js";
import { installationKey } from "../secrets/fingerprint.js";
import { reportLine } from "../secrets/report.js";
import type { Finding, MaskStyle } from "../types.js";
import { EXIT } from "./options.js";
import type { BinaryMode } from "./recognising.js";
import { readSecrets, type SecretOptions } from "./secrets.js";
import { say, talkThrough } from "./talk.js";

/** Options as commander hands them over. */
export interface MaskingOptions extends SecretOptions {
  /** Paths; false: no rules. */
  readonly rules?: string[] | false;
  readonly disable?: string[];
  readonly minConfidence?: Confidence;
  readonly learn?: false;
  readonly mask?: MaskStyle;
  readonly maskText?: string;
  readonly engine?: EngineChoice;
  readonly report?: string;
  readonly failOnFinding?: true;
  readonly quiet?: true;
  readonly verbose?: true;
  readonly binary?: BinaryMode;
}

export interface Session {
  readonly engine: Engine;
  readonly quiet: boolean;
  /** Findings so far. */
  readonly found: number;
  /** Bytes that went in so far, decoded. */
  readonly bytesIn: number;
  /** A stream whose bytes are counted for the summary. Its name comes out masked, in findings too. */
  open(name: string, onFinding?: (finding: Finding) => void): RedactorStream;
  /** Says something, unless the user wants quiet. */
  notice(message: string): void;
  /** Adds to the report. What holds a path must have passed {@link masked}. */
  report(entry: object): void;
  /** A path or an argument as it may be shown. */
  masked(text: string): string;
  /** Writes the summary, with further fields of it, and frees the engine: nothing can be said any more. Answers the exit code. */
  finish(facts?: object): number;
}

export async function openSession(options: MaskingOptions): Promise<Session> {
  hardenProcess();
  const quiet = options.quiet === true;
  const notice = (message: string): void => {
    if (!quiet) say(message);
  };
  const secrets = readSecrets(options);
  const report = openReport(options.report);
  const started = performance.now();
  const counts = { found: 0, bytesIn: 0, bytesOut: 0 };
  let isTalking = false;
  const early: string[] = [];
  let notify = (message: string): void => void early.push(message);
  const engine = createEngine({
    mask: { style: options.mask ?? "label", ...(options.maskText === undefined ? {} : { text: options.maskText }) },
    engine: options.engine ?? "auto",
    rules: await rulesOf(options),
    fingerprintKey: keyOrRandom((message) => notify(message)),
    onFinding: (finding) => {
      if (isTalking) return;
      counts.found++;
      const { kind, ...rest } = finding;
      report.write({ type: "finding", kind, ...rest });
    },
    // Not within a call of the engine: it is to mask what is said.
    onWarning: (warning) => queueMicrotask(() => notify(warning.message)),
  });
  // Not as an option of the engine: so the automaton is built by another thread.
  const reports = await engine.addSecrets(secrets);
  engine.checkMask();
  const masked = (text: string): string => {
    // What is found in our own words is not a finding of a log.
    isTalking = true;
    try {
      return engine.redact(text);
    } finally {
      isTalking = false;
    }
  };
  talkThrough(masked);
  notify = notice;
  for (const message of early) notice(message);
  for (const each of reports) notice(reportLine(each));
  if (secrets.length === 0 && options.rules === false)
    notice("neither secrets nor rules were given, so nothing is masked; see --secret-env, --secrets, --secret-file, --secrets-fd");
  return {
    engine,
    quiet,
    get found() {
      return counts.found;
    },
    get bytesIn() {
      return counts.bytesIn;
    },
    masked,
    report: (entry) => report.write(entry),
    open(path, onFinding) {
      const name = masked(path);
      const stream = engine.stream({ name, ...(onFinding === undefined ? {} : { onFinding }) });
      const count = (pieces: Uint8Array[]): Uint8Array[] => {
        for (const piece of pieces) counts.bytesOut += piece.length;
        return pieces;
      };
      return {
        name,
        get offset() {
          return stream.offset;
        },
        get heldBytes() {
          return stream.heldBytes;
        },
        get work() {
          return stream.work;
        },
        get settled() {
          return stream.settled;
        },
        push(chunk) {
          counts.bytesIn += chunk.length;
          return count(stream.push(chunk));
        },
        idle: () => count(stream.idle()),
        end: () => count(stream.end()),
        close: () => stream.close(),
      };
    },
    notice,
    finish(facts) {
      const { needles } = engine.stats();
      report.write({
        type: "summary",
        bytesIn: counts.bytesIn,
        bytesOut: counts.bytesOut,
        findings: counts.found,
        ...facts,
        secrets: engine.stats().secrets,
        needles,
        seconds: Number(((performance.now() - started) / 1000).toFixed(3)),
        engine: engine.engine,
      });
      report.close();
      talkThrough(undefined);
      engine.close();
      return options.failOnFinding === true && counts.found > 0 ? EXIT.FINDINGS : EXIT.OK;
    },
  };
}

/** The rules that the options ask for. The reader of rule files is loaded only where there are any. */
export async function rulesOf({ rules, disable, minConfidence, learn }: MaskingOptions): Promise<false | RulesOptions> {
  if (rules === false) return false;
  return {
    ...(Array.isArray(rules) ? { extra: (await import("../rules/load.js")).loadRules(rules) } : {}),
    ...(disable === undefined ? {} : { disable }),
    ...(minConfidence === undefined ? {} : { minConfidence }),
    ...(learn === false ? { learn } : {}),
  };
}

function keyOrRandom(notice: (message: string) => void): Buffer {
  try {
    return installationKey();
  } catch (error) {
    notice(`${(error as Error).message}; fingerprints of this run cannot be compared with others`);
    return crypto.getRandomValues(Buffer.alloc(32));
  }
}

interface Report {
  write(entry: object): void;
  close(): void;
}

function openReport(file: string | undefined): Report {
  if (file === undefined) return { write() {}, close() {} };
  if (file === "-") return { write: (entry) => void process.stderr.write(`${JSON.stringify(entry)}\n`), close() {} };
  let descriptor: number;
  try {
    descriptor = openSync(file, "w", 0o600);
  } catch (error) {
    throw new LogveilError("LV_IO", `--report: cannot write ${file}: ${reasonAndCure(error)}`, { cause: error });
  }
  return { write: (entry) => void writeSync(descriptor, `${JSON.stringify(entry)}\n`), close: () => closeSync(descriptor) };
}
