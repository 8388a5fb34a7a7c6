import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { softHsmLibrary } from '../softhsm.ts';
import { Bench, type Fault } from './fault.ts';
import { FAULTS, type Outcome, runFault } from './faults.ts';

// A few rounds of each fault; `npm run faults` does the long loops.
const seed = Number(process.env['LOCKSTEP_SEED'] ?? Date.now() % 1_000_000);
const present = softHsmLibrary() !== undefined;
/** Each spends most of its time waiting for servers to start. */
const LANES = 2;

const outcomes = new Map<Fault, PromiseWithResolvers<Outcome>>();
let bench: Bench | undefined;
let lanes: Promise<unknown> = Promise.resolve();

describe.skipIf(!present)('whole installations, damaged', () => {
  beforeAll(() => {
    const opened = Bench.open(seed, true);
    bench = opened;
    const waiting = [...FAULTS];
    for (const fault of FAULTS) outcomes.set(fault, Promise.withResolvers());
    const lane = async (): Promise<void> => {
      for (let fault = waiting.shift(); fault !== undefined; fault = waiting.shift()) {
        outcomes.get(fault)!.resolve(await runFault(opened, fault));
      }
    };
    lanes = Promise.all(Array.from({ length: LANES }, lane));
  });

  afterAll(async () => {
    await lanes;
    await bench?.end();
  }, 600_000);

  test.each(FAULTS.map((fault) => [fault.id, fault.title, fault] as const))(
    '%s: %s',
    async (_id, _title, fault) => {
      const { verdict, why } = await outcomes.get(fault)!.promise;
      if (verdict === 'skipped') {
        console.warn(`skipped: ${fault.id}, ${fault.title}: ${why}`);
        return;
      }
      expect({ verdict, why }, `seed ${seed}`).toEqual({ verdict: 'held', why: undefined });
    },
    600_000,
  );
});
