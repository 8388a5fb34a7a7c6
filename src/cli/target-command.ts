import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import type { TargetOutcome, Targets } from '../rpc/target-verbs.ts';
import type { Verbs } from '../rpc/verbs.ts';
import { again } from './arguments.ts';
import {
  addConnectionOptions,
  type ConnectionOptions,
  retrying,
  withServer,
} from './connection.ts';
import { fromCsv } from './csv.ts';
import { EXIT, type Frame, type Io, UsageError, write } from './frame.ts';
import { openProgress } from './progress.ts';
import { type Item, pump } from './pump.ts';
import { fromArguments, fromLines, openText, type Source } from './sources.ts';

/** What restrict and erase are told: tokens, values, or all of a patient. */
export interface TargetOptions extends ConnectionOptions {
  readonly domain?: string;
  readonly purpose: string;
  readonly token?: readonly string[];
  readonly value?: readonly string[];
  readonly subject?: string;
  readonly context?: string;
  readonly file?: string;
  readonly csv?: string;
  readonly column?: string;
  readonly contextColumn?: string;
  readonly delimiter: string;
  readonly values?: boolean;
  readonly json?: boolean;
}

export interface TargetVerb<Options extends TargetOptions> {
  /** Once, before anything is sent; throws to stop. */
  readonly begin: (options: Options) => Promise<void>;
  readonly call: (verbs: Verbs, targets: Targets, options: Options) => Promise<TargetOutcome>;
  /** After each call, in their order. */
  readonly done: (outcome: TargetOutcome, options: Options) => Promise<void>;
  /** What happened to the tokens, e.g. `erased`. */
  readonly past: (options: Options) => string;
  /** More of the closing summary. */
  readonly summary: () => Readonly<Record<string, unknown>>;
}

export function addTargetOptions(command: Command): Command {
  command
    .option('--domain <domain>', 'organisation/name; with --subject alone all of the organisation')
    .requiredOption('--purpose <code>', 'v3 PurposeOfUse code, e.g. PATRQT')
    .option('--token <token>', 'a token; may stand again', again)
    .option('--value <value>', 'a value, seen by ps and the history; may stand again', again)
    .option('--subject <text>', 'all tokens of this patient; beside values: whose they are')
    .option('--context <text>', 'the context of the values')
    .option('--file <file>', 'one token a line; - is stdin')
    .option('--csv <file>', 'a CSV file with names in its first row; - is stdin')
    .option('--column <name>', 'the column of the CSV that holds the tokens')
    .option('--context-column <name>', 'the column of the CSV that holds the context')
    .option('--delimiter <character>', 'what stands between the cells of the CSV', ',')
    .option('--values', 'the file or column holds values, not tokens')
    .option('--json', 'one JSON object for each failed item, then one that sums up');
  return addConnectionOptions(command);
}

/** Of one call; calls follow each other. Large, since each call of Erase has a certificate. */
const ITEMS_MAX = 10_000;

/** What the options name; undefined items are all of the subject. Throws `UsageError`. */
export function namedTargets(options: TargetOptions): Targets['by'] {
  const { token, value, subject, file, csv } = options;
  const sources = [token, value, file, csv].filter((one) => one !== undefined).length;
  if (sources > 1) throw new UsageError('--token, --value, --file and --csv exclude each other');
  if ((csv === undefined) !== (options.column === undefined)) {
    throw new UsageError('--csv and --column belong together');
  }
  if (options.contextColumn !== undefined && csv === undefined) {
    throw new UsageError('--context-column needs --csv');
  }
  if (sources === 0 && subject === undefined) {
    throw new UsageError('--token, --value, --subject, --file or --csv is wanted');
  }
  const by = sources === 0 ? 'subject' : isValues(options) ? 'values' : 'tokens';
  if (by === 'tokens' && subject !== undefined) {
    throw new UsageError('--subject is for values, or stands alone');
  }
  if (by === 'subject' && (options.context ?? options.values) !== undefined) {
    throw new UsageError('--context and --values have no meaning for all tokens of a patient');
  }
  if (by !== 'subject' && options.domain === undefined) {
    throw new UsageError('--domain is wanted');
  }
  return by;
}

const isValues = ({ value, values }: TargetOptions): boolean =>
  value !== undefined || values === true;

