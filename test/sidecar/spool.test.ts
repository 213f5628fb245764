/** The spool against a model, on a disk that forgets and fails: what was kept is delivered, in order, nothing else is, and no more is on disk than allowed. */
import { spawnSync } from "node:child_process";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, onTestFinished, test, vi } from "vitest";
import { DamagedBody } from "../../src/sidecar/spool/record.js";
import { type Kept, Spool } from "../../src/sidecar/spool/spool.js";
import { MemoryDisk } from "../support/disk.js";
import { temporary } from "../support/sidecar.js";

const MAX_BYTES = 1 << 20;
const CURSOR_BYTES = 4128;

/** A body that tells which one it is. */
const bodyOf = (id: number, bytes: number): Buffer => Buffer.alloc(bytes, `${id},`);

async function bytesOf({ body }: Kept): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of body()) pieces.push(piece);
  return Buffer.concat(pieces);
}

const idOf = ({ head }: Kept): number => Number(head.path.slice(1));

/** What must hold, and what is known of each request that was handed in. */
class Model {
  /** Bytes of each, by its id. */
  readonly handed: number[] = [];
  /** Kept, and neither settled nor being sent. In order. */
  waiting: number[] = [];
  /** Of those whose keeping was under way when it crashed nobody knows. */
  readonly unknown = new Set<number>();
  /** Settled, but perhaps forgotten: may come once more. */
  readonly again = new Set<number>();
  readonly settled = new Set<number>();
  /** Places of their records: their order. */
  readonly places = new Map<number, Kept["place"]>();

  wait(ids: readonly number[]): void {
    this.waiting = [...this.waiting, ...ids].toSorted((a, b) => this.order(a) - this.order(b));
  }

  order(id: number): number {
    return this.places.get(id)!.number * MAX_BYTES + this.places.get(id)!.offset;
  }
}

class Real {
  disk = new MemoryDisk();
  spool!: Spool;
  readonly logs: string[] = [];
  /** Being sent before their turn. */
  sending: Kept[] = [];
  private awaited: Promise<Kept | undefined> | undefined;

  /** The next one to be delivered; undefined: it is not to be had now. */
  async next(): Promise<Kept | undefined> {
    this.awaited ??= this.spool.next();
    const never = (async () => {
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    })();
    const kept = await Promise.race([this.awaited, never]);
    if (kept !== undefined) this.awaited = undefined;
    return kept ?? undefined;
  }

  private constructor(readonly folder: string) {}

  static async start(): Promise<Real> {
    const real = new Real(temporary());
    await real.open();
    return real;
  }

  async open(): Promise<void> {
    this.awaited = undefined;
    this.spool = await Spool.open({
      folder: this.folder,
      maxBytes: MAX_BYTES,
      disk: this.disk,
      log: (level, message) => this.logs.push(`${level}: ${message}`),
    });
  }

  async keep(id: number, bytes: number): Promise<Kept> {
    const draft = this.spool.draft();
    const body = bodyOf(id, bytes);
    try {
      for (let from = 0; from < bytes; from += 50_000) await draft.add(body.subarray(from, from + 50_000));
    } catch (error) {
      await draft.drop();
      throw error;
    }
    return this.spool.keep(draft, { method: "POST", path: `/${id}`, headers: ["Content-Type", "text/plain"] });
  }

  bounded(): void {
    expect(this.disk.bytes).toBeLessThanOrEqual(MAX_BYTES + CURSOR_BYTES);
  }
}

type Command = fc.AsyncCommand<Model, Real, boolean>;

function hand(model: Model, bytes: number): number {
  model.handed.push(bytes);
  return model.handed.length - 1;
}

/** A request is kept: it may be sent at once only if nothing waits. */
function noteKept(model: Model, real: Real, kept: Kept): void {
  model.places.set(idOf(kept), kept.place);
  if (kept.isNext) {
    expect(model.waiting).toEqual([]);
    real.sending.push(kept);
  } else model.waiting.push(idOf(kept));
}

