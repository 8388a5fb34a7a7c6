import type { Command } from 'commander';
import {
  addFileOptions,
  type BackupFileOptions,
  manifestRows,
  readKeys,
  refusingBackup,
  shownManifest,
} from './backup-file.ts';
import { EXIT, type Frame, printJson, printTable } from './frame.ts';
import { openProgress, type Progress } from './progress.ts';

/** `lockstep backup verify`: reads a whole backup, without module, server or configuration. */
export function addBackupVerify(group: Command, frame: Frame): void {
  const command = group
    .command('verify')
    .description('Decrypts a backup and checks every frame, count, hash and its signature');
  addFileOptions(command).action(
    frame.action((file: string, options: BackupFileOptions) => verify(frame, file, options)),
  );
}

async function verify(frame: Frame, file: string, options: BackupFileOptions): Promise<number> {
  const { verifyBackup } = await import('../engine/backup/verify.ts');
  let bar: Progress | undefined;
  const progress = (rows: number, bytesRead: number, fileBytes: number): void => {
    frame.signal.throwIfAborted();
    bar ??= openProgress(frame.io, fileBytes);
    bar.at(rows, bytesRead);
  };
  const verified = refusingBackup(file, async () =>
    verifyBackup(file, { ...(await readKeys(options)), progress }),
  );
  const { head, tail, fileBytes } = await verified.finally(() => bar?.stop());
  if (options.json === true) {
    await printJson(frame.io, { whole: true, fileBytes, ...shownManifest(head, tail) });
  } else await printTable(frame.io, [['verdict', 'whole'], ...manifestRows(head, tail)]);
  return EXIT.ok;
}
