import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { columnOf } from '../../src/base/column.ts';
import type { Store } from '../../src/storage/store.ts';
import type { EraseMode, Erasing } from '../../src/vault/erasure.ts';
import { ERASED_SUBJECT, RESTRICTED_SUBJECT } from '../../src/vault/tombstones.ts';
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

const subjectOf = (name: string): Uint8Array =>
  name === '' ? new Uint8Array(16) : indexOf(`subject ${name}`);

/** One token as the model has it. */
interface Token {
  readonly domain: string;
  readonly counter: number;
  readonly value: string;
  readonly subject: string;
  state: 'live' | 'delete' | 'unlink';
}

/** Holds back what a read found, as a slow disk or a busy thread would. */
class Reads {
  #next: { reached: () => void; opened: Promise<void> } | undefined;

  /** The next `getMany` reads at once and answers when the gate is opened. */
  hold(): { readonly reached: Promise<void>; readonly open: () => void } {
    const reached = Promise.withResolvers<void>();
    const opened = Promise.withResolvers<void>();
    this.#next = { reached: reached.resolve, opened: opened.promise };
    return { reached: reached.promise, open: opened.resolve };
  }

  through(store: Store): Store {
    const getMany: Store['getMany'] = async (keys) => {
      const gate = this.#next;
      this.#next = undefined;
      const rows = await store.getMany(keys);
      gate?.reached();
      await gate?.opened;
      return rows;
    };
    return new Proxy(store, {
      get: (target, name) => {
        if (name === 'getMany') return getMany;
        const member: unknown = Reflect.get(target, name, target);
        return typeof member === 'function' ? member.bind(target) : member;
      },
    });
  }
}