/** Some are handed in at once; perhaps the disk fails meanwhile, at one of its operations. */
class Keep implements Command {
  constructor(
    private readonly sizes: readonly number[],
    private readonly failAt: number,
    private readonly code: "ENOSPC" | "EIO",
  ) {}
  check = (): boolean => true;
  async run(model: Model, real: Real): Promise<void> {
    let operations = 0;
    real.disk.fault = () => {
      if (++operations === this.failAt) throw Object.assign(new Error("injected"), { code: this.code });
    };
    const results = await Promise.allSettled(this.sizes.map((bytes) => real.keep(hand(model, bytes), bytes)));
    real.disk.fault = () => undefined;
    for (const kept of results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : [])).toSorted(byPlace)) noteKept(model, real, kept);
    for (const result of results) {
      if (result.status === "rejected") expect(result.reason).toMatchObject({ status: 503, headers: { "retry-after": expect.any(String) } });
    }
    real.bounded();
  }
  toString = (): string => `Keep(${this.sizes.join(",")}; ${this.code} at ${this.failAt})`;
}

const byPlace = ({ place: a }: Kept, { place: b }: Kept): number => a.number - b.number || a.offset - b.offset;

/** One that is being sent out of turn is delivered, or is to wait. */
class Sent implements Command {
  constructor(
    private readonly which: number,
    private readonly isDelivered: boolean,
  ) {}
  check = (): boolean => true;
  async run(model: Model, real: Real): Promise<void> {
    const [kept] = real.sending.splice(this.which % Math.max(1, real.sending.length), 1);
    if (kept === undefined) return;
    expect((await bytesOf(kept)).equals(bodyOf(idOf(kept), model.handed[idOf(kept)]!))).toBe(true);
    if (this.isDelivered) {
      model.settled.add(idOf(kept));
      real.spool.settle(kept);
    } else {
      model.wait([idOf(kept)]);
      real.spool.wait(kept);
    }
  }
  toString = (): string => `Sent(${this.which}, ${this.isDelivered})`;
}

/** The next one is delivered, or is to be tried again. There is none while the first of all is being sent. */
async function deliver(model: Model, real: Real, isDelivered: boolean): Promise<void> {
  const kept = await real.next();
  const first = [...model.waiting, ...real.sending.map(idOf)].toSorted((a, b) => model.order(a) - model.order(b))[0];
  if (kept === undefined) return expect(first === undefined || !model.waiting.includes(first)).toBe(true);
  const id = idOf(kept);
  expect((await bytesOf(kept)).equals(bodyOf(id, model.handed[id]!))).toBe(true);
  if (model.unknown.has(id) || model.again.has(id)) {
    if (isDelivered) real.spool.settle(kept);
    return;
  }
  expect([id, model.waiting[0]]).toEqual([first, first]);
  if (!isDelivered) return;
  model.waiting.shift();
  model.settled.add(id);
  real.spool.settle(kept);
}

class Deliver implements Command {
  constructor(private readonly isDelivered: boolean) {}
  check = (): boolean => true;
  async run(model: Model, real: Real): Promise<void> {
    await deliver(model, real, this.isDelivered);
  }
  toString = (): string => `Deliver(${this.isDelivered})`;
}

/** The machine stops, perhaps while some are being kept; another process finds what is on disk. */
class Crash implements Command {
  constructor(
    private readonly sizes: readonly number[],
    private readonly turns: number,
    private readonly dice: readonly number[],
  ) {}
  check = (): boolean => true;
  async run(model: Model, real: Real): Promise<void> {
    const before = model.handed.length;
    const kept: Kept[] = [];
    const underWay = this.sizes.map((bytes) =>
      real.keep(hand(model, bytes), bytes).then(
        (each) => kept.push(each),
        () => undefined,
      ),
    );
    for (let turn = 0; turn < this.turns; turn++) await new Promise((resolve) => setImmediate(resolve));
    let roll = 0;
    const after = real.disk.crashed((bound) => this.dice[roll++ % this.dice.length]! % bound);
    for (const each of kept.splice(0).toSorted(byPlace)) noteKept(model, real, each);
    const known = new Set([...model.waiting, ...real.sending.map(idOf)]);
    // The process that is gone must not be told about the disk of the next one.
    await Promise.all(underWay);
    await real.spool.close();
    for (let id = before; id < model.handed.length; id++) if (!known.has(id)) model.unknown.add(id);
    for (const id of model.settled) model.again.add(id);
    model.wait(real.sending.map(idOf));
    real.sending = [];
    real.disk = after;
    await real.open();
    expect(real.spool.status.requests).toBeGreaterThanOrEqual(model.waiting.length);
  }
  toString = (): string => `Crash(${this.sizes.join(",")} after ${this.turns}; ${this.dice.join(",")})`;
}

