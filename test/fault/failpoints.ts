import assert from 'node:assert';
import { setTimeout as pause } from 'node:timers/promises';
import { type Failpoint, failpointBuild } from './build.ts';
import { repeatAcked, settleUnknown } from './crash.ts';
import type { Bench, Counts, Fault } from './fault.ts';
import { Refused, type Server, type StartOptions } from './home.ts';
import type { Rig } from './rig.ts';

/** From the right to the reply. A crash at any of them leaves a call done wholly or not at all. */
const POINTS: readonly Failpoint[] = [
  {
    name: 'authorised',
    file: 'engine/tokenize.ts',
    before: '  const indexed = await indexItems(parts, domain, items, names);',
  },
  {
    name: 'indexed',
    file: 'engine/tokenize.ts',
    before: '  const before = await parts.vault.beginRequest(request.key);',
  },
  {
    name: 'request-begun',
    file: 'engine/tokenize.ts',
    before: '    return await mint(parts, domain, call, items, indexed, timeMs, request);',
  },
  {
    name: 'claimed',
    file: 'engine/encode.ts',
    before: '    const mint = await parts.lane.run(',
  },
  {
    name: 'minted',
    file: 'engine/tokenize.ts',
    before: '    const answer = await finish(parts, ',
  },
  {
    name: 'prepared',
    file: 'engine/receipts.ts',
    before: '  const committed = await parts.committer.commit({ entry, body: sealed, write });',
  },
  {
    name: 'vault-before-write',
    file: 'vault/committer.ts',
    before: '        await this.#parts.requests.look();',
  },
  {
    name: 'vault-written',
    file: 'vault/committer.ts',
    before: '    group.stored();',
  },
  {
    name: 'vault-acknowledged',
    file: 'engine/committer.ts',
    before: '    const committed = await this.#append(commit);',
  },
  {
    name: 'log-before-append',
    file: 'engine/committer.ts',
    before:
      '        const appended = await this.#log.append(group.map((pending) => pending.commit));',
  },
  {
    name: 'log-appended',
    file: 'engine/committer.ts',
    before: '        answer(group, appended);',
  },
  {
    name: 'before-settle',
    file: 'engine/committer.ts',
    before: '    this.#vault.settle([{ commit: write.commit, leafIndex: committed.leafIndex }]);',
  },
  {
    name: 'before-reply',
    file: 'rpc/token-service.ts',
    before:
      '    return counted(context, answer, rowCount(answer.tokens));\n  };\n  const detokenize',
  },
  {
    name: 'revealed',
    file: 'engine/detokenize.ts',
    before: '    const { column, errors, distinct } = revealed;',
  },
];

export const failpoints: Fault = {
  id: 'T10',
  title: `a crash, and a long sleep, at each of ${POINTS.length} named points of a call`,
  run: pointRuns,
};

async function pointRuns(bench: Bench): Promise<Counts> {
  const main = failpointBuild(bench.path('build'), POINTS);
  const rig = await bench.fork();
  const counts = { points: 0, crashes: 0, sleeps: 0, acks: 0, unknown: 0 };
  const chosen = bench.short ? some(bench, 4) : POINTS;
  for (const { name } of chosen) {
    for (let round = 0; round < bench.times(1, 3); round++) {
      const env = { FAILPOINT: `${name}:crash:${1 + bench.random.below(12)}` };
      const server = await startOrCrash(rig, { main, env });
      if (server !== undefined) {
        const load = rig.load({ random: bench.random, server: () => server });
        const until = Date.now() + 30_000;
        while (server.alive) {
          assert(Date.now() < until, `no call passed ${name}`);
          await pause(20);
        }
        await load.stop();
        await server.end('SIGKILL');
        counts.acks += load.acks;
      }
      counts.crashes += 1;
      const again = await rig.home.start();
      counts.unknown += await settleUnknown(rig, again);
      await repeatAcked(rig, again, bench);
      await rig.assertWhole(again);
      assert.equal((await again.end()).code, 0);
    }
    counts.sleeps += await sleepAt(bench, name, main);
    counts.points += 1;
  }
  assert.deepEqual(await rig.vaultProblems(), []);
  return counts;
}

/** The start passes some of the points too, and may come no further. */
async function startOrCrash(rig: Rig, options: StartOptions): Promise<Server | undefined> {
  try {
    return await rig.home.start(options);
  } catch (error) {
    if (error instanceof Refused && error.code === null) return undefined;
    throw error;
  }
}

/** A call is held up there while the others go on, and the stop waits for it. */
async function sleepAt(bench: Bench, name: string, main: string): Promise<number> {
  if (bench.short) return 0;
  const rig = await bench.fork();
  const env = { FAILPOINT: `${name}:sleep:3` };
  const server = await rig.home.start({ main, env });
  const load = rig.load({ random: bench.random, server: () => server });
  await pause(3_000);
  await load.stop();
  assert.deepEqual(load.failures, {});
  await rig.assertWhole(server);
  assert.equal((await server.end()).code, 0);
  rig.close();
  return 1;
}

function some(bench: Bench, count: number): Failpoint[] {
  const left = [...POINTS];
  const chosen: Failpoint[] = [];
  while (chosen.length < count) {
    chosen.push(...left.splice(bench.random.below(left.length), 1));
  }
  return chosen;
}
