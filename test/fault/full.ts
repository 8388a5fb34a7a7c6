import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Bench, Counts, Fault } from './fault.ts';
import type { Load } from './load.ts';

const KIB = 1024;
const SIZE_MIB = 24;

/** T04 stays full until it was seen to be; T03 is the same with the space back and a restart. */
export const full: Fault = {
  id: 'T04',
  title: 'the disk fills up, stays full, has space again (T03)',
  lacks: () => (canMount() ? undefined : 'mounting a tmpfs takes root'),
  run: fullRuns,
};

/** As which reasons a full disk may come out; '' would be a server that died. */
const MAY_SAY: ReadonlySet<string> = new Set([
  'STORE_FULL',
  'STORE_UNAVAILABLE',
  'OUTCOME_UNKNOWN',
  'LOG_UNAVAILABLE',
]);

async function fullRuns(bench: Bench): Promise<Counts> {
  const counts = { fills: 0, acks: 0, failures: 0 };
  for (const freeKiB of bench.times(1, 4) === 1 ? [300] : [40, 300, 1_000, 2_500]) {
    const folder = bench.path(`small-${freeKiB}`);
    const data = join(folder, 'home', 'data');
    mkdirSync(data, { recursive: true });
    mount(data);
    bench.undo(() => unmount(data));
    const rig = (await bench.fork()).copyTo(folder);
    const ballast = join(data, 'ballast');
    const server = await rig.home.start();
    fill(data, ballast, freeKiB);
    const load = rig.load({ random: bench.random, server: () => server });
    await untilRefused(load);
    const acksWhenFull = load.acks;
    await pause(1_000);
    assert(server.alive, 'the process ended');
    assert.equal(await server.ready(), false, 'it says that it is ready');
    rmSync(ballast);
    await pause(500);
    await load.stop();
    const others = Object.keys(load.failures).filter((reason) => !MAY_SAY.has(reason));
    assert.deepEqual(others, [], 'reasons for a full disk');
    await server.end();
    const again = await rig.home.start();
    await rig.assertWhole(again);
    const healed = rig.load({ random: bench.random, server: () => again });
    while (healed.acks < 4) await pause(50);
    await healed.stop();
    assert.deepEqual(healed.failures, {});
    assert.equal((await again.end()).code, 0);
    assert.deepEqual(await rig.vaultProblems(), []);
    rig.close();
    counts.fills += 1;
    counts.acks += acksWhenFull;
    counts.failures += Object.values(load.failures).reduce((sum, count) => sum + count, 0);
  }
  return counts;
}

/** Until writes have failed some times; the disk is small, so it does not take long. */
async function untilRefused(load: Load): Promise<void> {
  const until = Date.now() + 60_000;
  const failures = (): number => Object.values(load.failures).reduce((a, b) => a + b, 0);
  while (failures() < 8) {
    assert(Date.now() < until, 'the disk is full, and nothing fails');
    await pause(50);
  }
}

function fill(folder: string, ballast: string, freeKiB: number): void {
  const { bavail, bsize } = statfsSync(folder);
  writeFileSync(ballast, new Uint8Array(Math.max(0, bavail * bsize - freeKiB * KIB)));
}

function mount(folder: string): void {
  const { status } = spawnSync('mount', [
    ...['-t', 'tmpfs', '-o', `size=${SIZE_MIB}m,mode=700`, 'lockstep-faults', folder],
  ]);
  assert.equal(status, 0, 'the tmpfs was not mounted');
}

/** Lazily where something of a failed run still has files open. */
function unmount(folder: string): void {
  if (!readFileSync('/proc/mounts', 'utf8').includes(` ${folder} `)) return;
  if (spawnSync('umount', [folder]).status !== 0) spawnSync('umount', ['--lazy', folder]);
}

const canMount = (): boolean =>
  process.getuid?.() === 0 && spawnSync('unshare', ['-m', 'true']).status === 0;
