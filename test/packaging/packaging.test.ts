/** The package as its users get it: packed, installed, imported, required, bundled, typed. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { beforeAll, describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "logveil-pack-"));
const USE = `const engine = createEngine({ secrets: [{ name: "S", value: "hunter2-hunter2" }] }); console.log(engine.engine, engine.redact("a hunter2-hunter2 b"));`;

function run(command: string, args: string[], cwd: string, env: NodeJS.ProcessEnv = {}): string {
  const { stdout, stderr, status } = spawnSync(command, args, { cwd, env: { ...process.env, LOGVEIL_ENGINE: "", ...env }, encoding: "utf8" });
  expect(status, stderr + stdout).toBe(0);
  return stdout.trim();
}

beforeAll(() => {
  const [packed] = JSON.parse(run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], root)) as [{ filename: string }];
  const target = join(folder, "node_modules", "logveil");
  mkdirSync(target, { recursive: true });
  run("tar", ["-xzf", join(folder, packed.filename), "--strip-components=1", "-C", target], folder);
  // Its dependencies as npm would place them; installing them again would need the network.
  for (const name of ["commander", "@noble", "@napi-rs", "@types", "undici-types", "re2", "smol-toml", "yaml", "zod"])
    cpSync(join(root, "node_modules", name), join(folder, "node_modules", name), { recursive: true });
  writeFileSync(join(folder, "package.json"), '{"name":"user","type":"module"}');
});

describe("the packed package", () => {
  test("is imported and required", () => {
    expect(run(process.execPath, ["--input-type=module", "-e", `import { createEngine } from "logveil"; ${USE}`], folder)).toMatch(/ a \[REDACTED:S\] b$/);
    const required = run(process.execPath, ["--input-type=commonjs", "-e", `const { createEngine } = require("logveil"); ${USE}`], folder);
    expect(required).toMatch(/ a \[REDACTED:S\] b$/);
  });

  test("has the addon where one was built, and the command", () => {
    const native = readdirSync(join(root, "native")).some((name) => name.endsWith(".node"));
    const used = run(process.execPath, ["--input-type=module", "-e", `import { createEngine } from "logveil"; ${USE}`], folder);
    expect(used.startsWith(native ? "native" : "portable")).toBe(true);
    expect(run(process.execPath, [join(folder, "node_modules/logveil/dist/cli/main.js"), "--version"], folder)).toMatch(/^\d+\.\d+\.\d+$/);
  });

  test.each(["esm", "cjs"] as const)("runs bundled into one file on the portable engine (%s)", async (format) => {
    const entry = join(folder, `entry-${format}.mjs`);
    // Without the addon of RE2 there are no rules, and that must be said.
    writeFileSync(entry, `import { createEngine } from "logveil"; ${USE.replace("secrets:", "rules: false, secrets:")}`);
    const outfile = join(mkdtempSync(join(tmpdir(), "logveil-bundle-")), format === "esm" ? "bundle.mjs" : "bundle.cjs");
    await build({ entryPoints: [entry], bundle: true, platform: "node", format, outfile, logLevel: "silent" });
    expect(run(process.execPath, [outfile], tmpdir())).toBe("portable a [REDACTED:S] b");
  });

  test("is typed", () => {
    writeFileSync(
      join(folder, "use.ts"),
      `import { createEngine, LogveilError, type Finding } from "logveil";
const engine = createEngine({ secrets: [{ name: "S", value: new Uint8Array(9) }], mask: "keyed", onFinding: (finding: Finding) => void finding.offset });
const text: string = engine.redact("x");
const bytes: Buffer = engine.redact(new Uint8Array(3));
// @ts-expect-error a mask style that does not exist
createEngine({ mask: "odd" });
export { text, bytes, LogveilError };
`,
    );
    run(
      process.execPath,
      [join(root, "node_modules/typescript/bin/tsc"), "--strict", "--noEmit", "--module", "nodenext", "--types", "node", "--skipLibCheck", "use.ts"],
      folder,
    );
  });
});
