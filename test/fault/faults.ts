import { parseArgs } from 'node:util';
import { controls } from './controls.ts';
import { kill, terminate } from './crash.ts';
import { flip, tear } from './damage.ts';
import { erased } from './erasure.ts';
import { failpoints } from './failpoints.ts';
import { Bench, type Counts, type Fault } from './fault.ts';
import { clone, missing, rollback, second } from './folders.ts';
import { full } from './full.ts';
import { another, gone, pin } from './module.ts';
import { power } from './power.ts';
import { soak } from './soak.ts';
import { starved, unsynced } from './system.ts';

const HELP = `npm run faults -- [--short] [--only ID…] [--seed N] [--json]

Damages whole installations in every way that the fault list names, starts the server on them, and
asserts that no acknowledged token is lost or resolves to another value, that every answer has a
provable leaf, that checkpoints stay consistent, and that no value stands in any file.

  --short   a few rounds of each, as \`npm test\` does it
  --only    this fault alone; may be given again
  --seed    repeats a run; printed at the end
  --json    one object on standard output
  --help    this text

Exit codes: 0 all held, 1 a fault broke a promise, 2 bad arguments.
`;

export const FAULTS: readonly Fault[] = [
  kill,
  power,
  full,
  unsynced,
  flip,
  tear,
  missing,
  second,
  gone,
  pin,
  another,
  failpoints,
  starved,
  soak,
  terminate,
  rollback,
  erased,
  clone,
  controls,
];

export interface Outcome {
  readonly id: string;
  readonly title: string;
  readonly verdict: 'held' | 'broken' | 'skipped';
  readonly seconds: number;
  readonly counts: Counts;
  /** Why it was skipped, or what broke. */
  readonly why?: string;
}

/** One fault. Never rejects. */
export async function runFault(bench: Bench, fault: Fault): Promise<Outcome> {
  const { id, title } = fault;
  const begun = performance.now();
  const outcome = (verdict: Outcome['verdict'], counts: Counts, why?: string): Outcome => ({
    ...{ id, title, verdict, counts },
    seconds: Math.round((performance.now() - begun) / 100) / 10,
    ...(why === undefined ? {} : { why }),
  });
  const lacks = fault.lacks?.();
  if (lacks !== undefined) return outcome('skipped', {}, lacks);
  const own = bench.for(fault);
  try {
    return outcome('held', await fault.run(own));
  } catch (error) {
    return outcome('broken', {}, error instanceof Error ? error.message : String(error));
  } finally {
    own.close();
  }
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options === undefined) return 2;
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const { seed, json } = options;
  const faults = FAULTS.filter(({ id }) => options.only?.includes(id) ?? true);
  const bench = Bench.open(seed, options.short);
  const outcomes: Outcome[] = [];
  const interrupted = new AbortController();
  process.once('SIGINT', () => interrupted.abort());
  process.once('SIGTERM', () => interrupted.abort());
  try {
    for (const [i, fault] of faults.entries()) {
      if (interrupted.signal.aborted) break;
      const clear = showProgress(`${i + 1}/${faults.length}  ${fault.id}  ${fault.title}`);
      const outcome = await runFault(bench, fault);
      clear();
      outcomes.push(outcome);
      if (!json) process.stdout.write(`${lineOf(outcome)}\n`);
    }
  } finally {
    await bench.end();
  }
  const broken = outcomes.filter(({ verdict }) => verdict === 'broken').length;
  if (json) process.stdout.write(`${JSON.stringify({ seed, broken, outcomes })}\n`);
  else process.stdout.write(summaryOf(seed, outcomes));
  return broken === 0 && outcomes.length === faults.length ? 0 : 1;
}

const MARKS = { held: '✓', broken: '✗', skipped: '–' } as const;

function lineOf({ id, title, verdict, seconds, counts, why }: Outcome): string {
  const numbers = Object.entries(counts).map(([name, count]) => `${name} ${count}`);
  const rest = why === undefined ? numbers.join(', ') : `${verdict}: ${why}`;
  return `${MARKS[verdict]} ${id.padEnd(4)} ${title} (${seconds} s): ${rest}`;
}

function summaryOf(seed: number, outcomes: readonly Outcome[]): string {
  const count = (verdict: Outcome['verdict']): number =>
    outcomes.filter((one) => one.verdict === verdict).length;
  const { length } = outcomes;
  const words = `${count('held')} held, ${count('broken')} broken, ${count('skipped')} skipped`;
  return `\n${length} faults: ${words}. Repeat with --seed ${seed}\n`;
}

/** On a terminal: which fault is at work, and for how long. */
function showProgress(text: string): () => void {
  if (!process.stderr.isTTY) return () => {};
  const begun = performance.now();
  const timer = setInterval(() => {
    const seconds = Math.round((performance.now() - begun) / 1_000);
    process.stderr.write(`\r\u001b[K${text} … ${seconds} s`);
  }, 1_000);
  return () => {
    clearInterval(timer);
    process.stderr.write('\r\u001b[K');
  };
}

interface Options {
  readonly short: boolean;
  readonly json: boolean;
  readonly help: boolean;
  readonly only?: readonly string[] | undefined;
  readonly seed: number;
}

function readOptions(): Options | undefined {
  try {
    const { values } = parseArgs({
      options: {
        short: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
        only: { type: 'string', multiple: true },
        seed: { type: 'string' },
      },
    });
    const only = values.only?.flatMap((text) => text.split(','));
    const known = new Set(FAULTS.map(({ id }) => id));
    const seed = Number(values.seed ?? Date.now() % 1_000_000);
    if (Number.isSafeInteger(seed) && (only ?? []).every((id) => known.has(id))) {
      return { ...values, only, seed };
    }
  } catch {
    // Said below.
  }
  process.stderr.write(HELP);
  return undefined;
}

if (import.meta.main) process.exitCode = await main();
