/** How sizes, times and addresses are written, and what they are to the program: bytes, milliseconds, {@link Address}. Exact in both directions; pure. */
import { isIP } from "node:net";

/** Units of sizes, in bytes. */
export const SIZE_UNITS = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 } as const;
/** Units of times, in milliseconds. */
export const TIME_UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

type Units = Readonly<Record<string, number>>;

/** Where something listens. */
export type Address = { readonly kind: "tcp"; readonly host: string; readonly port: number } | { readonly kind: "unix"; readonly path: string };

/** Longest path of a Unix socket in bytes: `sun_path` of Linux without its NUL. */
const SOCKET_PATH_BYTES = 107;

/** The number that `64MiB` or `250ms` stands for; undefined if it is not written so or exceeds what a number holds exactly. */
export function parseQuantity(text: string, units: Units): number | undefined {
  const [, digits, unit] = /^(0|[1-9]\d*)([A-Za-z]+)$/.exec(text) ?? [];
  if (digits === undefined || unit === undefined || !Object.hasOwn(units, unit)) return undefined;
  const value = Number(digits) * units[unit]!;
  return Number.isSafeInteger(Number(digits)) && Number.isSafeInteger(value) ? value : undefined;
}

/** Writes a number in the largest unit that divides it. */
export function printQuantity(value: number, units: Units): string {
  const [unit, factor] = Object.entries(units)
    .filter(([, each]) => each === 1 || (value > 0 && value % each === 0))
    .at(-1)!;
  return `${value / factor}${unit}`;
}

/** Reads `127.0.0.1:8514`, `[::1]:8514` or `unix:/path`. Names of hosts are none: they may stand for several addresses. */
export function parseAddress(text: string): Address | undefined {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    return isSocketPath(path) ? { kind: "unix", path } : undefined;
  }
  const [, six, four, digits] = /^(?:\[([^\]]+)\]|([\d.]+)):(0|[1-9]\d{0,4})$/.exec(text) ?? [];
  const host = six ?? four;
  if (host === undefined || isIP(host) !== (six === undefined ? 4 : 6) || Number(digits) > 65_535) return undefined;
  return { kind: "tcp", host, port: Number(digits) };
}

export function printAddress(address: Address): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  return isIP(address.host) === 6 ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** Whether a path is absolute and has no control characters. */
export const isPath = (path: string): boolean => path.startsWith("/") && !/\p{Cc}/u.test(path);

/** Whether a socket can have the path. */
export const isSocketPath = (path: string): boolean => isPath(path) && Buffer.byteLength(path) <= SOCKET_PATH_BYTES;

/** Where syslog messages go on to. */
export interface SyslogServer {
  readonly protocol: "tcp" | "udp" | "tls";
  readonly host: string;
  readonly port: number;
}

/** Reads `tcp://127.0.0.1:514`, `udp://[::1]:514` or `tls://logs.example.com:6514`. */
export function parseServer(text: string): SyslogServer | undefined {
  const [, protocol, six, name, digits] = /^(tcp|udp|tls):\/\/(?:\[([^\]]+)\]|([A-Za-z0-9.-]+)):([1-9]\d{0,4})$/.exec(text) ?? [];
  const host = six ?? name;
  if (host === undefined || (six !== undefined && isIP(six) !== 6) || Number(digits) > 65_535) return undefined;
  return { protocol: protocol as SyslogServer["protocol"], host, port: Number(digits) };
}

export const printServer = ({ protocol, host, port }: SyslogServer): string => `${protocol}://${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
