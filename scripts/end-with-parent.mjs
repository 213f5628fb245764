/** Loaded into a sidecar that `npm start` starts: ends it when its parent is gone, however that ended. The channel between the two tells. */

/** Time to keep what is under way, in milliseconds; then it is ended at once. */
const GRACE_MS = 30_000;

process.once("disconnect", () => {
  process.kill(process.pid, "SIGTERM");
  setTimeout(() => process.kill(process.pid, "SIGKILL"), GRACE_MS).unref();
});
process.channel?.unref();
