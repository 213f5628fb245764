/** `npm test [-- vitest arguments]`: sets up, then runs the test suite. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { root, setupOrExit } from "./setup.mjs";

await setupOrExit();
const { status } = spawnSync(process.execPath, [join(root, "node_modules/vitest/vitest.mjs"), "run", ...process.argv.slice(2)], {
  cwd: root,
  stdio: "inherit",
});
process.exit(status ?? 1);
