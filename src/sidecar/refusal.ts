/** Why a request is refused: what any part of the sidecar throws, and an answer is made of. What becomes of it: answers.ts, replies.ts, refused.ts. */

/**
 * Reasons, as `logveil_refused_total` names them, and what the log says of each; undefined: it is only counted, as clients meet it in ordinary work. No text holds input: an
 * answer may name a header field of the request, a line of the log may not.
 */
export const REASONS = {
  media_type: "the body is of a type that cannot be masked",
  coding: "the content coding cannot be decoded, or not within limits.maxCodings",
  part: "the body is a part of a larger one, which cannot be masked by itself",
  signature: "a header signs the body, or digests it in a way that cannot be computed again after masking",
  digest: "the digest that came with the body is not the digest of the body",
  damaged: "the body is damaged, or not what its type or coding says",
  too_large: "the body is larger than a limit: limits.maxDecodedBytes, limits.maxRatio, limits.zstdWindow or limits.maxHeld",
  trailer: "a trailer cannot be passed on",
  credential: "the head of the request may hold a credential, which must not wait in the spool",
  answer: "the answer of the log storage cannot be masked",
  upgrade: "another protocol was asked for",
  host: "the request is for a host name that is not in auth.hosts",
  origin: "the request comes from a web page of another host",
  request: "the request is invalid or could be read in two ways",
  token: "the token or certificate is missing, or not that of the job",
  failed_job: "the job has failed by onFinding.actions",
  untrusted: "nothing can be masked now: see /readyz",
  secrets: "secrets of the job were lost in a restart: register them again",
  spool: "the spool is full or cannot be written",
  upstream: "the log storage does not answer, or not validly",
  loop: "upstream.url leads back to this sidecar",
  busy: "too many requests, connections, jobs or streams at a time",
  store: "what was received cannot be recorded or kept: see /readyz",
  timeout: undefined,
  offset: undefined,
  not_found: undefined,
  // Told with their senders: syslog.ts.
  syslog_format: undefined,
  syslog_framing: undefined,
} as const satisfies Readonly<Record<string, string | undefined>>;

export type Reason = keyof typeof REASONS;

/** What a status means where nothing else is said. */
const BY_STATUS = {
  400: "request",
  401: "token",
  403: "token",
  404: "not_found",
  408: "timeout",
  409: "offset",
  413: "too_large",
  415: "media_type",
  421: "host",
  422: "failed_job",
  501: "upgrade",
  502: "upstream",
  503: "busy",
  504: "upstream",
  508: "loop",
} as const satisfies Readonly<Record<number, Reason>>;

/** A request that cannot be served now, with its HTTP status. The message says what would be accepted, and which setting changes it. */
export class Refusal extends Error {
  readonly reason: Reason;

  constructor(
    readonly status: keyof typeof BY_STATUS,
    message: string,
    /** More of the answer: header fields. */
    readonly headers: Readonly<Record<string, string>> = {},
    reason?: Reason,
  ) {
    super(message);
    this.reason = reason ?? BY_STATUS[status];
  }
}