/** What the vault promises of erasures over every store that keeps the store's contract. */
export function erasureContract(name: string, make: () => StoreHarness): void {
  describe(`erasure contract: ${name}`, () => {
    let harness: StoreHarness;
    let store: Store;
    let vault: Vault;
    let reads: Reads;

    const begin = async (): Promise<void> => {
      harness = make();
      store = await harness.open();
      reads = new Reads();
      vault = await initVault(reads.through(store), { identity: IDENTITY });
      await addDomains(vault);
    };
    const end = async (): Promise<void> => {
      expect(await collect(vault.fsck())).toEqual([]);
      await vault.close();
      await harness.remove();
    };
    beforeEach(begin);
    afterEach(end);

    /** As after a crash: nothing is told to the vault before. */
    const reopen = async (): Promise<void> => {
      store = await harness.reopen();
      vault = await openVault(reads.through(store), { identity: IDENTITY });
    };

    const erasingOf = (
      domain: string,
      rows: readonly { counter: number; value: string; subject?: string; known?: boolean }[],
      mode: EraseMode,
      commit: number,
    ): Erasing => ({
      domain,
      counters: Float64Array.from(rows, ({ counter }) => counter),
      mode,
      commit,
      indexes: Buffer.concat(
        rows.map(({ value, known = true }) => (known ? indexOf(value) : new Uint8Array(16))),
      ),
      subjects: Buffer.concat(
        rows.map(({ subject = '', known = true }) => subjectOf(known ? subject : '')),
      ),
      known: Uint8Array.from(rows, ({ known = true }) => (known ? 1 : 0)),
      thorough: true,
    });

    const erase = (
      domain: string,
      rows: Parameters<typeof erasingOf>[1],
      mode: EraseMode = 'delete',
    ): Promise<void> =>
      vault.exclusive([domain], async () => {
        const commit = vault.nextCommit();
        const erasing = erasingOf(domain, rows, mode, commit);
        const edits = [await vault.erasures.editOf(erasing)];
        await vault.commit([vault.prepare({ commit, ...leafOf(commit), edits })]);
        vault.erasures.committed(erasing);
      });

    const mintStatic = async (...values: string[]): Promise<number[]> => {
      const made = await claim(vault, ...values);
      await commitClaim(vault, made);
      return [...made.counters];
    };

    test('a record goes, its counter is spent, its value gets a new one', async () => {
      expect(await mintStatic('a', 'b')).toEqual([0, 1]);
      await erase(STATIC, [{ counter: 0, value: 'a' }]);
      const look = async (): Promise<void> => {
        expect(await readTexts(vault, STATIC, [0, 1])).toEqual(['', sealOf(STATIC, 1)]);
        expect([...(await vault.find(STATIC, indexesOf(['a', 'b'])))]).toEqual([Number.NaN, 1]);
        expect([...(await vault.erasures.erased(STATIC, Float64Array.of(0, 1, 2)))]).toEqual([
          1, 0, 0,
        ]);
        expect(vault.liveCount(STATIC)).toBe(1);
      };
      await look();
      await reopen();
      await look();
      const [again] = await mintStatic('a');
      expect(again).toBeGreaterThan(1);
    });

    test('a claim whose rows linger for a slow read does not bring the token back', async () => {
      const made = await claim(vault, 'a');
      // A read that began before the commit keeps the claim's rows known.
      const gate = reads.hold();
      const slow = claim(vault, 'slow');
      await gate.reached;
      await commitClaim(vault, made);
      await erase(STATIC, [{ counter: made.counters[0]!, value: 'a' }]);
      const after = await claim(vault, 'a');
      expect(after.created[0]).toBe(1);
      expect(after.counters[0]).not.toBe(made.counters[0]);
      await commitClaim(vault, after);
      gate.open();
      await commitClaim(vault, await slow);
      expect([...(await vault.find(STATIC, indexOf('a')))]).toEqual([...after.counters]);
      expect(await mintStatic('a')).toEqual([...after.counters]);
    });

    test('a value that got its new token at once keeps that one', async () => {
      const [old] = await mintStatic('a');
      const erasing = await vault.exclusive([STATIC], async () => {
        const commit = vault.nextCommit();
        const rows = erasingOf(STATIC, [{ counter: old!, value: 'a' }], 'delete', commit);
        const edits = [await vault.erasures.editOf(rows)];
        await vault.commit([vault.prepare({ commit, ...leafOf(commit), edits })]);
        return rows;
      });
      const gate = reads.hold();
      const slow = claim(vault, 'a');
      await gate.reached;
      const [young] = await mintStatic('a');
      vault.erasures.committed(erasing);
      gate.open();
      // It read before the new token was durable, and is told of it all the same.
      const late = await slow;
      expect([...late.counters]).toEqual([young]);
      expect([...late.created]).toEqual([0]);
    });

    test('the value of an erased token keeps a newer one', async () => {
      const [old] = await mintStatic('a');
      await erase(STATIC, [{ counter: old!, value: 'a' }]);
      const [young] = await mintStatic('a');
      // Erased again, as a replay of the log does.
      await erase(STATIC, [{ counter: old!, value: 'a' }]);
      expect(await mintStatic('a')).toEqual([young]);
      expect(vault.liveCount(STATIC)).toBe(1);
    });

    test('a record that does not open goes with all rows that name it', async () => {
      const [a] = await mintStatic('a', 'b');
      const { first } = await mint(vault, LISTED, ['v', 'v']);
      await erase(STATIC, [{ counter: a!, value: 'a', known: false }]);
      await erase(LISTED, [{ counter: first, value: 'v', known: false }]);
      expect([...(await vault.find(STATIC, indexOf('a')))]).toEqual([Number.NaN]);
      expect([...(await vault.list(LISTED, indexOf('v'), 10))]).toEqual([first + 1]);
      expect(await mintStatic('a')).not.toEqual([a]);
    });

    test('a counter that nobody knew is spent all the same', async () => {
      await erase(PLAIN, [{ counter: 77, value: 'x', known: false }], 'delete');
      expect([...(await vault.erasures.erased(PLAIN, Float64Array.of(76, 77)))]).toEqual([0, 1]);
      expect(vault.liveCount(PLAIN)).toBe(0);
      await reopen();
      expect([...(await vault.erasures.erased(PLAIN, Float64Array.of(76, 77)))]).toEqual([0, 1]);
    });

    test('unlinked: the rules say so, and what was deleted is never only unlinked', async () => {
      const [a, b] = await mintStatic('a', 'b');
      const rows = [
        { counter: a!, value: 'a' },
        { counter: b!, value: 'b' },
      ];
      await erase(STATIC, rows, 'unlink');
      const counters = Float64Array.of(a!, b!);
      expect([...(await vault.erasures.unlinked(STATIC, counters))]).toEqual([1, 1]);
      await erase(STATIC, [{ counter: a!, value: 'a', known: false }], 'delete');
      await erase(STATIC, [{ counter: a!, value: 'a', known: false }], 'unlink');
      expect([...(await vault.erasures.unlinked(STATIC, counters))]).toEqual([0, 1]);
      expect([...(await vault.erasures.erased(STATIC, counters))]).toEqual([1, 1]);
      const rules = await vault.rules.read(STATIC, counters);
      expect(rules?.map((own) => own?.unlinked)).toEqual([undefined, true]);
      expect(vault.liveCount(STATIC)).toBe(0);
    });

    test('tombstones of subjects add up, come down, and outlive a restart', async () => {
      const put = async (names: string[], change: { set?: number; clear?: number }) => {
        const commit = vault.nextCommit();
        const subjects = names.map(subjectOf);
        const { edit, after } = await vault.tombstones.change(PLAIN, subjects, change);
        const call = { commit, ...leafOf(commit), edits: [edit] };
        await vault.commit([vault.prepare(call)]);
        return [...after.flags];
      };
      expect(await put(['p', 'q'], { set: RESTRICTED_SUBJECT })).toEqual([2, 2]);
      expect(await put(['p'], { set: ERASED_SUBJECT })).toEqual([3]);
      expect(await put(['p', 'q'], { clear: RESTRICTED_SUBJECT })).toEqual([1, 0]);
      await reopen();
      const all = await collect(vault.tombstones.all());
      expect(all).toHaveLength(1);
      expect(all[0]!.domain).toBe(PLAIN);
      expect(Buffer.compare(all[0]!.subjects, subjectOf('p'))).toBe(0);
      expect([...all[0]!.flags]).toEqual([ERASED_SUBJECT]);
    });

    test('whatever is minted, erased and reopened, the vault equals a plain model', async () => {
      await end();
      const value = fc.constantFrom('u', 'v', 'w', 'x');
      const subject = fc.constantFrom('', 'p', 'q');
      const step = fc.oneof(
        {
          weight: 4,
          arbitrary: fc.tuple(fc.constant('static'), fc.array(value, { minLength: 1 })),
        },
        {
          weight: 3,
          arbitrary: fc.tuple(fc.constant('listed'), fc.array(fc.tuple(value, subject))),
        },
        {
          weight: 5,
          arbitrary: fc.tuple(
            fc.constantFrom('delete', 'unlink'),
            fc.array(fc.tuple(fc.nat({ max: 30 }), fc.boolean()), { minLength: 1, maxLength: 5 }),
          ),
        },
        { weight: 1, arbitrary: fc.tuple(fc.constant('reopen'), fc.constant([])) },
      );
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
          await begin();
          const model: Token[] = [];
          for (const [what, rows] of steps) await take(model, what, rows);
          await agree(model);
          await end();
        }),
        { numRuns: 40 },
      );
      await begin();
    });

    const take = async (model: Token[], what: string, rows: unknown): Promise<void> => {
      if (what === 'reopen') return reopen();
      if (what === 'static') {
        const values = rows as string[];
        for (const [i, counter] of (await mintStatic(...values)).entries()) {
          const there = model.find((one) => one.domain === STATIC && one.counter === counter);
          // A counter that was ever given out may only come back for its own living value.
          if (there === undefined) {
            const token = { domain: STATIC, counter, value: values[i]!, subject: '' };
            model.push({ ...token, state: 'live' });
          } else expect(there).toMatchObject({ value: values[i], state: 'live' });
        }
        return;
      }
      if (what === 'listed') {
        const pairs = rows as [string, string][];
        if (pairs.length === 0) return;
        const commit = vault.nextCommit();
        const first = vault.reserve(LISTED, pairs.length);
        const records = {
          domain: LISTED,
          first,
          sealed: columnOf(pairs.map((_, i) => sealOf(LISTED, first + i))),
          indexes: indexesOf(pairs.map(([own]) => own)),
          subjects: Buffer.concat(pairs.map(([, own]) => subjectOf(own))),
        };
        await vault.commit([vault.prepare({ commit, ...leafOf(commit), records })]);
        for (const [i, [own, subject]] of pairs.entries()) {
          const token = { domain: LISTED, counter: first + i, value: own, subject };
          model.push({ ...token, state: 'live' });
        }
        return;
      }
      const picked = (rows as [number, boolean][]).flatMap(([place, known]) => {
        const token = model[place % Math.max(1, model.length)];
        return token === undefined ? [] : [{ token, known }];
      });
      for (const domain of [STATIC, LISTED]) {
        const own = new Map(
          picked
            .filter(({ token }) => token.domain === domain)
            .map(({ token, known }) => [token.counter, { ...token, token, known }]),
        );
        if (own.size === 0) continue;
        // Only a record that is there can tell its indexes.
        const list = [...own.values()].map((one) => ({
          ...one,
          known: one.known && one.token.state === 'live',
        }));
        await erase(domain, list, what as EraseMode);
        for (const { token } of list) {
          if (token.state !== 'delete') token.state = what as EraseMode;
        }
      }
    };

    const agree = async (model: readonly Token[]): Promise<void> => {
      for (const domain of [STATIC, LISTED]) {
        const own = model.filter((token) => token.domain === domain);
        const live = own.filter(({ state }) => state === 'live');
        const counters = Float64Array.from(own, ({ counter }) => counter);
        expect(await readTexts(vault, domain, counters)).toEqual(
          own.map(({ state, counter }) => (state === 'live' ? sealOf(domain, counter) : '')),
        );
        expect([...(await vault.erasures.erased(domain, counters))]).toEqual(
          own.map(({ state }) => (state === 'live' ? 0 : 1)),
        );
        expect([...(await vault.erasures.unlinked(domain, counters))]).toEqual(
          own.map(({ state }) => (state === 'unlink' ? 1 : 0)),
        );
        expect(vault.liveCount(domain)).toBe(live.length);
        for (const value of ['u', 'v', 'w', 'x']) {
          const wanted = live.filter((one) => one.value === value).map(({ counter }) => counter);
          const found =
            domain === LISTED
              ? await vault.list(domain, indexOf(value), 1_000)
              : (await vault.find(domain, indexOf(value))).filter((one) => !Number.isNaN(one));
          expect([...found]).toEqual(wanted.sort((a, b) => a - b));
        }
        for (const subject of ['p', 'q']) {
          const page = await vault.subjects.tokensOf(
            [subjectOf(subject)],
            domain,
            undefined,
            1_000,
          );
          const wanted = live.filter((one) => one.subject === subject);
          expect([...page.counters]).toEqual(wanted.map(({ counter }) => counter));
        }
      }
    };
  });
}
