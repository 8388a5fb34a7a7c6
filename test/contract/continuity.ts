import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import type { Store } from '../../src/storage/store.ts';
import type { Marks } from '../../src/vault/committer.ts';
import { initVault, openVault, type Vault } from '../../src/vault/vault.ts';
import {
  addDomains,
  claim,
  collect,
  commitClaim,
  IDENTITY,
  indexOf,
  LISTED,
  leafOf,
  mint,
  PLAIN,
  STATIC,
} from '../vault/minting.ts';
import type { StoreHarness } from './store.ts';

/** Marks kept outside the vault, in a map, as long as `answer` lets them be. */
class KeptMarks implements Marks {
  lost = false;
  readonly below = new Map<string, number>();
  readonly unordered = new Set<string>();
  /** How far ahead of what is asked for. */
  readonly ahead: number;
  waits = 0;
  answer: () => Promise<void> = async () => {};

  constructor(ahead: number) {
    this.ahead = ahead;
  }

  reserve(domain: string, upTo: number, most: number, unordered: boolean) {
    const enough = upTo <= (this.below.get(domain) ?? 0);
    if (enough && (!unordered || this.unordered.has(domain))) return undefined;
    this.waits++;
    return this.answer().then(() => {
      this.below.set(domain, Math.min(most, upTo + this.ahead));
      if (unordered) this.unordered.add(domain);
    });
  }
}

