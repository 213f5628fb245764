/** Law 7: no secret in errors, findings, reports, warnings or the heap. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL, fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { ENGINES } from "../support/engines.js";

const index = pathToFileURL(fileURLToPath(new URL("../../dist/index.js", import.meta.url))).href;

/** Makes the secret from bytes, so that no source text holds it; prints everything that the library says. */
const PROGRAM = `
import { writeHeapSnapshot } from "node:v8";
import { createEngine } from ${JSON.stringify(index)};
const secret = () => Buffer.from([0x71, 0x39, 0x76, 0x2d, 0x48, 0x75, 0x6e, 0x74, 0x65, 0x72, 0x37, 0x37, 0x2d, 0x7a, 0x5a, 0x51, 0x21]);
const say = (what) => console.log(JSON.stringify(what));
const value = secret();
const engine = createEngine({ engine: process.argv[1], secrets: [{ name: "S", value }], onFinding: say, onWarning: say });
value.fill(0);
const stream = engine.stream();
const input = secret();
for (const piece of [...stream.push(input), ...stream.push(Buffer.from(" tail\\n")), ...stream.end()]) piece.fill?.(0);
input.fill(0);
say(engine.reports);
say(engine.stats());
try { createEngine({ secrets: [{ name: "T", value: Buffer.concat(Array(70000).fill(secret())) }] }); } catch (error) { say([error.message, error.stack, error.facts]); }
try { stream.push(secret()); } catch (error) { say([error.message, error.stack]); }
globalThis.gc?.();
writeHeapSnapshot(process.argv[2]);
engine.close();
`;

test.each(ENGINES.map(({ engine }) => engine))("%s says no secret and leaves none in the heap", (engine) => {
  const folder = mkdtempSync(join(tmpdir(), "logveil-heap-"));
  const file = join(folder, "heap.heapsnapshot");
  const { stdout, stderr, status } = spawnSync(process.execPath, ["--expose-gc", "--input-type=module", "-e", PROGRAM, engine, file], {
    env: { ...process.env, LOGVEIL_ENGINE: "" },
  });
  expect(stderr.toString()).toBe("");
  expect(status).toBe(0);
  const secret = Buffer.from("q9v-Hunter77-zZQ!");
  const said = `${stdout.toString()}${readFileSync(file, "latin1")}`;
  for (const spelling of [secret.toString(), secret.toString("hex"), secret.toString("base64").slice(0, 20), "q9v-Hunter77"])
    expect(said.includes(spelling), spelling.length.toString()).toBe(false);
  expect(stdout.toString()).toContain('"secret":"S"');
  rmSync(folder, { recursive: true });
});