class Reopen implements Command {
  check = (): boolean => true;
  async run(model: Model, real: Real): Promise<void> {
    model.wait(real.sending.map(idOf));
    // Only what was settled before one that was kept earlier may come again.
    const [first] = model.waiting;
    for (const id of model.settled) if (first !== undefined && model.order(id) > model.order(first)) model.again.add(id);
    real.sending = [];
    await real.spool.close();
    await real.open();
    real.bounded();
  }
  toString = (): string => "Reopen";
}

const sizes = fc.array(fc.oneof({ weight: 8, arbitrary: fc.nat(3000) }, { weight: 1, arbitrary: fc.integer({ min: 65_000, max: 300_000 }) }), {
  minLength: 1,
  maxLength: 4,
});

test("what is kept is delivered, whatever crashes and fails", { timeout: 300_000 }, async () => {
  const commands = fc.commands<Model, Real, boolean>(
    [
      fc
        .tuple(sizes, fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 12 })), fc.constantFrom("ENOSPC" as const, "EIO" as const))
        .map((args) => new Keep(...args)),
      fc.tuple(fc.nat(3), fc.boolean()).map((args) => new Sent(...args)),
      fc.boolean().map((isDelivered) => new Deliver(isDelivered)),
      fc.constant(new Deliver(true)),
      fc.tuple(sizes, fc.nat(14), fc.array(fc.nat(1e6), { minLength: 8, maxLength: 40 })).map((args) => new Crash(...args)),
      fc.constant(new Reopen()),
    ],
    { maxCommands: 40 },
  );
  await fc.assert(
    fc.asyncProperty(commands, async (plan) => {
      const model = new Model();
      const real = await Real.start();
      try {
        await fc.asyncModelRun(() => ({ model, real }), plan);
        for (const kept of real.sending.splice(0)) {
          model.settled.add(idOf(kept));
          real.spool.settle(kept);
        }
        while (!real.spool.isEmpty) await deliver(model, real, true);
        expect(model.waiting).toEqual([]);
        // All the room is there again.
        const last = await vi.waitFor(() => real.keep(hand(model, 800_000), 800_000), { timeout: 60_000 });
        real.spool.settle(last);
        await real.spool.close();
        expect([...real.disk.files.keys()].map((path) => path.slice(real.folder.length + 1))).toEqual([".format.json", "cursor"]);
        expect(real.logs.filter((line) => line.includes("damaged"))).toEqual([]);
      } finally {
        await real.spool.close();
      }
    }),
    { numRuns: 100 },
  );
});

/** A spool of its own on a disk in memory, with what it said. */
async function opened(
  disk: MemoryDisk,
  folder = temporary(),
  maxBytes = MAX_BYTES,
): Promise<{ spool: Spool; folder: string; logs: string[]; disk: MemoryDisk }> {
  const logs: string[] = [];
  const spool = await Spool.open({ folder, maxBytes, disk, log: (level, message) => logs.push(`${level}: ${message.replaceAll(folder, "SPOOL")}`) });
  onTestFinished(() => spool.close());
  return { spool, folder, logs, disk };
}

async function put(spool: Spool, path: string, body: string | Buffer): Promise<Kept> {
  const draft = spool.draft();
  try {
    await draft.add(Buffer.from(body));
  } catch (error) {
    await draft.drop();
    throw error;
  }
  return spool.keep(draft, { method: "POST", path, headers: [] });
}

