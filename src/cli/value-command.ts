import type { Command } from 'commander';
import { type CsvSource, fromCsv } from './csv.ts';
import { EXIT, type Frame, type Io, UsageError, write } from './frame.ts';
import { openProgress } from './progress.ts';
import { type AnsweredBatch, type BatchCall, pump } from './pump.ts';
import { type Output, openOutput, type Sink, toCsv, toJsonLines, toLines } from './sinks.ts';
import { fromArguments, fromLines, openText, type Source } from './sources.ts';

/** Where the items of tokenize, detokenize, exchange and inspect come from and go to. */
export interface ValueOptions {
  readonly file?: string;
  readonly csv?: string;
  readonly column?: string;
  readonly subjectColumn?: string;
  readonly contextColumn?: string;
  readonly delimiter: string;
  readonly out?: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** Adds the options above to a command. */
export function addValueOptions(command: Command, noun: string): Command {
  command.argument(
    `[${noun}s...]`,
    `${noun}s; seen by ps and the shell's history, so not for real ones`,
  );
  return addSourceOptions(command, noun)
    .option('--out <file>', 'write to a file (mode 0600), whole or not at all, instead of stdout')
    .option('--force', 'replace the file of --out')
    .option('--json', 'one JSON object a line; with --csv the closing summary alone is JSON');
}

/** Those that say where items come from. */
export function addSourceOptions(command: Command, noun: string): Command {
  return command
    .option('--file <file>', `one ${noun} a line; - is stdin, and so is nothing at all`)
    .option('--csv <file>', 'a CSV file with names in its first row; - is stdin')
    .option('--column <name>', `the column of the CSV that holds the ${noun}s`)
    .option('--subject-column <name>', 'the column of the CSV that names the patient')
    .option('--context-column <name>', 'the column of the CSV that holds the context')
    .option('--delimiter <character>', 'what stands between the cells of the CSV', ',');
}

export interface Tally {
  readonly items: number;
  readonly failed: number;
  /** Empty cells of a CSV, left as they were. */
  readonly empty: number;
}

/** Runs the items through `call` and writes the outputs. Faults of single items go to stderr as
 *  line and reason; they make the exit code 1 and stop nothing. */
export async function runValues(
  frame: Frame,
  values: readonly string[],
  options: ValueOptions,
  call: BatchCall,
  itemsMax?: number,
): Promise<number> {
  checkValueOptions(values, options);
  const source = openSource(frame, values, options);
  const output = openOutput(frame.io, options.out, options.force === true);
  const progress = openProgress(frame.io, source.bytesTotal);
  try {
    const tally = await copy(frame, source, output, { ...options, itemsMax }, call, (items) =>
      progress.at(items, source.bytesRead()),
    );
    await output.commit();
    progress.stop();
    if (values.length === 0 || tally.failed > 0) await printTally(frame.io, tally, options);
    return tally.failed > 0 ? EXIT.failed : EXIT.ok;
  } catch (cause) {
    progress.stop();
    await output.abandon();
    throw cause;
  }
}

export function checkValueOptions(values: readonly string[], options: ValueOptions): void {
  const inputs = [values.length > 0, options.file !== undefined, options.csv !== undefined];
  if (inputs.filter(Boolean).length > 1) {
    throw new UsageError('arguments, --file and --csv exclude each other');
  }
  if ((options.csv === undefined) !== (options.column === undefined)) {
    throw new UsageError('--csv and --column belong together');
  }
  const columns = options.subjectColumn ?? options.contextColumn;
  if (options.csv === undefined && columns !== undefined) {
    throw new UsageError('--subject-column and --context-column need --csv');
  }
  if (options.delimiter.length !== 1 || /["\r\n]/.test(options.delimiter)) {
    throw new UsageError('--delimiter is one character, and no quote or line end');
  }
}

export function openSource(
  frame: Frame,
  values: readonly string[],
  options: ValueOptions,
): Source | CsvSource {
  if (values.length > 0) return fromArguments(values);
  const input = openText(options.csv ?? options.file ?? '-', frame.io.stdin, frame.signal);
  if (options.csv === undefined) return fromLines(input);
  return fromCsv(input, { ...options, column: options.column ?? '' });
}

async function copy(
  frame: Frame,
  source: Source | CsvSource,
  output: Output,
  options: ValueOptions & { readonly itemsMax: number | undefined },
  call: BatchCall,
  done: (items: number) => void,
): Promise<Tally> {
  const csv =
    'header' in source ? toCsv(output.stream, source.header, options.delimiter) : undefined;
  const lines = options.json === true ? toJsonLines(output.stream) : toLines(output.stream);
  const sink: Sink = csv ?? lines;
  const tally = { items: 0, failed: 0, empty: 0 };
  const counted = csv === undefined ? call : withoutEmpties(call, tally);
  const { itemsMax } = options;
  const limits = { signal: frame.signal, ...(itemsMax === undefined ? {} : { itemsMax }) };
  for await (const batch of pump(source.chunks, counted, limits)) {
    await sink.write(batch);
    await printFailures(frame.io, batch, options);
    tally.items += batch.items.length;
    tally.failed += batch.failures.length;
    done(tally.items);
  }
  frame.signal.throwIfAborted();
  await csv?.finish();
  return tally;
}

/** An empty cell holds no value: it stays empty and is not sent. */
export function withoutEmpties(call: BatchCall, tally: { empty: number }): BatchCall {
  return async (batch, signal) => {
    const places: number[] = [];
    for (const [i, item] of batch.entries()) if (item.value !== '') places.push(i);
    if (places.length === batch.length) return call(batch, signal);
    tally.empty += batch.length - places.length;
    const outputs = new Array<string>(batch.length).fill('');
    if (places.length === 0) return { outputs, failures: [] };
    const answer = await call(
      places.map((place) => batch[place]!),
      signal,
    );
    for (const [i, place] of places.entries()) outputs[place] = answer.outputs[i] ?? '';
    const failures = answer.failures.map((one) => ({ ...one, index: places[one.index]! }));
    return { outputs, failures };
  };
}

async function printFailures(io: Io, batch: AnsweredBatch, options: ValueOptions): Promise<void> {
  if (batch.failures.length === 0) return;
  // In JSON lines a failure stands in its own place already.
  if (options.json === true && options.csv === undefined) return;
  const text = batch.failures.map(
    (failure) => `line ${batch.items[failure.index]?.line ?? 0}: ${failure.reason}\n`,
  );
  await write(io.stderr, text.join(''));
}

async function printTally(io: Io, tally: Tally, options: ValueOptions): Promise<void> {
  const empty = tally.empty > 0 ? `, ${tally.empty} empty` : '';
  await write(
    io.stderr,
    options.json === true
      ? `${JSON.stringify(tally)}\n`
      : `${tally.items} items, ${tally.failed} failed${empty}\n`,
  );
}
