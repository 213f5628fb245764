/** Reads what strace noted: every byte that a process and its threads wrote, wherever to, and the names of the files it opened. */
import { spawnSync } from "node:child_process";

export const HAVE_STRACE = spawnSync("strace", ["-f", "true"], { stdio: "ignore" }).status === 0;
if (!HAVE_STRACE) console.warn("no strace here, or it may not trace: tests of what is written to disk are passed over");

/** Calls that write, whose bytes are noted. */
const WRITES = ["write", "writev", "pwrite64", "pwritev", "pwritev2", "sendto", "sendmsg", "sendmmsg"];
/** Calls by which bytes can leave a process unnoted: `mmap` may, the others do. */
export const UNNOTED = ["splice", "vmsplice", "sendfile", "copy_file_range", "process_vm_writev", "memfd_create", "io_uring_setup"];

/** The command that runs another one and notes to `file`. Strings are never cut and always in hex. */
export const tracing = (file: string): string[] => [
  "strace",
  "-f",
  "-y",
  "-xx",
  "-s",
  String(1 << 24),
  "-o",
  file,
  "-e",
  `trace=%file,mmap,${[...WRITES, ...UNNOTED].join(",")}`,
];

export interface Trace {
  /** Everything that was written, by where: `/path`, `pipe:[n]`, `socket:[n]`, in order. */
  readonly written: ReadonlyMap<string, Buffer>;
  /** Calls whose arguments may hold a name of a file, as bytes. */
  readonly named: Buffer;
  /** All calls: their names, their arguments as they were noted, and their results or `unfinished`. */
  readonly calls: readonly { readonly name: string; readonly args: string; readonly result: string }[];
}

export function readTrace(text: string): Trace {
  const pieces = new Map<string, Buffer[]>();
  const named: Buffer[] = [];
  const calls: Trace["calls"][number][] = [];
  for (const line of text.split("\n")) {
    // A call that others interrupt is noted in two lines; the arguments of those that write stand in the first.
    const [, name, rest] = /^\d+ +(\w+)\((.*)$/.exec(line) ?? [];
    if (name === undefined || rest === undefined) continue;
    const bytes = Buffer.concat([...rest.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g)].map(([, hex]) => Buffer.from(hex!.replaceAll("\\x", ""), "hex")));
    if (WRITES.includes(name)) {
      const where = decodePath(/^\d+<((?:[^>\\]|\\.)*)>/.exec(rest)?.[1] ?? "?");
      pieces.set(where, [...(pieces.get(where) ?? []), bytes]);
    } else named.push(bytes);
    calls.push({ name, args: rest, result: /= (-?\w+)[^=]*$/.exec(rest)?.[1] ?? "unfinished" });
  }
  return { written: new Map([...pieces].map(([where, all]) => [where, Buffer.concat(all)])), named: Buffer.concat(named), calls };
}

/** `-xx` spells names of descriptors in hex, too. */
const decodePath = (path: string): string => path.replaceAll(/\\x([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
