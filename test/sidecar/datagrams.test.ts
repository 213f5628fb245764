/** Datagrams that cannot be taken: from made-up addresses, too many at a time, while masking cannot be trusted. */
import type { Socket } from "node:dgram";
import { EventEmitter } from "node:events";
import { expect, test, vi } from "vitest";
import { Datagrams, type DatagramContext } from "../../src/sidecar/datagrams.js";
import type { Outlet } from "../../src/sidecar/outlets.js";

class FakeSocket extends EventEmitter {
  close(): void {}
  say(message: string | Buffer, address = "127.0.0.1"): void {
    this.emit("message", Buffer.from(message), { address });
  }
}

function datagrams(change: Partial<DatagramContext> = {}): {
  socket: FakeSocket;
  senders: Datagrams;
  written: Map<string, string>;
  counts: { taken: number; dropped: number };
} {
  const socket = new FakeSocket();
  const written = new Map<string, string>();
  const counts = { taken: 0, dropped: 0 };
  const open = async (name: string): Promise<Outlet> => ({
    write: async ({ text }) => void written.set(name, (written.get(name) ?? "") + Buffer.from(text).toString()),
    finish: async () => undefined,
    abandon: async () => undefined,
  });
  const context: DatagramContext = {
    name: (address) => `udp-${address}`,
    open,
    check: () => undefined,
    taken: (messages) => (counts.taken += messages),
    dropped: (messages) => (counts.dropped += messages),
    refused: () => (counts.dropped += 1),
    ...change,
  };
  return { socket, senders: new Datagrams(socket as unknown as Socket, context), written, counts };
}

test("the first addresses have streams of their own, all others share one", async () => {
  const { socket, senders, written, counts } = datagrams();
  for (let i = 0; i < 300; i++) socket.say(`${i}`, `10.0.${i >> 8}.${i & 255}`);
  socket.say("again", "10.0.0.0");
  await senders.close();
  expect(written.size).toBe(65);
  expect(written.get("udp-10.0.0.0")).toBe("0\nagain\n");
  expect(written.get("udp-other")!.split("\n").length).toBe(300 - 64 + 1);
  expect(counts).toEqual({ taken: 301, dropped: 0 });
});

test("what cannot wait is dropped and counted; what waits is kept, in order", async () => {
  let go!: () => void;
  const gate = new Promise<void>((resolve) => (go = resolve));
  const kept: string[] = [];
  const outlet: Outlet = {
    async write({ text }) {
      await gate;
      kept.push(...Buffer.from(text).toString().trimEnd().split("\n"));
    },
    finish: async () => undefined,
    abandon: async () => undefined,
  };
  const { socket, senders, counts } = datagrams({ open: async () => outlet });
  for (let i = 0; i < 200; i++) socket.say(`${i} ${"x".repeat(60_000)}`);
  expect(counts.dropped).toBe(200 - Math.floor((4 << 20) / 60_003));
  go();
  await senders.close();
  expect(kept.map((line) => Number(line.split(" ")[0]))).toEqual(Array.from({ length: 200 - counts.dropped }, (_, i) => i));
  expect(counts.taken).toBe(kept.length);
});

test("while masking cannot be trusted nothing is taken", async () => {
  let isTrusted = false;
  const { socket, senders, written, counts } = datagrams({
    check() {
      if (!isTrusted) throw new Error("not now");
    },
  });
  socket.say("no");
  isTrusted = true;
  socket.say("yes");
  await senders.close();
  expect([...written]).toEqual([["udp-127.0.0.1", "yes\n"]]);
  expect(counts).toEqual({ taken: 1, dropped: 1 });
});

test("after an error a sender pauses, then opens anew", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  try {
    let opened = 0;
    const written: string[] = [];
    const open = async (): Promise<Outlet> => {
      const isBroken = ++opened === 1;
      return {
        async write({ text }) {
          if (isBroken) throw new Error("disk full");
          written.push(Buffer.from(text).toString());
        },
        finish: async () => undefined,
        abandon: async () => undefined,
      };
    };
    const { socket, senders, counts } = datagrams({ open });
    socket.say("lost");
    await vi.waitFor(() => expect(counts.dropped).toBe(1));
    socket.say("in the pause");
    expect(counts.dropped).toBe(2);
    vi.setSystemTime(Date.now() + 1001);
    socket.say("kept");
    await senders.close();
    expect([opened, written]).toEqual([2, ["kept\n"]]);
  } finally {
    vi.useRealTimers();
  }
});
