import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import type { Command } from 'commander';
import { EXIT, type Frame, printJson, Refusal, write } from './frame.ts';

interface KeygenOptions {
  readonly output: string;
  readonly classic?: boolean;
  readonly json?: boolean;
}

/** `lockstep backup keygen`: the key pair that backups are made for. */
export function addBackupKeygen(group: Command, frame: Frame): void {
  group
    .command('keygen')
    .description('Makes a key pair for backups; whoever has the identity file reads them all')
    .requiredOption('--output <file>', 'the identity, a new file; keep it away from the server')
    .option('--classic', 'an X25519 pair, for age before 1.3; a quantum computer would break it')
    .option('--json', 'answer in JSON')
    .action(frame.action((options: KeygenOptions) => keygen(frame, options)));
}

async function keygen(frame: Frame, options: KeygenOptions): Promise<number> {
  const { newIdentity } = await import('../engine/backup/age.ts');
  const { identity, recipient } = await newIdentity(options.classic === true);
  writeNew(options.output, `# public key: ${recipient}\n${identity}\n`);
  if (options.json === true) await printJson(frame.io, { file: options.output, recipient });
  else await write(frame.io.stdout, `${recipient}\n`);
  return EXIT.ok;
}

function writeNew(path: string, text: string): void {
  try {
    const file = openSync(path, 'wx', 0o600);
    try {
      writeSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed';
    throw new Refusal(`${path} cannot be made: ${code}`, {}, cause);
  }
}