/** Paths of what is delivered when all is taken. */
async function drained(spool: Spool): Promise<string[]> {
  const paths: string[] = [];
  while (!spool.isEmpty) {
    const kept = (await spool.next())!;
    paths.push(`${kept.head.path} ${String(await bytesOf(kept))}`);
    spool.settle(kept);
  }
  return paths;
}

const segmentOf = (disk: MemoryDisk): string => [...disk.files.keys()].find((path) => path.endsWith(".segment"))!;

/** A disk as a crash leaves it, with three requests, and the ends of their records. */
async function three(): Promise<{ disk: MemoryDisk; ends: number[] }> {
  const { spool, disk } = await opened(new MemoryDisk());
  const ends: number[] = [];
  for (const path of ["/1", "/2", "/3"]) ends.push((await put(spool, path, `body of ${path}`)).end);
  const crashed = disk.crashed(all);
  await spool.close();
  return { disk: crashed, ends };
}

const all = (bound: number): number => bound - 1;

test("a tail torn at any byte is cut off, and what is before it stays", async () => {
  const { disk, ends } = await three();
  for (let length = ends[1]!; length <= ends[2]!; length++) {
    const torn = disk.crashed(all);
    const file = await torn.open(segmentOf(torn));
    await file.truncate(length);
    await file.datasync();
    const { spool, logs } = await opened(torn, folderOf(disk));
    const whole = length === ends[2] ? 3 : 2;
    expect(await drained(spool), `at ${length}`).toEqual(["/1 body of /1", "/2 body of /2", "/3 body of /3"].slice(0, whole));
    expect(logs).toEqual([]);
    await spool.close();
  }
});

/** The folder that the paths of a disk are in: a lock of the real file system is there, too. */
const folderOf = (disk: MemoryDisk): string => segmentOf(disk).slice(0, segmentOf(disk).lastIndexOf("/"));

test("damage at any byte is set aside and told, and what follows goes on", async () => {
  const { disk, ends } = await three();
  const folder = folderOf(disk);
  for (let at = ends[0]!; at < ends[1]!; at++) {
    const damaged = disk.crashed(all);
    damaged.damage(segmentOf(damaged), at);
    const { spool, logs } = await opened(damaged, folder);
    expect(spool.status).toMatchObject({ requests: 2, damaged: 1 });
    expect(await drained(spool), `at ${at}`).toEqual(["/1 body of /1", "/3 body of /3"]);
    const [aside] = [...damaged.files.keys()].filter((path) => path.includes("/rejected/"));
    expect(damaged.files.get(aside!)!.length).toBe(ends[1]! - ends[0]!);
    const name = aside!.slice(folder.length);
    const length = ends[1]! - ends[0]!;
    expect(logs.map((line) => line.replace(/\d{16}-\w{32}/, "NAME"))).toEqual([
      `error: SPOOL/NAME.segment: ${length} bytes at offset ${ends[0]} are damaged: they are set aside in SPOOL${name}, and what follows goes on`,
    ]);
    await spool.close();
  }
});

test("a frame within a log is none, also where damage makes one look for it", async () => {
  const { spool, disk, folder } = await opened(new MemoryDisk());
  const first = await put(spool, "/1", "x");
  const frame = disk.files.get(segmentOf(disk))!.subarray(0, first.end);
  const other = await opened(new MemoryDisk());
  // A build that has seen the spool of another machine prints a whole record of it.
  const second = await put(other.spool, "/2", frame);
  await put(other.spool, "/3", "y");
  const crashed = other.disk.crashed(all);
  await other.spool.close();
  await spool.close();
  crashed.damage(segmentOf(crashed), 0);
  const { spool: again } = await opened(crashed, other.folder);
  expect(await drained(again)).toEqual(["/3 y"]);
  expect([folder === other.folder, second.place.offset]).toEqual([false, 0]);
});

