import type { Command } from 'commander';
import type { ExportedPairs } from '../rpc/pair-verbs.ts';
import {
  addConnectionOptions,
  type ConnectionOptions,
  retrying,
  withServer,
} from './connection.ts';
import { csvLine } from './csv.ts';
import { EXIT, type Frame, write } from './frame.ts';
import { openProgress } from './progress.ts';
import { type Output, openOutput } from './sinks.ts';

interface ExportOptions extends ConnectionOptions {
  readonly domain: string;
  readonly purpose: string;
  readonly after?: string;
  readonly out?: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

interface Tally {
  pairs: number;
  /** Of the last batch that was written; '' for none. */
  row: string;
}

/** `lockstep export`: every pair of a domain, plain. */
export function addExport(program: Command, frame: Frame): void {
  const command = program
    .command('export')
    .description('Writes every value of a domain with its token, plain; a right of its own')
    .requiredOption('--domain <domain>', 'organisation/name, of a static or dynamic domain')
    .requiredOption('--purpose <code>', 'v3 PurposeOfUse code, e.g. HOPERAT')
    .option('--after <row>', 'go on behind this row, without the line of names')
    .option('--out <file>', 'write to a file (mode 0600), whole or not at all, instead of stdout')
    .option('--force', 'replace the file of --out')
    .option('--json', 'one JSON object a line instead of CSV');
  addConnectionOptions(command).action(
    frame.action((options: ExportOptions) => exportPairs(frame, options)),
  );
}

async function exportPairs(frame: Frame, options: ExportOptions): Promise<number> {
  const { io } = frame;
  const output = openOutput(io, options.out, options.force === true);
  const tally: Tally = { pairs: 0, row: options.after ?? '' };
  const progress = openProgress(io, undefined);
  try {
    if (options.json !== true && options.after === undefined) {
      await write(output.stream, csvLine(['value', 'token'], ',', '\n'));
    }
    await copy(frame, options, output, tally, () => progress.at(tally.pairs, 0));
    await output.commit();
    progress.stop();
    const summary = options.json === true ? JSON.stringify(tally) : `${tally.pairs} pairs`;
    await write(io.stderr, `${summary}\n`);
    return EXIT.ok;
  } catch (cause) {
    progress.stop();
    await output.abandon();
    // Whole batches alone were written, so that what stdout has goes on behind this row.
    if (options.out === undefined && tally.row !== '') {
      const { row } = tally;
      const line =
        options.json === true ? JSON.stringify({ row }) : `lockstep: go on with --after ${row}`;
      await write(io.stderr, `${line}\n`);
    }
    throw cause;
  }
}

function copy(
  frame: Frame,
  options: ExportOptions,
  output: Output,
  tally: Tally,
  done: () => void,
): Promise<void> {
  const { domain, purpose, json = false } = options;
  const { signal } = frame;
  return withServer(frame, options, (verbs) =>
    // A stream that breaks goes on behind the last row.
    retrying(async () => {
      const query = { domain, purpose, after: tally.row };
      for await (const batch of verbs.exportTokens(query, { signal })) {
        await write(output.stream, textOf(batch, json));
        // Nobody reads any more: the batch is not written.
        if (output.stream.destroyed) signal.throwIfAborted();
        tally.pairs += batch.tokens.length;
        tally.row = batch.row;
        done();
      }
      signal.throwIfAborted();
    }, signal),
  );
}

function textOf({ values, tokens }: ExportedPairs, json: boolean): string {
  let text = '';
  for (const [i, token] of tokens.entries()) {
    const value = values[i] ?? '';
    text += json ? `${JSON.stringify({ value, token })}\n` : csvLine([value, token], ',', '\n');
  }
  return text;
}
