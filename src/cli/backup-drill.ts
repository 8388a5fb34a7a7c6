import { tmpdir } from 'node:os';
import type { Command } from 'commander';
import type { Drilled } from '../engine/backup/drill.ts';
import { wholeNumber } from './arguments.ts';
import {
  addFileOptions,
  type BackupFileOptions,
  manifestRows,
  readKeys,
  refusingBackup,
  shownManifest,
} from './backup-file.ts';
import { moduleOf, refusingModule } from './backup-module.ts';
import { loadConfig } from './config.ts';
import { CONFIG_FILE, configPath } from './config-command.ts';
import { EXIT, type Frame, printJson, printTable } from './frame.ts';
import { openProgress, type Progress } from './progress.ts';

interface DrillCommandOptions extends BackupFileOptions {
  readonly config?: string;
  readonly sample: number;
  readonly folder: string;
}

/** `lockstep backup drill`: restores into a temporary folder and opens a sample. */
export function addBackupDrill(group: Command, frame: Frame): void {
  const command = group
    .command('drill')
    .description('Restores a backup beside everything, opens a sample, reports, removes it again');
  addFileOptions(command)
    .option('--config <file>', `names the module; default: LOCKSTEP_CONFIG, else ${CONFIG_FILE}`)
    .option('--sample <records>', 'records a domain that are opened', wholeNumber(0), 1_000)
    .option('--folder <folder>', 'where there is room for the vault', tmpdir())
    .action(
      frame.action((file: string, options: DrillCommandOptions) => drill(frame, file, options)),
    );
}

async function drill(frame: Frame, file: string, options: DrillCommandOptions): Promise<number> {
  const { config } = loadConfig(configPath(frame.io, options.config), frame.io.env);
  const [{ drillBackup }, { systemClock }] = await Promise.all([
    import('../engine/backup/drill.ts'),
    import('../base/clock.ts'),
  ]);
  let bar: Progress | undefined;
  const progress = (rows: number, bytesRead: number, fileBytes: number): void => {
    bar ??= openProgress(frame.io, fileBytes);
    bar.at(rows, bytesRead);
  };
  const { sample, folder } = options;
  const drilled = await refusingModule(() =>
    refusingBackup(file, async () =>
      drillBackup({
        ...moduleOf(config),
        ...(await readKeys(options)),
        ...{ file, folder, sample, progress },
        clock: systemClock,
        signal: frame.signal,
      }),
    ),
  ).finally(() => bar?.stop());
  await print(frame, options, drilled);
  return isGood(drilled) ? EXIT.ok : EXIT.failed;
}

const isGood = ({ domains, faults }: Drilled): boolean =>
  faults === 0 && domains.every(({ sampled, opened }) => sampled === opened);

async function print(frame: Frame, options: DrillCommandOptions, drilled: Drilled): Promise<void> {
  const { head, tail, domains, faults, restoreMs, checkMs, openMs } = drilled;
  const good = isGood(drilled);
  if (options.json === true) {
    const seconds = { restore: s(restoreMs), check: s(checkMs), open: s(openMs) };
    await printJson(frame.io, { good, faults, domains, seconds, ...shownManifest(head, tail) });
    return;
  }
  await printTable(frame.io, [
    ['verdict', good ? 'it would restore' : 'it would NOT restore'],
    ...manifestRows(head, tail),
    ['faults', String(faults)],
    ...domains.map(({ domain, sampled, opened }) => [
      `opened of ${domain}`,
      `${opened} of ${sampled}`,
    ]),
    ['seconds', `restore ${s(restoreMs)}, check ${s(checkMs)}, open ${s(openMs)}`],
  ]);
}

const s = (ms: number): number => Math.round(ms / 10) / 100;
