import assert from 'node:assert';
import { randomUUID } from 'node:crypto';
import { cpSync, existsSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { verbsOf } from '../../src/rpc/verbs.ts';
import { perform } from './calls.ts';
import { assertClear, keep } from './damage.ts';
import type { Bench, Counts, Fault } from './fault.ts';
import { DYNAMIC, exampleOf, STATIC } from './load.ts';
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
  title: 'an older vault, log, catalogue, or all of them, and an officer who accepts it',
  run: rollbackRuns,
};

const ALL = ['vault', 'log', 'catalogue.json'] as const;
const MIXTURES = [
  ALL,
  ['vault'],
  ['log'],
  ['catalogue.json'],
  ['vault', 'log'],
  ['vault', 'catalogue.json'],
] as const;

async function rollbackRuns(bench: Bench): Promise<Counts> {
  const rig = await bench.fork();
  const older = bench.path('older');
  keep(rig.home.data(), older);
  const acks = await moveOn(rig, bench);
  const mixtures = MIXTURES.slice(0, bench.times(3, MIXTURES.length));
  let fresh = 0;
  for (const names of mixtures) {
    const copy = rig.copyTo(bench.path(`rolled-${names.join('-')}`));
    for (const name of names) {
      rmSync(copy.home.data(name), { recursive: true });
      keep(join(older, name), copy.home.data(name));
    }
    const where = `older ${names.join(' and ')}`;
    const refused = await copy.home.refusal();
    assertClear(refused, where);
    assert.match(refused?.message ?? '', /rollback/, where);
    await copy.home.run('vault', 'accept-rollback', '--moved', '--note', 'a snapshot came back');
    fresh += await mintAfter(copy, bench, where);
    copy.close();
  }
  return {
    mixtures: mixtures.length,
    refused: mixtures.length,
    accepted: mixtures.length,
    acks,
    fresh,
  };
}

/** What an accepted rollback lost stays lost; nobody else gets it. */
async function mintAfter(copy: Rig, bench: Bench, where: string): Promise<number> {
  const given = new Set(
    copy.journal
      .read()
      .tokens()
      .acked.map(({ token }) => token),
  );
  const server = await copy.home.start();
  const connection = server.connect();
  let fresh = 0;
  for (const domain of [STATIC, DYNAMIC]) {
    for (let i = 0; i < bench.times(4, 40); i++) {
      const items = Array.from({ length: 64 }, () => exampleOf(domain, bench.random));
      const ask = {
        id: 0,
        verb: 'tokenize',
        purpose: '',
        requestId: randomUUID(),
        target: '',
      } as const;
      const { outputs } = await perform(connection, { ...ask, domain, items });
      for (const token of outputs) {
        assert(!given.has(token), `a token was given again, in ${domain}: ${where}`);
        fresh += 1;
      }
    }
  }
  await server.end();
  assert.deepEqual(await copy.vaultProblems(), [], where);
  return fresh;
}

export const clone: Fault = {
  id: 'T52',
  title: 'a copy of vault and configuration beside a running server, on the same module',
  run: cloneRuns,
};

/** The head is written every ten seconds. */
const FENCED_MS_MAX = 30_000;

async function cloneRuns(bench: Bench): Promise<Counts> {
  const rig = await bench.fork();
  const server = await rig.home.start();
  const load = rig.load({ random: bench.random, server: () => server, workers: 1 });
  const folder = bench.path('clone');
  cpSync(rig.home.data(), join(folder, 'data'), {
    recursive: true,
    filter: (path) => basename(path) !== 'LOCK',
  });
  const config = join(folder, 'lockstep.toml');
  cpSync(rig.home.config, config);
  const clone = { production: true, config } as const;
  assertClear(await rig.home.refusal(clone), 'a clone');
  await rig.home.runWith(
    config,
    'vault',
    'accept-rollback',
    '--moved',
    '--note',
    'host 2 takes over',
  );
  const late = pause(FENCED_MS_MAX, undefined, { ref: false }).then(() => undefined);
  const ended = await Promise.race([server.exited, late]);
  assert.equal(ended?.code, 70, 'the first server did not fence itself off');
  load.abandon();
  assertClear(await rig.home.refusal(), 'the first server again');
  assert.equal(await rig.home.refusal(clone), undefined, 'the adopted one serves');
  return { clones: 1, refused: 2, fenced: 1, acks: load.acks };
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