/** What tells a vault from its copies, and how it goes on after an older copy was accepted. */
export function continuityContract(name: string, make: () => StoreHarness): void {
  describe(`continuity contract: ${name}`, () => {
    let harness: StoreHarness;
    let vault: Vault;
    let marks: KeptMarks;

    beforeEach(async () => {
      harness = make();
      marks = new KeptMarks(1_000);
      vault = await initVault(await harness.open(), { identity: IDENTITY, marks });
      await addDomains(vault);
    });
    afterEach(async () => {
      expect(await collect(vault.fsck())).toEqual([]);
      await vault.close();
      await harness.remove();
    });

    const reopen = async (): Promise<void> => {
      vault = await openVault(await harness.reopen(), { identity: IDENTITY, marks });
    };
    const closeAndReopen = async (): Promise<void> => {
      await vault.close();
      await reopen();
    };

    test('the epoch is 0 at first, and what it was set to from then on', async () => {
      expect(vault.continuity.epoch).toBe(0);
      await vault.continuity.saveEpoch(7);
      expect(vault.continuity.epoch).toBe(7);
      await reopen();
      expect(vault.continuity.epoch).toBe(7);
      expect(vault.continuity.moved).toBe(false);
    });

    test('no counter is stored that the marks do not cover, and few writes wait', async () => {
      for (let i = 0; i < 30; i++) {
        await mint(
          vault,
          LISTED,
          Array.from({ length: 400 }, (_, n) => `${i}-${n}`),
        );
        expect(marks.below.get(LISTED)).toBeGreaterThanOrEqual(vault.countersUsed(LISTED));
      }
      // 12,000 counters, each wait a block of 1,000 beyond the vault's own block ahead.
      expect(marks.waits).toBeLessThan(15);
      await commitClaim(vault, await claim(vault, 'a'));
      expect(marks.below.get(STATIC)).toBeGreaterThanOrEqual(1);
      expect([...marks.unordered]).toEqual([]);
    });

    test('a call whose marks fail is not stored, and the next one goes on', async () => {
      const refused = new CallError('MODULE_UNAVAILABLE');
      marks.answer = () => Promise.reject(refused);
      await expect(mint(vault, PLAIN, ['a'])).rejects.toBe(refused);
      const made = await claim(vault, 'b');
      await expect(commitClaim(vault, made)).rejects.toBe(refused);
      expect(vault.fenced).toBe(false);
      expect(vault.liveCount(PLAIN) + vault.liveCount(STATIC)).toBe(0);
      marks.answer = async () => {};
      const { first } = await mint(vault, PLAIN, ['a']);
      expect(first).toBe(1);
      await commitClaim(vault, await claim(vault, 'b'));
      expect(vault.liveCount(PLAIN) + vault.liveCount(STATIC)).toBe(2);
    });

    test('counters given out while the marks are written are covered too', async () => {
      const written = Promise.withResolvers<void>();
      marks.answer = () => written.promise;
      const one = mint(vault, PLAIN, ['a']);
      const two = mint(
        vault,
        PLAIN,
        Array.from({ length: 20_000 }, (_, i) => i),
      );
      written.resolve();
      await Promise.all([one, two]);
      expect(marks.below.get(PLAIN)).toBeGreaterThanOrEqual(20_001);
    });

    test('once the marks are lost nothing is written any more', async () => {
      await mint(vault, PLAIN, ['a']);
      marks.lost = true;
      expect(vault.fenced).toBe(true);
      const refused = { reason: 'STORE_UNAVAILABLE' };
      await expect(mint(vault, PLAIN, ['b'])).rejects.toMatchObject(refused);
      await expect(vault.saveState('x', Uint8Array.of(1))).rejects.toMatchObject(refused);
      expect(vault.liveCount(PLAIN)).toBe(1);
    });

    test('skipped counters are never given out, a crash or not; marks do not go back', async () => {
      await mint(vault, LISTED, ['a', 'b']);
      const marked = new Map([
        [LISTED, 500],
        [STATIC, 10],
        ['clinic/absent', 7],
      ]);
      await vault.continuity.skipCounters(marked);
      await vault.continuity.skipCounters(new Map([[LISTED, 3]]));
      expect(vault.continuity.counters()).toEqual(
        new Map([
          [LISTED, 500],
          [STATIC, 10],
          [PLAIN, 0],
        ]),
      );
      expect(marks.below.get(LISTED)).toBeGreaterThanOrEqual(500);
      await reopen();
      expect((await mint(vault, LISTED, ['c'])).first).toBeGreaterThanOrEqual(500);
      await closeAndReopen();
      expect((await claim(vault, 'x')).counters[0]).toBeGreaterThanOrEqual(10);
    });

    test('skipping goes no further than there are counters', async () => {
      await vault.continuity.skipCounters(new Map([[PLAIN, 2 ** 40]]));
      await expect(mint(vault, PLAIN, ['a'])).rejects.toMatchObject({
        reason: 'FORMAT_EXHAUSTED',
      });
    });

    test('a domain that is closed mints no more, for good, and gives what it has', async () => {
      await commitClaim(vault, await claim(vault, 'a'));
      for (const id of [STATIC, LISTED, PLAIN]) await vault.continuity.closeMinting(id);
      const refused = { reason: 'MINTING_CLOSED' };
      for (let turn = 0; turn < 2; turn++) {
        await expect(mint(vault, LISTED, ['b'])).rejects.toMatchObject(refused);
        await expect(mint(vault, PLAIN, ['b'])).rejects.toMatchObject(refused);
        const known = await claim(vault, 'a');
        expect([...known.counters]).toEqual([0]);
        expect(known.newRows).toHaveLength(0);
        await closeAndReopen();
      }
    });

    test('commit numbers go on above those of the log', async () => {
      await mint(vault, PLAIN, ['a']);
      await vault.continuity.continueAt(40, 0);
      expect(vault.lastCommit).toBe(40);
      expect(vault.nextCommit()).toBe(41);
      await reopen();
      expect(vault.lastCommit).toBe(40);
      expect((await mint(vault, PLAIN, ['b'])).commit).toBeGreaterThan(40);
      await vault.continuity.continueAt(3, 0);
      expect(vault.lastCommit).toBeGreaterThan(40);
    });

    test('what requests did whose leaves are gone is forgotten, and nothing else', async () => {
      const request = (id: string) => ({ key: indexOf(id), digest: indexOf(`${id} asked`) });
      const commit = async (id: string, leafIndex: number | undefined): Promise<void> => {
        const key = indexOf(id);
        expect(await vault.beginRequest(key)).toBeUndefined();
        const number = vault.nextCommit();
        const call = { commit: number, ...leafOf(number), request: request(id) };
        await vault.commit([vault.prepare(call)]);
        vault.endRequest(key);
        if (leafIndex !== undefined) vault.settle([{ commit: number, leafIndex }]);
      };
      await commit('early', 4);
      await commit('late', 5);
      await commit('unsettled', undefined);
      await mint(vault, PLAIN, ['a']); // Writes where the settled leaves are.
      await reopen();
      expect(vault.logLeaves).toBe(6);
      await vault.continuity.continueAt(0, 5);
      expect(vault.logLeaves).toBe(5);
      await reopen();
      expect(vault.logLeaves).toBe(5);
      const left = async (id: string) => {
        const found = await vault.beginRequest(indexOf(id));
        vault.endRequest(indexOf(id));
        return found?.leafIndex;
      };
      expect(await left('early')).toBe(4);
      expect(await left('late')).toBeUndefined();
      const unsettled = await vault.beginRequest(indexOf('unsettled'));
      expect(unsettled).toMatchObject({ leafIndex: undefined });
    });
  });
}

/** What a store that lies somewhere adds. `elsewhere` opens the same rows in another place. */
export function placeContract(
  name: string,
  make: () => StoreHarness & { elsewhere(): Promise<Store> },
): void {
  test(`${name}: a vault in another place is refused until it is adopted`, async () => {
    const harness = make();
    const options = { identity: IDENTITY };
    const made = await initVault(await harness.open(), options);
    await addDomains(made);
    await mint(made, PLAIN, ['a']);
    await made.close();
    await expect(openVault(await harness.elsewhere(), options)).rejects.toMatchObject({
      fault: 'moved',
    });
    const moved = await openVault(await harness.elsewhere(), { ...options, moved: 'allow' });
    expect(moved.continuity.moved).toBe(true);
    expect(moved.liveCount(PLAIN)).toBe(1);
    await moved.close();
    const again = await openVault(await harness.elsewhere(), { ...options, moved: 'allow' });
    await again.continuity.adopt();
    expect(again.continuity.moved).toBe(false);
    await again.close();
    const adopted = await openVault(await harness.elsewhere(), options);
    expect(adopted.continuity.moved).toBe(false);
    await adopted.close();
    // In its own place the first one still opens: which of the two it is, the epoch tells.
    const first = await openVault(await harness.reopen(), options);
    await first.close();
    await harness.remove();
  });
}
