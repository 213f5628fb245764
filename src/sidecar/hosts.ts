/**
 * For whom a request is, and what page made it. A page on the web can have a name of its own lead to 127.0.0.1 (DNS rebinding) and read, as that name, what listens there; a name
 * of another kind than those that people use for their own machine gives it away. Addresses are checked where connections come in over loopback: a page reaches others
 * only as any client of the network does.
 */
import type { IncomingMessage } from "node:http";
import { BlockList, isIP } from "node:net";
import { Refusal } from "./refusal.js";

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/** Whether an address, as a socket tells it, is of this machine only. */
export function isLoopback(address: string | undefined): boolean {
  const family = isIP(address ?? "");
  return family !== 0 && LOOPBACK.check(address!, family === 6 ? "ipv6" : "ipv4");
}

/** The name in `name`, `name:port`, `[address]:port`: in lower case, without brackets, port, and the dot of the root. */
export const hostName = (authority: string): string =>
  authority
    .replace(/:\d*$/, "")
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "")
    .toLowerCase();

const isOwn = (name: string, known: readonly string[]): boolean =>
  name === "localhost" || name.endsWith(".localhost") || isLoopback(name) || known.includes(name);

/**
 * Throws a {@link Refusal} for a request that came over loopback and is for a name that is neither of this machine nor one of `known`, or that a page of such a name made. One
 * that names no host was made by no browser.
 */
export function checkHost({ headers }: IncomingMessage, known: readonly string[]): void {
  for (const authority of [headers[":authority"], headers.host]) {
    if (typeof authority !== "string" || authority === "" || isOwn(hostName(authority), known)) continue;
    throw new Refusal(421, "the request is for a host that this sidecar does not answer for: use localhost or 127.0.0.1, or add the name to auth.hosts");
  }
  const { origin } = headers;
  if (origin === undefined) return;
  const name = URL.canParse(origin) ? hostName(new URL(origin).host) : "";
  if (!isOwn(name, known))
    throw new Refusal(403, "web pages of other hosts may not send requests here: add the host of the page to auth.hosts if it may", {}, "origin");
}
