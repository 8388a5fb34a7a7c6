import { cpSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openLevelStore } from '../../src/storage/level-store.ts';
import type { Store } from '../../src/storage/store.ts';
import { continuityContract, placeContract } from '../contract/continuity.ts';
import { memoryHarness } from './stores.ts';

continuityContract('memory', memoryHarness);

function movedHarness() {
  let root = '';
  let store: Store | undefined;
  let copied = false;
  const open = async (name: string, create: boolean): Promise<Store> => {
    await store?.close();
    store = await openLevelStore({ folder: join(root, name), create });
    return store;
  };
  return {
    open: async () => {
      root = await mkdtemp(join(tmpdir(), 'lockstep-continuity-'));
      return open('vault', true);
    },
    reopen: () => open('vault', false),
    elsewhere: async () => {
      await store?.close();
      if (!copied) cpSync(join(root, 'vault'), join(root, 'copy'), { recursive: true });
      copied = true;
      return open('copy', false);
    },
    remove: async () => {
      await store?.close();
      await rm(root, { recursive: true, force: true });
    },
  };
}

continuityContract('LevelDB', movedHarness);
placeContract('LevelDB', movedHarness);
