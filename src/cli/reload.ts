/**
 * Reads the configuration, the files of secrets and those of rules again. All of it is read and checked before any of it is put in force; what is wrong leaves everything
 * as it is. With `secrets.ttl`, secrets alone are read again by themselves, so that they do not become too old while their files are there.
 */
import { createHmac, randomBytes } from "node:crypto";
import { changesOf, type Config } from "../config/index.js";
import { LogveilError } from "../errors.js";
import type { Reloading, ReloadReport } from "../sidecar/control.js";
import type { LiveOptions, Sidecar } from "../sidecar/serve.js";
import type { SecretInput } from "../types.js";

/** A configuration with what its files say. */
export interface Loaded {
  readonly config: Config;
  readonly warnings: readonly string[];
  readonly live: LiveOptions;
}

export interface ReloaderOptions {
  /** Reads everything. Throws `LV_CONFIG`, `LV_RULES`, `LV_IO`. */
  load(this: void): Loaded;
  /** Reads what a configuration knows beforehand. Throws `LV_CONFIG`, `LV_IO`. */
  known(this: void, config: Config): { readonly secrets: SecretInput[]; readonly upstreamHeaders: readonly string[] };
  /** What else is to be done about a configuration that is in force. */
  changed(this: void, config: Config): void;
}

/** Compares secrets without keeping them. */
const KEY = randomBytes(32);
const digestOf = (value: unknown): string =>
  createHmac("sha256", KEY)
    .update(JSON.stringify(value) ?? "")
    .digest("base64");
const digest = (secrets: readonly SecretInput[]): string =>
  digestOf(secrets.map(({ name, value }) => [name, typeof value === "string" ? value : Buffer.from(value).toString("base64")]));

/** Fields that name files, and what comes of those. */
const FILES: readonly (readonly [path: string, of: (live: LiveOptions) => unknown])[] = [
  ["tls", ({ tls }) => tls],
  ["control.tls", ({ controlTls }) => controlTls],
  ["auth.tokenFile", ({ tokens }) => tokens],
  ["upstream.headersFile", ({ upstreamHeaders }) => upstreamHeaders],
];

export class Reloader implements Reloading {
  last: Reloading["last"] = { at: Date.now(), ok: true, needsRestart: [] };
  private sidecar: Sidecar | undefined;
  private timer: NodeJS.Timeout | undefined;
  private turn: Promise<unknown> = Promise.resolve();
  private readonly begun: Config;
  private known: string;
  /** What the last reading of secrets by themselves failed with. */
  private failure: string | undefined;

  constructor(
    /** What is in force, but for what needs a restart. */
    private loaded: Loaded,
    private readonly options: ReloaderOptions,
  ) {
    this.begun = loaded.config;
    this.known = digest(loaded.live.engine.secrets ?? []);
  }

  /** From now on there is a sidecar to put things in force in. */
  attach(sidecar: Sidecar): void {
    this.sidecar = sidecar;
    this.schedule();
  }

  run(): Promise<ReloadReport> {
    return this.inTurn(() => this.reload());
  }

  /** Reads the secrets again; never rejects. */
  refresh(): Promise<void> {
    return this.inTurn(() => this.readSecrets());
  }

  close(): void {
    clearInterval(this.timer);
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.turn.then(work);
    this.turn = result.catch(() => undefined);
    return result;
  }

  private async reload(): Promise<ReloadReport> {
    const sidecar = this.sidecar;
    if (sidecar === undefined) throw new LogveilError("LV_USAGE", "the sidecar is being started: try again later");
    try {
      const next = this.options.load();
      const { policy } = sidecar;
      await sidecar.apply(next.live);
      const changed = this.changes(next, policy, sidecar.policy);
      const { needRestart: needsRestart } = changesOf(this.begun, next.config);
      this.loaded = next;
      this.known = digest(next.live.engine.secrets ?? []);
      this.failure = undefined;
      this.last = { at: Date.now(), ok: true, needsRestart };
      this.options.changed(next.config);
      this.schedule();
      for (const warning of next.warnings) sidecar.log("warn", warning);
      sidecar.log("info", `reloaded: ${changed.length === 0 ? "the same configuration" : changed.join(", ")}`);
      if (needsRestart.length > 0) sidecar.log("warn", `needs a restart: ${needsRestart.join(", ")}`);
      return { secrets: next.live.engine.secrets?.length ?? 0, rules: sidecar.rules, policy: sidecar.policy, changed, needsRestart, warnings: next.warnings };
    } catch (error) {
      const message = describe(error);
      this.last = { ...this.last, ok: false, error: message };
      sidecar.log("error", `nothing was reloaded, what was in force stays: ${message}`);
      throw error;
    }
  }

  /** Fields with another value, or whose files say something else. */
  private changes(next: Loaded, policyBefore: string, policy: string): string[] {
    const { live } = changesOf(this.loaded.config, next.config);
    const isNew = (group: string): boolean => !live.some((path) => path.startsWith(group));
    return [
      ...live,
      ...(isNew("secrets.") && digest(next.live.engine.secrets ?? []) !== this.known ? ["secrets.files"] : []),
      ...(isNew("rules.") && policy !== policyBefore ? ["rules.files"] : []),
      ...FILES.filter(([path, of]) => isNew(path) && digestOf(of(next.live)) !== digestOf(of(this.loaded.live))).map(([path]) => path),
    ];
  }

  private async readSecrets(): Promise<void> {
    const { config, live } = this.loaded;
    try {
      const { secrets, upstreamHeaders } = this.options.known(config);
      const known = digest(secrets);
      if (known === this.known) {
        this.sidecar!.refreshed();
      } else {
        const next = { ...live, upstreamHeaders, engine: { ...live.engine, secrets } };
        await this.sidecar!.apply(next);
        this.loaded = { ...this.loaded, live: next };
        this.known = known;
        this.sidecar!.log("info", `secrets were read again: ${secrets.length}`);
      }
      if (this.failure !== undefined) this.sidecar!.log("info", "secrets can be read again");
      this.failure = undefined;
    } catch (error) {
      const message = describe(error);
      if (message !== this.failure) this.sidecar!.log("error", `secrets cannot be read again: ${message}; after secrets.ttl requests are refused`);
      this.failure = message;
    }
  }

  /** Twice within the time after which secrets are too old. */
  private schedule(): void {
    clearInterval(this.timer);
    const { secretsTtlMs } = this.loaded.live;
    if (secretsTtlMs !== undefined) this.timer = setInterval(() => void this.refresh(), secretsTtlMs / 2).unref();
  }
}

/** Messages of ours name places, never values; those of others may not. */
const describe = (error: unknown): string => (error instanceof LogveilError ? error.message : ((error as NodeJS.ErrnoException).code ?? "unexpected"));
