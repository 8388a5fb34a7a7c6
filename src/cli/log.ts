import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { LogReport } from '../audit/fsck.ts';
import { loadConfig } from './config.ts';
import { CONFIG_FILE, configPath } from './config-command.ts';
import { EXIT, type Frame, printJson, printTable, Refusal, UsageError, write } from './frame.ts';
import { openProgress } from './progress.ts';

/** Inside the data folder. */
const LOG_FOLDER = 'log';
/** Inside the data folder: the log's public key, as Go's `note` writes it. */
const VERIFIER_FILE = 'verifier';

interface VerifyOptions {
  readonly config?: string;
  readonly folder?: string;
  readonly verifier?: string;
  readonly older?: string;
  readonly json?: boolean;
}

/** `lockstep log verify`: the whole log read again, by the public key alone. */
export function addLog(program: Command, frame: Frame): void {
  const group = program.command('log').description('The log that cannot be rewritten');
  group
    .command('verify')
    .description('Reads every leaf, tile and checkpoint again; safe beside a running server')
    .option('--config <file>', `default: LOCKSTEP_CONFIG, else ${CONFIG_FILE}`)
    .option('--folder <folder>', 'the log, with --verifier: no config')
    .option('--verifier <key or file>', 'public key as Go writes it, NAME+HASH+KEY')
    .option('--older <file>', 'a checkpoint kept elsewhere, from which the log must have grown')
    .option('--json', 'answer in JSON')
    .action(frame.action((options: VerifyOptions) => verify(frame, options)));
}

async function verify(frame: Frame, options: VerifyOptions): Promise<number> {
  const { folder, verifier } = placesOf(frame, options);
  const older = options.older === undefined ? {} : { older: readFile(options.older) };
  const [{ fsckLog }, { AuditError }, { NoteError }] = await Promise.all([
    import('../audit/fsck.ts'),
    import('../audit/audit-error.ts'),
    import('../audit/note.ts'),
  ]);
  const progress = openProgress(frame.io, undefined);
  try {
    const onProgress = (done: number): void => {
      frame.signal.throwIfAborted();
      progress.at(done, 0);
    };
    const report = await fsckLog(folder, verifier, { ...older, onProgress });
    progress.stop();
    await print(frame, report, options);
    return report.ok ? EXIT.ok : EXIT.failed;
  } catch (cause) {
    progress.stop();
    const ours = cause instanceof AuditError || cause instanceof NoteError;
    if (ours) throw new Refusal(cause.message, {}, cause);
    throw cause;
  }
}

function placesOf(frame: Frame, options: VerifyOptions): { folder: string; verifier: string } {
  if (options.folder !== undefined) {
    if (options.verifier === undefined) throw new UsageError('--folder needs --verifier');
    return { folder: options.folder, verifier: verifierText(options.verifier) };
  }
  const { config } = loadConfig(configPath(frame.io, options.config), frame.io.env);
  const verifier = options.verifier ?? join(config.data.folder, VERIFIER_FILE);
  return { folder: join(config.data.folder, LOG_FOLDER), verifier: verifierText(verifier) };
}

/** The key itself, or a file that holds it. */
const verifierText = (text: string): string =>
  /^[^\s+/]\S*\+[0-9a-f]{8}\+\S+$/.test(text) ? text : readFile(text).toString('utf8').trim();

function readFile(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : 'failed';
    throw new Refusal(`${path} cannot be read: ${code}`, {}, cause);
  }
}

async function print(frame: Frame, report: LogReport, options: VerifyOptions): Promise<void> {
  if (options.json === true) {
    await printJson(frame.io, report);
    return;
  }
  await printTable(frame.io, [
    ['verdict', report.ok ? 'whole' : `in doubt from leaf ${report.firstBadIndex ?? 0} on`],
    ['leaves under the checkpoint', String(report.size)],
    ['leaves in the journal', String(report.entries)],
    ['sealed bodies from leaf', String(report.bodiesFrom)],
    ['checkpoints proven', String(report.checkpoints)],
    ['bytes of an unfinished append', String(report.tornBytes)],
  ]);
  const lines = report.findings.map(({ index, what }) => `leaf ${index}: ${what}\n`);
  if (lines.length > 0) await write(frame.io.stderr, lines.join(''));
}