export async function runTargets<Options extends TargetOptions>(
  frame: Frame,
  options: Options,
  verb: TargetVerb<Options>,
): Promise<number> {
  const by = namedTargets(options);
  await verb.begin(options);
  const tally = { items: 0, tokens: 0, failed: 0, leaves: [] as number[] };
  const progress = openProgress(frame.io, undefined);
  const note = async (items: readonly Item[], outcome: TargetOutcome): Promise<void> => {
    tally.items += items.length;
    tally.tokens += outcome.counts.reduce((sum, count) => sum + count, 0);
    tally.failed += outcome.errors.length;
    tally.leaves.push(outcome.leafIndex);
    await verb.done(outcome, options);
    await printFailures(frame.io, items, outcome, options);
    progress.at(tally.items, 0);
  };
  try {
    await withServer(frame, options, async (verbs) => {
      if (by === 'subject') await note([], await ask(frame, verbs, verb, by, [], options));
      else await askEach(frame, verbs, verb, by, options, note);
    });
    frame.signal.throwIfAborted();
  } finally {
    progress.stop();
    // Also after Ctrl-C and a refusal: what is done is done, and its leaves are how to find it.
    if (tally.leaves.length > 0) await printTally(frame.io, tally, verb, options);
  }
  return tally.failed > 0 ? EXIT.failed : EXIT.ok;
}

async function askEach<Options extends TargetOptions>(
  frame: Frame,
  verbs: Verbs,
  verb: TargetVerb<Options>,
  by: Targets['by'],
  options: Options,
  note: (items: readonly Item[], outcome: TargetOutcome) => Promise<void>,
): Promise<void> {
  const limits = { signal: frame.signal, itemsMax: ITEMS_MAX, batchesAhead: 1 };
  const call = async (items: readonly Item[]) => {
    await note(items, await ask(frame, verbs, verb, by, items, options));
    return { outputs: [], failures: [] };
  };
  for await (const _ of pump(sourceOf(frame, options).chunks, call, limits)) {
    // Each batch was noted as soon as it was answered.
  }
}

/** A call that was sent is waited for, also after Ctrl-C: what it did could not be told else. */
function ask<Options extends TargetOptions>(
  frame: Frame,
  verbs: Verbs,
  verb: TargetVerb<Options>,
  by: Targets['by'],
  items: readonly Item[],
  options: Options,
): Promise<TargetOutcome> {
  const { contextColumn, context = '' } = options;
  const targets: Targets = {
    domain: options.domain ?? '',
    purpose: options.purpose,
    requestId: randomUUID(),
    by,
    items: items.map(({ value }) => value),
    subject: options.subject ?? '',
    context: contextColumn === undefined ? context : items.map((item) => item.context ?? ''),
  };
  return retrying(() => verb.call(verbs, targets, options), frame.signal);
}

function sourceOf(frame: Frame, options: TargetOptions): Source {
  const named = options.token ?? options.value;
  if (named !== undefined) return fromArguments(named);
  const input = openText(options.csv ?? options.file ?? '-', frame.io.stdin, frame.signal);
  const { column, contextColumn, delimiter } = options;
  return column === undefined
    ? fromLines(input)
    : fromCsv(input, { column, contextColumn, delimiter });
}

async function printFailures(
  io: Io,
  items: readonly Item[],
  { errors }: TargetOutcome,
  options: TargetOptions,
): Promise<void> {
  if (errors.length === 0) return;
  const json = options.json === true;
  const lines = errors.map(({ index, reason, retryable }) => {
    const line = items[index]?.line ?? 0;
    return json ? JSON.stringify({ line, reason, retryable }) : `line ${line}: ${reason}`;
  });
  await write(json ? io.stdout : io.stderr, `${lines.join('\n')}\n`);
}

async function printTally<Options extends TargetOptions>(
  io: Io,
  tally: { readonly items: number; readonly tokens: number; failed: number; leaves: number[] },
  verb: TargetVerb<Options>,
  options: Options,
): Promise<void> {
  const past = verb.past(options);
  if (options.json === true) {
    const summary = { done: past, ...tally, ...verb.summary() };
    await write(io.stdout, `${JSON.stringify(summary)}\n`);
    return;
  }
  const count = (of: number, noun: string): string => `${of} ${noun}${of === 1 ? '' : 's'}`;
  const failed = tally.failed === 0 ? '' : `, ${count(tally.failed, 'item')} failed`;
  const leaves = `${tally.leaves.length === 1 ? 'leaf' : 'leaves'} ${tally.leaves.join(', ')}`;
  await write(io.stdout, `${count(tally.tokens, 'token')} ${past}${failed}; ${leaves}\n`);
}
