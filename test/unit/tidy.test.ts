/** The order of the house: who may import whom, and how long a file may get. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const BASE = ["types", "limits", "errors", "blake3", "once", "lock", "format", "turns", "io-error"];
/** Rooms of src/ and the rooms they may import from, besides themselves and BASE. */
const EDGES: Readonly<Record<string, readonly string[]>> = {
  types: [],
  limits: ["errors"],
  errors: [],
  blake3: [],
  once: [],
  lock: [],
  format: ["errors"],
  turns: [],
  "io-error": [],
  audit: [],
  core: [],
  native: ["core"],
  rules: ["core"],
  secrets: ["core"],
  codec: ["core"],
  policy: ["core", "secrets", "rules"],
  live: ["policy", "core", "secrets", "rules"],
  stream: ["live", "engine", "core"],
  engine: ["live", "policy", "stream", "native", "secrets", "rules", "core"],
  providers: ["engine", "secrets", "codec"],
  sidecar: ["audit", "engine", "live", "secrets", "codec", "providers", "stream"],
  config: ["rules", "core"],
  cli: ["sidecar", "audit", "config", "providers", "stream", "engine", "live", "codec", "native", "secrets", "rules", "core"],
  index: ["engine", "live", "native", "secrets", "rules"],
};

const files = (folder: string, ends: readonly string[]): string[] =>
  readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && ends.some((end) => entry.name.endsWith(end)))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((path) => !/node_modules|target\//.test(path));

const room = (path: string): string =>
  relative("src", path)
    .split("/")[0]!
    .replace(/\.(ts|js)$/, "");

test("rooms import only from rooms beneath them", () => {
  const wrong: string[] = [];
  for (const path of files("src", [".ts"])) {
    for (const [, target] of readFileSync(join(root, path), "utf8").matchAll(/from "(\.[^"]+)"|import\("(\.[^"]+)"\)/g)) {
      if (target === undefined) continue;
      const [from, to] = [room(path), room(join(dirname(path), target))];
      if (from !== to && !BASE.includes(to) && !(EDGES[from] ?? []).includes(to)) wrong.push(`${path} -> ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});

/** These have words of their own: a command that is not found, a handshake, a certificate. */
const HAS_WORDS = ["src/io-error.ts", "src/cli/run.ts", "src/cli/client.ts"];

test("no message shows a code of the system without words: io-error.ts has them", () => {
  const bare = files("src", [".ts"]).filter(
    (path) =>
      !HAS_WORDS.includes(path) &&
      / \(\$\{(\(error as NodeJS\.ErrnoException\)\.code|code( \?\? [^}]+)?|codeOf\(error\))\}\)/.test(readFileSync(join(root, path), "utf8")),
  );
  expect(bare).toEqual([]);
});

test("no source file is longer than 400 lines", () => {
  const long = [...files("src", [".ts"]), ...files("native", [".rs"]), ...files("bench", [".mjs"]), ...files("scripts", [".mjs"])].filter(
    (path) => !path.includes("/tests/") && readFileSync(join(root, path), "utf8").split("\n").length > 400,
  );
  expect(long).toEqual([]);
});
