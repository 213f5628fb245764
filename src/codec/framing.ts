/**
 * Framings: where the text is in a body, and what is kept as it is. One table, a row each; the machine behind a row holds decoder and encoder beside each other.
 * Pure: no I/O, no clock. What a framing does not understand is an error (`LV_FRAMING`), never passed on.
 */
import { openForm } from "./form.js";
import { JSON_TEXT, NDJSON } from "./json.js";
import { StringsMasker } from "./strings.js";

/** A text channel of the engine: what a `RedactorStream` offers. Pieces may be views of the chunk and hold until the next call. */
export interface TextMasker {
  push(chunk: Uint8Array): Uint8Array[];
  idle(): Uint8Array[];
  end(): Uint8Array[];
  /** Gives the channel up: what it holds back is dropped, its native state freed. */
  close(): void;
}

/**
 * One body on its way: `push` takes bytes and answers what may leave, `idle` is called after silence, `end` once, `close` instead of `end` to give it up. Pieces may be
 * views of the chunk: use or copy them before you reuse its memory. Throws `LV_FRAMING` for a body that is not what it says, `LV_CLOSED` for a call after the end, an
 * error or `close`. What had not left then never leaves.
 */
export type BodyMasker = TextMasker;

/** Opens a channel of a body. `joined`: it gets strings with separators between them. */
export type OpenText = (options: { readonly joined?: boolean }) => TextMasker;

export interface Framing {
  readonly name: "text" | "ndjson" | "json" | "form";
  /** Media types, lower case, without parameters. */
  readonly contentTypes: readonly string[];
  /** Opens one body. `openText` is called once for each channel, with the options of a `RedactorStream` that the framing needs; the body owns what it answers. */
  open(openText: OpenText): BodyMasker;
}

export const FRAMINGS: readonly Framing[] = [
  { name: "text", contentTypes: ["text/plain"], open: (openText) => openText({}) },
  {
    name: "ndjson",
    contentTypes: ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"],
    open: (openText) => new StringsMasker(NDJSON, openText({ joined: true })),
  },
  { name: "json", contentTypes: ["application/json", "text/json"], open: (openText) => new StringsMasker(JSON_TEXT, openText({ joined: true })) },
  { name: "form", contentTypes: ["application/x-www-form-urlencoded"], open: openForm },
];

/**
 * The framing of a `Content-Type` (RFC 9110 §8.3); `application/…+json` is JSON (RFC 6839 §3.1). Undefined: none is known, or one of the framings that
 * are UTF-8 comes in another charset; such a body cannot be masked.
 */
export function framingOf(contentType: string): Framing | undefined {
  const [type = "", ...parameters] = contentType.toLowerCase().split(";");
  const media = type.trim();
  const framing = FRAMINGS.find(({ name, contentTypes }) => contentTypes.includes(media) || (name === "json" && media.endsWith("+json")));
  if (framing === undefined || framing.name === "text") return framing;
  const charsets = parameters.map((parameter) => parameter.split("=")).filter(([name]) => name!.trim() === "charset");
  return charsets.every(([, value = ""]) => ["utf-8", "utf8", "us-ascii"].includes(value.trim().replaceAll('"', ""))) ? framing : undefined;
}
