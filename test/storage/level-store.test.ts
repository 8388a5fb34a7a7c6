import { spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openLevelStore } from '../../src/storage/level-store.ts';
import type { Store } from '../../src/storage/store.ts';
import { storeContract } from '../contract/store.ts';
import { breakLog } from './break-log.ts';

storeContract('LevelDB', () => {
  let root = '';
  let store: Store | undefined;
  const open = async (create: boolean): Promise<Store> => {
    store = await openLevelStore({ folder: join(root, 'store'), create });
    return store;
  };
  return {
    open: async () => {
      root = await mkdtemp(join(tmpdir(), 'lockstep-store-'));
      return open(true);
    },
    reopen: async () => {
      await store?.close();
      return open(false);
    },
    fail: (fault) => breakLog(join(root, 'store'), fault),
    remove: async () => {
      await store?.close();
      await rm(root, { recursive: true, force: true });
    },
  };
});

describe('a LevelDB store', () => {
  let root = '';
  let folder = '';
  let store: Store | undefined;
  const row = { type: 'put', key: Uint8Array.of(1), value: Uint8Array.of(2) } as const;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'lockstep-store-'));
    folder = join(root, 'store');
    store = await openLevelStore({ folder, create: true });
    await store.write([row]);
  });

  afterEach(async () => {
    await store?.close();
    await rm(root, { recursive: true, force: true });
  });

  const refused = (fault: string, create = false): Promise<void> =>
    expect(openLevelStore({ folder, create })).rejects.toMatchObject({ fault });

  const readable = async (): Promise<void> => {
    store = await openLevelStore({ folder, create: false });
    expect(await store.getMany([row.key])).toHaveLength(1);
    expect(Buffer.from((await store.getMany([row.key]))[0]!)).toEqual(Buffer.from([2]));
  };

  test('T09: a second opener is refused, also by another path, and the first goes on', async () => {
    await refused('in-use');
    await refused('in-use');
    symlinkSync(folder, join(root, 'other'));
    const other = openLevelStore({ folder: join(root, 'other'), create: false });
    await expect(other).rejects.toMatchObject({ fault: 'in-use' });
    await store!.write([row]);
  });

  test('T09: another process is refused, even after LOCK was read in this one', async () => {
    // Copying the folder opens and closes LOCK, which drops LevelDB's own lock (facts.md F6).
    cpSync(folder, join(root, 'copy'), { recursive: true });
    const source = join(import.meta.dirname, '../../src/storage/level-store.ts');
    const code = `
      import { openLevelStore } from ${JSON.stringify(source)};
      await openLevelStore({ folder: ${JSON.stringify(folder)}, create: false }).then(
        () => console.log('opened'), (error) => console.log(error.fault));`;
    const child = spawnSync(process.execPath, ['--input-type=module', '-e', code]);
    expect(child.stdout.toString().trim()).toBe('in-use');
  });

  test('T08: without its files it is refused, never empty', async () => {
    await store!.close();
    for (const kind of [/^CURRENT$/, /^MANIFEST/]) {
      const kept = join(root, 'kept');
      cpSync(folder, kept, { recursive: true });
      for (const name of readdirSync(folder)) if (kind.test(name)) rmSync(join(folder, name));
      await refused(kind.test('CURRENT') ? 'missing' : 'corrupt');
      await refused('exists', true);
      rmSync(folder, { recursive: true });
      cpSync(kept, folder, { recursive: true });
      rmSync(kept, { recursive: true });
    }
    await readable();
    await store!.close();
    writeFileSync(join(folder, 'CURRENT'), '');
    await refused('corrupt');
    rmSync(folder, { recursive: true });
    await refused('missing');
    mkdirSync(folder);
    await refused('missing');
  });

  test('a store is made only where nothing is', async () => {
    await store!.close();
    await refused('exists', true);
    await readable();
  });

  test('a refused open lets the next one in', async () => {
    await store!.close();
    writeFileSync(join(folder, 'CURRENT'), 'MANIFEST-999999\n');
    await refused('corrupt');
    await refused('corrupt');
  });

  describe('bytes that were deleted are gone from every file once compacted', () => {
    const canary = (i: number): Uint8Array => Buffer.from(`canary ${i} ${'.'.repeat(200)}`);
    const keyOf = (i: number): Uint8Array => Uint8Array.of(5, i >> 8, i & 255);
    const putMany = (count: number) =>
      store!.write(
        Array.from({ length: count }, (_, i) => ({
          type: 'put' as const,
          key: keyOf(i),
          value: canary(i),
        })),
      );
    const keep = 37;
    const deleteMany = (count: number) =>
      store!.write(
        Array.from({ length: count }, (_, i) => i)
          .filter((i) => i !== keep)
          .map((i) => ({ type: 'del' as const, key: keyOf(i) })),
      );
    /** Turns what is in the write-ahead log into a table. */
    const toTable = async (): Promise<void> => store!.reopen();

    const inFiles = (): number => {
      let count = 0;
      for (const name of readdirSync(folder)) {
        const bytes = readFileSync(join(folder, name));
        for (let at = bytes.indexOf('canary'); at >= 0; at = bytes.indexOf('canary', at + 1)) {
          count++;
        }
      }
      return count;
    };

    const compacted = async (): Promise<void> => {
      expect(inFiles(), 'there was something to do').toBeGreaterThan(1);
      await store!.compact(Uint8Array.of(5), Uint8Array.of(6));
      expect(inFiles()).toBe(1);
      expect(Buffer.from((await store!.getMany([keyOf(keep)]))[0]!)).toEqual(canary(keep));
    };

    test('put and deleted in the write-ahead log', async () => {
      await putMany(100);
      await deleteMany(100);
      await compacted();
    });

    test('put and deleted side by side in one table', async () => {
      await putMany(100);
      await deleteMany(100);
      await toTable();
      await compacted();
    });

    test('put in one table and deleted in another', async () => {
      await putMany(30_000);
      await toTable();
      await deleteMany(30_000);
      await toTable();
      await compacted();
    });

    test('replaced, and seen by a snapshot until the end', async () => {
      await putMany(100);
      const snapshot = store!.snapshot();
      await deleteMany(100);
      await toTable().catch(() => {});
      await snapshot.close();
      await putMany(100);
      await deleteMany(100);
      await compacted();
    });
  });
});
