import { join } from 'node:path';
import type { Bench } from '../context.ts';
import type { Ff1Rounds } from '../ff1-rounds.ts';
import type { FigureSpec } from '../figure.ts';
import { median, rounded } from '../figure.ts';
import { findProgram } from '../load.ts';
import type { SlowLane } from '../slow-lane.ts';

const ROUNDS = join(import.meta.dirname, '../ff1-rounds.ts');
const SLOW_LANE = join(import.meta.dirname, '../slow-lane.ts');
const GO_FOLDER = join(import.meta.dirname, '../go');
const SECONDS = 0.5;

/** One run serves both ratios. */
const measured = new WeakMap<Bench, Promise<Ff1Rounds>>();

function roundsOf(bench: Bench): Promise<Ff1Rounds> {
  let rounds = measured.get(bench);
  if (rounds === undefined) {
    rounds = runRounds(bench);
    measured.set(bench, rounds);
  }
  return rounds;
}

async function runRounds(bench: Bench): Promise<Ff1Rounds> {
  await bench.settle();
  const go = await buildGo(bench);
  const folder = bench.scratch.path('token');
  const args = [ROUNDS, folder, String(bench.options.pairs), String(SECONDS), go ?? ''];
  return JSON.parse(await bench.scratch.run(process.execPath, args)) as Ff1Rounds;
}

/** The Go contender, built outside the checkout; undefined, and said so, where it cannot be. */
async function buildGo(bench: Bench): Promise<string | undefined> {
  const go = findProgram('go');
  if (go === undefined) {
    bench.say('  Go is not installed: capitalone/fpe is left out');
    return undefined;
  }
  const out = bench.scratch.path('ff1-go');
  try {
    await bench.scratch.run(go, ['build', '-o', out, '.'], { cwd: GO_FOLDER });
    return out;
  } catch {
    bench.say('  the Go program does not build (is there a module proxy?): it is left out');
    return undefined;
  }
}

const ratios = (slow: readonly number[], fast: readonly number[]): number[] =>
  slow.map((nanos, round) => nanos / fast[round]!);

const moduleVsSoftware: FigureSpec<Bench> = {
  id: 'ff1.module_vs_software',
  what: 'FF1 of nine digits, 1,000 a batch, key in the module, against the fastest software FF1',
  unit: 'ratio',
  goal: 7,
  higherIsBetter: true,
  async measure(bench) {
    const { module, noble, go, description } = await roundsOf(bench);
    const fastest = noble.map((nanos, round) => Math.min(nanos, go[round] ?? Infinity));
    const each = ratios(fastest, module);
    return {
      value: rounded(median(each)),
      parts: {
        module_ns_a_value: rounded(median(module)),
        noble_ns_a_value: rounded(median(noble)),
        ...(go.length > 0 ? { go_ns_a_value: rounded(median(go)) } : { go: 'not there' }),
        ratios: each.map((ratio) => rounded(ratio)),
        module: description,
      },
    };
  },
};

const moduleVsMemory: FigureSpec<Bench> = {
  id: 'ff1.module_vs_memory',
  what: 'the same, against our own FF1 with the key in memory: what the module costs',
  unit: 'ratio',
  goal: null,
  higherIsBetter: true,
  async measure(bench) {
    const { module, memory } = await roundsOf(bench);
    return {
      value: rounded(median(ratios(memory, module))),
      parts: {
        module_ns_a_value: rounded(median(module)),
        memory_ns_a_value: rounded(median(memory)),
      },
    };
  },
};

const slowModule: FigureSpec<Bench> = {
  id: 'ff1.slow_module_values_per_s',
  what: 'FPE of nine digits at the key worker, 1 ms more a module call, 8 jobs of 1,000 under way',
  unit: 'values/s',
  goal: 500_000,
  higherIsBetter: true,
  async measure(bench) {
    await bench.settle();
    const folder = bench.scratch.path('slow-lane');
    const text = await bench.scratch.run(process.execPath, [SLOW_LANE, folder, '1', '3']);
    const lane = JSON.parse(text) as SlowLane;
    return {
      value: Math.round(lane.eightJobsValuesPerSecond),
      parts: {
        one_job_of_8000_values_per_s: Math.round(lane.oneJobValuesPerSecond),
        module_calls_per_job_of_1000: rounded(lane.eightJobsModuleCalls / lane.eightJobsCalls),
      },
    };
  },
};

export const FF1_FIGURES: readonly FigureSpec<Bench>[] = [
  moduleVsSoftware,
  moduleVsMemory,
  slowModule,
];
