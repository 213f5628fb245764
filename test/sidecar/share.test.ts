/** Fair share: each job has its turn, however many requests another one has sent before; who waits too long is told so. */
import { Agent, request as send } from "node:http";
import { expect, test, vi } from "vitest";
import { Refusal } from "../../src/sidecar/refusal.js";
import { FairShare } from "../../src/sidecar/share.js";
import { start } from "../support/sidecar.js";

const LIMITS = { slots: 2, slotsPerJob: 1, waitMs: 60_000, maxWaiting: 100 };
/** Lets everything run that can. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Enters one after the other; keeps the order in which they were served. */
function crowd(share: FairShare): { order: string[]; come: (job: string, name?: string) => void; leave: (name: string) => Promise<void> } {
  const order: string[] = [];
  const leaving = new Map<string, () => void>();
  return {
    order,
    come: (job, name = job) =>
      void share.enter(job).then((leave) => {
        order.push(name);
        leaving.set(name, leave);
      }),
    async leave(name) {
      leaving.get(name)!();
      await settle();
    },
  };
}

test("jobs have their turns, within a job first come first served, none holds all", async () => {
  const share = new FairShare(LIMITS);
  const { order, come, leave } = crowd(share);
  for (const name of ["a1", "a2", "a3", "a4"]) come("a", name);
  await settle();
  // One slot is left for others.
  expect([order, share.waiting]).toEqual([["a1"], 3]);
  come("b", "b1");
  come("b", "b2");
  come("c", "c1");
  await settle();
  expect(order).toEqual(["a1", "b1"]);
  for (const name of ["a1", "b1", "a2", "b2", "c1", "a3"]) await leave(name);
  expect(order).toEqual(["a1", "b1", "a2", "b2", "c1", "a3", "a4"]);
  await leave("a4");
  expect((share as unknown as { jobs: Map<string, unknown>; free: number }).jobs.size).toBe(0);
  expect((share as unknown as { free: number }).free).toBe(2);
});

test("who waits too long, or finds too many waiting, is told to come again", async () => {
  vi.useFakeTimers();
  try {
    const share = new FairShare({ ...LIMITS, maxWaiting: 1 });
    const leave = await share.enter("a");
    const late = share.enter("a");
    await expect(share.enter("a")).rejects.toMatchObject({ status: 503, headers: { "retry-after": "5" } });
    vi.advanceTimersByTime(LIMITS.waitMs);
    await expect(late).rejects.toBeInstanceOf(Refusal);
    expect([share.waiting, share.refused]).toEqual([0, 2]);
    leave();
    leave();
    await expect(share.enter("a")).resolves.toBeTypeOf("function");
  } finally {
    vi.useRealTimers();
  }
});

test("who is gone waits no more", async () => {
  const share = new FairShare(LIMITS);
  const leave = await share.enter("a");
  const gone = new AbortController();
  const waiting = share.enter("a", gone.signal);
  gone.abort(new Error("gone"));
  await expect(waiting).rejects.toThrow("gone");
  await expect(share.enter("a", gone.signal)).rejects.toThrow("gone");
  expect(share.waiting).toBe(0);
  leave();
});

test("a job that opens 2,000 streams at once does not keep another one waiting", { timeout: 120_000 }, async () => {
  const { sidecar } = await start({
    jobs: { maxJobs: 100, maxStreams: 2000, maxOpen: 5000, graceMs: 100 },
    server: { headersTimeoutMs: 60_000, idleTimeoutMs: 60_000, maxConnections: 3000 },
    turnMs: 4000,
  });
  const agent = new Agent({ keepAlive: true, maxSockets: Infinity });
  const answered: string[] = [];
  const post = (path: string): Promise<number> =>
    new Promise((resolve, reject) => {
      send({ host: sidecar.listen.host, port: sidecar.listen.port, method: "POST", path, agent }, (response) => {
        answered.push(path);
        response.resume().on("end", () => resolve(response.statusCode!));
      })
        .on("error", reject)
        .end("text");
    });
  try {
    const flood = Array.from({ length: 2000 }, (_, index) => post(`/v1/jobs/flood/streams/s${index}`));
    await vi.waitFor(() => expect(answered.length).toBeGreaterThan(0), { timeout: 60_000 });
    const other = "/v1/jobs/other/streams/s";
    const before = answered.length;
    expect(await post(other)).toBe(200);
    // Of the flood no more are served meanwhile than are under way, whose turn it was.
    expect(answered.indexOf(other) - before).toBeLessThan(200);
    // None hangs: served, or told to come again.
    const statuses = await Promise.all(flood);
    expect(statuses.filter((status) => status !== 200 && status !== 503)).toEqual([]);
    expect(statuses).toContain(200);
  } finally {
    agent.destroy();
  }
});
