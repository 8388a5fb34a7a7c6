import { existsSync, statSync, truncateSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  BALLAST_FILE,
  Space,
  type SpaceLevel,
  type SpaceOptions,
} from '../../src/storage/space.ts';

const MIB = 1024 * 1024;

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-space-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const ballast = (): string => join(folder, BALLAST_FILE);

/** A disk of so many free bytes beside the ballast's own. */
class Disk {
  free: number;
  fails = false;
  readonly seen: SpaceLevel[] = [];
  constructor(free: number) {
    this.free = free;
  }
  open(options: Partial<SpaceOptions> = {}): Promise<Space> {
    return Space.open({
      folder,
      lowBytes: 64 * MIB,
      ballastBytes: 0,
      onChange: (level) => this.seen.push(level),
      read: async () => {
        if (this.fails) throw new Error('the disk does not say');
        const held = existsSync(ballast()) ? statSync(ballast()).size : 0;
        return this.free - held;
      },
      ...options,
    });
  }
}

describe('marks', () => {
  test('low and critical, each left behind only a quarter higher', async () => {
    const disk = new Disk(100 * MIB);
    const space = await disk.open();
    const at = async (mib: number): Promise<SpaceLevel> => {
      disk.free = mib * MIB;
      await space.look();
      expect(space.freeBytes).toBe(disk.free);
      return space.level;
    };
    expect(space.level).toBe('enough');
    expect(await at(64)).toBe('enough');
    expect(await at(63)).toBe('low');
    expect(await at(79)).toBe('low');
    expect(await at(80)).toBe('enough');
    expect(await at(17)).toBe('low');
    expect(await at(15)).toBe('critical');
    expect(await at(19)).toBe('critical');
    expect(await at(20)).toBe('low');
    expect(await at(500)).toBe('enough');
    expect(await at(0)).toBe('critical');
    expect(disk.seen).toEqual([
      ...['low', 'enough', 'low', 'critical', 'low', 'enough', 'critical'],
    ]);
  });

  test('without a mark nothing is low; a disk that does not say changes nothing', async () => {
    const disk = new Disk(0);
    const space = await disk.open({ lowBytes: 0 });
    expect(space.level).toBe('enough');
    const other = await new Disk(100 * MIB).open();
    disk.fails = true;
    await other.look();
    expect(other.level).toBe('enough');
  });

  test('looks by itself, and no more once closed', async () => {
    const disk = new Disk(100 * MIB);
    const changed = Promise.withResolvers<SpaceLevel>();
    const space = await disk.open({ everyMs: 1, onChange: changed.resolve });
    space.start();
    disk.free = 1;
    expect(await changed.promise).toBe('critical');
    await space.close();
    disk.free = 100 * MIB;
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(space.level).toBe('critical');
  });

  test('the real disk says something', async () => {
    const space = await Space.open({ folder, lowBytes: 1, ballastBytes: 0 });
    expect(space.freeBytes).toBeGreaterThan(1);
    expect(space.freeBytes).toBeLessThan(Number.POSITIVE_INFINITY);
  });
});

describe('the ballast', () => {
  const options = { lowBytes: 4 * MIB, ballastBytes: 2 * MIB };

  test('is really there, for its owner alone, and stays over a restart', async () => {
    await new Disk(100 * MIB).open(options);
    const made = statSync(ballast());
    expect(made.size).toBe(2 * MIB);
    expect(made.blocks * 512).toBeGreaterThanOrEqual(2 * MIB);
    expect(made.mode & 0o777).toBe(0o600);
    await new Disk(100 * MIB).open(options);
    expect(statSync(ballast()).mtimeMs).toBe(made.mtimeMs);
  });

  test('one that is cut off, has holes or another size is made anew', async () => {
    for (const spoil of [
      () => truncateSync(ballast(), MIB),
      () => {
        truncateSync(ballast(), 0);
        truncateSync(ballast(), 2 * MIB);
      },
    ]) {
      await new Disk(100 * MIB).open(options);
      spoil();
      await new Disk(100 * MIB).open(options);
      expect(statSync(ballast()).blocks * 512).toBeGreaterThanOrEqual(2 * MIB);
    }
    await new Disk(100 * MIB).open({ ...options, ballastBytes: MIB });
    expect(statSync(ballast()).size).toBe(MIB);
  });

  test('given away it counts for nothing but reading, and comes back with space', async () => {
    const disk = new Disk(2.5 * MIB);
    disk.free = 100 * MIB;
    const space = await disk.open(options);
    disk.free = 2.5 * MIB; // Half a MiB beside the ballast.
    await space.look();
    expect(space.level).toBe('critical');
    expect(await space.dropBallast()).toBe(true);
    expect(existsSync(ballast())).toBe(false);
    expect(space.freeBytes).toBe(2.5 * MIB);
    expect(space.level).toBe('low');
    expect(await space.dropBallast(), 'there is no second one').toBe(false);
    disk.free = 100 * MIB;
    await space.look();
    expect(existsSync(ballast()), 'it is still lent').toBe(false);
    space.returnBallast();
    disk.free = 6.5 * MIB;
    await space.look();
    expect(existsSync(ballast())).toBe(false);
    expect(space.level, 'until there is room for it again').toBe('low');
    disk.free = 7 * MIB;
    await space.look();
    expect(statSync(ballast()).size).toBe(2 * MIB);
    expect(space.freeBytes).toBe(5 * MIB);
    expect(space.level).toBe('enough');
    expect(await space.dropBallast()).toBe(true);
  });

  test('is not made where it would take the last of the disk', async () => {
    const space = await new Disk(5 * MIB).open(options);
    expect(existsSync(ballast())).toBe(false);
    expect(space.level).toBe('low');
    expect(await space.dropBallast()).toBe(false);
  });
});
