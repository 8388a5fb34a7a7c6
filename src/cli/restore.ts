import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import type { Restored, RestoreOptions } from '../engine/backup/restore.ts';
import { again } from './arguments.ts';
import {
  addFileOptions,
  type BackupFileOptions,
  manifestRows,
  readFile,
  readKeys,
  refusingBackup,
  shownManifest,
} from './backup-file.ts';
import { moduleOf, refusingModule } from './backup-module.ts';
import { loadConfig } from './config.ts';
import { CONFIG_FILE, configPath } from './config-command.ts';
import type { Config } from './config-schema.ts';
import { EXIT, type Frame, printJson, printTable, Refusal, UsageError, write } from './frame.ts';
import { openProgress, type Progress } from './progress.ts';

interface RestoreCommandOptions extends BackupFileOptions {
  readonly config?: string;
  /** A folder, or false for --without-log. */
  readonly log?: string;
  readonly withoutLog?: boolean;
  readonly note?: string;
  readonly certificate?: readonly string[];
  readonly catalogue?: string;
}

const HELP = `
The log that outlived the vault is wanted, since it knows what was erased after the backup: its
erasures are applied again when the server next starts, before it serves. Where the log is lost too,
--without-log begins a new one, and its first leaf says so; give the certificates of erasures.
Nothing is written before the module has proven that it has the root.`;

/** `lockstep restore`: offline, into an empty data folder. */
export function addRestore(program: Command, frame: Frame): void {
  const command = program
    .command('restore')
    .description('Restores a backup into an empty data folder; no server may run')
    .addHelpText('after', HELP);
  addFileOptions(command)
    .option('--config <file>', `of the new server; default: LOCKSTEP_CONFIG, else ${CONFIG_FILE}`)
    .option('--log <folder>', 'the log that outlived the vault; it is copied')
    .option('--without-log', 'go on without it, with --note')
    .option('--note <text>', 'why, at most 500 bytes, no patient data; it stands in the new log')
    .option('--certificate <file>', 'of an erasure since the backup; may be repeated', again)
    .option('--catalogue <file>', 'a newer catalogue.json; default: one beside the log')
    .action(
      frame.action((file: string, options: RestoreCommandOptions) => restore(frame, file, options)),
    );
}

async function restore(
  frame: Frame,
  file: string,
  options: RestoreCommandOptions,
): Promise<number> {
  const log = logOf(options);
  const { config } = loadConfig(configPath(frame.io, options.config), frame.io.env);
  const [{ restoreBackup }, { systemClock }] = await Promise.all([
    import('../engine/backup/restore.ts'),
    import('../base/clock.ts'),
  ]);
  let bar: Progress | undefined;
  const progress = (rows: number, bytesRead: number, fileBytes: number): void => {
    bar ??= openProgress(frame.io, fileBytes);
    bar.at(rows, bytesRead);
  };
  const restored = await refusing(file, async () =>
    restoreBackup({
      ...moduleOf(config),
      ...(await readKeys(options)),
      ...{ file, log, progress },
      catalogue: catalogueOf(options),
      folder: config.data.folder,
      origin: config.log.origin,
      clock: systemClock,
      signal: frame.signal,
    }),
  ).finally(() => bar?.stop());
  await print(frame, options, config, restored);
  return EXIT.ok;
}

function logOf(options: RestoreCommandOptions): RestoreOptions['log'] {
  const { log: folder, withoutLog, note, certificate = [] } = options;
  if ((folder === undefined) === (withoutLog !== true)) {
    throw new UsageError('one of --log and --without-log is wanted');
  }
  if (folder !== undefined) {
    if (note === undefined && certificate.length === 0) return { kind: 'kept', folder };
    throw new UsageError('--note and --certificate go with --without-log');
  }
  const bytes = Buffer.byteLength(note ?? '');
  if (note === undefined || bytes === 0 || bytes > 500) {
    throw new UsageError('--without-log needs --note, 1 to 500 bytes');
  }
  const certificates = certificate.map((path) => readFile(path).toString('utf8'));
  return { kind: 'lost', note, certificates };
}

/** A data folder that lost its vault may still hold a catalogue newer than the backup's. */
function catalogueOf({ catalogue, log }: RestoreCommandOptions): Uint8Array | undefined {
  if (catalogue !== undefined) return readFile(catalogue);
  const beside = log === undefined ? undefined : join(dirname(log), 'catalogue.json');
  return beside !== undefined && existsSync(beside) ? readFile(beside) : undefined;
}

async function refusing<T>(file: string, work: () => Promise<T>): Promise<T> {
  const { StoreError } = await import('../storage/store.ts');
  try {
    return await refusingModule(() => refusingBackup(file, work));
  } catch (cause) {
    if (cause instanceof StoreError) throw new Refusal(cause.message, {}, cause);
    throw cause;
  }
}

async function print(
  frame: Frame,
  options: RestoreCommandOptions,
  config: Config,
  { head, tail, newSigner }: Restored,
): Promise<void> {
  const { folder } = config.data;
  if (options.json === true) {
    await printJson(frame.io, { folder, newSigner, ...shownManifest(head, tail) });
    return;
  }
  await write(frame.io.stdout, `restored into ${folder}; the next start finishes it\n`);
  await printTable(frame.io, manifestRows(head, tail));
  if (newSigner) await write(frame.io.stderr, 'the log is signed by another key from now on\n');
}
