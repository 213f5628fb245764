/**
 * Looks for what must be nowhere: any stretch of a planted secret, in any common spelling, in any bytes. The spellings are written down here once more, and not
 * taken from the table that the engine works by, which could lack one.
 */
export interface Planted {
  readonly name: string;
  readonly value: string;
}

/** Spellings, and how long a stretch of one must be to mean something: random hex digits are everywhere. */
const SPELLINGS: readonly { readonly name: string; readonly window: number; readonly spell: (value: Buffer) => string[] }[] = [
  { name: "plain", window: 8, spell: (value) => [value.toString("latin1")] },
  { name: "base64", window: 10, spell: (value) => [0, 1, 2].map((shift) => base64Inside(value, shift, "base64")) },
  { name: "base64url", window: 10, spell: (value) => [0, 1, 2].map((shift) => base64Inside(value, shift, "base64url")) },
  { name: "hex", window: 18, spell: (value) => [value.toString("hex"), value.toString("hex").toUpperCase()] },
  { name: "percent", window: 8, spell: (value) => [encodeURIComponent(value.toString()), encodeURIComponent(encodeURIComponent(value.toString()))] },
  { name: "json", window: 8, spell: (value) => [JSON.stringify(value.toString()).slice(1, -1)] },
  { name: "utf16", window: 16, spell: (value) => [Buffer.from(value.toString(), "utf16le").toString("latin1")] },
];

/** The characters of base64 that the value alone decides, where it stands `shift` bytes behind a multiple of 3. */
function base64Inside(value: Buffer, shift: number, coding: "base64" | "base64url"): string {
  const whole = Buffer.concat([Buffer.alloc(shift), value])
    .toString(coding)
    .replace(/=+$/, "");
  const first = Math.ceil((shift * 8) / 6);
  const last = Math.floor(((shift + value.length) * 8) / 6);
  return whole.slice(first, last);
}

/** A search for secrets: answers the places of what it finds, as `NAME (spelling) at OFFSET`, at most one for each spelling of each secret. */
export function searchFor(planted: readonly Planted[]): (bytes: Uint8Array) => string[] {
  const byWindow = new Map<number, Map<string, string>>();
  for (const { name, value } of planted) {
    for (const { name: spelling, window, spell } of SPELLINGS) {
      const stretches = byWindow.get(window) ?? new Map<string, string>();
      byWindow.set(window, stretches);
      for (const text of spell(Buffer.from(value))) {
        for (let at = 0; at + window <= text.length; at++) {
          const stretch = text.slice(at, at + window);
          if (!stretches.has(stretch)) stretches.set(stretch, `${name} (${spelling})`);
        }
      }
    }
  }
  return (bytes) => {
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
    const found = new Map<string, number>();
    for (const [window, stretches] of byWindow) {
      for (let at = 0; at + window <= text.length; at++) {
        const what = stretches.get(text.slice(at, at + window));
        if (what !== undefined && !found.has(what)) found.set(what, at);
      }
    }
    return [...found].map(([what, at]) => `${what} at ${at}`);
  };
}
