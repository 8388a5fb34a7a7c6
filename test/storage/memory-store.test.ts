import { describe, expect, test } from 'vitest';
import { type MemoryFault, MemoryStore } from '../../src/storage/memory-store.ts';
import type { StoreFault } from '../../src/storage/store.ts';
import { storeContract } from '../contract/store.ts';

for (const later of [false, true]) {
  storeContract(later ? 'memory, failed writes show later' : 'memory', () => {
    let fault: MemoryFault | undefined;
    const fail = (): MemoryFault | undefined => {
      const now = fault;
      fault = undefined;
      return now;
    };
    let store = new MemoryStore({ fail });
    return {
      open: async () => store,
      reopen: async () => {
        await store.close();
        store = new MemoryStore({ fail, contents: store.contents });
        return store;
      },
      fail: (how) => {
        fault = later && how === 'unknown' ? 'unknown-later' : how;
      },
      remove: async () => {},
    };
  });
}

const KEY = Uint8Array.of(1);
const change = { type: 'put', key: KEY, value: KEY } as const;

describe('a failed write of the memory store', () => {
  const cases: [fail: 'full' | 'unknown' | 'unknown-written', fault: StoreFault, rows: number][] = [
    ['full', 'full', 0],
    ['unknown', 'unknown', 0],
    ['unknown-written', 'unknown', 1],
  ];
  for (const [fail, fault, rows] of cases) {
    test(`${fail}: fences, and reads go on`, async () => {
      const store = new MemoryStore({ fail: () => fail });
      const both = [store.write([change]), store.write([change])];
      await expect(both[0]).rejects.toMatchObject({ fault });
      await expect(both[1]).rejects.toMatchObject({ fault: 'unknown' });
      expect(store.fenced).toBe(true);
      await expect(store.write([change])).rejects.toMatchObject({
        fault: 'fenced',
        cause: { fault },
      });
      const [row] = await store.getMany([KEY]);
      expect(row === undefined ? 0 : 1).toBe(rows);
    });
  }
});
