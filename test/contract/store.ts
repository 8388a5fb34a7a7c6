import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import {
  type Change,
  type Row,
  type Snapshot,
  type Store,
  StoreError,
} from '../../src/storage/store.ts';

/** Makes and reopens one store; `reopen` closes it first. */
export interface StoreHarness {
  open(): Promise<Store>;
  reopen(): Promise<Store>;
  /** Makes the next write of the open store fail: for want of space, or nobody knows how. */
  fail?(fault: 'full' | 'unknown'): void;
  remove(): Promise<void>;
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
const put = (key: Uint8Array, value: Uint8Array): Change => ({ type: 'put', key, value });
const del = (key: Uint8Array): Change => ({ type: 'del', key });
const EVERYTHING = { from: bytes(), to: bytes(0xff, 0xff, 0xff) };

async function all(rows: AsyncIterable<Row>): Promise<[string, string][]> {
  const found: [string, string][] = [];
  for await (const { key, value } of rows) found.push([hex(key), hex(value)]);
  return found;
}

const hex = (value: Uint8Array): string => Buffer.from(value).toString('hex');

/** What every store promises, whatever it is made of. */
export function storeContract(name: string, make: () => StoreHarness): void {
  describe(`Store contract: ${name}`, () => {
    let harness: StoreHarness | undefined;
    const open = (): Promise<Store> => {
      harness = make();
      return harness.open();
    };
    afterEach(async () => {
      await harness?.remove();
      harness = undefined;
    });

    test('a batch is read back after the store was opened again', async () => {
      const store = await open();
      await store.write([put(bytes(1), bytes(10)), put(bytes(2), bytes())]);
      await store.write([del(bytes(1)), put(bytes(3), bytes(30))]);
      const again = await harness!.reopen();
      const rows = await again.getMany([bytes(3), bytes(1), bytes(2), bytes(3)]);
      expect(rows.map((row) => row && hex(row))).toEqual(['1e', undefined, '', '1e']);
    });

    test('of two changes to one key in a batch the later one counts', async () => {
      const store = await open();
      await store.write([put(bytes(1), bytes(1)), del(bytes(1)), put(bytes(1), bytes(2))]);
      await store.write([put(bytes(2), bytes(1)), del(bytes(2))]);
      expect(await all(store.range(EVERYTHING))).toEqual([['01', '02']]);
    });

    test('bytes are copied before write returns its promise', async () => {
      const store = await open();
      const key = Buffer.from([7]);
      const value = Buffer.from([8]);
      const written = store.write([put(key, value)]);
      key[0] = 1;
      value[0] = 1;
      await written;
      expect(await all(store.range(EVERYTHING))).toEqual([['07', '08']]);
    });

    test('what a read gave can be changed without changing the store', async () => {
      const store = await open();
      await store.write([put(bytes(1), bytes(5))]);
      const [row] = await store.getMany([bytes(1)]);
      row!.fill(0);
      for await (const { key, value } of store.range(EVERYTHING)) {
        key.fill(0);
        value.fill(0);
      }
      expect(await all(store.range(EVERYTHING))).toEqual([['01', '05']]);
    });

    test('empty reads and writes are nothing', async () => {
      const store = await open();
      await store.write([]);
      expect(await store.getMany([])).toEqual([]);
      expect(await all(store.range(EVERYTHING))).toEqual([]);
    });

    test('a range is a snapshot of when its reading began, over many pages', async () => {
      const store = await open();
      const keys = Array.from({ length: 2_500 }, (_, i) => bytes(i >> 8, i & 255));
      await store.write(keys.map((key) => put(key, bytes(1))));
      let seen = 0;
      for await (const { value } of store.range(EVERYTHING)) {
        if (seen === 0) {
          await store.write([...keys.slice(0, 2_000).map(del), put(keys[2_400]!, bytes(9))]);
        }
        expect(value[0]).toBe(1);
        seen++;
      }
      expect(seen).toBe(2_500);
      expect(await all(store.range(EVERYTHING))).toHaveLength(500);
    });

    test('a snapshot stands still, several at once, each as of its own moment', async () => {
      const store = await open();
      const rowsOf = async (held: Snapshot, more = {}): Promise<string> =>
        (await all(store.range({ ...EVERYTHING, ...more, snapshot: held }))).join(' ');
      await store.write([put(bytes(1), bytes(1)), put(bytes(2), bytes(1))]);
      const first = store.snapshot();
      await store.write([del(bytes(1)), put(bytes(2), bytes(2)), put(bytes(3), bytes(2))]);
      const second = store.snapshot();
      await store.write([del(bytes(2)), del(bytes(3)), put(bytes(4), bytes(3))]);
      expect(await rowsOf(first)).toBe('01,01 02,01');
      expect(await rowsOf(second)).toBe('02,02 03,02');
      expect(await rowsOf(first, { reverse: true, limit: 1 })).toBe('02,01');
      expect(await rowsOf(second, { from: bytes(3), to: bytes(9) })).toBe('03,02');
      await first.close();
      const compacted = store.compact(bytes(0), bytes(0xff)); // It may wait for the other one.
      expect(await rowsOf(second)).toBe('02,02 03,02');
      await second.close();
      await compacted;
      expect(await all(store.range(EVERYTHING))).toEqual([['04', '03']]);
    });

    test('page by page, from the key after the last one, is all of it once', async () => {
      const store = await open();
      const keys = Array.from({ length: 57 }, (_, i) => bytes(i, ...new Array(i % 3).fill(0)));
      await store.write(keys.map((key, i) => put(key, bytes(i))));
      for (const limit of [1, 8, 57, 100]) {
        const found: [string, string][] = [];
        for (let from = bytes(); ; ) {
          const page = await all(store.range({ from, to: bytes(0xff), limit }));
          found.push(...page);
          if (page.length < limit) break;
          from = Buffer.concat([Buffer.from(page.at(-1)![0], 'hex'), bytes(0)]);
        }
        expect(found).toEqual(await all(store.range(EVERYTHING)));
      }
    });

    test('pages hold the rows of the range, none is empty', async () => {
      const store = await open();
      await store.write(
        Array.from({ length: 2_500 }, (_, i) => put(bytes(i >> 8, i & 255), new Uint8Array(90))),
      );
      for (const more of [{}, { reverse: true }, { limit: 1_700 }]) {
        const found: [string, string][] = [];
        for await (const page of store.pages({ ...EVERYTHING, ...more })) {
          expect(page.length).toBeGreaterThan(0);
          for (const [key, value] of page) found.push([hex(key), hex(value)]);
        }
        expect(found).toEqual(await all(store.range({ ...EVERYTHING, ...more })));
      }
    });

    test('a conditional insert: of many at once one is first, others change nothing', async () => {
      const store = await open();
      const racers = Array.from({ length: 20 }, (_, i) =>
        store.writeIfAbsent([bytes(7)], [put(bytes(7), bytes(i)), put(bytes(8, i), bytes(i))]),
      );
      const won = (await Promise.all(racers)).flatMap((first, i) => (first ? [i] : []));
      expect(won).toHaveLength(1);
      const winner = hex(bytes(won[0]!));
      expect(await all(store.range(EVERYTHING))).toEqual([
        ['07', winner],
        [`08${winner}`, winner],
      ]);
      expect(await store.writeIfAbsent([bytes(9), bytes(7)], [put(bytes(9), bytes(1))])).toBe(
        false,
      );
      expect(await store.writeIfAbsent([bytes(9)], [del(bytes(7))])).toBe(true);
      expect(await store.writeIfAbsent([bytes(7)], [put(bytes(7), bytes(1))])).toBe(true);
      await harness!.reopen();
    });

    test('a conditional insert copies its bytes before it returns its promise', async () => {
      const store = await open();
      const key = Buffer.from([7]);
      const waiting = store.writeIfAbsent([key], [put(key, key)]);
      const second = store.writeIfAbsent([key], [put(key, Buffer.from([1]))]);
      key[0] = 1;
      expect(await Promise.all([waiting, second])).toEqual([true, false]);
      expect(await all(store.range(EVERYTHING))).toEqual([['07', '07']]);
    });

    test('compacting a range changes no row, also while writes go on', async () => {
      const store = await open();
      const keys = Array.from({ length: 600 }, (_, i) => bytes(i >> 8, i & 255));
      await store.write(keys.map((key) => put(key, bytes(1))));
      await store.write(keys.slice(100, 200).map(del));
      const before = await all(store.range(EVERYTHING));
      const compacted = Promise.all([
        store.compact(bytes(0), bytes(1)),
        store.compact(bytes(1, 0), bytes(1)),
        store.compact(bytes(), bytes(0xff)),
      ]);
      await store.write([put(bytes(5), bytes(5))]);
      await compacted;
      expect(await all(store.range(EVERYTHING))).toEqual([...before, ['05', '05']]);
      const again = await harness!.reopen();
      expect(await all(again.range(EVERYTHING))).toEqual([...before, ['05', '05']]);
    });

    test('reopened in place: all is there, reads wait, writes go on', async () => {
      const store = await open();
      await store.write([put(bytes(1), bytes(1))]);
      const reopened = store.reopen();
      const read = store.getMany([bytes(1)]);
      const rows = all(store.range(EVERYTHING));
      await reopened;
      expect(hex((await read)[0]!)).toBe('01');
      expect(await rows).toEqual([['01', '01']]);
      expect(store.fenced).toBe(false);
      await store.write([put(bytes(2), bytes(2))]);
      await Promise.all([store.reopen(), store.close()]);
      await expect(store.reopen()).rejects.toMatchObject({ fault: 'closed' });
      const again = await harness!.reopen();
      expect(await all(again.range(EVERYTHING))).toHaveLength(2);
    });

    for (const fault of ['full', 'unknown'] as const) {
      test(`a failed write (${fault}) fences; reopened, it is whole or not there`, async () => {
        const store = await open();
        if (harness?.fail === undefined) return;
        await store.write([put(bytes(1), bytes(1))]);
        harness.fail(fault);
        const failed = [put(bytes(2), bytes(2)), put(bytes(3), bytes(3)), del(bytes(1))];
        await expect(store.write(failed)).rejects.toMatchObject({ fault });
        expect(store.fenced).toBe(true);
        const fenced = { fault: 'fenced', cause: { fault } };
        await expect(store.write([put(bytes(4), bytes(4))])).rejects.toMatchObject(fenced);
        const insert = store.writeIfAbsent([bytes(4)], [put(bytes(4), bytes(4))]);
        await expect(insert).rejects.toMatchObject(fenced);
        await expect(store.compact(bytes(), bytes(9))).rejects.toMatchObject(fenced);
        expect(await store.getMany([bytes(9)])).toEqual([undefined]);
        await store.reopen();
        expect(store.fenced).toBe(false);
        const either = ['01,01', '02,02 03,03'];
        expect(either).toContain((await all(store.range(EVERYTHING))).join(' '));
        await store.write([del(bytes(2)), del(bytes(3)), put(bytes(5), bytes(5))]);
        const again = await harness.reopen();
        const rows = (await all(again.range(EVERYTHING))).join(' ');
        expect(['01,01 05,05', '05,05']).toContain(rows);
      });
    }

    test('a range that is left early frees what it held', async () => {
      const store = await open();
      await store.write([put(bytes(1), bytes(1)), put(bytes(2), bytes(2))]);
      for await (const _ of store.range(EVERYTHING)) break;
      await store.close();
    });

    test('after close everything is refused as closed', async () => {
      const store = await open();
      const written = store.write([put(bytes(1), bytes(1))]);
      await Promise.all([written, store.close()]);
      await store.close();
      const closed = expect.objectContaining({ fault: 'closed' });
      await expect(store.write([put(bytes(2), bytes(2))])).rejects.toEqual(closed);
      await expect(store.getMany([bytes(1)])).rejects.toEqual(closed);
      await expect(all(store.range(EVERYTHING))).rejects.toEqual(closed);
      await expect(store.getMany([bytes(1)])).rejects.toBeInstanceOf(StoreError);
    });

    test('any batches leave what a sorted list would hold, in any range', async () => {
      const key = fc.uint8Array({ minLength: 1, maxLength: 3 });
      const change = fc.oneof(
        fc.record({
          type: fc.constant('put' as const),
          key,
          value: fc.uint8Array({ maxLength: 3 }),
        }),
        fc.record({ type: fc.constant('del' as const), key }),
      );
      const ask = fc.record({
        from: key,
        to: key,
        reverse: fc.boolean(),
        limit: fc.integer({ min: 1, max: 9 }),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(fc.array(change)), ask, async (batches, range) => {
          const harness = make();
          const store = await harness.open();
          try {
            const model = new Map<string, string>();
            for (const batch of batches) {
              await store.write(batch);
              for (const one of batch) {
                if (one.type === 'put') model.set(hex(one.key), hex(one.value));
                else model.delete(hex(one.key));
              }
            }
            const sorted = [...model].sort(([a], [b]) => (a < b ? -1 : 1));
            expect(await all(store.range(EVERYTHING))).toEqual(
              sorted.filter(([name]) => name < 'ffffff'),
            );
            const inside = sorted.filter(
              ([name]) => name >= hex(range.from) && name < hex(range.to),
            );
            if (range.reverse) inside.reverse();
            expect(await all(store.range(range))).toEqual(inside.slice(0, range.limit));
          } finally {
            await store.close();
            await harness.remove();
          }
        }),
        { numRuns: 40 },
      );
    });
  });
}
