/** Files that are made once, by whoever is first: keys. */
import { randomBytes } from "node:crypto";
import { closeSync, fsyncSync, linkSync, openSync, unlinkSync, writeFileSync } from "node:fs";

/**
 * Makes `file`, mode 0600, with `content`, unless there is one: it is there whole or not at all, and of two processes that start together one makes it. Written beside and
 * linked into place. Throws errors of the system.
 */
export function createOnce(file: string, content: string | Uint8Array): void {
  const temporary = `${file}.${process.pid}.${randomBytes(4).toString("hex")}`;
  const descriptor = openSync(temporary, "wx", 0o600);
  try {
    try {
      writeFileSync(descriptor, content);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    linkSync(temporary, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    unlinkSync(temporary);
  }
}
