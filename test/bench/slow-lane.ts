import { randomInt } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { type Column, columnOf } from '../../src/base/column.ts';
import { prepareDevelopment } from '../../src/cli/development.ts';
import { defaultsFor } from '../../src/codec/domain-check.ts';
import type { EncodeJob } from '../../src/engine/job.ts';
import { KeyLane } from '../../src/engine/key-lane.ts';
import { softHsmLibrary } from '../softhsm.ts';
import { FPE_DOMAIN } from './lockstep-server.ts';
import { randomDigits } from './payloads.ts';

/** What `slow-lane.ts` prints. */
export interface SlowLane {
  readonly eightJobsValuesPerSecond: number;
  readonly oneJobValuesPerSecond: number;
  readonly eightJobsModuleCalls: number;
  readonly eightJobsCalls: number;
}

const VALUES = 8_000;

const counted = { moduleCalls: 0 };

/** The key worker alone, in a process of its own, with a module that takes a while longer a call:
 *  8,000 values in flight, as eight jobs and as one. Arguments: a folder, the delay in ms, seconds
 *  each. */
async function main([folder = '', delayMs = '1', seconds = '3']: readonly string[]): Promise<void> {
  const library = softHsmLibrary();
  if (library === undefined) throw new Error('there is no PKCS#11 module');
  const addresses = { server: '127.0.0.1:0', admin: '127.0.0.1:0' };
  const { config } = prepareDevelopment(folder, library, addresses);
  const { module, log } = config;
  const { lane } = await KeyLane.start({
    start: {
      module: { kind: 'pkcs11', library, token: module.token, pinSource: module.pin_source },
      root: module.root,
      checkpointKey: log.checkpoint,
      catalogue: undefined,
      moduleDelayMs: Number(delayMs),
    },
    limits: { jobsWaitingMax: 64, moduleCallMsMax: 60_000 },
    metrics: {
      keyJob: ({ moduleCalls }) => {
        counted.moduleCalls += moduleCalls;
      },
    },
    onHang: () => process.exit(1),
    onDeath: () => process.exit(1),
  });
  const spec = defaultsFor({ id: FPE_DOMAIN, kind: 'fpe', format: 'digits:9' }, Date.now());
  await lane.control({ control: 'put-domain', spec });
  const lengthMs = Number(seconds) * 1_000;
  await valuesPerSecond(lane, 8, 1_000);
  const eight = await valuesPerSecond(lane, 8, lengthMs);
  const one = await valuesPerSecond(lane, 1, lengthMs);
  const answer: SlowLane = {
    eightJobsValuesPerSecond: eight.valuesPerSecond,
    oneJobValuesPerSecond: one.valuesPerSecond,
    eightJobsModuleCalls: eight.moduleCalls,
    eightJobsCalls: eight.jobs,
  };
  process.stdout.write(JSON.stringify(answer));
  await lane.close();
}

/** `jobs` jobs under way at all times, 8,000 values together. */
async function valuesPerSecond(
  lane: KeyLane,
  jobs: number,
  lengthMs: number,
): Promise<{ valuesPerSecond: number; moduleCalls: number; jobs: number }> {
  const columns: Column[] = Array.from({ length: 16 }, () => columnOf(randomDigits(VALUES / jobs)));
  const startMs = performance.now();
  const callsBefore = counted.moduleCalls;
  let done = 0;
  await Promise.all(
    Array.from({ length: jobs }, async () => {
      while (performance.now() - startMs < lengthMs) {
        await lane.run(encodeJob(columns[randomInt(columns.length)]!), WAITS);
        done += 1;
      }
    }),
  );
  const elapsed = (performance.now() - startMs) / 1_000;
  return {
    valuesPerSecond: (done * VALUES) / jobs / elapsed,
    moduleCalls: counted.moduleCalls - callsBefore,
    jobs: done,
  };
}

const WAITS = { deadlineMs: Number.POSITIVE_INFINITY, cancelled: () => false };

const encodeJob = (values: Column): EncodeJob => ({
  op: 'encode',
  domain: FPE_DOMAIN,
  values,
  context: undefined,
  subject: undefined,
  delivery: 'best-effort',
  seal: false,
});

await main(process.argv.slice(2));
