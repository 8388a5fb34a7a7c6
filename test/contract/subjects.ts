import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { columnOf } from '../../src/base/column.ts';
import type { Change, Store } from '../../src/storage/store.ts';
import type { Edit } from '../../src/vault/call-write.ts';
import { PREFIX } from '../../src/vault/layout.ts';
import type { SubjectPlace } from '../../src/vault/subjects.ts';
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
  PLAIN,
  STATIC,
} from '../vault/minting.ts';
import type { StoreHarness } from './store.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const NOBODY = new Uint8Array(16);

/** Ids of patients, spread as keyed indexes are. */
const idOf = (name: string): Uint8Array => (name === '' ? NOBODY : indexOf(`subject ${name}`));
const idsOf = (names: readonly string[]): Uint8Array => Buffer.concat(names.map(idOf));

/** What the vault promises of subjects over every store that keeps the store's contract. */
export function subjectsContract(name: string, make: () => StoreHarness): void {
  describe(`subjects contract: ${name}`, () => {
    let harness: StoreHarness;
    let store: Store;
    let vault: Vault;

    beforeEach(async () => {
      harness = make();
      store = await harness.open();
      vault = await initVault(store, { identity: IDENTITY });
      await addDomains(vault);
    });
    afterEach(async () => {
      await vault.close();
      await harness.remove();
    });

    const reopen = async (): Promise<void> => {
      store = await harness.reopen();
      vault = await openVault(store, { identity: IDENTITY });
    };

    const write = async (...edits: Edit[]): Promise<void> => {
      const commit = vault.nextCommit();
      await vault.commit([vault.prepare({ commit, ...leafOf(commit), edits })]);
    };

    /** Dynamic tokens, one for each name; '' for nobody. */
    const mintFor = async (domain: string, names: readonly string[]): Promise<number> => {
      const commit = vault.nextCommit();
      const first = vault.reserve(domain, names.length);
      const sealed = columnOf(names.map(() => 'sealed'));
      const indexes = domain === LISTED ? indexesOf(names) : new Uint8Array(0);
      const records = { domain, first, sealed, indexes, subjects: idsOf(names) };
      await vault.commit([vault.prepare({ commit, ...leafOf(commit), records })]);
      return first;
    };

    const pages = async (
      names: readonly string[],
      domain: string | readonly string[] | undefined,
      limit: number,
    ): Promise<string[]> => {
      const rows: string[] = [];
      let behind: SubjectPlace | undefined;
      do {
        const page = await vault.subjects.tokensOf(names.map(idOf), domain, behind, limit);
        expect(page.counters.length).toBeLessThanOrEqual(limit);
        if (page.next !== undefined) expect(page.counters.length, 'a full page').toBe(limit);
        for (const [i, id] of page.domains.entries()) {
          const subject = hex(page.subjects.subarray(i * 16, i * 16 + 16));
          rows.push(`${subject} ${id} ${page.counters[i]}`);
        }
        behind = page.next;
      } while (behind !== undefined);
      return rows;
    };

    const rowsWith = async (prefix: number): Promise<{ key: Uint8Array; value: Uint8Array }[]> => {
      const range = { from: Uint8Array.of(prefix), to: Uint8Array.of(prefix + 1) };
      return collect(store.range(range));
    };

    test('tokens of a subject are listed, those of nobody write nothing', async () => {
      await mintFor(PLAIN, ['', 'a', '', 'b', 'a']);
      await mintFor(LISTED, ['a', '']);
      expect(await rowsWith(PREFIX.subject)).toHaveLength(4);
      const a = hex(idOf('a'));
      const wanted = [`${a} ${LISTED} 0`, `${a} ${PLAIN} 1`, `${a} ${PLAIN} 4`];
      expect(await pages(['a'], undefined, 10)).toEqual(wanted);
      expect(await pages(['a'], PLAIN, 10)).toEqual(wanted.slice(1));
      expect(await pages(['a'], [PLAIN, LISTED], 1)).toEqual(wanted);
      expect(await pages(['c'], undefined, 10)).toEqual([]);
      expect(await vault.subjects.count([idOf('a'), idOf('b')], [PLAIN])).toBe(3);
      await reopen();
      expect(await pages(['a'], undefined, 2)).toEqual(wanted);
      await write(vault.subjects.removal(PLAIN, Float64Array.of(1, 2), idsOf(['a', ''])));
      expect(await pages(['a'], undefined, 2)).toEqual([wanted[0], wanted[2]]);
    });

    test('static records bring their subjects too', async () => {
      const made = await claim(vault, 'x', 'y', 'x');
      const commit = vault.nextCommit();
      const subjects = idsOf(['a', 'b']);
      const records = { claim: made, sealed: columnOf(['sealed', 'sealed']), subjects };
      await vault.commit([vault.prepare({ commit, ...leafOf(commit), records })]);
      expect(await pages(['b', 'a'], STATIC, 5)).toEqual([
        `${hex(idOf('b'))} ${STATIC} 1`,
        `${hex(idOf('a'))} ${STATIC} 0`,
      ]);
    });

    test('pages of neighbours leave none out', async () => {
      await mintFor(PLAIN, Array(12).fill('a'));
      const wanted = Array.from({ length: 12 }, (_, i) => `${hex(idOf('a'))} ${PLAIN} ${i}`);
      for (let limit = 1; limit <= 13; limit++) {
        expect(await pages(['a'], undefined, limit)).toEqual(wanted);
      }
    });

    test('pages of any size give every row once, in order', async () => {
      const names = ['a', 'b', 'c', ''];
      const row = fc.record({
        domain: fc.constantFrom(STATIC, LISTED, PLAIN),
        subject: fc.constantFrom(...names),
        counter: fc.integer({ min: 0, max: 7 }),
      });
      await fc.assert(
        fc.asyncProperty(
          fc.array(row, { maxLength: 60 }),
          fc.shuffledSubarray(['a', 'b', 'c'], { minLength: 1 }),
          fc.subarray([STATIC, LISTED, PLAIN]),
          fc.integer({ min: 1, max: 9 }),
          async (rows, group, domains, limit) => {
            const old = await rowsWith(PREFIX.subject);
            const dels = old.map(({ key }): Change => ({ type: 'del', key }));
            await write({ changes: dels, deltas: [] });
            for (const { domain, subject, counter } of rows) {
              await write(vault.sharers.additions(domain, Float64Array.of(counter), idOf(subject)));
            }
            // By hand: each id in turn, domains in the order they were made, counters ascending;
            // what an earlier id has is not told again.
            const seen = new Set<string>();
            const wanted: string[] = [];
            for (const one of group) {
              for (const domain of [STATIC, LISTED, PLAIN]) {
                const own = rows.filter((r) => r.subject === one && r.domain === domain);
                const counters = [...new Set(own.map((r) => r.counter))].sort((x, y) => x - y);
                for (const counter of counters) {
                  if (!domains.includes(domain) || seen.has(`${domain} ${counter}`)) continue;
                  seen.add(`${domain} ${counter}`);
                  wanted.push(`${hex(idOf(one))} ${domain} ${counter}`);
                }
              }
            }
            expect(await pages(group, domains, limit)).toEqual(wanted);
          },
        ),
        { numRuns: 25 },
      );
    });

    test('sets of subjects are as a map says, whatever is added and removed', async () => {
      const subject = fc.constantFrom('a', 'b', 'c', 'd', '');
      const pair = fc.tuple(fc.integer({ min: 0, max: 4 }), subject);
      const step = fc.oneof(
        fc.record({ do: fc.constant('add' as const), pairs: fc.array(pair, { minLength: 1 }) }),
        fc.record({
          do: fc.constant('leave' as const),
          counters: fc.uniqueArray(fc.integer({ min: 0, max: 4 }), { minLength: 1 }),
          subjects: fc.subarray(['a', 'b', 'c', 'd'], { minLength: 1 }),
        }),
        fc.record({
          do: fc.constant('drop' as const),
          counters: fc.uniqueArray(fc.integer({ min: 0, max: 4 }), { minLength: 1 }),
        }),
      );
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
          const model = new Map<number, Set<string>>();
          const setOf = (counter: number): Set<string> => model.get(counter) ?? new Set();
          await write(await vault.sharers.removeAll(STATIC, Float64Array.of(0, 1, 2, 3, 4)));
          for (const one of steps) {
            if (one.do === 'add') {
              const counters = Float64Array.from(one.pairs, ([counter]) => counter);
              const ids = idsOf(one.pairs.map(([, who]) => who));
              await write(vault.sharers.additions(STATIC, counters, ids));
              for (const [counter, who] of one.pairs) {
                if (who !== '') model.set(counter, setOf(counter).add(who));
              }
            } else if (one.do === 'leave') {
              const counters = Float64Array.from(one.counters);
              const ids = one.subjects.map(idOf);
              const left = await vault.sharers.removeSubjects(STATIC, counters, ids);
              await write(left.edit);
              for (const who of one.subjects) for (const c of one.counters) setOf(c).delete(who);
              const empty = one.counters.map((c) => (setOf(c).size === 0 ? 1 : 0));
              expect([...left.emptied]).toEqual(empty);
            } else {
              await write(await vault.sharers.removeAll(STATIC, Float64Array.from(one.counters)));
              for (const counter of one.counters) model.delete(counter);
            }
          }
          const counters = [0, 1, 2, 3, 4];
          const sets = await vault.sharers.of(STATIC, Float64Array.from(counters));
          for (const counter of counters) {
            const wanted = [...setOf(counter)].map((who) => hex(idOf(who))).sort();
            expect(hex(sets[counter]!)).toBe(wanted.join(''));
          }
          const asked = counters.flatMap((c) => ['a', 'b', 'c', 'd', ''].map((who) => [c, who]));
          const flags = await vault.sharers.has(
            STATIC,
            Float64Array.from(asked, ([c]) => Number(c)),
            idsOf(asked.map(([, who]) => String(who))),
          );
          const told = asked.map(([c, who]) =>
            who === '' || setOf(Number(c)).has(String(who)) ? 1 : 0,
          );
          expect([...flags]).toEqual(told);
          expect(await rowsWith(PREFIX.subject), 'a list row for each').toHaveLength(
            (await rowsWith(PREFIX.sharer)).length,
          );
        }),
        { numRuns: 40 },
      );
    });

    test('the sharers of a record without a counter are nobody', async () => {
      const flags = await vault.sharers.has(
        STATIC,
        Float64Array.of(Number.NaN, -1),
        idsOf(['a', 'a']),
      );
      expect([...flags]).toEqual([0, 0]);
    });

    test('a flipped bit shows no other patient: lists refuse, sets deny', async () => {
      await write(vault.sharers.additions(STATIC, Float64Array.of(7), idOf('a')));
      const [listed] = await rowsWith(PREFIX.subject);
      const [shared] = await rowsWith(PREFIX.sharer);
      const flip = (key: Uint8Array, at: number): Uint8Array =>
        key.map((byte, i) => (i === at ? byte ^ 1 : byte));
      const { value } = shared!;
      await store.write([
        { type: 'put', key: flip(listed!.key, 28), value: listed!.value },
        { type: 'put', key: flip(shared!.key, 12), value },
      ]);
      const page = vault.subjects.tokensOf([idOf('a')], STATIC, undefined, 5);
      await expect(page).rejects.toMatchObject({ reason: 'RECORD_CORRUPT' });
      expect([
        ...(await vault.sharers.has(STATIC, Float64Array.of(6, 7), idsOf(['a', 'a']))),
      ]).toEqual([0, 1]);
      const sets = vault.sharers.of(STATIC, Float64Array.of(6));
      await expect(sets).rejects.toMatchObject({ reason: 'RECORD_CORRUPT' });
    });

    test('a subject of a call that fails is nowhere', async () => {
      const made = await claim(vault, 'x');
      vault.release(made);
      await commitClaim(vault, await claim(vault, 'y'));
      expect(await rowsWith(PREFIX.subject)).toEqual([]);
    });
  });
}