test("a body that is damaged or gone is never delivered as a whole", async () => {
  for (const harm of ["changed", "gone"] as const) {
    const { spool, disk, folder } = await opened(new MemoryDisk());
    const draft = spool.draft();
    for (let piece = 0; piece < 6; piece++) await draft.add(Buffer.alloc(50_000, "line "));
    await spool.keep(draft, { method: "POST", path: "/long", headers: [] });
    await put(spool, "/next", "z");
    const crashed = disk.crashed(all);
    await spool.close();
    const body = [...crashed.files.keys()].find((path) => path.endsWith(".body"))!;
    if (harm === "changed") crashed.damage(body, 200_000);
    else await crashed.remove(body);
    const { spool: again, logs } = await opened(crashed, folder);
    const kept = (await again.next())!;
    await expect(bytesOf(kept)).rejects.toThrow(DamagedBody);
    await again.reject(kept, "damaged");
    expect(await drained(again)).toEqual(["/next z"]);
    expect(logs).toEqual(["error: the body of a request that waited is damaged: it is set aside in SPOOL/rejected/1-0-damaged.http"]);
    expect(again.status).toMatchObject({ refused: 0, damaged: 1 });
  }
});

test("a cursor that cannot be read starts at what is there", async () => {
  const { disk } = await three();
  const crashed = disk.crashed(all);
  const folder = folderOf(disk);
  for (const at of [0, 4096]) crashed.damage(join(folder, "cursor"), at);
  const { spool } = await opened(crashed, folder);
  expect(await drained(spool)).toHaveLength(3);
});

test("a spool that is full refuses, says so, and takes again when there is room", async () => {
  const { spool, logs } = await opened(new MemoryDisk());
  const kept: Kept[] = [];
  const refused = await (async () => {
    for (let i = 0; ; i++) {
      try {
        kept.push(await put(spool, `/${i}`, Buffer.alloc(40_000)));
      } catch (error) {
        return error;
      }
    }
  })();
  expect(refused).toMatchObject({
    status: 503,
    message: "the spool is full: nothing was taken; raise spool.maxBytes, or wait for the log storage",
    headers: { "retry-after": "30" },
  });
  expect(kept).toHaveLength(26);
  expect(await spool.check()).toBe("full");
  for (const each of kept.slice(0, 5)) spool.settle(each);
  await vi.waitFor(async () => expect(await spool.check()).toBeUndefined(), { timeout: 60_000 });
  await put(spool, "/more", Buffer.alloc(40_000));
  expect(logs).toEqual(["error: the spool is in trouble: full; what cannot be kept gets 503", "info: the spool keeps requests again"]);
});

test("what could not be kept takes no room", async () => {
  const { spool, disk } = await opened(new MemoryDisk());
  for (const [operation, bytes] of [
    ["write", 60_000],
    ["write", 200_000],
    ["open", 200_000],
    ["rename", 200_000],
  ] as const) {
    disk.fault = (each) => {
      if (each === operation) throw Object.assign(new Error("injected"), { code: "ENOSPC" });
    };
    for (let i = 0; i < 6; i++) await expect(put(spool, "/x", Buffer.alloc(bytes))).rejects.toMatchObject({ status: 503 });
    disk.fault = () => undefined;
    expect(await spool.check()).toBeUndefined();
  }
  await put(spool, "/x", Buffer.alloc(900_000));
  expect(disk.bytes).toBeLessThan(1_000_000);
});

test("what is set aside counts, until someone removes it", async () => {
  const { spool, disk, folder } = await opened(new MemoryDisk());
  for (let i = 0; i < 17; i++) await spool.reject(await put(spool, `/${i}`, Buffer.alloc(60_000)), 400);
  await expect(put(spool, "/x", Buffer.alloc(60_000))).rejects.toThrow("full");
  expect(await spool.check()).toMatch(/^full; \d+ bytes of it are set aside in .*\/rejected$/);
  for (const path of disk.files.keys()) if (path.startsWith(join(folder, "rejected"))) await disk.remove(path);
  expect(await spool.check()).toBeUndefined();
  await put(spool, "/z", Buffer.alloc(300_000));
});

