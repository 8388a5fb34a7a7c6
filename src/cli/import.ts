import { type Command, Option } from 'commander';
import type { Importer } from '../rpc/pair-verbs.ts';
import { wholeNumber } from './arguments.ts';
import {
  addConnectionOptions,
  type ConnectionOptions,
  retrying,
  withOwnSignal,
  withServer,
} from './connection.ts';
import { EXIT, type Frame, UsageError, write } from './frame.ts';
import { openFailures, readPosition, writePosition } from './import-progress.ts';
import { type PairOptions, pairSource } from './pair-sources.ts';
import { openProgress, type Progress } from './progress.ts';
import { type BatchCall, type Item, pump } from './pump.ts';
import { openText, type Source } from './sources.ts';

interface ImportOptions extends ConnectionOptions, PairOptions {
  readonly domain: string;
  readonly purpose: string;
  readonly skip?: number;
  readonly position?: string;
  readonly errors?: string;
  readonly json?: boolean;
}

interface Tally {
  /** Rows of the file done, those of earlier runs included. */
  rows: number;
  pairs: number;
  failed: number;
}

/** `lockstep import`: existing pairs of value and token, which keep their tokens. */
export function addImport(program: Command, frame: Frame): void {
  const command = program
    .command('import')
    .description('Takes over pairs of value and token from another tool; they keep their tokens')
    .argument('<file>', 'CSV with names in its first row, or JSON objects; - is stdin')
    .requiredOption('--domain <domain>', 'organisation/name, of a static or dynamic domain')
    .requiredOption('--purpose <code>', 'v3 PurposeOfUse code, e.g. HOPERAT')
    .addOption(
      new Option('--from <tool>', 'the tool that wrote the file').choices([
        'gpas',
        'vfps',
        'vault',
      ]),
    )
    .addOption(
      new Option('--format <format>', 'default: by the ending of the name, else CSV').choices([
        'csv',
        'json',
      ]),
    )
    .option('--value-column <name>', 'column or field of the values; default: value')
    .option('--token-column <name>', 'column or field of their tokens; default: token')
    .option('--subject-column <name>', 'column or field that names the patient')
    .option('--delimiter <character>', 'what stands between the cells; default: a comma')
    .option('--skip <rows>', 'go on behind so many rows', wholeNumber(0))
    .option('--position <file>', 'keeps how far it got; the same command again goes on from there')
    .option('--errors <file>', 'failed rows as JSON lines, added at its end, instead of stderr')
    .option('--json', 'failed rows and the closing summary as JSON lines');
  addConnectionOptions(command).action(
    frame.action((path: string, options: ImportOptions) => importPairs(frame, path, options)),
  );
}

async function importPairs(frame: Frame, path: string, options: ImportOptions): Promise<number> {
  const { skip, position } = options;
  if (skip !== undefined && position !== undefined) {
    throw new UsageError('--skip and --position exclude each other');
  }
  const from = position === undefined ? (skip ?? 0) : readPosition(position);
  const input = openText(path, frame.io.stdin, frame.signal);
  const source = pairSource(path, input, options);
  const tally: Tally = { rows: from, pairs: 0, failed: 0 };
  const progress = openProgress(frame.io, source.bytesTotal);
  try {
    await withServer(frame, options, (verbs) => {
      const importer = verbs.importer({ signal: frame.signal });
      return copy(frame, source, importer, options, tally, progress);
    });
    frame.signal.throwIfAborted();
    progress.stop();
    await printTally(frame, tally, options);
    return tally.failed > 0 ? EXIT.failed : EXIT.ok;
  } catch (cause) {
    progress.stop();
    await tellPosition(frame, tally, options);
    throw cause;
  }
}

async function copy(
  frame: Frame,
  source: Source,
  importer: Importer,
  options: ImportOptions,
  tally: Tally,
  progress: Progress,
): Promise<void> {
  const failures = await openFailures(frame.io, options.errors, options.json === true);
  try {
    const rows = skipped(source.chunks, tally.rows);
    const call = importCall(importer, options);
    for await (const batch of pump(rows, call, { signal: frame.signal })) {
      // First what failed, then how far it got: a crash between them tells twice, never not at all.
      await failures.write(batch, tally.rows + 1);
      tally.rows += batch.items.length;
      tally.pairs += batch.items.length;
      tally.failed += batch.failures.length;
      if (options.position !== undefined) await writePosition(options.position, tally.rows);
      progress.at(tally.pairs, source.bytesRead());
    }
  } finally {
    importer.close();
    await failures.close();
  }
}

/** A repeated batch does no harm: a pair that is there already is no error. */
function importCall(importer: Importer, options: ImportOptions): BatchCall {
  const { domain, purpose, subjectColumn } = options;
  return async (items, signal) => {
    const batch = {
      domain,
      purpose,
      values: items.map(({ value }) => value),
      tokens: items.map(({ token = '' }) => token),
      subjects: subjectColumn === undefined ? [] : items.map(({ subject = '' }) => subject),
    };
    const answer = await withOwnSignal(signal, (own) => retrying(() => importer.send(batch), own));
    return { outputs: [], failures: answer.errors };
  };
}

async function* skipped(
  chunks: AsyncIterable<readonly Item[]>,
  rows: number,
): AsyncGenerator<readonly Item[]> {
  let left = rows;
  for await (const items of chunks) {
    const rest = left === 0 ? items : items.slice(left);
    left -= items.length - rest.length;
    if (rest.length > 0) yield rest;
  }
}

async function tellPosition(frame: Frame, tally: Tally, options: ImportOptions): Promise<void> {
  const how =
    options.position === undefined ? `go on with --skip ${tally.rows}` : 'the same again goes on';
  const text = `${tally.rows} rows are done; ${how}`;
  const { rows } = tally;
  const line = options.json === true ? JSON.stringify({ rows }) : `lockstep: ${text}`;
  await write(frame.io.stderr, `${line}\n`);
}

async function printTally(frame: Frame, tally: Tally, options: ImportOptions): Promise<void> {
  const { io } = frame;
  if (options.json === true) await write(io.stdout, `${JSON.stringify(tally)}\n`);
  else await write(io.stderr, `${tally.pairs} pairs, ${tally.failed} failed\n`);
}
