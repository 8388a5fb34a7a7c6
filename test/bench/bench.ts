import { execFileSync } from 'node:child_process';
import { arch, cpus, platform, release, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { Bench } from './context.ts';
import { type Figure, type FigureSpec, isMissed } from './figure.ts';
import { FF1_FIGURES } from './figures/ff1.ts';
import { RPC_FIGURES } from './figures/rpc.ts';
import { SERVER_FIGURES } from './figures/server.ts';
import { STALL_FIGURES } from './figures/stall.ts';
import { VAULT_FIGURES } from './figures/vault.ts';
import { BACKUP_FIGURES } from './figures/vault-backup.ts';
import { LARGE_FIGURES } from './figures/vault-large.ts';
import { profileText, tableText } from './table.ts';

const FIGURES: readonly FigureSpec<Bench>[] = [
  ...FF1_FIGURES,
  ...RPC_FIGURES,
  ...VAULT_FIGURES,
  ...BACKUP_FIGURES,
  ...LARGE_FIGURES,
  ...SERVER_FIGURES,
  ...STALL_FIGURES,
];

const HELP = `npm run bench [-- OPTION…]

Measures Lockstep in ratios of one run (test/bench/README.md). The table goes to stdout, progress to
stderr. The exit code is 0 where everything was measured, whether or not a goal was met.

  --only ID…         these figures alone; an id may end in *
  --profile ID       runs the load of one figure under the profiler and prints where the time goes
  --json             one object: {"machine", "figures": [{"id", "value", "unit", "goal", …}]}
  --pairs N          interleaved pairs of a ratio, at least 5 (default 5)
  --seconds S        of one volley (default 3)
  --load ghz|own     default: ghz where it is installed
  --no-profile       a goal missed is reported without a profile
  --help

Figures:
${FIGURES.map(lineOf).join('\n')}
`;

function lineOf({ id, what, goal }: FigureSpec<Bench>): string {
  return `  ${id.padEnd(30)} ${what}${goal === null ? '' : ` [goal ${goal}]`}`;
}

interface Wanted {
  readonly figures: readonly FigureSpec<Bench>[];
  readonly profile: FigureSpec<Bench> | undefined;
  readonly json: boolean;
  readonly profileMissed: boolean;
  readonly options: ConstructorParameters<typeof Bench>[0];
}

/** Exit codes as the command line's: 0 measured, 1 something could not be, 2 wrong arguments. */
async function main(argv: readonly string[]): Promise<number> {
  let wanted: Wanted | 'help';
  try {
    wanted = parse(argv);
  } catch (error) {
    process.stderr.write(`bench: ${error instanceof Error ? error.message : 'wrong arguments'}\n`);
    return 2;
  }
  if (wanted === 'help') {
    process.stdout.write(HELP);
    return 0;
  }
  const bench = new Bench(wanted.options);
  bench.say(`load: ${bench.load.name}`);
  if (wanted.profile?.profile !== undefined) {
    process.stdout.write(profileText(wanted.profile.id, await wanted.profile.profile(bench)));
    return 0;
  }
  const figures: Figure[] = [];
  let failed = false;
  for (const spec of wanted.figures) {
    try {
      figures.push(await measured(bench, spec, wanted.profileMissed));
    } catch (error) {
      failed = true;
      bench.say(`${spec.id} could not be measured: ${String(error)}`);
    }
  }
  await bench.settle();
  const machine = machineOf();
  process.stdout.write(
    wanted.json ? `${JSON.stringify({ machine, figures })}\n` : tableText(machine, figures),
  );
  return failed ? 1 : 0;
}

async function measured(
  bench: Bench,
  spec: FigureSpec<Bench>,
  profileMissed: boolean,
): Promise<Figure> {
  const { id, unit, goal, higherIsBetter } = spec;
  bench.say(`${id}: ${spec.what}`);
  const figure: Figure = { id, unit, goal, higherIsBetter, ...(await spec.measure(bench)) };
  bench.say(`  ${figure.value} ${unit}`);
  if (!profileMissed || !isMissed(figure) || spec.profile === undefined) return figure;
  bench.say('  the goal is missed: once more, under the profiler');
  return { ...figure, profile: await spec.profile(bench) };
}

function parse(argv: readonly string[]): Wanted | 'help' {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      only: { type: 'string', multiple: true },
      profile: { type: 'string' },
      json: { type: 'boolean', default: false },
      pairs: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '3' },
      load: { type: 'string' },
      'no-profile': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  if (values.only === undefined && positionals.length > 0) throw new Error('--help tells more');
  const pairs = Number(values.pairs);
  const seconds = Number(values.seconds);
  if (!Number.isInteger(pairs) || pairs < 5) throw new Error('--pairs is 5 or more');
  if (!(seconds >= 0.5 && seconds <= 60)) throw new Error('--seconds is 0.5 to 60');
  const load = values.load;
  if (load !== undefined && load !== 'ghz' && load !== 'own') throw new Error('--load ghz|own');
  // `--only A B` reads as one option and what follows it.
  const ids = values.only === undefined ? undefined : [...values.only, ...positionals];
  const profile = values.profile === undefined ? undefined : figuresOf([values.profile])[0];
  if (profile !== undefined && profile.profile === undefined) {
    throw new Error(`${profile.id} has no profile`);
  }
  return {
    figures: ids === undefined ? FIGURES.filter((one) => one.byNameAlone !== true) : figuresOf(ids),
    profile,
    json: values.json,
    profileMissed: !values['no-profile'],
    options: { load, pairs, seconds },
  };
}

function figuresOf(ids: readonly string[]): FigureSpec<Bench>[] {
  const matches = (wanted: string, id: string): boolean =>
    wanted.endsWith('*') ? id.startsWith(wanted.slice(0, -1)) : id === wanted;
  for (const wanted of ids) {
    if (!FIGURES.some(({ id }) => matches(wanted, id))) throw new Error(`no figure ${wanted}`);
  }
  return FIGURES.filter(({ id }) => ids.some((wanted) => matches(wanted, id)));
}

function machineOf(): Record<string, string | number> {
  const processors = cpus();
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    system: `${platform()} ${release()} ${arch()}`,
    node: process.version,
    commit: commitOf(),
    time: new Date().toISOString(),
  };
}

function commitOf(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      cwd: import.meta.dirname,
      stdio: ['ignore', 'pipe', 'ignore'],
      encoding: 'utf8',
    }).trim();
  } catch {
    return 'unknown';
  }
}

// What still holds the process, e.g. a watcher, has no more to say.
process.exit(await main(process.argv.slice(2)));
