import { beforeEach, describe, expect, test } from 'vitest';
import { MemoryStore } from '../../src/storage/memory-store.ts';
import { fsck } from '../../src/vault/fsck.ts';
import { PREFIX, recordKeys } from '../../src/vault/layout.ts';
import { type RepairReport, repairRows } from '../../src/vault/repair.ts';
import { checked } from '../../src/vault/rows.ts';
import { initVault, openVault } from '../../src/vault/vault.ts';
import {
  addDomains,
  claim,
  collect,
  commitClaim,
  IDENTITY,
  indexesOf,
  indexOf,
  LISTED,
  mint,
  PLAIN,
  readTexts,
  STATIC,
  sealOf,
} from './minting.ts';

let rows: Map<string, Uint8Array>;

/** The value of each record, as its seal would tell. */
const NAMES: Readonly<Record<string, readonly string[]>> = {
  [STATIC]: ['a', 'b', 'c'],
  [LISTED]: ['a', 'a', 'd'],
  [PLAIN]: ['a', 'b'],
};

beforeEach(async () => {
  const store = new MemoryStore();
  const vault = await initVault(store, { identity: IDENTITY });
  await addDomains(vault);
  await commitClaim(vault, await claim(vault, ...NAMES[STATIC]!));
  await mint(vault, LISTED, NAMES[LISTED]!);
  await mint(vault, PLAIN, NAMES[PLAIN]!);
  await vault.close();
  rows = new Map(store.contents);
});

async function repaired(): Promise<RepairReport> {
  const store = new MemoryStore({ contents: rows });
  const report = await repairRows(store, {
    reindex: async (domain, counters, records) => {
      expect(records.ends).toHaveLength(counters.length);
      return {
        indexes: indexesOf([...counters].map((counter) => NAMES[domain]![counter]!)),
        known: new Uint8Array(counters.length).fill(1),
      };
    },
  });
  rows = new Map(store.contents);
  return report;
}

const problems = (): Promise<unknown[]> => collect(fsck(new MemoryStore({ contents: rows })));
const nameOf = (key: Uint8Array): string => Buffer.from(key).toString('latin1');

/** Opens it as a start does, and asks for everything it was given. */
async function expectWhole(): Promise<void> {
  expect(await problems()).toEqual([]);
  const vault = await openVault(new MemoryStore({ contents: rows }), { identity: IDENTITY });
  expect([...(await vault.find(STATIC, indexesOf(NAMES[STATIC]!)))]).toEqual([0, 1, 2]);
  expect([...(await vault.list(LISTED, indexOf('a'), 10))]).toEqual([0, 1]);
  expect([...(await vault.list(LISTED, indexOf('d'), 10))]).toEqual([2]);
  for (const [domain, names] of Object.entries(NAMES)) {
    const counters = names.map((_, counter) => counter);
    expect(await readTexts(vault, domain, counters)).toEqual(
      counters.map((counter) => sealOf(domain, counter)),
    );
    expect(vault.liveCount(domain)).toBe(names.length);
  }
  // None of those given out before comes again.
  expect(vault.reserve(LISTED, 1)).toBeGreaterThan(2);
  expect(vault.reserve(PLAIN, 1)).toBeGreaterThan(1);
  await vault.close();
}

describe('repair', () => {
  test('changes nothing that counts in a vault that is whole', async () => {
    expect(await repaired()).toMatchObject({
      damaged: 0,
      erased: 0,
      dangling: 0,
      reindexed: 0,
      orphaned: 0,
      unreadable: 0,
      live: { [STATIC]: 3, [LISTED]: 3, [PLAIN]: 2 },
    });
    await expectWhole();
  });

  test('a bit flipped in any byte of any row that is not sealed: mended, or refused', async () => {
    const before = rows;
    let refused = 0;
    for (const [name, row] of before) {
      if (name.charCodeAt(0) === PREFIX.record) continue;
      for (let at = 0; at < row.length; at++) {
        const broken = Uint8Array.from(row);
        broken[at]! ^= 1 << (at % 8);
        rows = new Map(before).set(name, broken);
        try {
          await repaired();
        } catch (error) {
          // Whose vault it is, where it lies and what its domains are is not to be guessed.
          expect(error).toMatchObject({ fault: 'corrupt' });
          expect(['d', 'm']).toContain(name[0]);
          refused++;
          continue;
        }
        await expectWhole();
      }
    }
    expect(refused).toBeGreaterThan(0);
  });

  test('any row gone but records, domains and whose vault it is: made anew', async () => {
    const before = rows;
    for (const name of before.keys()) {
      if (['r', 'd', 'm', 'q', 'x', 'o'].includes(name[0]!)) continue;
      rows = new Map(before);
      rows.delete(name);
      await repaired();
      await expectWhole();
    }
  });

  test('what was erased stays erased, also where an old table brought it back', async () => {
    const record = Uint8Array.from(recordKeys(1, Float64Array.of(1)));
    const erased = Uint8Array.from(record);
    erased[0] = PREFIX.erased;
    rows.set(nameOf(erased), checked(erased, new Uint8Array(9).fill(1, 8)));
    const report = await repaired();
    expect(report).toMatchObject({ erased: 1, dangling: 1, live: { [STATIC]: 2 } });
    expect(await problems()).toEqual([]);
    const vault = await openVault(new MemoryStore({ contents: rows }), { identity: IDENTITY });
    expect([...(await vault.find(STATIC, indexOf('b')))]).toEqual([Number.NaN]);
    expect(await readTexts(vault, STATIC, [0, 1, 2])).toEqual([
      sealOf(STATIC, 0),
      '',
      sealOf(STATIC, 2),
    ]);
    await vault.close();
  });

  test('a damaged mark of an erased token still keeps it erased', async () => {
    const erased = Uint8Array.from(recordKeys(1, Float64Array.of(1)));
    erased[0] = PREFIX.erased;
    const row = checked(erased, new Uint8Array(9).fill(1, 8));
    row[3]! ^= 1;
    rows.set(nameOf(erased), row);
    expect(await repaired()).toMatchObject({ damaged: 1, erased: 1 });
    expect(await problems()).toEqual([]);
    expect(rows.has(nameOf(recordKeys(1, Float64Array.of(1))))).toBe(false);
  });

  test('a lost record is not invented', async () => {
    rows.delete(nameOf(recordKeys(1, Float64Array.of(2))));
    expect(await repaired()).toMatchObject({ dangling: 1, live: { [STATIC]: 2 } });
    expect(await problems()).toEqual([]);
  });

  test('a record that does not open keeps its place and gets no index', async () => {
    for (const name of rows.keys()) if (name.startsWith('i')) rows.delete(name);
    const store = new MemoryStore({ contents: rows });
    const report = await repairRows(store, {
      reindex: async (_domain, counters) => ({
        indexes: new Uint8Array(counters.length * 16),
        known: new Uint8Array(counters.length),
      }),
    });
    expect(report).toMatchObject({ unreadable: 3, reindexed: 0, live: { [STATIC]: 3 } });
  });
});
