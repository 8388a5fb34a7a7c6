import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import type { Acceptance, AcceptedLeaf } from '../engine/acceptance.ts';
import { loadConfig } from './config.ts';
import { CONFIG_FILE, configPath } from './config-command.ts';
import { EXIT, type Frame, printJson, Refusal, write } from './frame.ts';
import { openAndClose } from './serving.ts';
import { refusing } from './start-refusal.ts';
import { vaultGroup } from './vault-group.ts';

interface AcceptOptions {
  readonly config?: string;
  readonly note: string;
  readonly moved?: boolean;
  readonly checkpoint?: string;
  readonly json?: boolean;
}

/** `lockstep vault adopt|accept-rollback`: what an officer decides while no server runs. Each opens
 *  the installation as `serve` would, and closes it again. */
export function addVaultOffline(program: Command, frame: Frame): void {
  const group = vaultGroup(program);
  const add = (name: string, description: string) =>
    group
      .command(name)
      .description(description)
      .requiredOption('--note <text>', 'why, at most 500 bytes; it stands in the log for good')
      .option('--config <file>', `default: LOCKSTEP_CONFIG, else ${CONFIG_FILE}`)
      .option('--checkpoint <file>', 'a checkpoint kept elsewhere, to hold the log to')
      .option('--json', 'answer in JSON');
  add(
    'adopt',
    'Takes a vault that was moved or copied as the one; a server that has it ends',
  ).action(
    frame.action((options: AcceptOptions) =>
      accept(frame, options, { moved: options.note }, 'the vault is where it was'),
    ),
  );
  add(
    'accept-rollback',
    'Goes on with older files: what they lack is given up, and no token reused',
  )
    .option('--moved', 'the vault was moved or copied as well')
    .action(
      frame.action((options: AcceptOptions) => {
        const moved = options.moved === true ? { moved: options.note } : {};
        const accepted = { rollback: options.note, ...moved };
        return accept(frame, options, accepted, 'nothing is older than it should be');
      }),
    );
}

/** Exit code 0 also where there was nothing to accept: things are as the officer wants them. */
async function accept(
  frame: Frame,
  options: AcceptOptions,
  accepted: Acceptance,
  otherwise: string,
): Promise<number> {
  const { config } = loadConfig(configPath(frame.io, options.config), frame.io.env);
  const checkpoint = readCheckpoint(options.checkpoint);
  const leaves: AcceptedLeaf[] = [];
  const by = `local:${userInfo().username}`;
  const asked = { ...accepted, by, onLeaf: (leaf: AcceptedLeaf) => leaves.push(leaf) };
  await refusing(() =>
    openAndClose({ config, development: false, create: false, checkpoint, accept: asked }),
  );
  if (options.json === true) await printJson(frame.io, { accepted: leaves });
  else if (leaves.length === 0) await write(frame.io.stdout, `nothing to do: ${otherwise}\n`);
  else await write(frame.io.stdout, leaves.map(sentence).join(''));
  return EXIT.ok;
}

function sentence({ leafIndex, found, closed }: AcceptedLeaf): string {
  const ends = closed.length === 0 ? '' : `; these mint no more: ${closed.join(', ')}`;
  return `accepted in leaf ${leafIndex}: ${found.join('; ')}${ends}\n`;
}

/** The signed note in a file; undefined where none is named. */
export function readCheckpoint(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : 'failed';
    throw new Refusal(`${path} cannot be read: ${code}`, {}, cause);
  }
}
