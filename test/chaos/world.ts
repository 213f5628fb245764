/** What the runs share: a sidecar that dies and comes back, a disk that fills up, and what must hold whenever it is looked at. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { verifyAudit } from "../../src/audit/verify.js";
import { end, filesIn, serveProcess, type Serving } from "../support/serving.js";
import { searchFor } from "../support/raw.js";
import { call } from "../support/sidecar.js";
import type { Secrets } from "./log.js";
import { must } from "./must.js";
import type { Random } from "./random.js";

/** Size of a disk that can be full. */
const DISK_BYTES = 8 << 20;
/** Longest time that anything may take before a run has failed. */
const PATIENCE_MS = 300_000;

export class World {
  /** How often each fault was done. */
  readonly faults: Record<string, number> = {};
  readonly until = Date.now() + PATIENCE_MS;
  private serving: Promise<Serving>;
  private readonly search: (bytes: Uint8Array) => string[];

  private constructor(
    readonly home: string,
    readonly secrets: Secrets,
    private readonly env: Readonly<Record<string, string>>,
    private readonly mounted: boolean,
  ) {
    this.search = searchFor(secrets.planted);
    this.serving = serveProcess(home, { env: this.allEnv });
    this.serving.catch(() => undefined);
  }

  /** A sidecar in a folder of its own; `disk` small: one that can be filled, where the system lets us have one. */
  static open(secrets: Secrets, env: Readonly<Record<string, string>>, disk: "small" | "any"): World {
    const home = mkdtempSync(join(tmpdir(), "logveil-chaos-"));
    const mounted = disk === "small" && spawnSync("mount", ["-t", "tmpfs", "-o", `size=${DISK_BYTES},mode=0700`, "none", home]).status === 0;
    mkdirSync(join(home, "run"), { mode: 0o700 });
    return new World(home, secrets, env, mounted);
  }

  private get allEnv(): Record<string, string> {
    return { BUILD_TOKEN: this.secrets.env, ...this.env };
  }

  /** Where it answers now. */
  now(): Promise<Serving> {
    must(Date.now() < this.until, `a run took more than ${PATIENCE_MS} ms`);
    return this.serving;
  }

  /** Hands the late secret over to the job `chaos`; false where that was not acknowledged. */
  async tellLate(): Promise<boolean> {
    const { socket } = await this.now();
    const batch = JSON.stringify({ name: "LATE", value: this.secrets.late });
    const reply = await call({ socket }, "POST", "/v1/jobs/chaos/secrets", batch).catch(() => undefined);
    if (reply?.status !== 200) await sleep(10);
    return reply?.status === 200;
  }

  private count(fault: string): void {
    this.faults[fault] = (this.faults[fault] ?? 0) + 1;
  }

  /** Dies in the middle of whatever it does, leaves nothing raw, and comes back. */
  async kill(): Promise<void> {
    this.count("kill");
    const { child } = await this.serving;
    await end(child, "SIGKILL");
    this.checkFiles();
    await this.start();
  }

  /** Is ended in order, and comes back. */
  async restart(): Promise<void> {
    this.count("restart");
    const { child, told } = await this.serving;
    await end(child, "SIGTERM");
    // 1: requests were cut off; 2: the audit had failed before.
    must([0, 1, 2].includes(child.exitCode!), `ended by SIGTERM it exits in order, not with ${child.exitCode} ${child.signalCode}: ${told()}`);
    this.checkFiles();
    await this.start();
  }

  private async start(): Promise<void> {
    this.serving = serveProcess(this.home, { env: this.allEnv });
    await this.serving;
  }

  /** Something that others do to it. */
  async note(fault: string, act: () => Promise<void> | void): Promise<void> {
    this.count(fault);
    await act();
  }

  /** Stands still. */
  async freeze(random: Random): Promise<void> {
    this.count("freeze");
    const { pid } = await this.serving;
    process.kill(pid, "SIGSTOP");
    await sleep(random.int(5, 150));
    process.kill(pid, "SIGCONT");
  }

  /** Its disk is full for a while; without a disk of its own, its files may not grow. */
  async fill(random: Random): Promise<void> {
    const { pid } = await this.serving;
    const filler = join(this.home, "filler");
    const left = random.int(0, 3) * 4096;
    if (this.mounted) {
      this.count("full disk");
      fillDisk(this.home, filler, left);
    } else {
      this.count("file size limit");
      limitFiles(pid, String(left));
    }
    await sleep(random.int(10, 200));
    if (this.mounted) rmSync(filler);
    else limitFiles(pid, "unlimited");
    await this.recover();
  }

  /** The audit and the store go on by themselves when there is room. */
  private async recover(): Promise<void> {
    for (;;) {
      // Throws when it takes too long.
      const { port } = await this.now();
      const { status } = await call({ port }, "POST", "/v1/jobs/probe/streams/probe", "a line\n");
      if (status === 200) return;
      must(status === 503, `a full disk is answered with 503, not ${status}`);
      await sleep(50);
    }
  }

  /** Nothing raw in any file. */
  checkFiles(): void {
    for (const file of filesIn(join(this.home, "state"))) this.check(readFileSync(file), file);
  }

  check(bytes: Uint8Array, where: string): void {
    const found = this.search(bytes);
    must(found.length === 0, `raw bytes in ${where}: ${found.join(", ")}`);
  }

  /** Ends in order: exits with 0, has said nothing raw, has left nothing raw, and its audit is whole. */
  async finish(): Promise<void> {
    const { child, told } = await this.serving;
    await end(child, "SIGTERM");
    must(child.exitCode === 0, `ended with nothing under way it exits with 0, not ${child.exitCode} ${child.signalCode}: ${told()}`);
    this.check(Buffer.from(told()), "what it said");
    this.checkFiles();
    const { ok, problem } = await verifyAudit(join(this.home, "state", "logveil", "audit"));
    must(ok, `the audit does not verify: ${problem?.why}`);
  }

  async close(): Promise<void> {
    await this.serving.then(({ child }) => end(child, "SIGKILL")).catch(() => undefined);
    if (this.mounted) spawnSync("umount", ["-l", this.home]);
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** Leaves so many bytes, or none if others were faster. */
function fillDisk(folder: string, file: string, left: number): void {
  const { bavail, bsize } = statfsSync(folder);
  try {
    writeFileSync(file, Buffer.alloc(Math.max(0, bavail * bsize - left)));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  }
}

function limitFiles(pid: number, bytes: string): void {
  const { status } = spawnSync("prlimit", ["--pid", String(pid), `--fsize=${bytes}:unlimited`]);
  must(status === 0, "prlimit is there and may limit a process of ours");
}
