import { performance } from 'node:perf_hooks';
import { TokenService } from '../../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import { type Bench, MANY, SINGLE } from '../context.ts';
import type { FigureSpec } from '../figure.ts';
import { median, rounded } from '../figure.ts';
import { FPE_DOMAIN, grantBulk, memoryMib, startLockstep } from '../lockstep-server.ts';
import { randomDigits, tokenizePayloads } from '../payloads.ts';
import { monotonicMicros, readProfiles } from '../profile.ts';

const HEALTH_CHECK = 'grpc.health.v1.Health/Check';
const STREAM_BATCHES = 10_000;
const STREAM_ITEMS = 1_000;
const SAMPLE_MS = 200;
const STARTS = 5;
const RECORDS = 50_000;

/** Memory of a server that tokenizes one long stream. */
const streamMemory: FigureSpec<Bench> = {
  id: 'stream.rss_mib',
  what: 'peak memory of the server over a TokenizeStream of 10,000,000 values',
  unit: 'MiB',
  goal: 400,
  higherIsBetter: false,
  async measure(bench) {
    await bench.settle();
    const folder = bench.scratch.path('installation');
    const server = await startLockstep(bench.scratch, { folder });
    await grantBulk(server, FPE_DOMAIN);
    const course: number[] = [];
    const sampler = setInterval(() => course.push(memoryMib(server.pid, 'VmRSS')), SAMPLE_MS);
    const beforeMib = memoryMib(server.pid, 'VmRSS');
    const startMs = performance.now();
    await stream(bench, server.connection);
    const seconds = (performance.now() - startMs) / 1_000;
    clearInterval(sampler);
    const peakMib = memoryMib(server.pid, 'VmHWM');
    await server.stop();
    const fifths = [0.2, 0.4, 0.6, 0.8, 1].map(
      (share) => course[Math.min(course.length - 1, Math.floor(course.length * share))] ?? 0,
    );
    return {
      value: rounded(peakMib),
      parts: {
        before_mib: rounded(beforeMib),
        rss_mib_each_fifth: fifths.map((mib) => rounded(mib)),
        growth_second_half_mib: rounded(growthOf(course)),
        values_per_s: Math.round((STREAM_BATCHES * STREAM_ITEMS) / seconds),
        seconds: rounded(seconds),
      },
    };
  },
};

/** Mean of the last quarter less mean of the third: about 0 where memory is flat. */
function growthOf(course: readonly number[]): number {
  const quarter = Math.floor(course.length / 4);
  const mean = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  return mean(course.slice(-quarter)) - mean(course.slice(-2 * quarter, -quarter));
}

async function stream(
  bench: Bench,
  connection: Awaited<ReturnType<typeof startLockstep>>['connection'],
): Promise<void> {
  const batches = Array.from({ length: 64 }, () => ({
    domain: FPE_DOMAIN,
    values: randomDigits(STREAM_ITEMS),
  }));
  const { send, end, answers } = connection.stub(TokenService).tokenizeStream();
  const sendAll = async (): Promise<void> => {
    for (let seq = 1; seq <= STREAM_BATCHES; seq++) {
      await send({ seq, batch: batches[seq % batches.length]! });
    }
    end();
  };
  let answered = 0;
  const readAll = async (): Promise<void> => {
    for await (const { outcome } of answers) {
      if (outcome.case !== 'batch' || outcome.value.tokens.length !== STREAM_ITEMS) {
        throw new Error(`batch ${answered + 1} of the stream failed`);
      }
      answered += 1;
      if (answered % 2_000 === 0) bench.say(`  ${answered * STREAM_ITEMS} values`);
    }
  };
  await Promise.all([readAll(), sendAll()]);
  if (answered !== STREAM_BATCHES) throw new Error(`the stream ended after ${answered} batches`);
}

/** From spawn to the first call answered, over an installation that was in use. */
const start: FigureSpec<Bench> = {
  id: 'start.seconds',
  what: 'start of the server over existing data, until health says SERVING',
  unit: 's',
  goal: 2,
  higherIsBetter: false,
  async measure(bench) {
    await bench.settle();
    const { folder, leaves } = await usedInstallation(bench);
    const seconds: number[] = [];
    for (let i = 0; i < STARTS; i++) {
      const startMs = performance.now();
      const server = await startLockstep(bench.scratch, { folder });
      await server.connection.raw(HEALTH_CHECK, new Uint8Array(0));
      seconds.push((performance.now() - startMs) / 1_000);
      await server.stop();
    }
    const each = seconds.map((one) => rounded(one));
    return { value: rounded(median(seconds)), parts: { each, leaves, records: RECORDS } };
  },
  async profile(bench) {
    const { folder } = await usedInstallation(bench);
    const fromMicros = monotonicMicros();
    const server = await startLockstep(bench.scratch, { folder, profiled: true });
    const toMicros = monotonicMicros();
    await server.stop();
    return readProfiles(server.profiles, { fromMicros, toMicros });
  },
};

/** Some thousand leaves in the log and 50,000 records in the vault. */
async function usedInstallation(bench: Bench): Promise<{ folder: string; leaves: number }> {
  const folder = bench.scratch.path('installation');
  const server = await startLockstep(bench.scratch, { folder });
  await grantBulk(server, FPE_DOMAIN);
  const derived = tokenizePayloads(bench.scratch, FPE_DOMAIN, 1, 4_096);
  await bench.fire(server, derived, SINGLE, 2);
  const domain = { id: 'clinic/bench-start', kind: 'static', format: 'digits:9' } as const;
  await server.verbs.createDomain(domain, { headers: { 'lockstep-dev-caller': 'officer' } });
  const callsMax = RECORDS / 1_000;
  const payloads = tokenizePayloads(bench.scratch, domain.id, 1_000, callsMax);
  await bench.load.fire({ ...MANY, address: server.address, payloads, seconds: 0, callsMax });
  const leaves = await server.metric('lockstep_log_leaves');
  await server.stop();
  return { folder, leaves };
}

export const SERVER_FIGURES: readonly FigureSpec<Bench>[] = [streamMemory, start];
