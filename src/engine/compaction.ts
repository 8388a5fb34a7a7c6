import { encodeEntry } from '../audit/entry.ts';
import { CallError } from '../base/call-error.ts';
import type { Clock } from '../base/clock.ts';
import type { Edit } from '../vault/call-write.ts';
import { stateChange } from '../vault/state.ts';
import type { Vault } from '../vault/vault.ts';
import type { Parts } from './parts.ts';
import type { JobView } from './vault-calls.ts';

/** Erasures of an hour share a compaction, which reads and writes whole domains anew. */
const DELAY_MS = 3_600_000;
/** After one that failed. Twenty-four tries and more fit into the day that is promised. */
const RETRY_MS = 15 * 60_000;
/** State of the oldest erasure whose bytes may still be in the files: its time u64, and the commit
 *  number of one of them u64. */
const PENDING = 'erasure-pending';
/** State of the last compaction: commits up to this one are gone u64, its leaf plus 1 u64. */
const COMPACTED = 'erasure-compacted';

/** What the last compaction did. */
export interface Compacted {
  /** Erasures of commits up to this one are gone from the files. */
  readonly upTo: number;
  /** The leaf that says so. */
  readonly leafIndex: number;
}

/** Sees to it that erased bytes leave the files within a day: an hour after the first erasure since
 *  the last time, after a restart too, or when an officer asks. */
export class Compaction {
  readonly #clock: Clock;
  #pendingMs: number | undefined;
  #last: Compacted | undefined;
  #underWay = 0;
  #idle: PromiseWithResolvers<void> | undefined;
  /** Erasures wait for it. */
  #barrier: Promise<void> | undefined;
  #running: Promise<Compacted | undefined> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #start: (() => void) | undefined;

