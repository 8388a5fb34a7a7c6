import { describe, expect, test } from 'vitest';
import { MemoryStore, type MemoryStoreOptions } from '../../src/storage/memory-store.ts';
import type { Change, Row, Snapshot, Store } from '../../src/storage/store.ts';
import { initVault, openVault, type Vault } from '../../src/vault/vault.ts';
import {
  addDomains,
  claim,
  collect,
  commitClaim,
  IDENTITY,
  indexesOf,
  indexOf,
  mint,
  PLAIN,
  STATIC,
} from './minting.ts';

type Fault = ReturnType<NonNullable<MemoryStoreOptions['fail']>>;

async function vaultThatFails(): Promise<{
  vault: Vault;
  store: MemoryStore;
  fail: (fault: Fault) => void;
}> {
  let next: Fault;
  const store = new MemoryStore({ fail: () => next });
  const vault = await initVault(store, { identity: IDENTITY });
  await addDomains(vault);
  const fail = (fault: Fault): void => {
    next = fault;
  };
  return { vault, store, fail };
}

const reopened = async (store: MemoryStore): Promise<Vault> =>
  openVault(new MemoryStore({ contents: store.contents }), { identity: IDENTITY });

describe('a write that fails', () => {
  const cases: [fault: Exclude<Fault, undefined>, reason: string, later: string, live: number][] = [
    ['unknown', 'OUTCOME_UNKNOWN', 'STORE_UNAVAILABLE', 1],
    ['unknown-written', 'OUTCOME_UNKNOWN', 'STORE_UNAVAILABLE', 3],
    ['full', 'STORE_FULL', 'STORE_FULL', 1],
  ];
  for (const [fault, reason, later, live] of cases) {
    test(`${fault}: fails its calls and those that wait, fences, reads go on`, async () => {
      const { vault, store, fail } = await vaultThatFails();
      await commitClaim(vault, await claim(vault, 'a'));
      const one = await claim(vault, 'b', 'c');
      const two = await claim(vault, 'c');
      fail(fault);
      await expect(commitClaim(vault, one)).rejects.toMatchObject({ reason });
      await expect(two.after).rejects.toMatchObject({ reason: 'STORE_UNAVAILABLE' });
      fail(undefined);
      expect(vault.fenced).toBe(true);
      await expect(mint(vault, PLAIN, ['x'])).rejects.toMatchObject({ reason: later });
      await expect(vault.saveState('s', indexOf(1))).rejects.toMatchObject({ reason: later });
      expect([...(await vault.find(STATIC, indexOf('a')))]).toEqual([0]);
      expect(vault.liveCount(STATIC)).toBe(1);
      await vault.close();
      const again = await reopened(store);
      expect(again.liveCount(STATIC)).toBe(live);
      expect(await collect(again.outbox())).toHaveLength(live === 1 ? 1 : 2);
      expect(await collect(again.fsck())).toEqual([]);
    });
  }
});

/** Holds the answers of reads back, so that a test can let things happen meanwhile. */
class SlowReads implements Store {
  readonly place = '';
  readonly #store: Store;
  held: Promise<void> | undefined;
  constructor(store: Store) {
    this.#store = store;
  }
  get fenced(): boolean {
    return this.#store.fenced;
  }
  write(changes: readonly Change[]): Promise<void> {
    return this.#store.write(changes);
  }
  writeIfAbsent(absent: readonly Uint8Array[], changes: readonly Change[]): Promise<boolean> {
    return this.#store.writeIfAbsent(absent, changes);
  }
  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    const { held } = this;
    const rows = await this.#store.getMany(keys);
    await held;
    return rows;
  }
  range(options: Parameters<Store['range']>[0]): AsyncIterable<Row> {
    return this.#store.range(options);
  }
  pages(options: Parameters<Store['pages']>[0]): ReturnType<Store['pages']> {
    return this.#store.pages(options);
  }
  snapshot(): Snapshot {
    return this.#store.snapshot();
  }
  compact(from: Uint8Array, to: Uint8Array): Promise<void> {
    return this.#store.compact(from, to);
  }
  reopen(): Promise<void> {
    return this.#store.reopen();
  }
  close(): Promise<void> {
    return this.#store.close();
  }
}

test('a read begun before a commit and answered after it mints nothing twice', async () => {
  const store = new SlowReads(new MemoryStore());
  const vault = await initVault(store, { identity: IDENTITY });
  await addDomains(vault);
  const one = await claim(vault, 'a', 'b');
  const gate = Promise.withResolvers<void>();
  store.held = gate.promise;
  const reading = claim(vault, 'b', 'c'); // Sees the store without `b`.
  store.held = undefined;
  await commitClaim(vault, one);
  gate.resolve();
  const two = await reading;
  expect([...two.counters]).toEqual([1, 2]);
  expect(two.after).toBeUndefined();
  await commitClaim(vault, two);
  expect(await collect(vault.fsck())).toEqual([]);
  expect([...(await vault.find(STATIC, indexesOf(['a', 'b', 'c'])))]).toEqual([0, 1, 2]);
});
