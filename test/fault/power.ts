import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { testBuild } from './build.ts';
import type { Breach } from './checker.ts';
import type { Bench, Fault } from './fault.ts';
import type { Rig } from './rig.ts';

const IMAGE_MIB = 96;
/** Memory is the disk under the image: what is not in it was never written. */
const SHARED_MEMORY = '/dev/shm';

/** Not every account has the administrator's programs on its path. */
const WITH_SBIN = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };

/** What the kernel had written when the power went: an ext4 image whose journal commits once in ten
 *  minutes, copied while the server stands still. Unfsynced pages are not in the copy. */
export const power: Fault = {
  id: 'T02',
  title: 'power loss under load; without fsync the checker goes red (T58)',
  lacks: () => (canLoop() ? undefined : 'loop mounts of an ext4 image take root and mkfs.ext4'),
  async run(bench) {
    const counts = { losses: 0, acks: 0, control: 0 };
    for (let run = 0; run < bench.times(1, 50); run++) {
      const { acks, breaches } = await lose(bench, `loss-${run}`, undefined);
      assert.equal(JSON.stringify(breaches), '[]');
      counts.losses += 1;
      counts.acks += acks;
    }
    const unsynced = testBuild(bench.path('unsynced'), [
      { file: 'storage/level-store.ts', find: 'sync: true', put: 'sync: false' },
    ]);
    const { breaches } = await lose(bench, 'control', unsynced);
    assert.notEqual(
      breaches.length,
      0,
      'without fsync nothing was lost: the recipe proves nothing',
    );
    counts.control = 1;
    return counts;
  },
};

/** One loss in the middle of a load: how many calls were acknowledged, and what is broken
 *  afterwards; that it does not start is a broken promise too. */
async function lose(
  bench: Bench,
  name: string,
  main: string | undefined,
): Promise<{ acks: number; breaches: readonly Breach[] }> {
  const folder = bench.path(name);
  const memory = join(SHARED_MEMORY, `lockstep-${process.pid}-${name}`);
  mkdirSync(memory, { recursive: true, mode: 0o700 });
  bench.undo(() => spawnSync('rm', ['-rf', memory]));
  const image = join(memory, 'disk');
  const data = join(folder, 'home', 'data');
  mkdirSync(data, { recursive: true });
  run('truncate', ['-s', `${IMAGE_MIB}M`, image]);
  run('mkfs.ext4', ['-q', image]);
  mount(bench, image, data);
  const rig: Rig = (await bench.fork()).copyTo(folder);
  // The copy is the test's own doing; what the server writes from here on is what is tried.
  run('sync', ['--file-system', data]);
  const server = await rig.home.start(main === undefined ? {} : { main });
  const load = rig.load({ random: bench.random, server: () => server });
  await pause(300 + bench.random.below(bench.short ? 900 : 2_500));
  rig.remember();
  server.signal('SIGSTOP');
  await standsStill(server.pid);
  const after = `${image}-after`;
  run('cp', ['--sparse=always', image, after]);
  load.abandon();
  server.signal('SIGCONT');
  await server.end('SIGKILL');
  const { acks } = load;
  unmount(data);
  mount(bench, after, data);
  try {
    const again = await rig.home.start();
    const breaches = await rig.breaches(again);
    await again.end();
    return { acks, breaches };
  } catch (error) {
    if (main === undefined) throw error;
    return { acks, breaches: [{ invariant: 'I1', what: 'it does not start' }] };
  } finally {
    unmount(data);
  }
}

/** An fsync that is under way in the kernel goes on under SIGSTOP, and a copy made meanwhile is of
 *  no one moment: ext4 may overwrite its journal between the blocks that the copy reads. */
async function standsStill(pid: number): Promise<void> {
  const tasks = `/proc/${pid}/task`;
  const stopped = (task: string): boolean =>
    /^State:\s+T/m.test(readFileSync(join(tasks, task, 'status'), 'utf8'));
  for (let left = 500; left > 0; left--) {
    if (readdirSync(tasks).every(stopped)) return;
    await pause(10);
  }
  throw new Error('the server does not stand still');
}

function mount(bench: Bench, image: string, folder: string): void {
  run('mount', ['-o', 'loop,commit=600', image, folder]);
  bench.undo(() => unmount(folder));
}

function unmount(folder: string): void {
  if (!readFileSync('/proc/mounts', 'utf8').includes(` ${folder} `)) return;
  if (spawnSync('umount', [folder]).status !== 0) spawnSync('umount', ['--lazy', folder]);
}

function run(command: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(command, args, { env: WITH_SBIN });
  assert.equal(status, 0, `${command}: ${String(stderr)}`);
}

const canLoop = (): boolean =>
  process.getuid?.() === 0 &&
  existsSync('/dev/loop-control') &&
  existsSync(SHARED_MEMORY) &&
  spawnSync('mkfs.ext4', ['-V'], { env: WITH_SBIN }).status === 0;
