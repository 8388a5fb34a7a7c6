import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { repeatAcked, settleUnknown } from './crash.ts';
import type { Bench, Fault } from './fault.ts';
import { Refused } from './home.ts';

/** As which reasons a failing disk may come out while the server heals. */
const MAY_SAY: ReadonlySet<string> = new Set([
  'STORE_UNAVAILABLE',
  'STORE_FULL',
  'OUTCOME_UNKNOWN',
  'LOG_UNAVAILABLE',
]);

/** The kernel answers EIO to the n-th fsync of each thread; the process goes on and heals. */
export const unsynced: Fault = {
  id: 'T05',
  title: 'the n-th fdatasync or fsync of a thread fails',
  lacks: () => (spawnSync('strace', ['-V']).status === 0 ? undefined : 'strace is not installed'),
  async run(bench) {
    const counts = { runs: 0, acks: 0, failures: 0, refused: 0 };
    const rig = await bench.fork();
    for (let run = 0; run < bench.times(2, 50); run++) {
      const pass = bench.short ? 3 + bench.random.below(20) : run + 1;
      const fail = `inject=fdatasync,fsync:error=EIO:when=${pass}`;
      // -D leaves the server our own child, so that signals reach it.
      const wrapper = ['strace', '-D', '-f', '-qqq', '-o', '/dev/null', '-e', fail];
      const server = await rig.home.start({ wrapper }).catch((error: unknown) => {
        // The first ones fall into the start, which then says so and ends.
        if (error instanceof Refused) return undefined;
        throw error;
      });
      if (server === undefined) counts.refused += 1;
      else {
        const load = rig.load({ random: bench.random, server: () => server });
        await pause(1_500);
        await load.stop();
        const others = Object.keys(load.failures).filter((reason) => !MAY_SAY.has(reason));
        assert.deepEqual(others, [], 'reasons for a failing disk');
        counts.acks += load.acks;
        counts.failures += Object.values(load.failures).reduce((sum, count) => sum + count, 0);
        await server.end('SIGKILL');
      }
      counts.runs += 1;
      const again = await rig.home.start();
      await settleUnknown(rig, again);
      await repeatAcked(rig, again, bench);
      await rig.assertWhole(again);
      assert.equal((await again.end()).code, 0);
    }
    assert.deepEqual(await rig.vaultProblems(), []);
    return counts;
  },
};

/** Killed for its memory, and started with hardly any files to open. */
export const starved: Fault = {
  id: 'T14',
  title: 'out of memory under load; 64 open files at most',
  lacks: () => (memoryGroup() === undefined ? 'a memory cgroup takes root' : undefined),
  async run(bench) {
    const counts = { kills: 0, acks: 0, narrow: 0 };
    const rig = await bench.fork();
    for (let run = 0; run < bench.times(1, 5); run++) {
      counts.acks += await killForMemory(bench, rig);
      counts.kills += 1;
    }
    counts.narrow = await fewFiles(bench, rig);
    return counts;
  },
};

type Rig = Awaited<ReturnType<Bench['fork']>>;

async function killForMemory(bench: Bench, rig: Rig): Promise<number> {
  const group = join(memoryGroup()!, `lockstep-faults-${process.pid}`);
  mkdirSync(group);
  try {
    const server = await rig.home.start();
    writeFileSync(join(group, 'cgroup.procs'), String(server.pid));
    const load = rig.load({ random: bench.random, server: () => server, workers: 16 });
    await pause(500);
    // Memory that it had before is not charged to the group, what it takes from here on is.
    const used = Number(readFileSync(fileOf(group, 'usage_in_bytes', 'current'), 'utf8'));
    const limit = fileOf(group, 'limit_in_bytes', 'max');
    writeFileSync(limit, String(used + 4 * 1024 * 1024));
    const { signal } = await Promise.race([
      server.exited,
      pause(30_000).then(() => server.end('SIGKILL')),
    ]);
    assert.equal(signal, 'SIGKILL');
    await load.stop();
    await server.end('SIGKILL');
    const again = await rig.home.start();
    await settleUnknown(rig, again);
    await rig.assertWhole(again);
    assert.equal((await again.end()).code, 0);
    return load.acks;
  } finally {
    await removeGroup(group);
  }
}

/** The kernel takes a moment to let go of the dead. */
async function removeGroup(group: string): Promise<void> {
  for (let left = 50; left > 0; left--) {
    try {
      rmdirSync(group);
      return;
    } catch {
      await pause(100);
    }
  }
}

/** Whatever it says, nothing acknowledged is lost. */
async function fewFiles(bench: Bench, rig: Rig): Promise<number> {
  const wrapper = ['prlimit', '--nofile=64:64'];
  const server = await rig.home.start({ wrapper }).catch((error: unknown) => {
    if (error instanceof Refused) return undefined;
    throw error;
  });
  if (server !== undefined) {
    const load = rig.load({ random: bench.random, server: () => server, workers: 48 });
    await pause(2_000);
    load.abandon();
    await server.end('SIGKILL');
  }
  const again = await rig.home.start();
  await settleUnknown(rig, again);
  await rig.assertWhole(again);
  assert.equal((await again.end()).code, 0);
  return 1;
}

/** Of either version of cgroups; undefined where we may not make one. */
function memoryGroup(): string | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
  for (const line of mounts) {
    const [, folder, type, options] = line.split(' ');
    if (type === 'cgroup' && options?.split(',').includes('memory') === true) return folder;
    if (type === 'cgroup2' && existsSync(join(folder!, 'memory.max'))) return folder;
  }
  return undefined;
}

/** A setting of a group: by its name in version 1 or 2. */
const fileOf = (group: string, ...names: readonly [string, string]): string =>
  names.map((name) => join(group, `memory.${name}`)).find((path) => existsSync(path))!;
