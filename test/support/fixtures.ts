/** Real logs and cases that nobody here wrote. They lie outside the repository; tests that need them say so and pass over where they are absent. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";

const folder = process.env["LOGVEIL_FIXTURES"] ?? fileURLToPath(new URL("../../../shared/fixtures", import.meta.url));

export const HAVE_FIXTURES = existsSync(join(folder, "logs"));
if (!HAVE_FIXTURES) console.warn(`no fixtures at ${folder}: tests on real logs are passed over; set LOGVEIL_FIXTURES`);

export function fixture(path: string): Buffer {
  return readFileSync(join(folder, path));
}

export function fixtureNames(path: string): string[] {
  return readdirSync(join(folder, path));
}

export interface Log {
  readonly name: string;
  readonly bytes: Buffer;
}

/** Every log, unpacked. */
export function logs(): Log[] {
  if (!HAVE_FIXTURES) return [];
  return readdirSync(join(folder, "logs")).flatMap((family) =>
    readdirSync(join(folder, "logs", family))
      .filter((name) => name.endsWith(".gz"))
      .map((name) => ({ name: `${family}/${name}`, bytes: gunzipSync(fixture(`logs/${family}/${name}`)) })),
  );
}
