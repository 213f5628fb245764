/** What cannot be masked is not let through: the first bytes of an input are looked at before, or while, they go into the machine. */
import { endsAsZip, type Format, FORMATS, HEAD_BYTES, recognise, TAIL_BYTES } from "../codec/file-formats.js";
import { LogveilError } from "../errors.js";
import type { RedactorStream } from "../live.js";

/** What is done with media: `skip`: they are left alone; `text`: they are masked as if they were text. */
export type BinaryMode = "skip" | "text";

/** Where an input is looked at. */
export interface Place {
  /** As the user knows it. */
  readonly name: string;
  /** The content coding that it came in, if any. */
  readonly coding?: string;
}

/** The error for an input that is in `format`: `LV_NOT_CLEAN`; `facts.kind` tells media, which are skipped, from what should have been masked. */
export function notClean({ name, coding }: Place, { name: format, kind }: Pick<Format, "name" | "kind">): LogveilError {
  const what = coding === undefined ? format : `${format} in ${coding}`;
  const message =
    kind === "media"
      ? `${name} is skipped (${what}); --binary=text masks it as text`
      : kind === "wide"
        ? `cannot mask ${name} (${what}); convert it to UTF-8 first`
        : `cannot look into ${name} (${what}); unpack it first`;
  return new LogveilError("LV_NOT_CLEAN", message, { facts: { format, kind, ...(coding !== undefined && { coding }) } });
}

/** The formats that count. */
const formatsFor = (binary: BinaryMode): readonly Format[] => (binary === "skip" ? FORMATS : FORMATS.filter(({ kind }) => kind !== "media"));

/**
 * The machine, behind a look at what comes first: throws `LV_NOT_CLEAN` at the byte that shows a format, and before anything of that chunk has left. What may be the
 * beginning of one is held until the next bytes or silence tell; text is not.
 */
export function recognising(machine: RedactorStream, place: Place, binary: BinaryMode): RedactorStream {
  let head: Buffer = Buffer.alloc(0);
  /** The end of what came that has not gone into the machine. */
  let held: Buffer = Buffer.alloc(0);
  let isDecided = false;
  let candidates = formatsFor(binary);
  const look = (isWhole: boolean): "hold" | "go" => {
    const { format, state, left } = recognise(head, isWhole, candidates);
    if (format !== undefined) {
      machine.close();
      throw notClean(place, format);
    }
    candidates = left;
    isDecided = state === "no" || head.length === HEAD_BYTES;
    return state === "hold" && !isDecided ? "hold" : "go";
  };
  const release = (): Uint8Array[] => {
    const bytes = held;
    held = Buffer.alloc(0);
    return bytes.length === 0 ? [] : machine.push(bytes);
  };
  return {
    name: machine.name,
    get offset() {
      return machine.offset;
    },
    get heldBytes() {
      return held.length + machine.heldBytes;
    },
    get work() {
      return machine.work;
    },
    get settled() {
      return machine.settled;
    },
    push(chunk) {
      if (isDecided) return machine.push(chunk);
      head = Buffer.concat([head, chunk.subarray(0, HEAD_BYTES - head.length)]);
      const isHeld = look(false) === "hold";
      if (!isHeld && held.length === 0) return machine.push(chunk);
      held = Buffer.concat([held, chunk]);
      return isHeld ? [] : release();
    },
    idle: () => [...release(), ...machine.idle()],
    end() {
      if (!isDecided) look(true);
      return [...release(), ...machine.end()];
    },
    close: () => machine.close(),
  };
}

/** Throws `LV_NOT_CLEAN` for a file of `bytes` bytes that no one need read to know what it is: by its beginning, or as the zip archive that its end makes it. */
export async function checkFile(place: Place, bytes: number, read: (buffer: Buffer, position: number) => Promise<Buffer>, binary: BinaryMode): Promise<void> {
  const head = await read(Buffer.allocUnsafe(HEAD_BYTES), 0);
  const formats = formatsFor(binary).filter(({ kind }) => kind !== "coding");
  const { format } = recognise(head, head.length < HEAD_BYTES, formats);
  if (format !== undefined && format.kind !== "media") throw notClean(place, format);
  if (endsAsZip(await read(Buffer.allocUnsafe(TAIL_BYTES), Math.max(0, bytes - TAIL_BYTES)))) throw notClean(place, { name: "zip", kind: "container" });
  if (format !== undefined) throw notClean(place, format);
}
