import type { Command } from 'commander';
import { addBackupCreate } from './backup-create.ts';
import { addBackupDrill } from './backup-drill.ts';
import { addBackupKeygen } from './backup-keygen.ts';
import { addBackupVerify } from './backup-verify.ts';
import type { Frame } from './frame.ts';

/** `lockstep backup …`: the vault in one encrypted file. */
export function addBackup(program: Command, frame: Frame): void {
  const group = program.command('backup').description('The vault in one encrypted file (age)');
  addBackupKeygen(group, frame);
  addBackupCreate(group, frame);
  addBackupVerify(group, frame);
  addBackupDrill(group, frame);
}
