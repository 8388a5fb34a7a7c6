import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { connect } from '../../../src/rpc/client.ts';
import { verbsOf } from '../../../src/rpc/verbs.ts';
import type { Bench } from '../context.ts';
import type { FigureSpec } from '../figure.ts';
import { rounded } from '../figure.ts';
import { FPE_DOMAIN, scrape } from '../lockstep-server.ts';
import { randomDigits } from '../payloads.ts';

const SLOW_SERVER = join(import.meta.dirname, '../slow-server.ts');
const MODULE_DELAY_MS = 500;
const MEASURED_MS = 10_000;
const CHECK_EVERY_MS = 10;
/** Calls that wait for the module meanwhile. */
const CALLS = 8;

interface Stall {
  readonly loopP99Ms: number;
  readonly loopMaxMs: number;
  readonly healthP99Ms: number;
  readonly healthMaxMs: number;
  readonly checks: number;
}

/** One measurement serves both figures of a run. */
const measured = new WeakMap<Bench, Promise<Stall>>();

function stallOf(bench: Bench): Promise<Stall> {
  let stall = measured.get(bench);
  if (stall === undefined) {
    stall = measure(bench);
    measured.set(bench, stall);
  }
  return stall;
}

/** Calls go into a module of 500 ms a call, and meanwhile health is asked every 10 ms. */
async function measure(bench: Bench): Promise<Stall> {
  await bench.settle();
  const folder = bench.scratch.path('slow');
  const server = await bench.scratch.start(process.execPath, [
    SLOW_SERVER,
    folder,
    String(MODULE_DELAY_MS),
  ]);
  const address = `127.0.0.1:${String(server.ready['port'])}`;
  const admin = String(server.ready['admin']);
  // Health has a connection of its own, as a balancer's prober.
  const calls = connect({ address, transport: 'plaintext' });
  const prober = connect({ address, transport: 'plaintext' });
  const verbs = verbsOf(calls);
  await prober.raw('grpc.health.v1.Health/Check', new Uint8Array(0));
  await scrape(admin, []);
  for (let i = 0; i < CALLS; i++) {
    const batch = { domain: FPE_DOMAIN, purpose: '', requestId: '', subject: '', context: '' };
    // They outlive the measurement; how they end is not its matter.
    verbs
      .tokenize({ ...batch, items: randomDigits(1_000) }, { deadlineMs: 60_000 })
      .catch(() => {});
  }
  const latencies: number[] = [];
  const endMs = performance.now() + MEASURED_MS;
  while (performance.now() < endMs) {
    const sentMs = performance.now();
    await prober.raw('grpc.health.v1.Health/Check', new Uint8Array(0));
    latencies.push(performance.now() - sentMs);
    await new Promise((resolve) => setTimeout(resolve, CHECK_EVERY_MS));
  }
  const names = ['nodejs_eventloop_delay_p99', 'nodejs_eventloop_delay_max'];
  const [p99 = Number.NaN, max = Number.NaN] = await scrape(admin, names);
  calls.close();
  prober.close();
  await server.stop();
  latencies.sort((a, b) => a - b);
  return {
    loopP99Ms: p99 * 1_000,
    loopMaxMs: max * 1_000,
    healthP99Ms: latencies[Math.floor(latencies.length * 0.99)] ?? Number.NaN,
    healthMaxMs: latencies.at(-1) ?? Number.NaN,
    checks: latencies.length,
  };
}

export const STALL_FIGURES: readonly FigureSpec<Bench>[] = [
  {
    id: 'loop.p99_ms_slow_module',
    what: 'delay of the event loop, p99, while a module of 500 ms a call has work',
    unit: 'ms',
    goal: 20,
    higherIsBetter: false,
    async measure(bench) {
      const { loopP99Ms, loopMaxMs } = await stallOf(bench);
      return {
        value: rounded(loopP99Ms),
        parts: { max_ms: rounded(loopMaxMs), module: 'keys in memory, 500 ms a call' },
      };
    },
  },
  {
    id: 'health.p99_ms_slow_module',
    what: 'answer of the health check, p99, meanwhile',
    unit: 'ms',
    goal: 100,
    higherIsBetter: false,
    async measure(bench) {
      const { healthP99Ms, healthMaxMs, checks } = await stallOf(bench);
      return { value: rounded(healthP99Ms), parts: { max_ms: rounded(healthMaxMs), checks } };
    },
  },
];
