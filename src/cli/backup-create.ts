import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import type { Verbs } from '../rpc/verbs.ts';
import { again } from './arguments.ts';
import { addConnectionOptions, type ConnectionOptions, withServer } from './connection.ts';
import { EXIT, type Frame, printJson, printTable, Refusal, write } from './frame.ts';
import { openProgress } from './progress.ts';

interface CreateOptions extends ConnectionOptions {
  readonly file: string;
  readonly recipient: readonly string[];
  readonly classic?: boolean;
  readonly json?: boolean;
}

/** `lockstep backup create`: asks the server for a backup and follows it. */
export function addBackupCreate(group: Command, frame: Frame): void {
  const command = group
    .command('create')
    .description("Backs the vault up while it serves, into the server's backup folder")
    .requiredOption('--file <name>', 'name of the file: letters, digits, dots and hyphens')
    .requiredOption('--recipient <key>', 'age public key, age1pq…; may be repeated', again)
    .option('--classic', 'take age1… keys too, which a quantum computer would break')
    .option('--json', 'answer in JSON');
  addConnectionOptions(command).action(
    frame.action((options: CreateOptions) =>
      withServer(frame, options, (verbs) => create(frame, options, verbs)),
    ),
  );
}

async function create(frame: Frame, options: CreateOptions, verbs: Verbs): Promise<number> {
  const { file, recipient: recipients, classic = false } = options;
  const request = { file, recipients, classic, requestId: randomUUID() };
  let job = await verbs.backUpVault(request, { signal: frame.signal });
  const progress = openProgress(frame.io, 100);
  // A server that does not answer any more is no reason to leave the backup going on unseen.
  const cancel = (): void => void verbs.cancelJob(job.id).catch(() => {});
  frame.signal.addEventListener('abort', cancel, { once: true });
  try {
    for await (job of verbs.watchJob(job.id, { signal: frame.signal })) {
      progress.at(job.done, job.total === 0 ? 0 : (100 * job.done) / job.total);
    }
  } finally {
    frame.signal.removeEventListener('abort', cancel);
    progress.stop();
  }
  if (job.state !== 'done') throw new Refusal(`${job.reason || job.state}: no backup`, { job });
  const { result } = job;
  if (options.json === true) await printJson(frame.io, { job: job.id, ...result });
  else {
    await write(frame.io.stdout, `backed up into ${result['file']}\n`);
    await printTable(
      frame.io,
      ['backup', 'records', 'rows', 'bytes', 'sha256'].map((name) => [name, result[name] ?? '']),
    );
  }
  return EXIT.ok;
}
