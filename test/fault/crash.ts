import assert from 'node:assert';
import { setTimeout as pause } from 'node:timers/promises';
import { perform } from './calls.ts';
import type { Bench, Counts, Fault } from './fault.ts';
import type { Server } from './home.ts';
import type { Ask } from './journal.ts';
import { DYNAMIC } from './load.ts';
import type { Rig } from './rig.ts';

export const kill: Fault = {
  id: 'T01',
  title: 'kill -9 at a random instant under mixed load',
  run: killRuns,
};

async function killRuns(bench: Bench): Promise<Counts> {
  const rig = await bench.fork();
  const kills = bench.times(3, 200);
  const counts = { kills: 0, acks: 0, unknown: 0, repeats: 0 };
  let server = await rig.home.start();
  for (let run = 0; run < kills; run++) {
    const serving = server;
    const load = rig.load({ random: bench.random, server: () => serving });
    await pause(20 + bench.random.below(bench.short ? 900 : 1_480));
    rig.remember();
    serving.signal('SIGKILL');
    await load.stop();
    await serving.end('SIGKILL');
    counts.kills += 1;
    counts.acks += load.acks;
    server = await rig.home.start();
    counts.unknown += await settleUnknown(rig, server);
    counts.repeats += await repeatAcked(rig, server, bench);
    await rig.assertWhole(server);
  }
  const { code } = await server.end();
  assert.equal(code, 0);
  assert.deepEqual(await rig.vaultProblems(), []);
  return counts;
}

/** Calls that the kill left unanswered are asked again, twice: with a request id both answers must
 *  be one. They are acknowledged from now on. */
export async function settleUnknown(rig: Rig, server: Server): Promise<number> {
  const connection = server.connect();
  const unknown = rig.journal.read().unknown();
  for (const ask of unknown) {
    const first = await perform(connection, ask);
    rig.journal.write({ ack: first });
    const second = await perform(connection, ask);
    rig.journal.write({ ack: second });
    if (ask.verb !== 'detokenize') assert.deepEqual(second.outputs, first.outputs);
  }
  return unknown.length;
}

/** Some acknowledged calls again, under their request ids: a dynamic domain would mint others. */
export async function repeatAcked(rig: Rig, server: Server, bench: Bench): Promise<number> {
  const connection = server.connect();
  const account = rig.journal.read();
  const mints = (ask: Ask | undefined): boolean =>
    ask?.verb === 'tokenize' && ask.domain === DYNAMIC;
  const minted = account.acks.filter(({ id }) => mints(account.asks.get(id)));
  const chosen = Array.from({ length: Math.min(5, minted.length) }, () =>
    bench.random.pick(minted),
  );
  for (const ack of chosen) {
    const again = await perform(connection, account.asks.get(ack.id)!);
    assert.deepEqual(again.outputs, ack.outputs, 'a repeat gave other tokens');
    assert.equal(again.leaf, ack.leaf, 'a repeat has another leaf');
    assert.equal(again.hash, ack.hash, 'a repeat has another leaf hash');
  }
  return chosen.length;
}

export const terminate: Fault = {
  id: 'T37',
  title: 'SIGTERM under load, clients retry',
  run: terminateRuns,
};

async function terminateRuns(bench: Bench): Promise<Counts> {
  const rig = await bench.fork();
  const stops = bench.times(1, 20);
  const counts = { stops: 0, acks: 0, retries: 0 };
  let server: Server | undefined = await rig.home.start();
  for (let run = 0; run < stops; run++) {
    const load = rig.load({ random: bench.random, server: () => server, retry: true });
    await pause(100 + bench.random.below(600));
    const stopping: Server = server!;
    const { code, signal } = await stopping.end();
    assert.deepEqual({ code, signal }, { code: 0, signal: null });
    server = undefined;
    server = await rig.home.start();
    await load.stop(); // Rejects where a call did not succeed in the end.
    counts.stops += 1;
    counts.acks += load.acks;
    counts.retries += Object.values(load.failures).reduce((sum, count) => sum + count, 0);
    const failed = Object.keys(load.failures).filter((reason) => !MAY_RETRY.has(reason));
    assert.deepEqual(failed, [], 'reasons that a client may not retry');
    await rig.assertWhole(server);
  }
  await server?.end();
  return counts;
}

/** What a stopping server may say; '' is a connection that closed. */
const MAY_RETRY: ReadonlySet<string> = new Set(['', 'DRAINING', 'OUTCOME_UNKNOWN']);
