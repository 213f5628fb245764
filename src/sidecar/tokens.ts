/** Bearer tokens: each writes and reads one job. Kept as digests; compared in constant time. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Refusal } from "./jobs.js";

const TOKEN_BYTES = 32;

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

export class Tokens {
  private readonly digests = new Map<string, Buffer>();

  /** With `required`, a request without a token of its job is refused. A job that has one demands it anyway. */
  constructor(private readonly required: boolean) {}

  /** Makes a new token for a job; the one before is void. */
  issue(job: string): string {
    const token = randomBytes(TOKEN_BYTES).toString("base64url");
    this.digests.set(job, digest(token));
    return token;
  }

  revoke(job: string): void {
    this.digests.delete(job);
  }

  /** Whether the request bears the token of the job. Throws a 401 where there is none and one is needed, a 403 for that of another job. */
  check({ headers }: IncomingMessage, job: string): boolean {
    const wanted = this.digests.get(job);
    const [scheme, given] = (headers.authorization ?? "").split(" ");
    if (scheme?.toLowerCase() !== "bearer" || given === undefined) {
      if (wanted === undefined && !this.required) return false;
      throw new Refusal(401, "this job needs its bearer token: see logveil job token", { "www-authenticate": 'Bearer realm="logveil"' });
    }
    // The same work whether there is a token or not.
    if (!timingSafeEqual(wanted ?? digest(""), digest(given)) || wanted === undefined) throw new Refusal(403, "the bearer token is not that of this job");
    return true;
  }
}
