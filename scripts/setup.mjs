/**
 * What `npm start`, `npm test` and `npm run build` have in common: check the tools, install, build native and TypeScript — each only if its
 * inputs changed since it last succeeded. No dependencies: it runs before there are any. All output goes to .build/setup.log.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..");
export const log = join(root, ".build", "setup.log");

const say = (text) => console.log(`logveil: ${text}`);

function stop(text) {
  console.error(`logveil: ${text}`);
  process.exit(1);
}

const works = (command) => spawnSync(command, ["--version"], { stdio: "ignore" }).status === 0;

function checkTools() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19)) stop(`Node ${process.versions.node} is too old: install Node 20.19 or later (https://nodejs.org).`);
}

/** re2 (a rival in the benches) and zstd-napi compile while npm installs. */
function checkCompilers() {
  const missing = ["make", "g++", "python3"].filter((tool) => !works(tool));
  if (missing.length > 0) stop(`${missing.join(", ")} missing, which compile re2: install them (Debian, Ubuntu: apt-get install build-essential python3).`);
}

/** A digest of the contents of files and folders. */
function digest(...paths) {
  const hash = createHash("sha256").update(process.version);
  const add = (path) => {
    if (!existsSync(path)) return;
    if (statSync(path).isDirectory()) {
      for (const name of readdirSync(path).sort()) if (!["target", "node_modules"].includes(name) && !name.endsWith(".node")) add(join(path, name));
    } else hash.update(path.slice(root.length)).update(readFileSync(path));
  };
  for (const path of paths) add(join(root, path));
  return hash.digest("hex");
}

/** Runs `work` unless it succeeded before on the same inputs and `result` still exists. */
function step(name, stamp, value, result, work) {
  const file = join(root, stamp);
  if (existsSync(file) && readFileSync(file, "utf8") === value && existsSync(join(root, result))) return;
  say(`${name} …`);
  const started = Date.now();
  work();
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, value);
  say(`${name}: ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

function run(command, args, options = {}) {
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 1 << 28,
    env: { ...process.env, FORCE_COLOR: "1", CARGO_TERM_COLOR: "always" },
    ...options,
  });
  appendFileSync(log, `$ ${command} ${args.join(" ")}\n${result.stdout ?? ""}${result.stderr ?? ""}`);
  if (result.status !== 0) {
    process.stderr.write((result.stdout ?? "") + (result.stderr ?? ""));
    stop(`"${command} ${args.join(" ")}" failed; all output is in .build/setup.log`);
  }
}

function buildNative() {
  const native = () => readdirSync(join(root, "native")).filter((name) => name.endsWith(".node"));
  if (works("cargo")) {
    step("building the native engine", ".build/native.stamp", digest("native"), "native/target/release", () => run(process.execPath, ["native/build.mjs"]));
  } else if (native().length === 0) {
    say("cargo is missing, so everything runs on the slower portable engine: install Rust (https://rustup.rs) for the native one.");
    return;
  }
  mkdirSync(join(root, "dist", "native"), { recursive: true });
  for (const name of native()) copyFileSync(join(root, "native", name), join(root, "dist", "native", name));
}

function compile() {
  const cli = join(root, "dist", "cli");
  rmSync(cli, { recursive: true, force: true });
  run(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"]);
  // The command is one file, and one for each subcommand: a file takes less time to load than thirty.
  const bundle = ["--bundle", "--splitting", "--format=esm", "--platform=node", "--target=node20", "--packages=external"];
  run(process.execPath, ["node_modules/esbuild/bin/esbuild", "dist/cli/main.js", "--log-level=warning", ...bundle, "--outdir=.build/cli"]);
  rmSync(cli, { recursive: true });
  renameSync(join(root, ".build", "cli"), cli);
  chmodSync(join(cli, "main.js"), 0o755);
}

export function setup() {
  checkTools();
  mkdirSync(join(root, ".build"), { recursive: true });
  step("installing dependencies", "node_modules/.logveil-stamp", digest("package-lock.json"), "node_modules/commander", () => {
    checkCompilers();
    writeFileSync(log, "");
    run("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=http"]);
  });
  step("compiling TypeScript", ".build/dist.stamp", digest("src", "tsconfig.json", "tsconfig.build.json"), "dist/cli/main.js", compile);
  step("proving the rules", ".build/patterns.stamp", digest("patterns", "src/rules"), "dist/patterns.json", () =>
    run(process.execPath, ["scripts/patterns.mjs"]),
  );
  buildNative();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setup();
