import { existsSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { type Command, Option } from 'commander';
import type { EraseOutcome } from '../rpc/target-verbs.ts';
import { type Frame, Refusal, UsageError } from './frame.ts';
import {
  addTargetOptions,
  namedTargets,
  runTargets,
  type TargetOptions,
  type TargetVerb,
} from './target-command.ts';

interface EraseOptions extends TargetOptions {
  readonly mode: 'delete' | 'unlink';
  readonly certificate?: string;
  readonly force?: boolean;
  readonly yes?: boolean;
}

/** `lockstep erase`: ends tokens for good, in backups too, with a certificate. */
export function addErase(program: Command, frame: Frame): void {
  const command = program
    .command('erase')
    .description('Ends tokens for good, in backups too; named by token, by value or by patient')
    .addOption(
      new Option(
        '--mode <mode>',
        'delete: token and value; unlink: the value, the token stays known',
      )
        .choices(['delete', 'unlink'])
        .default('delete'),
    )
    .option('--certificate <file>', 'where its certificate goes; of further calls to FILE.2, …')
    .option('--force', 'replace the file of --certificate')
    .option('--yes', 'do not ask');
  addTargetOptions(command).action(
    frame.action((options: EraseOptions) => runTargets(frame, options, eraseVerb(frame))),
  );
}

function eraseVerb(frame: Frame): TargetVerb<EraseOptions> {
  const files: string[] = [];
  // The verb's outcome, until its certificate is in a file.
  let last: EraseOutcome | undefined;
  return {
    begin: (options) => begin(frame, options),
    async call(verbs, targets, { mode }) {
      last = await verbs.erase({ ...targets, mode });
      return last;
    },
    async done({ leafIndex }, { certificate: first, force }) {
      if (first === undefined) return;
      const file = files.length === 0 ? first : `${first}.${files.length + 1}`;
      writeCertificate(file, last?.certificate ?? '', leafIndex, force === true);
      files.push(file);
    },
    past: ({ mode }) => (mode === 'unlink' ? 'unlinked' : 'erased'),
    summary: () => ({ certificates: files }),
  };
}

async function begin(frame: Frame, options: EraseOptions): Promise<void> {
  const { certificate, force, yes } = options;
  if (certificate !== undefined && force !== true && existsSync(certificate)) {
    throw new UsageError(`${certificate} exists; --force replaces it`);
  }
  if (yes !== true && !(await confirmed(frame, options))) throw new Refusal('nothing was erased');
}

async function confirmed(frame: Frame, options: EraseOptions): Promise<boolean> {
  const { io, signal } = frame;
  const stdinTaken = options.file === '-' || options.csv === '-';
  if (!io.stderrIsTerminal || io.stdinIsTerminal !== true || stdinTaken) {
    throw new UsageError('nobody can be asked here: --yes is wanted');
  }
  const where = options.domain ?? 'all domains of your organisation';
  const what = WHAT[namedTargets(options)];
  const reader = createInterface({ input: io.stdin, output: io.stderr });
  // A terminal that closes answers nothing.
  const closed = new Promise<string>((resolve) => {
    reader.once('close', () => resolve(''));
  });
  try {
    const question = `This ends ${what} in ${where} for good, in backups too. Type yes to go on: `;
    return (await Promise.race([reader.question(question, { signal }), closed])).trim() === 'yes';
  } finally {
    reader.close();
  }
}

const WHAT = {
  tokens: 'the tokens named',
  values: 'the tokens of the values named',
  subject: 'every token of that patient',
} as const;

function writeCertificate(file: string, text: string, leafIndex: number, force: boolean): void {
  try {
    writeFileSync(file, text, { mode: 0o600, flag: force ? 'w' : 'wx' });
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : 'failed';
    const again = `lockstep erasure show ${leafIndex} --out FILE`;
    throw new Refusal(`${file} cannot be written: ${code}; \`${again}\` gives it again`, {}, cause);
  }
}
