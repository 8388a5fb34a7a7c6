import assert from 'node:assert';
import { existsSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { verbsOf } from '../../src/rpc/verbs.ts';
import { assertClear, keep } from './damage.ts';
import type { Bench, Counts, Fault } from './fault.ts';
import type { Rig } from './rig.ts';

export const missing: Fault = {
  id: 'T08',
  title: 'catalogue, vault, log or one of their files is missing',
  run: missingRuns,
};

const PARTS = [
  ['catalogue.json'],
  ['vault'],
  ['log'],
  ['vault', 'CURRENT'],
  ['log', 'checkpoint'],
  ['log', 'journal'],
  [],
] as const;

async function missingRuns(bench: Bench): Promise<Counts> {
  const counts = { removed: 0, refused: 0 };
  const rig = await bench.fork();
  for (const part of bench.short ? PARTS.slice(0, 4) : PARTS) {
    const copy = rig.copyTo(bench.path(`missing-${counts.removed}`));
    const place = copy.home.data(...part);
    rmSync(place, { recursive: true });
    const name = part.join('/') || 'all of the data folder';
    assertClear(await copy.home.refusal(), `without ${name}`);
    // `--dev` makes an installation where there is none at all, and only there.
    const dev = bench.short ? part[0] === 'catalogue.json' : part.length > 0;
    if (dev) {
      assertClear(await copy.home.refusal({}), `without ${name}, --dev`);
    }
    const again = existsSync(place) ? filesIn(place) : [];
    assert.deepEqual(again, [], `${name} was made anew`);
    copy.close();
    counts.removed += 1;
    counts.refused += dev ? 2 : 1;
  }
  return counts;
}

const filesIn = (place: string): string[] =>
  readdirSync(place, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name);

export const second: Fault = {
  id: 'T09',
  title: 'a second server on the folder',
  run: secondRuns,
};

async function secondRuns(bench: Bench): Promise<Counts> {
  const rig = await bench.fork();
  const server = await rig.home.start();
  const load = rig.load({ random: bench.random, server: () => server, workers: 1 });
  const link = bench.path('by-another-name');
  symlinkSync(rig.home.folder, link);
  const attempts = bench.times(1, 10);
  for (let i = 0; i < attempts; i++) {
    const config = join(i % 2 === 0 ? link : rig.home.folder, 'lockstep.toml');
    assertClear(await rig.home.refusal({ production: true, config }), 'a second server');
  }
  await load.stop();
  assert.deepEqual(load.failures, {}, 'the first server felt the second');
  await rig.assertWhole(server);
  await server.end();
  assert.deepEqual(await rig.vaultProblems(), []);
  return { attempts, refused: attempts, acks: load.acks };
}

export const rollback: Fault = {
  id: 'T51',
  title: 'an older vault, log or catalogue beside newer ones',
  run: rollbackRuns,
};

async function rollbackRuns(bench: Bench): Promise<Counts> {
  const rig = await bench.fork();
  const older = bench.path('older');
  keep(rig.home.data(), older);
  const acks = await moveOn(rig, bench);
  const mixed = [['vault'], ['log'], ['catalogue.json'], ['vault', 'catalogue.json']];
  const parts = mixed.slice(0, bench.times(3, mixed.length));
  for (const names of parts) {
    const copy = rig.copyTo(bench.path(`rolled-${names.join('-')}`));
    for (const name of names) {
      rmSync(copy.home.data(name), { recursive: true });
      keep(join(older, name), copy.home.data(name));
    }
    const where = `older ${names.join(' and ')}`;
    const refused = await copy.home.refusal();
    assertClear(refused, where);
    assert.match(refused?.message ?? '', /rollback|lacks a domain|older/, where);
    copy.close();
  }
  return { mixtures: parts.length, refused: parts.length, acks };
}

/** More tokens, and a domain more. */
async function moveOn(rig: Rig, bench: Bench): Promise<number> {
  const server = await rig.home.start();
  const load = rig.load({ random: bench.random, server: () => server });
  await verbsOf(server.connect('officer')).createDomain({
    id: 'clinic/later',
    kind: 'static',
    format: 'digits:9',
  });
  const until = Date.now() + 10_000;
  while (load.acks < 20 && Date.now() < until) await pause(50);
  await load.stop();
  await server.end();
  return load.acks;
}
