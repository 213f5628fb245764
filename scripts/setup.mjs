/**
 * What `npm start`, `npm test` and `npm run build` have in common: check the tools, install, build native and TypeScript — each only if its
 * inputs changed since it last succeeded. No dependencies: it runs before there are any. All output goes to .build/setup.log.
 * A sidecar may run from this checkout meanwhile: nothing that it has loaded or may load is changed beneath it (publish.mjs).
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { publishFile, publishFolder } from "./publish.mjs";
import { Failure, run, say, step } from "./steps.mjs";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..");
export const log = join(root, ".build", "setup.log");

/** For a package: files of earlier builds, which processes that run may still load, are left out of dist/. */
const isClean = process.argv.includes("--clean");

const works = (command) => spawnSync(command, ["--version"], { stdio: "ignore" }).status === 0;

function checkTools() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19))
    throw new Failure(`logveil: Node ${process.versions.node} is too old: install Node 20.19 or later (https://nodejs.org).`);
}

/** re2 (a rival in the benches) and zstd-napi compile while npm installs. */
function checkCompilers() {
  const missing = ["make", "g++", "python3"].filter((tool) => !works(tool));
  if (missing.length > 0)
    throw new Failure(`logveil: ${missing.join(", ")} missing, which compile re2: install them (Debian, Ubuntu: apt-get install build-essential python3).`);
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
async function unlessDone({ name, hint = "", stamp, value, result }, work) {
  const file = join(root, stamp);
  if (existsSync(file) && readFileSync(file, "utf8") === value && existsSync(join(root, result))) return;
  await step(name, hint, work);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, value);
}

const node = (args, onLine) => run(process.execPath, args, { cwd: root, log, onLine });

async function install(onLine) {
  checkCompilers();
  writeFileSync(log, "");
  // Scripts in the foreground: so what compiles shows in the output, by its name.
  await run("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=info", "--foreground-scripts"], { cwd: root, log, onLine });
}

async function buildNative() {
  const addons = () => readdirSync(join(root, "native")).filter((name) => name.endsWith(".node"));
  if (works("cargo")) {
    const hint = "Rust, optimised: a minute or two at first";
    await unlessDone(
      { name: "building the native engine", hint, stamp: ".build/native.stamp", value: digest("native"), result: "native/target/release" },
      (onLine) => node(["native/build.mjs"], onLine),
    );
  } else if (addons().length === 0) {
    say("cargo is missing, so everything runs on the slower portable engine: install Rust (https://rustup.rs) for the native one.");
    return;
  }
  for (const name of addons()) publishFile(join(root, "native", name), join(root, "dist", "native", name));
}

async function compile(onLine) {
  const [built, cli, dist] = [".build/dist", ".build/cli", "dist"].map((name) => join(root, name));
  for (const folder of [built, cli]) rmSync(folder, { recursive: true, force: true });
  await node(["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json", "--outDir", built], onLine);
  // The command is one file, and one for each subcommand: a file takes less time to load than thirty. Their names hold digests, so those of two builds can stand side by side.
  const bundle = ["--bundle", "--splitting", "--format=esm", "--platform=node", "--target=node20", "--packages=external"];
  await node(["node_modules/esbuild/bin/esbuild", join(built, "cli", "main.js"), "--log-level=warning", ...bundle, "--outdir=.build/cli"], onLine);
  chmodSync(join(cli, "main.js"), 0o755);
  rmSync(join(built, "cli"), { recursive: true });
  const isOfCompiler = (name) => !/^(cli|native\/.*\.node$|patterns\.json$|rules\.schema\.json$)/.test(name);
  const kept = isClean ? { keptMs: 0 } : {};
  publishFolder(built, dist, { last: ["index.js"], since: join(root, ".build", "stale-dist.json"), owns: isOfCompiler, ...kept });
  publishFolder(cli, join(dist, "cli"), { last: ["main.js"], since: join(root, ".build", "stale-cli.json"), ...kept });
}

export async function setup() {
  checkTools();
  mkdirSync(join(root, ".build"), { recursive: true });
  const hint = "re2 and zstd-napi are compiled from their C++ source, which takes some minutes";
  await unlessDone(
    { name: "installing dependencies", hint, stamp: "node_modules/.logveil-stamp", value: digest("package-lock.json"), result: "node_modules/commander" },
    install,
  );
  const sources = digest("src", "tsconfig.json", "tsconfig.build.json");
  if (isClean) rmSync(join(root, ".build", "dist.stamp"), { force: true });
  await unlessDone({ name: "compiling TypeScript", stamp: ".build/dist.stamp", value: sources, result: "dist/cli/main.js" }, compile);
  await unlessDone(
    { name: "proving the rules", stamp: ".build/patterns.stamp", value: digest("patterns", "src/rules"), result: "dist/patterns.json" },
    (onLine) => node(["scripts/patterns.mjs"], onLine),
  );
  await buildNative();
}

/** The same, as a command: what goes wrong is printed, and ends the process. */
export async function setupOrExit() {
  try {
    await setup();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    console.error(error.message);
    process.exit(1);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await setupOrExit();