test("a request that is set aside can be read as it would have been sent", async () => {
  const { spool, disk, folder } = await opened(new MemoryDisk());
  const draft = spool.draft();
  await draft.add(Buffer.from("two\nlines\n"));
  await spool.reject(await spool.keep(draft, { method: "PUT", path: "/a?b=c", headers: ["Content-Type", "text/plain", "X-Any", "\u00e9"] }), 413);
  expect(disk.files.get(join(folder, "rejected", "1-0-413.http"))!.toString("latin1")).toBe(
    "PUT /a?b=c HTTP/1.1\r\nContent-Type: text/plain\r\nX-Any: \u00e9\r\ncontent-length: 10\r\n\r\ntwo\nlines\n",
  );
});

test("one process has a spool", async () => {
  const { folder, spool } = await opened(new MemoryDisk());
  const error: unknown = await Spool.open({ folder, maxBytes: MAX_BYTES, log: () => undefined }).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({
    code: "LV_CONFIG",
    message: expect.stringMatching(/spool\.lock: process \d+ uses this spool: set spool\.dir to a folder of its own$/),
  });
  await spool.close();
});

test("after an error that leaves the disk in a state unknown nothing more is kept", async () => {
  const { spool, disk, logs } = await opened(new MemoryDisk());
  await put(spool, "/1", "one");
  disk.fault = (operation) => {
    if (operation === "datasync" || operation === "truncate") throw Object.assign(new Error("injected"), { code: "EIO" });
  };
  await expect(put(spool, "/2", "two")).rejects.toMatchObject({ status: 503 });
  disk.fault = () => undefined;
  await expect(put(spool, "/3", "three")).rejects.toMatchObject({ status: 503 });
  expect(await spool.check()).toBe("it cannot be written: the device failed (EIO), nor what was begun be cut off: restart when the disk is well");
  expect(logs).toHaveLength(1);
  const crashed = disk.crashed(all);
  await spool.close();
  const { spool: again } = await opened(crashed, folderOf(disk));
  // The second may be there, since nobody was told that it is not; the first is.
  expect((await drained(again))[0]).toBe("/1 one");
});

test.runIf(process.platform === "linux")("on a real disk only its owner may look, and a full one is told", async () => {
  const folder = join(temporary(), "spool");
  const mounted = spawnSync("mkdir", ["-p", folder]).status === 0 && spawnSync("mount", ["-t", "tmpfs", "-o", "size=400k", "tmpfs", folder]).status === 0;
  if (mounted) onTestFinished(() => void spawnSync("umount", ["-l", folder]));
  else console.warn("no tmpfs can be mounted: a disk that is really full is passed over");
  const spool = await Spool.open({ folder, maxBytes: 1 << 30, log: () => undefined });
  const kept: Kept[] = [];
  let refused: unknown;
  for (let i = 0; i < 20 && refused === undefined; i++) {
    try {
      kept.push(await put(spool, `/${i}`, Buffer.alloc(i % 3 === 0 ? 70_000 : 20_000, `${i},`)));
    } catch (error) {
      refused = error;
    }
  }
  expect(refused === undefined).toBe(!mounted);
  if (mounted) {
    expect(refused).toMatchObject({ status: 503, message: "the spool cannot be written: no space left on the disk (ENOSPC): nothing was taken" });
    expect(await spool.check()).toBe("it cannot be written: no space left on the disk (ENOSPC)");
  }
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  for (const name of readdirSync(folder)) expect([name, statSync(join(folder, name)).mode & 0o777]).toEqual([name, name === "rejected" ? 0o700 : 0o600]);
  for (const each of kept) spool.wait(each);
  const before = kept.map(({ head }) => head.path);
  await spool.close();
  const again = await Spool.open({ folder, maxBytes: 1 << 30, log: () => undefined });
  expect((await drained(again)).map((line) => line.split(" ")[0])).toEqual(before);
  expect(await again.check()).toBeUndefined();
  await put(again, "/more", "fits again");
  await again.close();
});
