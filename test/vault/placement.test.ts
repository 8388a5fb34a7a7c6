import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openLevelStore } from '../../src/storage/level-store.ts';
import { MemoryStore } from '../../src/storage/memory-store.ts';
import type { Store } from '../../src/storage/store.ts';
import { UniformDraw } from '../../src/vault/placement.ts';
import { placementContract } from '../contract/placement.ts';

placementContract('memory', () => {
  let store = new MemoryStore();
  return {
    open: async () => store,
    reopen: async () => {
      await store.close();
      store = new MemoryStore({ contents: store.contents });
      return store;
    },
    remove: async () => {},
  };
});

placementContract('LevelDB', () => {
  let root = '';
  let store: Store | undefined;
  const open = async (create: boolean): Promise<Store> => {
    store = await openLevelStore({ folder: join(root, 'vault'), create });
    return store;
  };
  return {
    open: async () => {
      root = await mkdtemp(join(tmpdir(), 'lockstep-vault-'));
      return open(true);
    },
    reopen: async () => {
      await store?.close();
      return open(false);
    },
    remove: async () => {
      await store?.close();
      await rm(root, { recursive: true, force: true });
    },
  };
});

test('draws are uniform', () => {
  const limit = 1_000;
  const draws = 200_000;
  const source = new UniformDraw(limit);
  const seen = new Float64Array(limit);
  for (let i = 0; i < draws; i++) seen[source.next()]!++;
  const expected = draws / limit;
  let square = 0;
  for (const count of seen) square += (count - expected) ** 2 / expected;
  // 999 degrees of freedom: mean 999, deviation 44.7.
  expect(square).toBeGreaterThan(999 - 6 * 44.7);
  expect(square).toBeLessThan(999 + 6 * 44.7);
});
