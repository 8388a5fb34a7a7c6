import { beforeEach, describe, expect, test } from 'vitest';
import { MemoryStore } from '../../src/storage/memory-store.ts';
import { fsck } from '../../src/vault/fsck.ts';
import { numberKey, PREFIX, recordKeys } from '../../src/vault/layout.ts';
import { checked, encodeHead, encodeRunning, RUNNING_START } from '../../src/vault/rows.ts';
import { rulesChange } from '../../src/vault/rules.ts';
import { subjectChange } from '../../src/vault/subject-rows.ts';
import { initVault, openVault, type Vault } from '../../src/vault/vault.ts';
import {
  addDomains,
  claim,
  collect,
  commitClaim,
  IDENTITY,
  indexOf,
  LISTED,
  mint,
  PLAIN,
  STATIC,
} from './minting.ts';

type Rows = Map<string, Uint8Array>;

let vault: Vault;
let rows: Rows;

beforeEach(async () => {
  const store = new MemoryStore();
  vault = await initVault(store, { identity: IDENTITY });
  await addDomains(vault);
  await commitClaim(vault, await claim(vault, 'a', 'b', 'c'));
  await mint(vault, LISTED, ['a', 'a']);
  await mint(vault, PLAIN, ['a', 'b']);
  rows = new Map(store.contents);
});

const nameOf = (key: Uint8Array): string => Buffer.from(key).toString('latin1');
const keyOf = (name: string): Uint8Array => Buffer.from(name, 'latin1');
const namesUnder = (prefix: number): string[] =>
  [...rows.keys()].filter((name) => name.charCodeAt(0) === prefix).sort();
const recordName = (domain: number, counter: number): string =>
  nameOf(recordKeys(domain, Float64Array.of(counter)));

async function findings(): Promise<unknown[]> {
  return collect(fsck(new MemoryStore({ contents: rows })));
}

function flip(name: string, at: number): void {
  const row = Uint8Array.from(rows.get(name)!);
  row[at]! ^= 1;
  rows.set(name, row);
}

