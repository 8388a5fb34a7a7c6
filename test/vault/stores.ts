import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openLevelStore } from '../../src/storage/level-store.ts';
import { MemoryStore } from '../../src/storage/memory-store.ts';
import type { Store } from '../../src/storage/store.ts';
import type { StoreHarness } from '../contract/store.ts';

/* The stores that the vault's contracts are held over. */

export const memoryHarness = (): StoreHarness => {
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
};

export const levelHarness = (): StoreHarness => {
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
};
