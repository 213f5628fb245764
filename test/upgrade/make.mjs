/**
 * `node test/upgrade/make.mjs CHECKOUT NAME`: makes `state-NAME.tar.gz` beside this file with the sidecar of a built checkout: its store, its issued tokens and its spool, as
 * kill -9 leaves them. Run it with the code before each change of a format on disk; upgrade.test.ts opens every such archive. `facts.json` in it says what must be there.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const [checkout, name] = process.argv.slice(2);
if (checkout === undefined || !/^[\w.-]+$/.test(name ?? "")) {
  console.error("make: expected the folder of a built checkout, and a name such as its commit");
  process.exit(2);
}
const home = mkdtempSync(join(tmpdir(), "logveil-upgrade-"));

/** Starts the sidecar; resolves to how it is reached. */
async function serve(env) {
  const child = spawn(process.execPath, [join(checkout, "dist/cli/main.js"), "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"], {
    env: { PATH: process.env.PATH, HOME: home, XDG_STATE_HOME: home, XDG_RUNTIME_DIR: home, BUILD_TOKEN: "upgrade-secret-0123456789", ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  process.once("exit", () => child.kill("SIGKILL"));
  let told = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (told += text));
  while (!/secrets/.test(told.split("the audit is in")[1] ?? "")) {
    if (child.exitCode !== null) throw new Error(told);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { child, data: { host: "127.0.0.1", port: Number(/listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(told)[1]) } };
}

const control = { socketPath: join(home, "logveil", "control.sock") };

function call(where, method, path, body = "", headers = {}) {
  return new Promise((resolve, reject) => {
    const sent = request({ ...where, method, path, headers, agent: false }, (response) => {
      let text = "";
      response
        .setEncoding("utf8")
        .on("data", (piece) => (text += piece))
        .on("end", () =>
          response.statusCode < 300 ? resolve({ text, headers: response.headers }) : reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`)),
        );
    });
    sent.on("error", reject).end(body);
  });
}

async function kill(child) {
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

const lines = (count, of) => Array.from({ length: count }, (_, index) => `${of} ${index} token=upgrade-secret-0123456789 ok\n`).join("");

const store = await serve({ LOGVEIL_STORE_MAX_FILE_SIZE: "64KiB", LOGVEIL_STORE_COMPRESS: "zstd" });
for (let piece = 0; piece < 4; piece++) await call(store.data, "POST", "/v1/jobs/ended/streams/build", lines(1000, `piece ${piece}, line`));
await call(control, "DELETE", "/v1/jobs/ended");
const odd = encodeURIComponent("a/b *");
await call(store.data, "POST", `/v1/jobs/${odd}/streams/${encodeURIComponent(".hidden é")}`, "odd names\n");
await call(control, "POST", "/v1/jobs/open/secrets", '{"name":"DEPLOY_KEY","value":"deploy-key-0123456789"}');
const { token } = JSON.parse((await call(control, "POST", "/v1/jobs/open/token")).text);
const bearer = { authorization: `Bearer ${token}` };
const whole = "step one deploy-key-0123456789\nstep two\n";
const begun = `-----BEGIN RSA PRIVATE KEY-----\n${"MIIEpAIBAAKCAQEA7bq+x/9Z".repeat(2)}\n`;
const { text: answer } = await call(store.data, "POST", "/v1/jobs/open/streams/make", whole + begun, bearer);
await kill(store.child);

const spool = await serve({ LOGVEIL_UPSTREAM_URL: "http://127.0.0.1:9", LOGVEIL_SPOOL_ENABLED: "true", LOGVEIL_UPSTREAM_RETRIES: "0" });
const type = { "content-type": "text/plain" };
await call(spool.data, "POST", "/logs/small", "small upgrade-secret-0123456789\n", type);
await call(spool.data, "POST", "/logs/large", lines(3000, "large"), type);
await kill(spool.child);

const facts = { token, offset: JSON.parse(answer).offset, whole: whole.length };
writeFileSync(join(home, "logveil", "facts.json"), JSON.stringify(facts));
const folder = fileURLToPath(new URL(".", import.meta.url));
mkdirSync(folder, { recursive: true });
// The audit has a signing key in it, and fixtures of its own.
const { status } = spawnSync("tar", ["-C", join(home, "logveil"), "-czf", join(folder, `state-${name}.tar.gz`), "logs", "spool", "facts.json"], {
  stdio: "inherit",
});
rmSync(home, { recursive: true, force: true });
process.exit(status ?? 1);
