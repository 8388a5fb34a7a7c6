import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Bench, Counts, Fault } from './fault.ts';
import type { Server } from './home.ts';
import type { Load } from './load.ts';

const KIB = 1024;
/** With the marks and the reserve that a server has by default. */
const SIZE_MIB = 192;
const LOW_KIB = 64 * KIB;
const CRITICAL_KIB = LOW_KIB / 4;

/** T04 stays full until it was seen to be and heals by itself; T03 goes on and is killed. */
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
  const counts = { fills: 0, acks: 0, failures: 0, healed: 0 };
  // Almost nothing left; about what a write takes; below each of the two marks.
  const lefts = bench.times(1, 4) === 1 ? [300, 40_000] : [0, 40, 300, 2_500, 12_000, 40_000];
  for (const freeKiB of lefts) {
    const folder = bench.path(`small-${freeKiB}`);
    const data = join(folder, 'home', 'data');
    mkdirSync(data, { recursive: true });
    mount(data);
    bench.undo(() => unmount(data));
    const rig = (await bench.fork()).copyTo(folder);
    const filler = join(data, 'filler');
    const server = await rig.home.start();
    const load = rig.load({ random: bench.random, server: () => server });
    while (load.acks < 8) await pause(20);
    fill(data, filler, freeKiB);
    await untilRefused(load);
    await pause(1_000);
    assert(server.alive, 'the process ended');
    const acksWhenFull = load.acks;
    await whileFull(server, load, freeKiB);
    rmSync(filler);
    await untilHealed(server, load);
    await load.stop();
    const others = Object.keys(load.failures).filter((reason) => !MAY_SAY.has(reason));
    assert.deepEqual(others, [], 'reasons for a full disk');
    await rig.assertWhole(server);
    await server.end('SIGKILL');
    const again = await rig.home.start();
    await rig.assertWhole(again);
    assert.equal((await again.end()).code, 0);
    assert.deepEqual(await rig.vaultProblems(), []);
    rig.close();
    unmount(data);
    counts.fills += 1;
    counts.healed += 1;
    counts.acks += acksWhenFull;
    counts.failures += Object.values(load.failures).reduce((sum, count) => sum + count, 0);
  }
  return counts;
}

/** Between the marks what is read goes on; below both nothing does, and health says so. */
async function whileFull(server: Server, load: Load, freeKiB: number): Promise<void> {
  if (freeKiB < CRITICAL_KIB) {
    assert.equal(await server.ready(), false, 'it says that it is ready');
    return;
  }
  assert.equal(await server.ready(), true, 'it reads, and says that it is not ready');
  assert.deepEqual(Object.keys(load.failures), ['STORE_FULL'], 'writes to a low disk');
  const { acks } = load;
  await until(() => load.acks > acks + 8, 'nothing is read');
}

/** Without a restart: ready again, and calls succeed as if nothing had been. */
async function untilHealed(server: Server, load: Load): Promise<void> {
  const before = Date.now() + 30_000;
  while (!(await server.ready())) {
    assert(Date.now() < before, 'there is space, and it is not ready');
    await pause(50);
  }
  const failures = (): number => Object.values(load.failures).reduce((a, b) => a + b, 0);
  await until(async () => {
    const [failed, { acks }] = [failures(), load];
    await pause(300);
    return failures() === failed && load.acks > acks + 4;
  }, 'there is space, and calls still fail');
}

async function until(holds: () => boolean | Promise<boolean>, otherwise: string): Promise<void> {
  const before = Date.now() + 60_000;
  while (!(await holds())) {
    assert(Date.now() < before, otherwise);
    await pause(20);
  }
}

/** Until writes have failed some times; the disk is small, so it does not take long. */
function untilRefused(load: Load): Promise<void> {
  const failures = (): number => Object.values(load.failures).reduce((a, b) => a + b, 0);
  return until(() => failures() >= 8, 'the disk is full, and nothing fails');
}

function fill(folder: string, filler: string, freeKiB: number): void {
  const { bavail, bsize } = statfsSync(folder);
  try {
    writeFileSync(filler, new Uint8Array(Math.max(0, bavail * bsize - freeKiB * KIB)));
  } catch (error) {
    // The server writes meanwhile: then it is fuller than was meant.
    assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
  }
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
