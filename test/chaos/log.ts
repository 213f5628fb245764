/** Logs for the chaos runs: made-up builds with secrets in many spellings, across lines too. */
import { createEngine } from "../../src/engine.js";
import type { Planted } from "../support/raw.js";
import { must } from "./must.js";
import type { Random } from "./random.js";

const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** The secrets of a run. `env` is known from the start, `late` is handed over while the log is sent; the token and the key are found by rules. */
export class Secrets {
  readonly env: string;
  readonly late: string;
  readonly token: string;
  readonly key: readonly string[];

  constructor(random: Random) {
    this.env = `e/${random.text(20)}+"$&`;
    this.late = `l-${random.text(24)}`;
    this.token = `glpat-${random.text(20)}`;
    this.key = Array.from({ length: random.int(2, 12) }, () => random.text(64, BASE64));
  }

  /** What must be nowhere. */
  get planted(): Planted[] {
    return [
      { name: "env", value: this.env },
      { name: "late", value: this.late },
      { name: "token", value: this.token.slice("glpat-".length) },
      ...this.key.map((value, line) => ({ name: `key line ${line}`, value })),
    ];
  }
}

/** Spellings of a value as tools print them. */
const SPELLINGS: readonly ((value: string, random: Random) => string)[] = [
  (value) => `plain ${value} end`,
  (value) => `Authorization: Basic ${Buffer.from(`user:${value}`).toString("base64")}`,
  (value) => `bytes ${Buffer.from(value).toString("hex")}`,
  (value) => `GET /?key=${encodeURIComponent(value)}&x=1`,
  (value) => JSON.stringify({ key: value, n: 1 }),
  (value, random) => {
    const cut = random.int(1, value.length - 1);
    return `\x1b[32m${value.slice(0, cut)}\x1b[0m${value.slice(cut)} coloured`;
  },
  // As a narrow terminal, or `base64` itself, wraps it. Never the same twice: what rules find in one log of a job they look for in the others.
  (value, random) => {
    const text = Buffer.from(`${random.text(random.int(1, 20))} ${value} ${random.text(random.int(1, 20))}`).toString("base64");
    const cut = random.int(8, text.length - 8);
    return `${text.slice(0, cut)}\n${text.slice(cut)}`;
  },
];

/** A log, and the offset from which on it holds the late secret. */
export function makeLog({ env, late, token, key }: Secrets, random: Random): { bytes: Buffer; lateFrom: number } {
  const lines: string[] = [];
  const count = random.int(30, 300);
  const lateLine = random.int(0, count);
  let lateFrom = 0;
  for (let line = 0; line < count; line++) {
    if (line === lateLine) lateFrom = Buffer.byteLength(lines.join(""));
    const kind = random.next();
    if (kind < 0.6) lines.push(`[${line}] cc -O2 -c src/${random.text(random.int(3, 12), "abcdefghijklmnop")}.c ${"- ".repeat(random.int(0, 40))}ok\n`);
    else if (kind < 0.65) lines.push(`progress ${line}%\rprogress ${line + 1}%\r\n`);
    else if (kind < 0.7) lines.push(`cloning x.git with ${token}, done\n`);
    else if (kind < 0.72) lines.push(`-----BEGIN RSA PRIVATE KEY-----\n${key.join("\n")}\n-----END RSA PRIVATE KEY-----\n`);
    else lines.push(`${random.pick(SPELLINGS)(line >= lateLine && random.chance(0.5) ? late : env, random)}\n`);
  }
  if (lateLine === count) lateFrom = Buffer.byteLength(lines.join(""));
  // The last line may have no end.
  const bytes = Buffer.from(lines.join(""));
  return { bytes: random.chance(0.2) ? bytes.subarray(0, -1) : bytes, lateFrom };
}

/** Masks whole logs as one that no one disturbs does, with all secrets known from the start. */
export function openOracle({ env, late }: Secrets): { mask(log: Uint8Array): Buffer; close(): void } {
  const engine = createEngine({
    secrets: [
      { name: "BUILD_TOKEN", value: env },
      { name: "LATE", value: late },
    ],
    rules: { learn: false },
  });
  return { mask: (log) => engine.redact(log), close: () => engine.close() };
}

/** The lines that no secret is in, and how many lines there are: masks keep line ends. */
const ordinary = (text: string): string => [...(text.match(/^\[\d+\] cc .*$/gm) ?? []), `${text.split("\n").length} lines`].join("\n");

/** Kinds of runs: how the sidecar is set, and what its output then has in common with that of the oracle, which sees the whole log at once and learns nothing. */
export const KINDS = {
  exact: { env: { LOGVEIL_LIMITS_HOLD_BACK: "10m", LOGVEIL_RULES_LEARN: "false" }, compare: (text: string) => text },
  /** Where an unfinished secret was cut by silence there are two masks, and up to three bytes before them. */
  silence: { env: { LOGVEIL_LIMITS_HOLD_BACK: "20ms", LOGVEIL_RULES_LEARN: "false" }, compare: ordinary },
  /** What was learned from one try masks more of the next. */
  learning: { env: { LOGVEIL_LIMITS_HOLD_BACK: "10m", LOGVEIL_RULES_LEARN: "true" }, compare: ordinary },
} as const;

export type Kind = (typeof KINDS)[keyof typeof KINDS];

export function pickKind(random: Random): Kind {
  return KINDS[random.pick(["exact", "exact", "silence", "learning"] as const)];
}

/** Throws unless `kept` is what the oracle makes of a log. */
export function mustMatch({ compare }: Kind, kept: Uint8Array, expected: Uint8Array, what: string): void {
  const [a, b] = [kept, expected].map((bytes) => compare(Buffer.from(bytes).toString("latin1"))) as [string, string];
  must(a === b, `${what} is not the masked log: ${firstDifference(a, b)}`);
}

function firstDifference(kept: string, expected: string): string {
  let at = 0;
  while (at < kept.length && kept[at] === expected[at]) at++;
  const around = (text: string): string => JSON.stringify(text.slice(Math.max(0, at - 60), at + 60));
  return `${kept.length} bytes, expected ${expected.length}; from ${at} on ${around(kept)}, expected ${around(expected)}`;
}
