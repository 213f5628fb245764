/** Small files of state: JSON with a version, replaced as a whole. */
import { randomUUID } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { syncFolder } from "../audit/folder.js";
import { checkFormat, type Versioned } from "../format.js";

/** Replaces a file, atomically and durably. Throws errors of the system. */
export async function writeState(file: string, format: number, content: object): Promise<void> {
  // Several may do so at a time.
  const part = `${file}.${randomUUID()}.part`;
  await writeFile(part, `${JSON.stringify({ format, ...content })}\n`, { mode: 0o600, flush: true });
  await rename(part, file);
  await syncFolder(dirname(file));
}

/** Reads a file; undefined: there is none. Throws `LV_FORMAT` for a newer version, errors of the system, and those of JSON for what is damaged. */
export async function readState<T extends object>({ path, what, supported }: Versioned): Promise<T | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  const { format, ...content } = JSON.parse(text) as T & { format?: unknown };
  checkFormat(format, { path, what, supported });
  return content as unknown as T;
}
