import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Clock } from '../../src/base/clock.ts';
import type { Store } from '../../src/storage/store.ts';
import { REFUSED } from '../../src/vault/refused.ts';
import { initVault, openVault, type Vault } from '../../src/vault/vault.ts';
import {
  addDomains,
  claim,
  collect,
  commitClaim,
  IDENTITY,
  indexesOf,
  indexOf,
  LISTED,
  leafOf,
  mint,
  PLAIN,
  readTexts,
  STATIC,
  sealOf,
} from '../vault/minting.ts';
import type { StoreHarness } from './store.ts';

const HOUR_MS = 3_600_000;

/** What the vault promises over every store that keeps the store's contract. */
export function tokenStoreContract(name: string, make: () => StoreHarness): void {
  describe(`token store contract: ${name}`, () => {
    let harness: StoreHarness;
    let store: Store;
    let vault: Vault;
    let nowMs = 0;
    const clock: Clock = { nowMs: () => nowMs };

    beforeEach(async () => {
      nowMs = 1_800_000_000_000;
      harness = make();
      store = await harness.open();
      vault = await initVault(store, { identity: IDENTITY, clock });
      await addDomains(vault);
    });
    afterEach(async () => {
      expect(await collect(vault.fsck())).toEqual([]);
      await vault.close();
      await harness.remove();
    });

    /** As after a crash: nothing is told to the vault before. */
    const reopen = async (): Promise<void> => {
      store = await harness.reopen();
      vault = await openVault(store, { identity: IDENTITY, clock });
    };

    test('create or get: one index, one counter; equal rows of a batch share it', async () => {
      const first = await claim(vault, 'a', 'b', 'a', 'c');
      expect([...first.counters]).toEqual([0, 1, 0, 2]);
      expect([...first.created]).toEqual([1, 1, 0, 1]);
      expect([...first.newRows]).toEqual([0, 1, 3]);
      await commitClaim(vault, first);
      const second = await claim(vault, 'd', 'c', 'a');
      expect([...second.counters]).toEqual([3, 2, 0]);
      expect([...second.newCounters]).toEqual([3]);
      expect(second.after).toBeUndefined();
      vault.release(second);
      expect([...(await vault.find(STATIC, indexesOf(['c', 'd', 'a'])))]).toEqual([
        2,
        Number.NaN,
        0,
      ]);
      expect(await readTexts(vault, STATIC, [2, 0, 7, Number.NaN, -1])).toEqual([
        sealOf(STATIC, 2),
        sealOf(STATIC, 0),
        '',
        '',
        '',
      ]);
      expect(vault.liveCount(STATIC)).toBe(3);
    });

    test('a call meets the counters of one under way, and answers only after it', async () => {
      const [one, two] = await Promise.all([claim(vault, 'a', 'b'), claim(vault, 'b', 'c')]);
      expect([...two.counters]).toEqual([1, 2]);
      expect([...two.created]).toEqual([0, 1]);
      const order: string[] = [];
      const waited = commitClaim(vault, two).then(() => order.push('two'));
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect([...(await vault.find(STATIC, indexOf('c')))]).toEqual([Number.NaN]);
      await commitClaim(vault, one).then(() => order.push('one'));
      await waited;
      expect(order).toEqual(['one', 'two']);
      expect(await readTexts(vault, STATIC, [0, 1, 2])).not.toContain('');
    });

    test('a released claim is as if it had not been, and who waits is told', async () => {
      const one = await claim(vault, 'a');
      const two = await claim(vault, 'a', 'b');
      vault.release(one);
      vault.release(one);
      await expect(two.after).rejects.toMatchObject({ reason: 'STORE_UNAVAILABLE' });
      await expect(commitClaim(vault, two)).rejects.toMatchObject({ reason: 'STORE_UNAVAILABLE' });
      const three = await claim(vault, 'a', 'b');
      expect([...three.created]).toEqual([1, 1]);
      expect(new Set([0, 1, ...three.counters]).size, 'counters are not given twice').toBe(4);
      await commitClaim(vault, three);
      expect(vault.liveCount(STATIC)).toBe(2);
    });

    test('many concurrent calls over few values agree', async () => {
      const names = Array.from({ length: 40 }, (_, i) => i);
      const calls = Array.from({ length: 25 }, async (_, call) => {
        const mine = names.filter((name) => (name * 7 + call) % 3 === 0);
        const made = await claim(vault, ...mine);
        await commitClaim(vault, made);
        return mine.map((name, i) => [name, made.counters[i]] as const);
      });
      const counters = new Map<number, number | undefined>();
      for (const [name, counter] of (await Promise.all(calls)).flat()) {
        expect(counters.get(name) ?? counter).toBe(counter);
        counters.set(name, counter);
      }
      expect(new Set(counters.values()).size).toBe(40);
      expect(vault.liveCount(STATIC)).toBe(40);
    });

    test('a full domain refuses the rows that do not fit, and holds nothing of them', async () => {
      await vault.addDomain('clinic/small', { index: 'unique', countersMax: 3 });
      await vault.addDomain('clinic/few', { index: 'none', countersMax: 3 });
      const one = await vault.claim('clinic/small', indexesOf(['a', 'b']));
      await commitClaim(vault, one);
      const exhausted = { reason: 'FORMAT_EXHAUSTED' };
      const two = await vault.claim('clinic/small', indexesOf(['a', 'c', 'd']));
      expect([...two.counters]).toEqual([0, 2, REFUSED.exhausted]);
      await commitClaim(vault, two);
      const three = await vault.claim('clinic/small', indexesOf(['c', 'a', 'c', 'c']));
      expect([...three.counters]).toEqual([2, 0, 2, 2]);
      vault.release(three);
      const four = await vault.claim('clinic/small', indexOf('d'));
      expect([...four.counters]).toEqual([REFUSED.exhausted]);
      vault.release(four);
      expect(vault.reserve('clinic/few', 2)).toBe(0);
      expect(() => vault.reserve('clinic/few', 2)).toThrow(expect.objectContaining(exhausted));
      expect(vault.reserve('clinic/few', 1)).toBe(2);
    });

    test('dynamic: a value has many tokens, listed in order; others are not listed', async () => {
      await mint(vault, LISTED, ['a', 'b', 'a']);
      await mint(vault, LISTED, ['a']);
      await mint(vault, PLAIN, ['a']);
      expect([...(await vault.list(LISTED, indexOf('a'), 10))]).toEqual([0, 2, 3]);
      expect([...(await vault.list(LISTED, indexOf('a'), 2))]).toEqual([0, 2]);
      expect([...(await vault.list(LISTED, indexOf('c'), 10))]).toEqual([]);
      expect(await readTexts(vault, LISTED, [3, 4])).toEqual([sealOf(LISTED, 3), '']);
      expect(await readTexts(vault, PLAIN, [0])).toEqual([sealOf(PLAIN, 0)]);
      expect(vault.liveCount(LISTED)).toBe(4);
    });

    test('reopened: all is there, no counter comes twice, no commit number goes back', async () => {
      await commitClaim(vault, await claim(vault, 'a', 'b'));
      await mint(vault, PLAIN, ['a']);
      vault.reserve(PLAIN, 5); // Given out and lost with the crash.
      const lost = await claim(vault, 'lost');
      expect(lost.created[0]).toBe(1);
      await reopen();
      expect(vault.lastCommit).toBe(2);
      expect(vault.nextCommit()).toBe(3);
      expect(vault.liveCount(STATIC)).toBe(2);
      expect([...(await vault.find(STATIC, indexesOf(['b', 'a', 'lost'])))]).toEqual([
        1,
        0,
        Number.NaN,
      ]);
      expect(vault.reserve(PLAIN, 1)).toBeGreaterThanOrEqual(6);
      const [again] = (await claim(vault, 'lost')).counters;
      expect(again).toBeGreaterThanOrEqual(3);
    });

    test('closed in order, a vault wastes no counters', async () => {
      await mint(vault, PLAIN, ['a', 'b']);
      vault.reserve(PLAIN, 3);
      await vault.close();
      await reopen();
      expect(vault.reserve(PLAIN, 1)).toBe(5);
    });

    test('a leaf stays in the outbox until settled, over a crash too', async () => {
      const commits: number[] = [];
      for (const name of ['a', 'b', 'c']) {
        commits.push(await commitClaim(vault, await claim(vault, name)));
      }
      const numbers = async (): Promise<number[]> =>
        (await collect(vault.outbox())).map(({ commit }) => commit);
      expect(await numbers()).toEqual(commits);
      vault.settle([{ commit: commits[1]!, leafIndex: 8 }]);
      expect(await numbers()).toEqual([commits[0], commits[2]]);
      await mint(vault, PLAIN, ['x']);
      await reopen();
      expect(await numbers()).toEqual([commits[0], commits[2], 4]);
      const [row] = await collect(vault.outbox());
      const wanted = leafOf(commits[0]!);
      expect(Buffer.from(row!.entry)).toEqual(wanted.entry);
      expect(Buffer.from(row!.body)).toEqual(wanted.body);
      vault.settle((await numbers()).map((commit) => ({ commit, leafIndex: commit + 100 })));
      vault.settle([{ commit: 999, leafIndex: 1 }]);
      await vault.close();
      await reopen();
      expect(await numbers()).toEqual([]);
    });

    test('a request is remembered a day, with its leaf once that is known', async () => {
      const key = indexOf('request');
      const request = { key, digest: indexOf('message') };
      expect(await vault.beginRequest(key)).toBeUndefined();
      const waiting = vault.beginRequest(key);
      const commit = await commitClaim(vault, await claim(vault, 'a'), { request });
      vault.settle([{ commit, leafIndex: 41 }]);
      vault.endRequest(key);
      const digest = expect.objectContaining({ length: 16 });
      expect(await waiting).toEqual({ digest, commit, leafIndex: 41 });
      await mint(vault, PLAIN, ['x']); // Carries the settling to the store.
      await reopen();
      nowMs += 24 * HOUR_MS - 1;
      const found = await vault.beginRequest(key);
      expect(found).toMatchObject({ commit, leafIndex: 41 });
      expect(Buffer.from(found!.digest)).toEqual(request.digest);
      nowMs += 1;
      expect(await vault.beginRequest(key)).toBeUndefined();
      vault.endRequest(key);
    });

    test('a request whose call failed is free for the next', async () => {
      const key = indexOf('request');
      expect(await vault.beginRequest(key)).toBeUndefined();
      const waiting = vault.beginRequest(key);
      vault.endRequest(key);
      expect(await waiting).toBeUndefined();
      vault.endRequest(key);
      vault.endRequest(key);
    });

    test('expired requests go, those used anew stay', async () => {
      const keys = Array.from({ length: 60 }, (_, i) => indexOf(i));
      const rows = async (): Promise<number> => {
        const range = { from: Buffer.from('q'), to: Buffer.from('r') };
        return (await collect(store.range(range))).length;
      };
      const use = async (key: Uint8Array): Promise<void> => {
        expect(await vault.beginRequest(key)).toBeUndefined();
        await commitClaim(vault, await claim(vault), { request: { key, digest: key } });
        vault.endRequest(key);
      };
      for (const key of keys) await use(key);
      expect(await rows()).toBe(60);
      nowMs += 25 * HOUR_MS;
      await use(keys[40]!);
      for (let i = 0; i < 6; i++) await vault.saveState('tick', Uint8Array.of(i));
      expect(await rows()).toBe(1);
      expect(await vault.beginRequest(keys[40]!)).toBeDefined();
      await reopen();
      expect(await vault.beginRequest(keys[40]!)).toBeDefined();
      expect(await vault.beginRequest(keys[41]!)).toBeUndefined();
      const range = { from: Buffer.from('x'), to: Buffer.from('y') };
      expect(await collect(store.range(range))).toHaveLength(1);
    });

    test('a request id used anew before its old row was looked for stays remembered', async () => {
      const key = indexOf('request');
      const use = async (): Promise<number> => {
        expect(await vault.beginRequest(key)).toBeUndefined();
        const request = { key, digest: indexOf('message') };
        const commit = await commitClaim(vault, await claim(vault), { request });
        vault.endRequest(key);
        return commit;
      };
      await use();
      nowMs += 24 * HOUR_MS - 1;
      await vault.saveState('tick', Uint8Array.of(1)); // Looks, finds none, and pauses.
      nowMs += 2;
      const commit = await use();
      nowMs += HOUR_MS;
      await vault.saveState('tick', Uint8Array.of(2)); // Finds the old expiry row.
      expect(await vault.beginRequest(key)).toMatchObject({ commit });
    });

    test('state is kept by name', async () => {
      expect(await vault.loadState('quota')).toBeUndefined();
      await Promise.all([
        vault.saveState('quota', Uint8Array.of(1)),
        vault.saveState('other', Uint8Array.of(3)),
        vault.saveState('quota', Uint8Array.of(2)),
      ]);
      await reopen();
      expect([...(await vault.loadState('quota'))!]).toEqual([2]);
      expect([...(await vault.loadState('other'))!]).toEqual([3]);
    });

    test('a domain is added once, and stays as it was', async () => {
      const options = { index: 'none', countersMax: 10 } as const;
      await Promise.all([vault.addDomain('a/x', options), vault.addDomain('a/x', options)]);
      await vault.addDomain('a/y', options);
      const other = vault.addDomain('a/x', { ...options, countersMax: 11 });
      await expect(other).rejects.toMatchObject({ reason: 'RESOURCE_EXISTS' });
      await mint(vault, 'a/x', [1]);
      await mint(vault, 'a/y', [1, 2]);
      await reopen();
      expect([vault.liveCount('a/x'), vault.liveCount('a/y')]).toEqual([1, 2]);
      expect(await readTexts(vault, 'a/y', [0])).toEqual([sealOf('a/y', 0)]);
      expect([vault.hasDomain('a/x'), vault.hasDomain('a/z')]).toEqual([true, false]);
    });

    test("another installation's vault is refused, and a store without one", async () => {
      store = await harness.reopen();
      const other = openVault(store, { identity: 'other' });
      await expect(other).rejects.toMatchObject({ fault: 'foreign' });
      await expect(store.getMany([]), 'it was closed').rejects.toMatchObject({ fault: 'closed' });
      await reopen();
      const empty = make();
      const nothing = openVault(await empty.open(), { identity: IDENTITY });
      await expect(nothing).rejects.toMatchObject({ fault: 'missing' });
      await empty.remove();
    });

    test('after close calls are refused', async () => {
      await vault.close();
      const unavailable = { reason: 'STORE_UNAVAILABLE' };
      await expect(mint(vault, PLAIN, ['a'])).rejects.toMatchObject(unavailable);
      await expect(claim(vault, 'a')).rejects.toMatchObject(unavailable);
      await reopen();
    });
  });
}
