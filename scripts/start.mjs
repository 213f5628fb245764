/** `npm start [-- FILE]`: sets up, then masks FILE, or the log of the set-up itself, with secrets planted in a dozen spellings. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { log, root, setup } from "./setup.mjs";

setup();
const files = process.argv.slice(2);
const { status } = spawnSync(process.execPath, [join(root, "dist/cli/main.js"), "demo", ...(files.length > 0 ? files : [log])], { stdio: "inherit" });
process.exit(status ?? 1);
