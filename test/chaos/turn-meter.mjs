/**
 * Loaded into a sidecar by pressure.mjs: how much CPU the process uses while its event loop does not turn, in milliseconds, a line each, to the file that LOGVEIL_TURN_METER names. Unlike time it does not
 * depend on what else the machine does. CPU of other threads counts as well, so it is rather too much.
 */
import { appendFileSync } from "node:fs";

const TOLD_MS = 250;
let { user, system } = process.cpuUsage();
let held = [];
setInterval(() => {
  const now = process.cpuUsage();
  held.push(((now.user - user + now.system - system) / 1000).toFixed(2));
  ({ user, system } = now);
}, 1).unref();
setInterval(() => {
  appendFileSync(process.env.LOGVEIL_TURN_METER, `${held.join("\n")}\n`);
  held = [];
}, TOLD_MS).unref();
