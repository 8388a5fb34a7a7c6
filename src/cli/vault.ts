import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import type { ShownJob, ShownVault } from '../rpc/vault-verbs.ts';
import type { Verbs } from '../rpc/verbs.ts';
import {
  addConnectionOptions,
  type ConnectionOptions,
  retrying,
  withServer,
} from './connection.ts';
import { followJob, type JobOptions } from './follow-job.ts';
import { EXIT, type Frame, printJson, printTable } from './frame.ts';
import { vaultGroup } from './vault-group.ts';

interface VaultOptions extends ConnectionOptions, JobOptions {
  readonly deep?: boolean;
}

/** `lockstep vault status|check|compact`, by a running server. */
export function addVault(program: Command, frame: Frame): void {
  const group = vaultGroup(program);
  const add = (name: string, description: string) =>
    addConnectionOptions(
      group.command(name).description(description).option('--json', 'answer in JSON'),
    );
  add('status', 'How the vault serves; exit code 1 unless fully').action(
    frame.action((options: VaultOptions) => status(frame, options)),
  );
  add('check', 'Checks every row, also against the log, while the server serves')
    .option('--deep', 'open every record too')
    .option('--no-wait', 'do not wait for the end')
    .action(
      frame.action((options: VaultOptions) => {
        // The same in each attempt: a check that was begun is not begun again.
        const requestId = randomUUID();
        return runJob(frame, options, (verbs) =>
          verbs.checkVault(options.deep === true, requestId, { signal: frame.signal }),
        );
      }),
    );
  add('compact', 'Rewrites the files so that erased bytes are gone from them')
    .option('--no-wait', 'do not wait for the end')
    .action(
      frame.action((options: VaultOptions) =>
        runJob(frame, options, (verbs) => verbs.compactVault({ signal: frame.signal })),
      ),
    );
}

function runJob(
  frame: Frame,
  options: VaultOptions,
  start: (verbs: Verbs) => Promise<ShownJob>,
): Promise<number> {
  return withServer(frame, options, async (verbs) => {
    const job = await retrying(() => start(verbs), frame.signal);
    return followJob(frame, verbs, job, options);
  });
}

function status(frame: Frame, options: VaultOptions): Promise<number> {
  return withServer(frame, options, async (verbs) => {
    const vault = await verbs.getVault({ signal: frame.signal });
    if (options.json === true) await printJson(frame.io, jsonOf(vault));
    else await printTable(frame.io, rowsOf(vault));
    return vault.state === 'serving' ? EXIT.ok : EXIT.failed;
  });
}

const timeOf = (ms: number): string => (ms === 0 ? 'never' : new Date(ms).toISOString());

function jsonOf({ checkedMs, restoredFrom, ...vault }: ShownVault): object {
  return {
    ...vault,
    ...(restoredFrom === '' ? {} : { restoredFrom }),
    ...(checkedMs === 0 ? {} : { checked: timeOf(checkedMs) }),
  };
}

const STATES: Readonly<Record<ShownVault['state'], string>> = {
  serving: 'serving',
  'low-space': 'reads only: the disk is low',
  fenced: 'reads only: a write failed and is not re-read yet',
  restoring: 'not at all: erasures since the backup are not replayed yet',
  '': 'unknown to this version',
};

function rowsOf(vault: ShownVault): string[][] {
  return [
    ['vault', vault.id],
    ['state', STATES[vault.state]],
    ['live tokens', String(vault.liveTokens)],
    ['leaves of the log', String(vault.logSize)],
    ['opened', `${vault.epoch} times`],
    ['last check', timeOf(vault.checkedMs)],
    ['faults found', String(vault.faults)],
    ['free on the disk', `${(vault.freeBytes / 2 ** 30).toFixed(1)} GiB`],
    ...(vault.restoredFrom === '' ? [] : [['restored from', vault.restoredFrom]]),
    ...(vault.restoredFrom === ''
      ? []
      : [['erasures replayed since', String(vault.erasuresReplayed)]]),
  ];
}
