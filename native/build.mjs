/** Builds the addon with cargo and puts it beside this file as `logveil.<platform>-<arch>[-<abi>].node`, where src/native/loader.ts looks. */
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { publishFile } from "../scripts/publish.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const { platform, arch } = process;
const target =
  platform === "linux"
    ? `linux-${arch}-${process.report.getReport().header.glibcVersionRuntime === undefined ? "musl" : "gnu"}`
    : platform === "win32"
      ? `win32-${arch}-msvc`
      : `${platform}-${arch}`;
const library = platform === "win32" ? "logveil_node.dll" : platform === "darwin" ? "liblogveil_node.dylib" : "liblogveil_node.so";

const cargo = spawnSync("cargo", ["build", "--release", "--locked", "-p", "logveil-node"], { cwd: here, stdio: "inherit" });
if (cargo.status !== 0) {
  console.error("logveil: building the native engine failed; cargo's messages above say why");
  process.exit(1);
}
const addon = join(here, `logveil.${target}.node`);
publishFile(join(here, "target", "release", library), addon);
console.log(`built native/logveil.${target}.node`);