  private constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Reads what is to be done. Rejects with `CallError`. */
  static async open(vault: Pick<Vault, 'loadState'>, clock: Clock): Promise<Compaction> {
    const compaction = new Compaction(clock);
    const [pending, last] = await Promise.all([
      vault.loadState(PENDING),
      vault.loadState(COMPACTED),
    ]);
    compaction.#last = last && compactedOf(last);
    if (pending !== undefined) {
      const { first, second } = pairOf(pending);
      if (second > (compaction.#last?.upTo ?? 0)) compaction.#pendingMs = first;
    }
    return compaction;
  }

  get last(): Compacted | undefined {
    return this.#last;
  }

  /** When the oldest erasure took place whose bytes may still be in the files. */
  get pendingMs(): number | undefined {
    return this.#pendingMs;
  }

  /** Runs an erasure, whose commit number must be drawn inside: so a compaction knows which
   *  erasures were before it. */
  async erasing<T>(work: () => Promise<T>): Promise<T> {
    while (this.#barrier !== undefined) await this.#barrier;
    this.#underWay++;
    try {
      return await work();
    } finally {
      this.#underWay--;
      if (this.#underWay === 0) this.#idle?.resolve();
    }
  }

  /** The row that remembers an erasure, for its commit. */
  mark(commit: number): Edit {
    this.#pendingMs ??= this.#clock.nowMs();
    this.#arm(DELAY_MS);
    const bytes = pair(this.#pendingMs, commit);
    return { changes: [stateChange(PENDING, bytes)], deltas: [] };
  }

  /** From now on compactions start by themselves, through `start`. */
  schedule(start: () => void): void {
    this.#start = start;
    if (this.#pendingMs === undefined) return;
    this.#arm(Math.max(0, this.#pendingMs + DELAY_MS - this.#clock.nowMs()));
  }

  #arm(delayMs: number): void {
    if (this.#start === undefined || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#start?.();
    }, delayMs).unref();
  }

  /** Compacts, and tells the log; undefined where nothing was erased since the last time. One at a
   *  time: who comes meanwhile gets its result. `step` may throw to stop. Rejects with
   *  `CallError`, and is then tried again later. */
  run(parts: Parts, step: (done: number, total: number) => void): Promise<Compacted | undefined> {
    this.#running ??= this.#run(parts, step).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #run(
    parts: Parts,
    step: (done: number, total: number) => void,
  ): Promise<Compacted | undefined> {
    const before = await this.#takePending();
    if (before === undefined) return undefined;
    const upTo = parts.vault.lastCommit;
    this.#release();
    try {
      await parts.vault.erasures.compact(step);
      this.#last = await tell(parts, upTo, this.#last);
      return this.#last;
    } catch (error) {
      this.#pendingMs = before;
      this.#arm(RETRY_MS);
      throw error;
    }
  }

  #release: () => void = () => {};

  /** Waits until no erasure is under way and lets none begin until `#release`. */
  async #takePending(): Promise<number | undefined> {
    if (this.#pendingMs === undefined) return undefined;
    const barrier = Promise.withResolvers<void>();
    this.#barrier = barrier.promise;
    this.#release = () => {
      this.#barrier = undefined;
      barrier.resolve();
    };
    if (this.#underWay > 0) {
      this.#idle = Promise.withResolvers();
      await this.#idle.promise;
      this.#idle = undefined;
    }
    const pendingMs = this.#pendingMs;
    this.#pendingMs = undefined;
    return pendingMs;
  }

  /** No compaction starts by itself any more. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#start = undefined;
  }

  /** After erasures were taken from the log again: their bytes may be in these files. */
  async remember(vault: Pick<Vault, 'saveState'>): Promise<void> {
    this.#pendingMs ??= this.#clock.nowMs();
    this.#arm(DELAY_MS);
    await vault.saveState(PENDING, pair(this.#pendingMs, (this.#last?.upTo ?? 0) + 1));
  }
}

/** The leaf ErasureCompacted, and the state that leads to it. Each names the one before, so that
 *  the first one after an erasure is found. */
async function tell(parts: Parts, upTo: number, last: Compacted | undefined): Promise<Compacted> {
  const entry = encodeEntry({
    timeMs: parts.clock.nowMs(),
    verb: 'ErasureCompacted',
    domain: '',
    caller: '',
    purpose: '',
    view: '',
    policyHash: '',
    keyVersions: [],
    done: 0,
    failed: 0,
    distinct: 0,
    extra: { upTo, ...(last === undefined ? {} : { previous: last.leafIndex }) },
  });
  const { leafIndex } = await parts.committer.commit({ entry, body: new Uint8Array(0) });
  await parts.vault.saveState(COMPACTED, pair(upTo, leafIndex + 1));
  return { upTo, leafIndex };
}

/** Starts compactions by themselves, as jobs that an officer can see. */
export function scheduleCompaction(parts: Parts): void {
  parts.compaction.schedule(() => {
    try {
      startCompaction(parts);
    } catch (cause) {
      if (!(cause instanceof CallError)) throw cause; // Draining: the next start sees to it.
    }
  });
}

/** The job of a compaction, or the one that runs. */
export const startCompaction = (parts: Parts): JobView =>
  parts.jobs.start('compaction', 'vault', async (job) => {
    const done = await compactNow(parts, (steps, total) => {
      job.signal.throwIfAborted();
      job.progress(steps, total);
    });
    if (done !== undefined) job.result('leaf', String(done.leafIndex));
  });

/** Compacts what was erased since the last time, now. */
export const compactNow = (
  parts: Parts,
  step: (done: number, total: number) => void,
): Promise<Compacted | undefined> => parts.compaction.run(parts, step);

function pair(first: number, second: number): Uint8Array {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64BE(BigInt(first));
  bytes.writeBigUInt64BE(BigInt(second), 8);
  return bytes;
}

function pairOf(bytes: Uint8Array): { first: number; second: number } {
  const buffer = Buffer.from(bytes);
  return {
    first: Number(buffer.readBigUInt64BE(0)),
    second: Number(buffer.readBigUInt64BE(8)),
  };
}

function compactedOf(bytes: Uint8Array): Compacted {
  const { first, second } = pairOf(bytes);
  return { upTo: first, leafIndex: second - 1 };
}
