/** The sidecar's own log: pino, one line per event, written before the call returns. What is told has passed through the engine before it gets here. */
import { pino } from "pino";

export interface LogOptions {
  /** The least that is told. */
  readonly level: string;
  /** `auto`: text for a terminal, else JSON. */
  readonly format: "auto" | "json" | "text";
  /** Takes a line with its end. Does not return before it is written. */
  readonly write: (line: string) => void;
  readonly isTerminal: boolean;
}

export interface Log {
  readonly tell: (level: "info" | "warn" | "error", message: string) => void;
  readonly setLevel: (level: string) => void;
}

/** `{"level":"info","time":"…","msg":"…"}`, or `… info …`. */
export function openLog({ level, format, write, isTerminal }: LogOptions): Log {
  const asText = format === "text" || (format === "auto" && isTerminal);
  const logger = pino(
    { level, base: null, timestamp: () => `,"time":"${new Date().toISOString()}"`, formatters: { level: (name) => ({ level: name }) } },
    { write: asText ? (line) => write(text(line)) : write },
  );
  return {
    tell: (at, message) => logger[at](message),
    setLevel: (least) => void (logger.level = least),
  };
}

function text(line: string): string {
  const { time, level, msg } = JSON.parse(line) as Readonly<Record<"time" | "level" | "msg", string>>;
  return `${time} ${level} ${msg}\n`;
}
