import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { type Change, type Row, type Store, StoreError } from '../../src/storage/store.ts';

/** Makes and reopens one store; `reopen` closes it first. */
export interface StoreHarness {
  open(): Promise<Store>;
  reopen(): Promise<Store>;
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
