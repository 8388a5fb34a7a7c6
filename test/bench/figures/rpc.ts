import {
  type Bench,
  type CostedVolley,
  comparePairs,
  MANY,
  type Pressure,
  SINGLE,
} from '../context.ts';
import type { FigureSpec, Measured, ThreadProfile } from '../figure.ts';
import { rounded } from '../figure.ts';
import { callsPerSecond, type Volley } from '../load.ts';
import { FPE_DOMAIN, type Lockstep } from '../lockstep-server.ts';
import { detokenizePayloads, type Payloads, tokenizePayloads } from '../payloads.ts';
import { monotonicMicros, readProfiles } from '../profile.ts';

const PROFILE_SECONDS = 5;

/** So many different requests that none comes again while it is under way. */
const requestsOf = (items: number): number => (items === 1 ? 4_096 : 64);

/** Tokenize with `items` a call, against an echo of the same messages. */
const againstEcho = (items: number, goal: number, pressure: Pressure): FigureSpec<Bench> => ({
  id: `rpc.tokenize_${items}_vs_echo`,
  what: `Tokenize of ${items} a call, ${pressure.concurrency} concurrent, against an echo server`,
  unit: 'ratio',
  goal,
  higherIsBetter: true,
  async measure(bench) {
    const lockstep = await bench.lockstep();
    const echo = await bench.echo();
    const payloads = tokenizePayloads(bench.scratch, FPE_DOMAIN, items, requestsOf(items));
    const before = await syncsOf(lockstep);
    const paired = await comparePairs(
      bench,
      (seconds) => bench.fire(lockstep, payloads, pressure, seconds),
      (seconds) => bench.fire(echo, payloads, pressure, seconds),
    );
    const after = await syncsOf(lockstep);
    return {
      value: rounded(paired.ratio),
      parts: {
        ...volleyParts('lockstep', paired.left, items),
        ...volleyParts('echo', paired.right, items),
        log_append_mean_ms: rounded(
          ((after.seconds - before.seconds) / (after.count - before.count)) * 1_000,
        ),
        ratios: paired.ratios,
        load: bench.load.name,
        concurrency: pressure.concurrency,
      },
    };
  },
  profile: (bench) =>
    profileLoad(bench, pressure, async () =>
      tokenizePayloads(bench.scratch, FPE_DOMAIN, items, requestsOf(items)),
    ),
});

/** How long appends of the log took in all, write and fdatasync, how many they were, each for one
 *  or many calls, and how often the vault was written. */
export async function syncsOf(
  server: Lockstep,
): Promise<{ seconds: number; count: number; vault: number }> {
  const vault = await server.metric('lockstep_vault_writes');
  return {
    seconds: await server.metric('lockstep_fsync_duration_sum{place="log"}'),
    count: await server.metric('lockstep_fsync_duration_count{place="log"}'),
    vault: Number.isNaN(vault) ? 0 : vault,
  };
}

export function volleyParts(
  name: string,
  volley: Volley | CostedVolley,
  items: number,
): Record<string, number> {
  const parts = {
    [`${name}_values_per_s`]: Math.round(callsPerSecond(volley) * items),
    [`${name}_p50_ms`]: rounded(volley.p50Ms),
    [`${name}_p99_ms`]: rounded(volley.p99Ms),
  };
  if (!('cpu' in volley)) return parts;
  const { main, keyWorker, helpers } = volley.cpu;
  const each = (micros: number): number => rounded(micros / volley.calls);
  return {
    ...parts,
    [`${name}_main_cpu_us_a_call`]: each(main),
    ...(keyWorker > 0 ? { [`${name}_key_worker_cpu_us_a_call`]: each(keyWorker) } : {}),
    [`${name}_helpers_cpu_us_a_call`]: each(helpers),
  };
}

