import type { Clock } from '../base/clock.ts';
import type { Change, Store } from '../storage/store.ts';
import { expiryKey, getU64, PREFIX, putU64, requestKey } from './layout.ts';
import { checked, proven } from './rows.ts';

/** How long a request id is remembered, from its commit. */
export const REQUEST_KEPT_MS = 24 * 3_600_000;
/** Expired rows looked up at once. */
const EXPIRED_A_READ = 1_024;
/** How long after a look that found few the next one waits. */
const EXPIRED_PAUSE_MS = 60_000;

export interface Remembered {
  /** CMAC of the message that the id came with, 16 bytes. */
  readonly digest: Uint8Array;
  readonly commit: number;
  /** Leaf of the call; undefined until the call that is committed has settled. */
  readonly leafIndex: number | undefined;
}

export interface RequestRow {
  /** 16 bytes. */
  readonly key: Uint8Array;
  /** 16 bytes. */
  readonly digest: Uint8Array;
  readonly commit: number;
  readonly expiresMs: number;
}

/** Stands for the leaf of a call that has not settled. */
export const LEAF_UNKNOWN = 2 ** 53;
const NOTHING = new Uint8Array(0);

export function requestChange(row: RequestRow, leafIndex: number | undefined): Change {
  const key = requestKey(row.key);
  const value = new Uint8Array(40);
  value.set(row.digest);
  putU64(value, 16, row.commit);
  putU64(value, 24, leafIndex ?? LEAF_UNKNOWN);
  putU64(value, 32, row.expiresMs);
  return { type: 'put', key, value: checked(key, value) };
}

interface Expired {
  /** Key of the expiry row. */
  readonly expiry: Uint8Array;
  /** False where the id was used anew since: the request's row then stays. */
  readonly whole: boolean;
}

/** What requests did, kept for a day, so that a retry answers as the first try did. */
export class Requests {
  readonly #store: Store;
  readonly #clock: Clock;
  /** Requests under way, by key. */
  readonly #underWay = new Map<string, PromiseWithResolvers<void>>();
  /** Expired rows not yet deleted, by request key. */
  readonly #expired = new Map<string, Expired>();
  #lookNextMs = 0;

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** What the request did before, or undefined: then it is this caller's, until `end`. While
   *  another call has it under way this waits. Rejects with `StoreError`. */
  async begin(
    key: Uint8Array,
    leafOf: (commit: number) => number | undefined,
  ): Promise<Remembered | undefined> {
    const name = nameOf(key);
    for (;;) {
      const other = this.#underWay.get(name);
      if (other === undefined) break;
      await other.promise;
    }
    // Entered before the store is read: a second call cannot slip in between.
    this.#underWay.set(name, Promise.withResolvers());
    try {
      const found = await this.find(key);
      if (found === undefined) return undefined;
      this.end(key);
      return await this.#withLeaf(key, found, leafOf);
    } catch (error) {
      this.end(key);
      throw error;
    }
  }

  /** The leaf of a settled commit is in memory until it is in the row: between a read of the row
   *  and a look into memory it may have gone from the one into the other. */
  async #withLeaf(
    key: Uint8Array,
    found: Remembered,
    leafOf: (commit: number) => number | undefined,
  ): Promise<Remembered> {
    const leafIndex = found.leafIndex ?? leafOf(found.commit);
    if (leafIndex !== undefined) return { ...found, leafIndex };
    const later = await this.find(key);
    return later?.commit === found.commit ? later : found;
  }

  /** Lets waiting calls with the same key go on. Harmless when it is not under way. */
  end(key: Uint8Array): void {
    const name = nameOf(key);
    this.#underWay.get(name)?.resolve();
    this.#underWay.delete(name);
  }

  /** As stored; expired ones are as good as gone. */
  async find(key: Uint8Array): Promise<Remembered | undefined> {
    const rowKey = requestKey(key);
    const [row] = await this.#store.getMany([rowKey]);
    if (row === undefined) return undefined;
    const value = proven(rowKey, row);
    if (getU64(value, 32) <= this.#clock.nowMs()) return undefined;
    const leafIndex = getU64(value, 24);
    return {
      digest: value.slice(0, 16),
      commit: getU64(value, 16),
      leafIndex: leafIndex === LEAF_UNKNOWN ? undefined : leafIndex,
    };
  }

  /** After the store was opened again: which expired rows are left is looked up anew. */
  reload(): void {
    this.#expired.clear();
    this.#lookNextMs = 0;
  }

  /** Looks for expired rows when it is time to, so that `purge` has some. Not while a write is
   *  under way: it would see neither before nor after. */
  async look(): Promise<void> {
    const nowMs = this.#clock.nowMs();
    if (this.#expired.size > 0 || nowMs < this.#lookNextMs) return;
    const from = Uint8Array.of(PREFIX.expiry);
    const to = expiryKey(nowMs, new Uint8Array(16));
    const keys: Uint8Array[] = [];
    for await (const { key } of this.#store.range({ from, to, limit: EXPIRED_A_READ })) {
      keys.push(key.slice());
    }
    const rows = await this.#store.getMany(keys.map((key) => requestKey(key.subarray(9))));
    for (const [i, expiry] of keys.entries()) {
      const row = rows[i];
      const whole = row !== undefined && getU64(row, 32) === getU64(expiry, 1);
      this.#expired.set(nameOf(expiry.subarray(9)), { expiry, whole });
    }
    this.#lookNextMs = keys.length < EXPIRED_A_READ ? nowMs + EXPIRED_PAUSE_MS : 0;
  }

  /** Adds the row of a request that commits now; an expired one under the same key is replaced. */
  put(changes: Change[], row: RequestRow): void {
    const name = nameOf(row.key);
    const stale = this.#expired.get(name);
    if (stale !== undefined) {
      this.#expired.delete(name);
      changes.push({ type: 'del', key: stale.expiry });
    }
    changes.push(requestChange(row, undefined), {
      type: 'put',
      key: expiryKey(row.expiresMs, row.key),
      value: NOTHING,
    });
  }

  /** Adds the deletion of at most `count` expired requests. */
  purge(changes: Change[], count: number): void {
    let left = count;
    for (const [name, { expiry, whole }] of this.#expired) {
      if (left-- <= 0) return;
      changes.push({ type: 'del', key: expiry });
      if (whole) changes.push({ type: 'del', key: requestKey(expiry.subarray(9)) });
      this.#expired.delete(name);
    }
  }
}

const nameOf = (key: Uint8Array): string =>
  Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1');
