/** Why a request is refused: what any part of the sidecar throws, and an answer is made of. */

/** A request that cannot be served now, with its HTTP status. */
export class Refusal extends Error {
  constructor(
    readonly status: 400 | 401 | 403 | 404 | 408 | 409 | 413 | 415 | 422 | 502 | 503 | 504 | 508,
    message: string,
    /** More of the answer: header fields. */
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }
}
