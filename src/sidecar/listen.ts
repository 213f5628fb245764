/** Where servers listen: TCP, Unix sockets, sockets that systemd hands over. */
import { chmod, lstat, mkdir, rm } from "node:fs/promises";
import { connect, isIPv6, type ListenOptions, type Server } from "node:net";
import { dirname } from "node:path";
import { LogveilError } from "../errors.js";
import { reasonOf } from "../io-error.js";

export interface TcpAddress {
  readonly host: string;
  readonly port: number;
}

/** Where to listen: an address, the path of a Unix socket, or a descriptor of a socket that listens already. */
export type Where = TcpAddress | { readonly path: string } | { readonly fd: number };

/** Where a server listens. Of a Unix socket host is empty and port 0. */
export interface Bound extends TcpAddress {
  /** `127.0.0.1:4180`, `[::1]:4180`, `unix:/path`, or `fd:3` for a Unix socket that was handed over. */
  readonly address: string;
}

/** Connections that the system keeps until they are accepted. */
const BACKLOG = 4096;

/** Has a server listen; `field` is that of the configuration which says where. Throws `LV_CONFIG` and `LV_IO`. */
export async function listenOn(server: Server, where: Where, field: string): Promise<Bound> {
  if ("path" in where) await listenUnix(server, where.path, field);
  else if ("fd" in where) await listenInherited(server, where.fd);
  else await listenTcp(server, where, field);
  const bound = server.address();
  // Node does not know the path of a Unix socket that was handed over.
  if (bound === null || typeof bound === "string") return { host: "", port: 0, address: bound === null && "fd" in where ? `fd:${where.fd}` : `unix:${bound}` };
  const { address, port } = bound;
  return { host: address, port, address: isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}` };
}

const listen = (server: Server, options: ListenOptions): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once("error", reject).listen({ ...options, backlog: BACKLOG }, () => {
      server.off("error", reject);
      resolve();
    });
  });

async function listenTcp(server: Server, { host, port }: TcpAddress, field: string): Promise<void> {
  try {
    await listen(server, { host, port });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === "EADDRINUSE" ? "another process listens there" : code;
    throw new LogveilError("LV_CONFIG", `${field}: cannot listen on ${host}:${port}: ${why}; choose another address`, { cause: error });
  }
}

async function listenInherited(server: Server, fd: number): Promise<void> {
  try {
    await listen(server, { fd } as ListenOptions);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new LogveilError(
      "LV_CONFIG",
      `descriptor ${fd}: expected a listening stream socket: ${reasonOf(code)}; the socket unit needs ListenStream= and Accept=no`,
      {
        cause: error,
      },
    );
  }
}

/** Listens on a socket file: its folder is made 0700, the file 0600. One that another process left is taken over; one in use is refused. */
async function listenUnix(server: Server, path: string, field: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const there = await lstat(path).catch(() => undefined);
  if (there?.isSocket() === false) throw new LogveilError("LV_CONFIG", `${path}: something other than a socket is there; set ${field} to another path`);
  if (await isInUse(path)) throw new LogveilError("LV_CONFIG", `${path}: another process listens there; end it, or set ${field} to another path`);
  await rm(path, { force: true });
  const before = process.umask(0o177);
  try {
    await listen(server, { path });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new LogveilError("LV_IO", `${path}: cannot listen there: ${reasonOf(code)}; set ${field} to a path of at most 107 bytes in a folder of your own`, {
      cause: error,
    });
  } finally {
    process.umask(before);
  }
  await chmod(path, 0o600);
}

const isInUse = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    }).once("error", () => resolve(false));
  });

/** First descriptor that systemd hands over (sd_listen_fds(3)). */
const FIRST_FD = 3;

/** Sockets that systemd hands over: for the data port, and for health. */
export interface Inherited {
  readonly data?: { readonly fd: number };
  readonly admin?: { readonly fd: number };
}

/**
 * What LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES of the environment say, which are taken out of it: children have none of it. Names are those of the socket units, or their
 * FileDescriptorName=: `logveil-admin` is for health, `logveil`, or the first of another name, for the data port. Throws `LV_CONFIG` for more.
 */
export function inheritedSockets(env: NodeJS.ProcessEnv, pid: number): Inherited {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = env;
  for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) delete env[name];
  if (LISTEN_PID !== String(pid)) return {};
  const names = (LISTEN_FDNAMES ?? "").split(":").map((name) => name.replace(/\.socket$/, ""));
  const all = Array.from({ length: Number(LISTEN_FDS) || 0 }, (_, index) => ({ fd: FIRST_FD + index, name: names[index] ?? "" }));
  const admin = all.find(({ name }) => name === "logveil-admin");
  const data = all.find(({ name }) => name === "logveil") ?? all.find((each) => each !== admin);
  if (all.some((each) => each !== admin && each !== data))
    throw new LogveilError("LV_CONFIG", `systemd hands over ${all.length} sockets: expected one for logs (logveil) and one for health (logveil-admin)`);
  return { ...(data && { data: { fd: data.fd } }), ...(admin && { admin: { fd: admin.fd } }) };
}
