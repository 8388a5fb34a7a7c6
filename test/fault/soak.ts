import assert from 'node:assert';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { settleUnknown } from './crash.ts';
import type { Bench, Fault } from './fault.ts';
import type { Server } from './home.ts';
import type { Load } from './load.ts';
import type { Rig } from './rig.ts';

/** How long the long form runs. */
const MINUTES = Number(process.env['LOCKSTEP_SOAK_MINUTES'] ?? 120);
const SHORT_MINUTES = 0.2;
/** Growth an hour that is taken for none, over the second half of a life. */
const RSS_MIB_AN_HOUR_MAX = 48;
const FILES_AN_HOUR_MAX = 8;

/** Mixed load for hours, a fault a minute: what is lost, and what grows. */
export const soak: Fault = {
  id: 'T57',
  title: `a soak of ${MINUTES} minutes, a fault a minute`,
  async run(bench) {
    const minutes = bench.times(SHORT_MINUTES, MINUTES);
    const rig = await bench.fork();
    const counts = { faults: 0, kills: 0, acks: 0, samples: 0 };
    const slopes: number[] = [];
    // Two lives: the first ends in a kill -9, the second in good order.
    for (const last of [false, true]) {
      const life = await live(bench, rig, minutes / 2);
      counts.faults += life.faults;
      counts.acks += life.acks;
      counts.samples += life.samples.length;
      slopes.push(slopeAnHour(life.samples, ({ rssMib }) => rssMib));
      if (!bench.short) assertFlat(life.samples);
      const { code } = await life.server.end(last ? 'SIGTERM' : 'SIGKILL');
      if (last) assert.equal(code, 0);
      else counts.kills += 1;
      const again = await rig.home.start();
      await settleUnknown(rig, again);
      await rig.assertWhole(again);
      assert.equal((await again.end()).code, 0);
    }
    assert.deepEqual(await rig.vaultProblems(), []);
    // Some seconds say nothing of an hour.
    return bench.short ? counts : { ...counts, rss_mib_an_hour: Math.round(Math.max(...slopes)) };
  },
};

interface Sample {
  readonly hours: number;
  readonly rssMib: number;
  readonly files: number;
}

interface Life {
  readonly server: Server;
  readonly acks: number;
  readonly faults: number;
  readonly samples: readonly Sample[];
}

async function live(bench: Bench, rig: Rig, minutes: number): Promise<Life> {
  const server = await rig.home.start();
  const begun = Date.now();
  const until = begun + minutes * 60_000;
  const everyMs = bench.short ? 4_000 : 60_000;
  const samples: Sample[] = [];
  let acks = 0;
  let faults = 0;
  while (Date.now() < until) {
    const load = rig.load({ random: bench.random, server: () => server });
    const next = Math.min(until, Date.now() + everyMs);
    while (Date.now() < next) {
      await pause(bench.short ? 500 : 5_000);
      samples.push(sampleOf(server, begun));
    }
    await harm(bench, server, load, faults++);
    acks += load.acks;
    // A refusal is an answer; a fault of our own is none.
    assert(!('INTERNAL' in load.failures), 'a call was answered INTERNAL');
    assert(server.alive, 'the process ended');
  }
  return { server, acks, faults, samples };
}

/** What a server must bear without a word: in turn, so that a seed repeats it. */
async function harm(bench: Bench, server: Server, load: Load, turn: number): Promise<void> {
  switch (turn % 3) {
    case 0: {
      // Stands still, as under a debugger or a paused machine.
      server.signal('SIGSTOP');
      await pause(500 + bench.random.below(2_000));
      server.signal('SIGCONT');
      await load.stop();
      return;
    }
    case 1: {
      // Every client is gone in the middle of its calls.
      load.abandon();
      server.disconnect();
      return;
    }
    default: {
      // A crowd comes and goes.
      const crowd = Array.from({ length: 64 }, () => server.connect());
      await Promise.allSettled(crowd.map(async () => pause(50)));
      for (const connection of crowd) connection.close();
      await load.stop();
    }
  }
}

function sampleOf({ pid }: Server, begun: number): Sample {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return {
    hours: (Date.now() - begun) / 3_600_000,
    rssMib: Number(kib) / 1024,
    files: readdirSync(`/proc/${pid}/fd`).length,
  };
}

/** Least squares over the second half: the first fills caches. */
function slopeAnHour(samples: readonly Sample[], of: (sample: Sample) => number): number {
  const half = samples.slice(samples.length >> 1);
  const mean = (pick: (sample: Sample) => number): number =>
    half.reduce((sum, sample) => sum + pick(sample), 0) / half.length;
  const hours = mean((sample) => sample.hours);
  const value = mean(of);
  let over = 0;
  let under = 0;
  for (const sample of half) {
    over += (sample.hours - hours) * (of(sample) - value);
    under += (sample.hours - hours) ** 2;
  }
  return under === 0 ? 0 : over / under;
}

function assertFlat(samples: readonly Sample[]): void {
  const rss = slopeAnHour(samples, ({ rssMib }) => rssMib);
  const files = slopeAnHour(samples, (sample) => sample.files);
  assert(rss < RSS_MIB_AN_HOUR_MAX, `memory grows by ${Math.round(rss)} MiB an hour`);
  assert(files < FILES_AN_HOUR_MAX, `open files grow by ${Math.round(files)} an hour`);
}