describe('fsck finds', () => {
  test('nothing in a vault that is whole, and counts its rows', async () => {
    let seen = 0;
    const progress = (count: number): void => {
      seen = count;
    };
    expect(await collect(vault.fsck({ progress }))).toEqual([]);
    expect(seen).toBe(rows.size);
  });

  test('a lost record', async () => {
    rows.delete(recordName(1, 1));
    expect(await findings()).toEqual([
      { problem: 'record-missing', domain: STATIC, counter: 1 },
      { problem: 'count-differs', domain: STATIC, number: 'live', expected: 3, found: 2 },
    ]);
  });

  test('a lost index row', async () => {
    rows.delete(namesUnder(PREFIX.listed)[0]!);
    expect(await findings()).toEqual([{ problem: 'index-missing', domain: LISTED, counter: 0 }]);
  });

  test('a lost record that nothing names', async () => {
    rows.delete(recordName(3, 0));
    expect(await findings()).toEqual([
      { problem: 'count-differs', domain: PLAIN, number: 'live', expected: 2, found: 1 },
    ]);
  });

  test('a bit flipped in each byte of each row that is not sealed', async () => {
    for (const [name, row] of new Map(rows)) {
      if (name.charCodeAt(0) === PREFIX.record) continue;
      for (let at = 0; at < row.length; at++) {
        flip(name, at);
        expect(
          await findings(),
          `${Buffer.from(name, 'latin1').toString('hex')} ${at}`,
        ).toContainEqual(expect.objectContaining({ problem: 'row-damaged' }));
        rows.set(name, row);
      }
    }
  });

  test('two values with one counter', async () => {
    const [first] = namesUnder(PREFIX.listed);
    const other = Buffer.from(first!, 'latin1');
    other.set(indexOf('z'), 5);
    rows.set(nameOf(other), new Uint8Array(0));
    expect(await findings()).toEqual([{ problem: 'index-shared', domain: LISTED, counter: 0 }]);
  });

  test('a record of a token that was erased', async () => {
    const key = Uint8Array.from(keyOf(recordName(1, 1)));
    key[0] = PREFIX.erased;
    rows.set(nameOf(key), checked(key, new Uint8Array(9)));
    expect(await findings()).toEqual([
      { problem: 'erased-present', domain: STATIC, counter: 1 },
      { problem: 'count-differs', domain: STATIC, number: 'erased', expected: 0, found: 1 },
    ]);
  });

  test('rules, a subject and a sharer of records that are not there', async () => {
    const rules = { createdMs: 1, idleMs: 0, expireMs: 0, revealsMax: 1, labels: [] };
    const state = { usedMs: 1, reveals: 0, restricted: false, unlinked: false };
    const put = (change: ReturnType<typeof rulesChange>): void => {
      if (change.type === 'put') rows.set(nameOf(change.key), change.value);
    };
    put(rulesChange(1, 7, { ...rules, ...state }));
    // That of a token whose value is gone may stand alone.
    put(rulesChange(1, 8, { ...rules, ...state, unlinked: true }));
    put(subjectChange(2, indexOf('somebody'), 0, 9));
    const found = await findings();
    expect(found).toHaveLength(3);
    expect(found).toEqual(
      expect.arrayContaining([
        { problem: 'row-orphaned', domain: STATIC, counter: 7 },
        { problem: 'row-orphaned', domain: LISTED, counter: 9 },
        { problem: 'count-differs', domain: STATIC, number: 'ruled', expected: 0, found: 2 },
      ]),
    );
  });

  test('a merge that only one of the two subjects knows', async () => {
    const key = Buffer.concat([
      Uint8Array.of(PREFIX.alias),
      indexOf('one'),
      indexOf('other'),
      Buffer.from('01JDEXAMPLE0000000000MERGE'),
    ]);
    rows.set(nameOf(key), checked(key, new Uint8Array(1)));
    expect(await findings()).toEqual([{ problem: 'merge-halved' }]);
  });

  test('a counter that would be given out again', async () => {
    const [, , name] = namesUnder(PREFIX.running);
    rows.set(name!, checked(keyOf(name!), encodeRunning({ ...RUNNING_START, mark: 1, live: 2 })));
    expect(await findings()).toEqual([
      { problem: 'counter-above-mark', domain: PLAIN, counter: 1 },
    ]);
  });

  test('a domain that is gone', async () => {
    rows.delete(`d${PLAIN}`);
    const unknown = { problem: 'domain-unknown' };
    expect(await findings()).toEqual([unknown, unknown, unknown]);
  });

  test('a write that is gone, and a leaf above the head', async () => {
    const group = numberKey(PREFIX.group, 4);
    rows.delete(nameOf(group));
    const head = { commit: 2, group: 6, outboxFrom: 0, leaves: 0 };
    rows.set('mhead', checked(keyOf('mhead'), encodeHead(head)));
    expect(await findings()).toEqual([
      { problem: 'commit-above-head' },
      { problem: 'write-missing', expected: 6, found: 5 },
    ]);
  });

  test('rows of no known form', async () => {
    rows.set('zz', checked(keyOf('zz'), new Uint8Array(3)));
    rows.set('', new Uint8Array(3));
    expect(await findings()).toHaveLength(2);
  });
});

describe('a damaged vault', () => {
  const open = (): Promise<Vault> =>
    openVault(new MemoryStore({ contents: rows }), { identity: IDENTITY });

  test('does not open where a write is gone from the middle', async () => {
    for (const number of [1, 3, 6]) {
      const name = nameOf(numberKey(PREFIX.group, number));
      const row = rows.get(name)!;
      rows.delete(name);
      await expect(open()).rejects.toMatchObject({ fault: 'corrupt' });
      rows.set(name, row);
    }
    await open();
  });

  test('does not open with a bit flipped in what it is run by', async () => {
    const { domain, group, meta, running, outbox } = PREFIX;
    for (const prefix of [domain, group, meta, running, outbox]) {
      for (const name of namesUnder(prefix)) {
        const row = rows.get(name)!;
        flip(name, 0);
        await expect(open(), name).rejects.toMatchObject({ fault: 'corrupt' });
        rows.set(name, row);
      }
    }
  });

  test('says of a flipped index row that it is damaged, and mints nothing', async () => {
    const name = [...rows.keys()].find(
      (key) => key.startsWith('i') && nameOf(indexOf('b')) === key.slice(5),
    );
    flip(name!, 7);
    const opened = await open();
    const made = await claim(opened, 'a', 'b', 'c');
    expect([...made.counters]).toEqual([0, -1, 2]);
    expect(made.newRows).toHaveLength(0);
    expect([...(await opened.find(STATIC, indexOf('b')))]).toEqual([-1]);
  });

  test('state with a flipped bit is refused', async () => {
    await vault.saveState('quota', indexOf(1));
    const store = new MemoryStore({ contents: rows });
    const opened = await openVault(store, { identity: IDENTITY });
    await opened.saveState('quota', indexOf(1));
    rows = new Map(store.contents);
    flip('squota', 3);
    await expect((await open()).loadState('quota')).rejects.toMatchObject({
      reason: 'RECORD_CORRUPT',
    });
  });
});
