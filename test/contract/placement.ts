import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { columnOf } from '../../src/base/column.ts';
import type { Store } from '../../src/storage/store.ts';
import type { Claim } from '../../src/vault/claims.ts';
import { type Minted, mintedRecords } from '../../src/vault/minting.ts';
import { REFUSED } from '../../src/vault/refused.ts';
import { initVault, openVault, type Vault } from '../../src/vault/vault.ts';
import {
  collect,
  commitClaim,
  IDENTITY,
  indexesOf,
  indexOf,
  leafOf,
  readTexts,
  sealOf,
} from '../vault/minting.ts';
import type { StoreHarness } from './store.ts';

const STATIC = 'clinic/s';
const LISTED = 'clinic/l';
const DRAWN = 'clinic/d';
const DRAWN_LIST = 'clinic/e';

/** Counters that are not given out in order, over every store that keeps the store's contract. */
export function placementContract(name: string, make: () => StoreHarness): void {
  describe(`placement contract: ${name}`, () => {
    let harness: StoreHarness;
    let store: Store;
    let vault: Vault;

    beforeEach(async () => {
      harness = make();
      store = await harness.open();
      vault = await initVault(store, { identity: IDENTITY });
    });
    afterEach(async () => {
      expect(await collect(vault.fsck())).toEqual([]);
      await vault.close();
      await harness.remove();
    });

    const reopen = async (): Promise<void> => {
      store = await harness.reopen();
      vault = await openVault(store, { identity: IDENTITY });
    };
    const add = async (countersMax: number): Promise<void> => {
      await vault.addDomain(STATIC, { index: 'unique', countersMax });
      await vault.addDomain(LISTED, { index: 'listed', countersMax });
      await vault.addDomain(DRAWN, { index: 'unique', countersMax, drawn: true });
      await vault.addDomain(DRAWN_LIST, { index: 'listed', countersMax, drawn: true });
    };

    /** Commits minted counters with the values' names, and ends the call. */
    const commitMinted = async (minted: Minted, names: readonly unknown[]): Promise<void> => {
      const { counters, domain } = minted;
      if (counters.length > 0) {
        const commit = vault.nextCommit();
        const sealed = columnOf([...counters].map((counter) => sealOf(domain, counter)));
        const indexes = indexesOf(names.slice(0, counters.length).map(String));
        const records = mintedRecords(minted, indexes, { sealed, rules: undefined });
        await vault.commit([vault.prepare({ commit, ...leafOf(commit), records })]);
      }
      vault.release(minted);
    };
    const mintAll = async (domain: string, names: readonly unknown[]): Promise<number[]> => {
      const minted = await vault.minting.mint(domain, names.length);
      await commitMinted(minted, names);
      return [...minted.counters];
    };
    const claimAll = async (domain: string, names: readonly unknown[]): Promise<Claim> => {
      const made = await vault.claim(domain, indexesOf(names.map(String)));
      if (made.newRows.length > 0) await commitClaim(vault, made);
      vault.release(made);
      return made;
    };
    const importInto = async (
      domain: string,
      pairs: readonly (readonly [name: unknown, counter: number])[],
    ): Promise<number[]> => {
      const indexes = indexesOf(pairs.map(([own]) => String(own)));
      const counters = Float64Array.from(pairs, ([, counter]) => counter);
      return vault.exclusive([domain], async () => {
        const made = await vault.minting.placeClaim(domain, counters, indexes);
        if (made.newRows.length > 0) await commitClaim(vault, made);
        vault.release(made);
        return [...made.counters];
      });
    };

    test('drawn counters are distinct, below the limit, and end at 90 %', async () => {
      await add(50);
      const made = await mintAll(
        DRAWN_LIST,
        Array.from({ length: 60 }, (_, i) => i),
      );
      expect(new Set(made).size).toBe(45);
      expect(made.every((counter) => counter >= 0 && counter < 50)).toBe(true);
      expect(made).not.toEqual([...made].sort((a, b) => a - b));
      expect(await mintAll(DRAWN_LIST, ['x'])).toEqual([]);
      expect(vault.minting.fill(DRAWN_LIST)).toBe(0.9);
      const first = await claimAll(DRAWN, ['a', 'b', 'a']);
      expect([...first.created]).toEqual([1, 1, 0]);
      const more = await claimAll(DRAWN, ['b', ...Array.from({ length: 50 }, (_, i) => `n${i}`)]);
      expect(more.counters[0]).toBe(first.counters[1]);
      expect(more.newRows.length).toBe(43);
      expect([...more.counters.subarray(44)]).toEqual(Array(7).fill(REFUSED.exhausted));
      await reopen();
      expect([...(await claimAll(DRAWN, ['a', 'y'])).counters]).toEqual([
        first.counters[0],
        REFUSED.exhausted,
      ]);
      expect(await mintAll(DRAWN_LIST, ['x'])).toEqual([]);
      expect(vault.minting.fill(DRAWN_LIST)).toBe(0.9);
    });

    test('with all or nothing a claim that does not fit takes nothing', async () => {
      await add(10);
      for (const domain of [STATIC, DRAWN]) {
        const room = domain === DRAWN ? 9 : 10;
        const names = Array.from({ length: room + 1 }, (_, i) => i);
        const none = await vault.minting.claim(domain, indexesOf(names), true);
        expect(none.newRows).toHaveLength(0);
        expect([...none.counters]).toEqual(Array(room + 1).fill(REFUSED.exhausted));
        vault.release(none);
        expect((await claimAll(domain, names.slice(1))).newRows).toHaveLength(room);
      }
      expect((await vault.minting.mint(LISTED, 11, 11)).counters).toHaveLength(0);
      expect((await vault.minting.mint(DRAWN_LIST, 10, 10)).counters).toHaveLength(0);
      expect(await mintAll(LISTED, Array(10).fill('a'))).toHaveLength(10);
      expect(await mintAll(DRAWN_LIST, Array(9).fill('a'))).toHaveLength(9);
    });

    test('calls at once near the end share no counter and waste none', async () => {
      await add(200);
      const calls = Array.from({ length: 30 }, (_, call) =>
        call % 2 === 0
          ? mintAll(DRAWN_LIST, Array(14).fill(call))
          : claimAll(
              DRAWN,
              Array.from({ length: 14 }, (_, i) => call * 100 + i),
            ).then(() => []),
      );
      const made = (await Promise.all(calls)).flat();
      expect(made).toHaveLength(180);
      expect(new Set(made).size).toBe(180);
      expect(vault.liveCount(DRAWN)).toBe(180);
      expect(vault.minting.fill(DRAWN)).toBe(0.9);
    });

    test('counters of a call that failed are drawn again', async () => {
      await add(10);
      const given = await vault.minting.mint(DRAWN_LIST, 9);
      expect(given.counters).toHaveLength(9);
      expect(await mintAll(DRAWN_LIST, ['a'])).toEqual([]);
      vault.release(given);
      vault.release(given);
      const claimed = await vault.claim(DRAWN, indexesOf(['a', 'b', 'c', 'd', 'e']));
      vault.release(claimed);
      expect(await mintAll(DRAWN_LIST, Array(10).fill('b'))).toHaveLength(9);
      expect((await claimAll(DRAWN, 'abcdefghijk'.split(''))).newRows).toHaveLength(9);
    });

    test('minting steps over imported counters, through a restart too', async () => {
      await add(20_000);
      const far = Array.from({ length: 200 }, (_, i) => [`far${i}`, 3 + i * 43] as const);
      expect(await importInto(STATIC, far)).toEqual(far.map(([, counter]) => counter));
      const taken = new Set(far.map(([, counter]) => counter));
      const seen = new Set<number>();
      const check = async (count: number): Promise<void> => {
        const names = Array.from({ length: count }, (_, i) => `n${seen.size + i}`);
        const made = await claimAll(STATIC, names);
        for (const counter of made.newCounters) {
          expect(taken.has(counter)).toBe(false);
          expect(seen.has(counter)).toBe(false);
          seen.add(counter);
        }
        expect(made.newRows).toHaveLength(count);
      };
      await check(5);
      await check(5_000);
      await reopen();
      await check(10);
      await Promise.all([check(100), importInto(STATIC, [['late', 19_999]])]);
      expect(await readTexts(vault, STATIC, [3, 46])).toEqual([
        sealOf(STATIC, 3),
        sealOf(STATIC, 46),
      ]);
      expect([...(await vault.find(STATIC, indexOf('far1')))]).toEqual([46]);
    });

    test('an import under way is stepped over; what was given out once is not free', async () => {
      await add(10_000);
      const under = await vault.minting.placeClaim(
        STATIC,
        Float64Array.of(2, 7),
        indexesOf(['p', 'q']),
      );
      const made = await claimAll(STATIC, 'abcde'.split(''));
      expect([...made.newCounters]).toEqual([0, 1, 3, 4, 5]);
      await commitClaim(vault, under);
      vault.release(under);
      expect([...(await claimAll(STATIC, ['f', 'g'])).newCounters]).toEqual([6, 8]);
      // The window up to 4,096 is known by now; an import into it must be seen all the same.
      expect(
        await importInto(STATIC, [
          ['r', 9],
          ['s', 11],
        ]),
      ).toEqual([9, 11]);
      expect([...(await claimAll(STATIC, ['h', 'i'])).newCounters]).toEqual([10, 12]);
      vault.release(await vault.claim(STATIC, indexesOf(['lost'])));
      expect(
        await importInto(STATIC, [
          ['t', 13],
          ['t', 14],
        ]),
      ).toEqual([REFUSED.taken, 14]);
      const minted = await vault.minting.place(LISTED, Float64Array.of(1));
      expect(await mintAll(LISTED, ['a', 'b'])).toEqual([0, 2]);
      await commitMinted(minted.minted, ['c']);
      expect(await readTexts(vault, LISTED, [0, 1, 2])).not.toContain('');
    });

    test('a pair keeps its partners: what is taken, or is there, changes nothing', async () => {
      await add(1_000);
      const made = await claimAll(STATIC, ['a', 'b']);
      expect([...made.counters]).toEqual([0, 1]);
      expect(
        await importInto(STATIC, [
          ['c', 500],
          ['a', 0],
          ['a', 600],
          ['d', 1],
          ['e', 500],
          ['c', 500],
          ['c', 501],
          ['f', 501],
        ]),
      ).toEqual([500, 0, REFUSED.taken, REFUSED.taken, REFUSED.taken, 500, REFUSED.taken, 501]);
      expect(vault.liveCount(STATIC)).toBe(4);
      expect(await importInto(STATIC, [['c', 500]])).toEqual([500]);
      expect(vault.liveCount(STATIC)).toBe(4);
    });

    test('a value that a call under way mints is not imported, and nobody waits', async () => {
      await add(1_000);
      const open = await vault.claim(STATIC, indexesOf(['a']));
      expect(
        await importInto(STATIC, [
          ['a', 700],
          ['b', 700],
        ]),
      ).toEqual([REFUSED.taken, 700]);
      await commitClaim(vault, open);
      vault.release(open);
      const drawn = await vault.minting.mint(DRAWN_LIST, 1);
      const [held] = drawn.counters;
      const placing = await vault.minting.place(DRAWN_LIST, Float64Array.of(held!));
      expect([...placing.busy]).toEqual([2]);
      vault.release(placing.minted);
      await commitMinted(drawn, ['x']);
    });

    test('counters set aside are never given out, nor counted as free', async () => {
      await add(10);
      const aside = async (domain: string, ...counters: number[]): Promise<void> => {
        const commit = vault.nextCommit();
        const list = Float64Array.from(counters);
        const edit = await vault.minting.setAside(domain, list, commit);
        await vault.commit([vault.prepare({ commit, ...leafOf(commit), edits: [edit] })]);
      };
      await aside(DRAWN_LIST, 2, 3, 2);
      await aside(STATIC, 0, 2);
      const drawn = await mintAll(DRAWN_LIST, Array(10).fill('a'));
      expect(drawn).toHaveLength(7);
      expect(drawn).not.toContain(2);
      expect(drawn).not.toContain(3);
      const names = 'abcdefghij'.split('');
      const made = await claimAll(STATIC, names);
      expect([...made.newCounters]).toEqual([1, 3, 4, 5, 6, 7, 8, 9]);
      expect(await importInto(STATIC, [['z', 2]])).toEqual([REFUSED.taken]);
      await aside(STATIC, 1, 5); // In use: they stay.
      expect(vault.liveCount(STATIC)).toBe(8);
    });

    test('as a plain map does, whatever comes in whatever order', () =>
      fc.assert(
        fc.asyncProperty(
          fc.array(
            fc.oneof(
              fc.record({ op: fc.constant('mint' as const), names: someNames }),
              fc.record({ op: fc.constant('give-up' as const), names: someNames }),
              fc.record({
                op: fc.constant('import' as const),
                pairs: fc.array(fc.tuple(fc.nat(12), fc.nat(25)), { minLength: 1, maxLength: 4 }),
              }),
              fc.record({ op: fc.constant('reopen' as const) }),
            ),
            { maxLength: 12 },
          ),
          fc.boolean(),
          async (steps, drawn) => {
            const domain = `clinic/p${++properties}`;
            await vault.addDomain(domain, { index: 'unique', countersMax: 26, drawn });
            const model = new Map<string, number>();
            const used = new Set<number>();
            for (const step of steps) {
              if (step.op === 'reopen') await reopen();
              else if (step.op === 'import') {
                const results = await importInto(domain, step.pairs);
                for (const [i, [own, counter]] of step.pairs.entries()) {
                  const before = model.get(String(own));
                  const got = results[i]!;
                  if (before !== undefined) {
                    expect(got).toBe(before === counter ? counter : REFUSED.taken);
                  } else if (used.has(counter)) expect(got).toBe(REFUSED.taken);
                  // Below the counters given out in order even an unused one is taken.
                  else if (drawn || got !== REFUSED.taken) {
                    expect(got).toBe(counter);
                    model.set(String(own), counter);
                    used.add(counter);
                  }
                }
              } else if (step.op === 'give-up') {
                vault.release(await vault.claim(domain, indexesOf(step.names.map(String))));
              } else {
                const made = await claimAll(domain, step.names);
                for (const [i, own] of step.names.entries()) {
                  const counter = made.counters[i]!;
                  const before = model.get(String(own));
                  if (before !== undefined) expect(counter).toBe(before);
                  else if (counter !== REFUSED.exhausted) {
                    expect(used.has(counter)).toBe(false);
                    expect(counter).toBeLessThan(26);
                    model.set(String(own), counter);
                    used.add(counter);
                  } else if (drawn) expect(used.size).toBeGreaterThanOrEqual(24);
                }
              }
            }
            const names = [...model.keys()];
            const found = await vault.find(domain, indexesOf(names));
            expect([...found]).toEqual([...model.values()]);
            expect(vault.liveCount(domain)).toBe(model.size);
          },
        ),
        { numRuns: 60 },
      ));
  });
}

let properties = 0;
const someNames = fc.array(fc.nat(12), { minLength: 1, maxLength: 6 });
