/** Counts what is refused, and tells it: one line a minute for each reason, and how many more there were. A line never holds bytes of input. */
import type { IncomingMessage } from "node:http";
import type { Figures } from "./accounts.js";
import { printableType } from "./media.js";
import { type Reason, REASONS } from "./refusal.js";

/** Time in which one reason is told once, in milliseconds. */
const QUIET_MS = 60_000;

interface Told {
  readonly at: number;
  /** Refusals since then that were not told. */
  more: number;
}

export class Refused {
  private readonly told = new Map<Reason, Told>();

  constructor(
    private readonly figures: Figures,
    private readonly tell: (message: string) => void,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** A request was refused; undefined: what came was no request. */
  request(reason: Reason, request?: IncomingMessage): void {
    const type = request?.headers["content-type"];
    const facts = request === undefined ? [] : [...(type === undefined ? [] : [`type ${printableType(type)}`]), `route ${routeNames.get(request) ?? "none"}`];
    this.take(reason, facts.join(", "));
  }

  /** Something was refused of which `facts`, in words of ours, are known. */
  take(reason: Reason, facts = ""): void {
    this.figures.count("refusals", reason);
    const text = REASONS[reason];
    if (text === undefined) return;
    const before = this.told.get(reason);
    if (before !== undefined && this.now() - before.at < QUIET_MS) {
      before.more++;
      return;
    }
    this.told.set(reason, { at: this.now(), more: 0 });
    this.tell(`refused (${reason}): ${text}${facts === "" ? "" : `; ${facts}`}${more(before)}`);
  }

  /** Tells what was held back for longer than `quietMs`. */
  sweep(quietMs = QUIET_MS): void {
    for (const [reason, told] of this.told) {
      if (this.now() - told.at < quietMs) continue;
      this.told.delete(reason);
      if (told.more > 0) this.tell(`refused (${reason}): ${REASONS[reason]}${more(told)}`);
    }
  }
}

const more = (told: Told | undefined): string => (told === undefined || told.more === 0 ? "" : `; ${told.more} more since the line before`);

/** The routes that requests were found to be for, as the configuration or the API writes them. */
const routeNames = new WeakMap<IncomingMessage, string>();

/** Says for which route a request is, for the line about its refusal. */
export const nameRoute = (request: IncomingMessage, name: string | undefined): void => void (name !== undefined && routeNames.set(request, name));
