import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Store } from '../../src/storage/store.ts';
import type { Merge } from '../../src/vault/aliases.ts';
import type { Edit } from '../../src/vault/call-write.ts';
import { PREFIX } from '../../src/vault/layout.ts';
import { SubjectGroups } from '../../src/vault/subject-groups.ts';
import { initVault, openVault, type Vault } from '../../src/vault/vault.ts';
import { collect, IDENTITY, indexOf, leafOf } from '../vault/minting.ts';
import type { StoreHarness } from './store.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Ids of patients, spread as keyed indexes are. */
const idOf = (name: string): Uint8Array => indexOf(`subject ${name}`);

/** What the vault promises of merged subjects over every store that keeps the store's contract. */
export function aliasesContract(name: string, make: () => StoreHarness): void {
  describe(`aliases contract: ${name}`, () => {
    let harness: StoreHarness;
    let store: Store;
    let vault: Vault;

    beforeEach(async () => {
      harness = make();
      store = await harness.open();
      vault = await initVault(store, { identity: IDENTITY });
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

    const rowsWith = async (prefix: number): Promise<{ key: Uint8Array; value: Uint8Array }[]> => {
      const range = { from: Uint8Array.of(prefix), to: Uint8Array.of(prefix + 1) };
      return collect(store.range(range));
    };

    const mergeOf = (id: number, survivor: string, prior: string, organisation = 'clinic') => ({
      id: `01J${String(id).padStart(23, '0')}`,
      organisation,
      survivor: idOf(survivor),
      prior: idOf(prior),
    });
    const add = async (merge: Merge) => {
      await write(vault.aliases.addition(merge));
      return vault.aliases.added(merge);
    };
    const remove = async (merge: Merge) => {
      await write(vault.aliases.removal(merge));
      return vault.aliases.removed(merge);
    };
    const groupOf = (who: string, organisation = 'clinic'): string[] =>
      vault.aliases.groupOf(idOf(who), organisation).map(hex);
    const all = (...names: string[]): string[] => names.map((who) => hex(idOf(who))).sort();

    test('a chain is one group, and each merge goes on its own', async () => {
      const ab = mergeOf(1, 'a', 'b');
      const ca = mergeOf(2, 'c', 'a');
      await add(ab);
      await add(ca);
      expect(groupOf('b')[0]).toBe(hex(idOf('b')));
      expect(groupOf('b').sort()).toEqual(all('a', 'b', 'c'));
      expect(groupOf('d')).toEqual(all('d'));
      expect(groupOf('b', 'lab'), 'nothing to another organisation').toEqual(all('b'));
      expect(vault.aliases.between('clinic', idOf('b'), idOf('a'))).toEqual(ab);
      expect(vault.aliases.between('clinic', idOf('b'), idOf('c'))).toBeUndefined();
      expect(vault.aliases.partedBy(ab).map(hex)).toEqual(all('b'));
      await reopen();
      expect(groupOf('c').sort()).toEqual(all('a', 'b', 'c'));
      expect(vault.aliases.size).toBe(2);
      await remove(vault.aliases.merge(ab.id)!);
      expect([groupOf('b'), groupOf('a').sort()]).toEqual([all('b'), all('a', 'c')]);
      await reopen();
      expect([groupOf('b'), groupOf('a').sort()]).toEqual([all('b'), all('a', 'c')]);
      await remove(vault.aliases.merge(ca.id)!);
      expect(await rowsWith(PREFIX.alias)).toEqual([]);
    });

    test('a ring holds when one merge goes', async () => {
      const [ab, bc, ca] = [mergeOf(1, 'a', 'b'), mergeOf(2, 'b', 'c'), mergeOf(3, 'c', 'a')];
      for (const merge of [ab, bc, ca]) await add(merge);
      expect(vault.aliases.partedBy(ab)).toEqual([]);
      await remove(ab);
      expect(groupOf('a').sort()).toEqual(all('a', 'b', 'c'));
      await remove(bc);
      expect([groupOf('b'), groupOf('a').sort()]).toEqual([all('b'), all('a', 'c')]);
    });

    test('two organisations may merge the same ids, and part them, apart', async () => {
      const clinic = mergeOf(1, 'a', 'b');
      const lab = mergeOf(2, 'a', 'b', 'lab');
      await add(clinic);
      await add(lab);
      await remove(clinic);
      await reopen();
      expect([groupOf('a'), groupOf('a', 'lab').sort()]).toEqual([all('a'), all('a', 'b')]);
      await add(mergeOf(3, 'b', 'c'));
      expect(groupOf('c').sort(), 'the merges of one do not go on in the other').toEqual(
        all('b', 'c'),
      );
      expect(vault.aliases.joined('clinic', idOf('c'), idOf('a'))).toBe(3);
      expect(vault.aliases.joined('lab', idOf('c'), idOf('a'))).toBe(3);
    });

    test('groups are those of the edges, at every step, here and in the copy', async () => {
      const people = ['a', 'b', 'c', 'd', 'e', 'f'];
      const person = fc.constantFrom(...people);
      const step = fc.record({ one: person, two: person, undo: fc.nat({ max: 30 }) });
      let next = 100;
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
          const copy = new SubjectGroups();
          const edges: Merge[] = [];
          for (const { one, two, undo } of steps) {
            const gone = undo < 8 ? edges.splice(undo % (edges.length || 1), 1)[0] : undefined;
            if (gone !== undefined) for (const group of await remove(gone)) copy.set(group);
            else if (one !== two) {
              const merge = mergeOf(next++, one, two);
              edges.push(merge);
              for (const group of await add(merge)) copy.set(group);
            }
            // By hand: colours spread along the edges until nothing changes.
            const colour = new Map(people.map((who) => [hex(idOf(who)), who]));
            for (let changed = true; changed; ) {
              changed = false;
              for (const { survivor, prior } of edges) {
                const [x, y] = [colour.get(hex(survivor))!, colour.get(hex(prior))!];
                const low = [x, y].sort()[0]!;
                if (x !== y) changed = true;
                colour.set(hex(survivor), low);
                colour.set(hex(prior), low);
              }
            }
            for (const who of people) {
              const own = colour.get(hex(idOf(who)));
              const wanted = all(...people.filter((p) => colour.get(hex(idOf(p))) === own));
              expect(groupOf(who).sort()).toEqual(wanted);
              const copied = copy.of('clinic')?.find(idOf(who), 0)?.map(hex);
              expect(copied ?? [hex(idOf(who))]).toEqual(wanted);
            }
          }
          const before = people.map((who) => groupOf(who));
          await vault.aliases.load();
          expect(people.map((who) => groupOf(who))).toEqual(before);
          for (const merge of edges) await remove(merge);
          expect(vault.aliases.size).toBe(0);
          expect(copy.of('lab')).toBeUndefined();
        }),
        { numRuns: 25 },
      );
    });

    test('a damaged merge refuses to open', async () => {
      await add(mergeOf(1, 'a', 'b'));
      const [row] = await rowsWith(PREFIX.alias);
      const value = row!.value.map((byte, i) => (i === 1 ? byte ^ 1 : byte));
      await store.write([{ type: 'put', key: row!.key, value }]);
      await expect(vault.aliases.load()).rejects.toMatchObject({ fault: 'corrupt' });
    });
  });
}
