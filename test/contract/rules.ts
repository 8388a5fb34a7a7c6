import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { columnOf } from '../../src/base/column.ts';
import type { Store } from '../../src/storage/store.ts';
import { PREFIX } from '../../src/vault/layout.ts';
import { type NewRules, rulesKey, type TokenRules } from '../../src/vault/rules.ts';
import { DAMAGED_RULES } from '../../src/vault/rules-table.ts';
import { initVault, openVault, type Vault } from '../../src/vault/vault.ts';
import {
  addDomains,
  claim,
  collect,
  IDENTITY,
  LISTED,
  leafOf,
  mint,
  STATIC,
} from '../vault/minting.ts';
import type { StoreHarness } from './store.ts';

const NEW: NewRules = {
  createdMs: 1_800_000_000_000,
  idleMs: 60_000,
  expireMs: Number.MAX_SAFE_INTEGER,
  revealsMax: 0xffff_ffff,
  labels: ['R', 'Ä€😀', 'x'.repeat(64)],
};
const asMade: TokenRules = {
  ...NEW,
  usedMs: NEW.createdMs,
  reveals: 0,
  restricted: false,
  unlinked: false,
};

const counters = (...list: readonly number[]): Float64Array => Float64Array.from(list);

/** What the vault promises of rules of tokens, over every store. */
export function rulesContract(name: string, make: () => StoreHarness): void {
  describe(`rules contract: ${name}`, () => {
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
      expect(await collect(vault.fsck())).toEqual([]);
      await vault.close();
      await harness.remove();
    });

    const reopen = async (): Promise<void> => {
      store = await harness.reopen();
      vault = await openVault(store, { identity: IDENTITY });
    };

    /** Mints static tokens with rules. */
    const mintRuled = async (rules: NewRules, ...names: readonly string[]): Promise<void> => {
      const made = await claim(vault, ...names);
      const sealed = columnOf([...made.newCounters].map(String));
      const commit = vault.nextCommit();
      const records = { claim: made, sealed, rules };
      await vault.commit([vault.prepare({ commit, ...leafOf(commit), records })]);
    };

    /** As a call does it: read, change, commit, with nobody between. */
    const change = (
      domain: string,
      of: Float64Array,
      next: (before: TokenRules | undefined, i: number) => TokenRules | undefined,
    ): Promise<void> =>
      vault.exclusive([domain], async () => {
        const before = await vault.rules.read(domain, of);
        const rules = Array.from(of, (_, i) => next(before?.[i], i));
        const edits = [vault.rules.editOf(domain, of, rules, before)];
        const commit = vault.nextCommit();
        await vault.commit([vault.prepare({ commit, ...leafOf(commit), edits })]);
      });

    const rulesRows = async (): Promise<number> => {
      const from = Uint8Array.of(PREFIX.rules);
      return (await collect(store.range({ from, to: Uint8Array.of(PREFIX.rules + 1) }))).length;
    };

    test('new records have the rules of their call, each its row, after restarts', async () => {
      await mintRuled(NEW, 'a', 'b');
      await mint(vault, LISTED, ['a']);
      await reopen();
      expect(await vault.rules.read(STATIC, counters(1, 7, 0))).toEqual([
        asMade,
        undefined,
        asMade,
      ]);
      // The other domain has none: nothing is read of it.
      expect(vault.rules.any(LISTED)).toBe(false);
      expect(await vault.rules.read(LISTED, counters(0))).toBeUndefined();
    });

    test('a value that has a token keeps its rules', async () => {
      await mintRuled(NEW, 'a');
      await mintRuled({ ...NEW, revealsMax: 1 }, 'a', 'b');
      const [first, second] = (await vault.rules.read(STATIC, counters(0, 1)))!;
      expect(first).toEqual(asMade);
      expect(second).toEqual({ ...asMade, revealsMax: 1 });
    });

    test('edits count rows once: made, replaced, taken away', async () => {
      await mintRuled(NEW, 'a');
      await mint(vault, LISTED, ['x', 'y']);
      const bare: TokenRules = { ...asMade, labels: [], restricted: true };
      await change(LISTED, counters(0, 1), () => bare);
      expect(await vault.rules.read(LISTED, counters(0, 1))).toEqual([bare, bare]);
      await change(LISTED, counters(1, 0), (own, i) =>
        i === 0 ? undefined : own && { ...own, reveals: 9 },
      );
      expect(await vault.rules.read(LISTED, counters(0, 1))).toEqual([
        { ...bare, reveals: 9 },
        undefined,
      ]);
      await change(LISTED, counters(1), () => undefined);
      expect(await rulesRows()).toBe(2);
      await change(LISTED, counters(0), () => undefined);
      expect(vault.rules.any(LISTED)).toBe(false);
      expect(vault.rules.any(STATIC)).toBe(true);
      await reopen();
      expect(vault.rules.any(LISTED)).toBe(false);
      expect(await rulesRows()).toBe(1);
    });

    test('a damaged row is told apart, and stops its token alone', async () => {
      await mintRuled(NEW, 'a', 'b');
      const key = rulesKey(1, 1);
      const [row] = await store.getMany([key]);
      const bad = Uint8Array.from(row!);
      bad[37]! ^= 1;
      await store.write([{ type: 'put', key, value: bad }]);
      expect(await vault.rules.read(STATIC, counters(0, 1))).toEqual([asMade, DAMAGED_RULES]);
      expect((await vault.rules.read(STATIC, counters(1)))![0]).toBe(DAMAGED_RULES);
      expect(DAMAGED_RULES.restricted).toBe(true);
      await store.write([{ type: 'put', key, value: row! }]);
    });

    test('a row of another token in its place is damaged', async () => {
      await mintRuled(NEW, 'a', 'b');
      const [row, own] = await store.getMany([rulesKey(1, 0), rulesKey(1, 1)]);
      await store.write([{ type: 'put', key: rulesKey(1, 1), value: row! }]);
      expect((await vault.rules.read(STATIC, counters(1)))![0]).toBe(DAMAGED_RULES);
      await store.write([{ type: 'put', key: rulesKey(1, 1), value: own! }]);
    });

    test('one token twice in an edit, or rules not read for each, are a fault of ours', () => {
      const edit = (list: Float64Array, rules: TokenRules[], before?: TokenRules[]) => () =>
        vault.rules.editOf(STATIC, list, rules, before);
      expect(edit(counters(0, 0), [asMade, asMade])).toThrow();
      expect(edit(counters(0), [asMade, asMade])).toThrow();
      expect(edit(counters(0, 1), [asMade, asMade], [asMade])).toThrow();
    });

    test('random changes and restarts: as a map of the same tokens', async () => {
      const names = Array.from({ length: 8 }, (_, i) => `n${i}`);
      await mint(vault, LISTED, names);
      const model = new Map<number, TokenRules>();
      const wholeMs = fc.integer({ min: 0, max: 2 ** 48 });
      const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
      const rules = fc.record({
        createdMs: wholeMs,
        idleMs: wholeMs,
        expireMs: wholeMs,
        usedMs: wholeMs,
        revealsMax: u32,
        reveals: u32,
        restricted: fc.boolean(),
        unlinked: fc.constant(false),
        labels: fc.array(fc.string({ minLength: 1, maxLength: 16, unit: 'grapheme' }), {
          maxLength: 8,
        }),
      });
      const step = fc.record({
        of: fc.uniqueArray(fc.integer({ min: 0, max: 7 }), { minLength: 1 }),
        next: fc.option(rules, { nil: undefined }),
        restart: fc.boolean(),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 4 }), async (steps) => {
          for (const { of, next, restart } of steps) {
            await change(LISTED, Float64Array.from(of), () => next);
            for (const counter of of) {
              if (next === undefined) model.delete(counter);
              else model.set(counter, next);
            }
            if (restart) await reopen();
            const found = await vault.rules.read(LISTED, counters(0, 1, 2, 3, 4, 5, 6, 7));
            expect(found ?? new Array(8).fill(undefined)).toEqual(
              names.map((_, counter) => model.get(counter)),
            );
            expect(vault.rules.any(LISTED)).toBe(model.size > 0);
            expect(await rulesRows()).toBe(model.size);
          }
        }),
        { numRuns: 12 },
      );
    });
  });
}