const detokenize: FigureSpec<Bench> = {
  id: 'rpc.detokenize_vs_tokenize',
  what: 'Detokenize of 1,000 a call against Tokenize of the same, FPE',
  unit: 'ratio',
  goal: 0.9,
  higherIsBetter: true,
  async measure(bench) {
    const lockstep = await bench.lockstep();
    const items = 1_000;
    const forward = tokenizePayloads(bench.scratch, FPE_DOMAIN, items, requestsOf(items));
    const back = await revealsOf(bench, lockstep);
    const paired = await comparePairs(
      bench,
      (seconds) => bench.fire(lockstep, back, MANY, seconds),
      (seconds) => bench.fire(lockstep, forward, MANY, seconds),
    );
    return {
      value: rounded(paired.ratio),
      parts: {
        ...volleyParts('detokenize', paired.left, items),
        ...volleyParts('tokenize', paired.right, items),
        ratios: paired.ratios,
        load: bench.load.name,
      },
    };
  },
  profile: (bench) => profileLoad(bench, MANY, (server) => revealsOf(bench, server)),
};

/** Requests that reveal tokens made just now. An FPE domain of `digits:9` is a permutation, so any
 *  nine digits would do; these are tokens all the same. */
async function revealsOf(bench: Bench, server: Lockstep): Promise<Payloads> {
  const payloads = tokenizePayloads(bench.scratch, FPE_DOMAIN, 1_000, requestsOf(1_000));
  const tokens: (readonly string[])[] = [];
  for (const items of payloads.values) {
    const batch = {
      domain: FPE_DOMAIN,
      items,
      purpose: '',
      requestId: '',
      subject: '',
      context: '',
    };
    const { outputs, errors } = await server.verbs.tokenize(batch);
    if (errors.length > 0) throw new Error('a value of the bench was refused');
    tokens.push(outputs);
  }
  return detokenizePayloads(bench.scratch, FPE_DOMAIN, tokens);
}

/** The server's event loop while it is loaded: what its own gauge saw between two scrapes. */
const loopUnderLoad: FigureSpec<Bench> = {
  id: 'loop.p99_ms_load',
  what: 'delay of the event loop, p99, under calls of 1,000',
  unit: 'ms',
  goal: 20,
  higherIsBetter: false,
  async measure(bench): Promise<Measured> {
    const lockstep = await bench.lockstep();
    const payloads = tokenizePayloads(bench.scratch, FPE_DOMAIN, 1_000, requestsOf(1_000));
    await bench.fire(lockstep, payloads, MANY, 1);
    await lockstep.metric('nodejs_eventloop_delay_p99'); // A scrape starts the next window.
    const volley = await bench.fire(lockstep, payloads, MANY, 5);
    const delays = await lockstep.metrics([
      'nodejs_eventloop_delay_p99',
      'nodejs_eventloop_delay_max',
      'nodejs_eventloop_delay_p50',
    ]);
    return {
      value: rounded(delays[0]! * 1_000),
      parts: {
        max_ms: rounded(delays[1]! * 1_000),
        p50_ms: rounded(delays[2]! * 1_000),
        ...volleyParts('lockstep', volley, 1_000),
      },
    };
  },
};

/** A few seconds of load on a server under the profiler. */
export async function profileLoad(
  bench: Bench,
  pressure: Pressure,
  payloadsFor: (server: Lockstep) => Promise<Payloads>,
): Promise<ThreadProfile[]> {
  const server = await bench.profiled();
  const payloads = await payloadsFor(server);
  await bench.fire(server, payloads, pressure, 2);
  const fromMicros = monotonicMicros();
  await bench.fire(server, payloads, pressure, PROFILE_SECONDS);
  const toMicros = monotonicMicros();
  await server.stop();
  return readProfiles(server.profiles, { fromMicros, toMicros });
}

export const RPC_FIGURES: readonly FigureSpec<Bench>[] = [
  againstEcho(1_000, 0.7, MANY),
  againstEcho(100, 0.6, MANY),
  againstEcho(1, 0.6, SINGLE),
  detokenize,
  loopUnderLoad,
];
