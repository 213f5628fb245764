/** The native engine behind the {@link MatcherFactory} interface: the only caller of the addon. native/README.md is the contract. */
import { type AnchorStream, HIT_SIZE } from "../core/anchors.js";
import { LogveilError } from "../errors.js";
import { inTurns } from "../turns.js";
import { HEAD_SIZE, type MatcherFactory, type MatcherStream, type NeedleSet, type NeedleTable, ROW_SIZE } from "../core/matcher.js";

/** A handle on an automaton in native memory. */
export interface SetHandle {
  readonly needles: number;
  readonly needleBytes: number;
  readonly memoryBytes: number;
  /** Bytes of it that could be locked into memory. */
  readonly lockedBytes: number;
  /** Registers the automaton process-wide; worker threads open it by the id. */
  share(): number;
  release(): void;
}

interface StreamHandle {
  scan(chunk: Uint8Array, rows: Uint32Array, head: Uint32Array): number;
  idle(rows: Uint32Array, head: Uint32Array): number;
  end(rows: Uint32Array, head: Uint32Array): number;
  take(rows: Uint32Array): number;
  release(): void;
}

/** What the addon exports. */
export interface Addon {
  build(bytes: Uint8Array, offsets: Uint32Array, flags: Uint8Array): SetHandle;
  NeedleBytes: new () => { push(piece: Uint8Array): void; build(offsets: Uint32Array, flags: Uint8Array): Promise<SetHandle> };
  SetHandle: { fromShared(id: number): SetHandle };
  Stream: new (sets: SetHandle[], parser: number, maxGapBytes: number) => StreamHandle;
  Anchors: new (
    bytes: Uint8Array,
    offsets: Uint32Array,
    flags: Uint8Array,
    hints: Uint8Array,
    reaches: Uint16Array,
    alphabets: Uint8Array,
    words: Uint8Array,
  ) => object;
  AnchorStream: new (anchors: object) => HitsHandle;
  EncodedStream: new () => HitsHandle;
  hardenProcess(): boolean;
  /** Makes a pipe as large as any process may. */
  growPipe(descriptor: number): boolean;
  /** Gives freed memory back to the system. */
  trimMemory(): boolean;
  /** Name of the scan loop in use; throws if `LOGVEIL_SIMD` names none of this machine. */
  simd(): string;
  version(): string;
}

interface HitsHandle {
  scan(chunk: Uint8Array, hits: Uint32Array): number;
  take(hits: Uint32Array): number;
  reset(): boolean;
}

/** A native stream and where it writes its hits. */
interface Hits {
  readonly handle: HitsHandle;
  hits: Uint32Array;
}

/** Hits of a scan at first. */
const HITS = 64;
/** Most that are kept. */
const MOST_FREE = 64;

/** Native streams of one kind that have ended, to be used again: most streams are short, and making an object costs more than what it does for a line. */
class HitsPool {
  private readonly free: Hits[] = [];

  constructor(private readonly make: () => HitsHandle) {}

  readonly open = (): AnchorStream => new NativeHits(this.free.pop() ?? { handle: this.make(), hits: new Uint32Array(HITS * HIT_SIZE) }, this);

  /** Takes one back, unless it has become large or has failed. */
  give(native: Hits): void {
    if (native.handle.reset() && native.hits.length === HITS * HIT_SIZE && this.free.length < MOST_FREE) this.free.push(native);
  }
}

/** A stream of anchors, or of what is encoded. */
class NativeHits implements AnchorStream {
  private native: Hits | undefined;

  constructor(
    native: Hits,
    private readonly pool: HitsPool,
  ) {
    this.native = native;
  }

  get hits(): Uint32Array {
    return this.native!.hits;
  }

  scan(chunk: Uint8Array): number {
    const native = this.native!;
    const count = native.handle.scan(chunk, native.hits);
    if (count * HIT_SIZE > native.hits.length) {
      native.hits = new Uint32Array(count * HIT_SIZE * 2);
      native.handle.take(native.hits);
    }
    return count;
  }

  release(): void {
    const { native } = this;
    this.native = undefined;
    if (native !== undefined) this.pool.give(native);
  }
}

/** Rows of a scan at first: few scans find anything. */
const ROWS = 8;

class NativeStream implements MatcherStream {
  rows: Uint32Array = new Uint32Array(ROWS * ROW_SIZE);
  readonly head = new Uint32Array(HEAD_SIZE);

  constructor(private readonly handle: StreamHandle) {}

  scan(chunk: Uint8Array): number {
    return this.complete(this.handle.scan(chunk, this.rows, this.head));
  }

  idle(): number {
    return this.complete(this.handle.idle(this.rows, this.head));
  }

  end(): number {
    return this.complete(this.handle.end(this.rows, this.head));
  }

  release(): void {
    this.handle.release();
  }

  /** Fetches the rows again if the array was too small for them. */
  private complete(count: number): number {
    if (count * ROW_SIZE > this.rows.length) {
      this.rows = new Uint32Array(count * ROW_SIZE * 2);
      this.handle.take(this.rows);
    }
    return count;
  }
}

/** Bytes that are copied at once: copying and locking them takes about a millisecond. */
const COPY_BYTES = 1 << 20;

/** Hands needles to another thread, which builds. */
function* building(addon: Addon, { bytes, offsets, flags }: NeedleTable): Generator<number, Promise<NeedleSet>> {
  const copy = new addon.NeedleBytes();
  for (let at = 0; at < bytes.length; at += COPY_BYTES) {
    const piece = bytes.subarray(at, at + COPY_BYTES);
    copy.push(piece);
    yield piece.length;
  }
  return copy.build(offsets, flags);
}

export function nativeMatcher(addon: Addon): MatcherFactory {
  const encoded = new HitsPool(() => new addon.EncodedStream());
  return {
    engine: "native",
    build: (table: NeedleTable): NeedleSet => addon.build(table.bytes, table.offsets, table.flags),
    buildAsync: (table: NeedleTable): Promise<NeedleSet> => inTurns(building(addon, table)),
    share: (set) => (set as SetHandle).share(),
    openShared: (id) => {
      try {
        return addon.SetHandle.fromShared(id);
      } catch (cause) {
        throw new LogveilError("LV_USAGE", "these secrets are no longer shared: their engine was closed or got more secrets; share again", { cause });
      }
    },
    anchors: ({ bytes, offsets, flags, hints, reaches, alphabets, words }) => {
      const anchors = new addon.Anchors(bytes, offsets, flags, hints, reaches, alphabets, words);
      return new HitsPool(() => new addon.AnchorStream(anchors));
    },
    encoded: encoded.open,
    open: (sets, parser, maxGapBytes) => new NativeStream(new addon.Stream(sets as SetHandle[], parser, maxGapBytes)),
  };
}
