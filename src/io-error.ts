/** What the system says went wrong, in words, and what can be done about it. Codes stay beside the words: people search for them. */

interface Words {
  readonly says: string;
  /** What to do about it. */
  readonly cure?: string;
}

const WORDS: Readonly<Record<string, Words>> = {
  EACCES: { says: "permission denied", cure: "check who may read and write it, and its folders" },
  EADDRINUSE: { says: "the address is taken by another process", cure: "end that one, or choose another address" },
  EADDRNOTAVAIL: { says: "this machine has no such address", cure: "choose one of its own" },
  EAGAIN: { says: "not ready", cure: "try again" },
  EAI_AGAIN: { says: "the name cannot be resolved for now", cure: "check the name server" },
  EBADF: { says: "not an open descriptor", cure: "open it before, as in 3<file" },
  EBUSY: { says: "in use by the system" },
  ECONNABORTED: { says: "the connection was aborted" },
  ECONNREFUSED: { says: "nothing listens there" },
  ECONNRESET: { says: "the connection was reset by the other side" },
  EDQUOT: { says: "the quota of the disk is used up", cure: "make room" },
  EEXIST: { says: "it exists already" },
  EFBIG: { says: "the file would become too large", cure: "check ulimit -f" },
  EHOSTUNREACH: { says: "there is no way to the machine", cure: "check the network" },
  EINVAL: { says: "the system does not allow this for such a file" },
  EIO: { says: "the device failed", cure: "check the disk" },
  EISDIR: { says: "it is a folder", cure: "name a file" },
  ELOOP: { says: "symbolic links go round in a circle", cure: "check the links" },
  EMFILE: { says: "this process has too many open files", cure: "raise ulimit -n" },
  ENAMETOOLONG: { says: "the path is too long", cure: "use a shorter one" },
  ENETUNREACH: { says: "there is no way to the network", cure: "check the network" },
  ENFILE: { says: "the system has too many open files" },
  ENODEV: { says: "there is no such device" },
  ENOENT: { says: "no such file or folder", cure: "check the path" },
  ENOMEM: { says: "out of memory" },
  ENOSPC: { says: "no space left on the disk", cure: "make room" },
  ENOTCONN: { says: "the connection is closed" },
  ENOTDIR: { says: "a part of the path is not a folder", cure: "check the path" },
  ENOTEMPTY: { says: "the folder is not empty" },
  ENOTFOUND: { says: "there is no host of this name", cure: "check the name" },
  ENOTSUP: { says: "the file system cannot do that" },
  ENXIO: { says: "there is no such device, or nobody has the other end open" },
  EPERM: { says: "not permitted", cure: "check the owner and the attributes of the file" },
  EPIPE: { says: "the reader is gone" },
  EPROTO: { says: "the other side does not keep to the protocol" },
  EROFS: { says: "the file system is read-only", cure: "choose another folder" },
  ETIMEDOUT: { says: "the other side did not answer in time" },
  ETXTBSY: { says: "the program is running" },
  EXDEV: { says: "the two are on different file systems" },
};

const codeOf = (error: unknown): string | undefined => {
  const code = typeof error === "string" ? error : (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === "string" ? code : undefined;
};

/** What went wrong, as `permission denied (EACCES)`. Takes an error or its code; never quotes a message, which may hold input. */
export function reasonOf(error: unknown): string {
  const code = codeOf(error);
  if (code === undefined) return "an unknown error";
  const words = WORDS[code];
  return words === undefined ? `an error of the system (${code})` : `${words.says} (${code})`;
}

/** The same with what to do about it, if that is known. */
export function reasonAndCure(error: unknown): string {
  const cure = WORDS[codeOf(error) ?? ""]?.cure;
  return cure === undefined ? reasonOf(error) : `${reasonOf(error)}; ${cure}`;
}
