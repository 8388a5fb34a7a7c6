import { type Checkpoint, openCheckpoint } from '../audit/checkpoint.ts';
import type { AuditLog } from '../audit/log.ts';
import { verifierOf } from '../audit/note.ts';
import { verifyConsistency } from '../audit/tree.ts';
import type { CatalogueState } from './job.ts';
import type { Parts } from './parts.ts';
import { RecoveryError } from './recovery-error.ts';

/** One part of the installation that is older than another knows it. */
export interface Rollback {
  readonly what: 'vault' | 'log' | 'catalogue';
  /** For people; no value. */
  readonly text: string;
}

/** What vault and log say of each other. */
export interface Stand {
  /** Highest commit number that the log names. */
  readonly commitMax: number;
  /** Leaves that the vault knows the log to have. */
  readonly leaves: number;
  /** Highest generation of the catalogue that vault or log know. */
  readonly generation: number;
  /** Made now: there is nothing yet that it could be older than. */
  readonly fresh: boolean;
  /** A signed note that was kept elsewhere. */
  readonly checkpoint: string | undefined;
}

/** Everything that is older than something else: vault and log by each other, and both by the head
 *  in the module and by a checkpoint kept elsewhere, which see it where both went back together.
 *  Throws AuditError for a checkpoint that is not this log's. */
export async function findRollbacks(
  parts: Parts,
  catalogue: CatalogueState,
  stand: Stand,
): Promise<Rollback[]> {
  return [
    ...besideEachOther(parts, catalogue, stand),
    ...(stand.fresh ? [] : await besideHead(parts, catalogue)),
    ...(stand.checkpoint === undefined ? [] : await besideCheckpoint(parts, stand.checkpoint)),
  ];
}

const rollback = (what: Rollback['what'], than: string, by: string): Rollback => ({
  what,
  text: `the ${what} is older than ${than} (rollback) by ${by}`,
});

function besideEachOther(
  { vault, log, domains }: Parts,
  catalogue: CatalogueState,
  { commitMax, leaves, generation }: Stand,
): Rollback[] {
  const found: Rollback[] = [];
  if (log.size < leaves) found.push(rollback('log', 'the vault', count(leaves - log.size, 'leaf')));
  if (commitMax > vault.lastCommit) {
    const commits = count(commitMax - vault.lastCommit, 'commit');
    found.push(rollback('vault', 'the log', commits));
  }
  for (const { spec, vaulted } of domains.all()) {
    if (!vaulted || vault.hasDomain(spec.id)) continue;
    found.push({ what: 'vault', text: 'the vault lacks a domain of the catalogue (rollback)' });
    break;
  }
  if (catalogue.generation < generation) {
    const changes = count(generation - catalogue.generation, 'change');
    found.push(rollback('catalogue', 'the log', changes));
  }
  return found;
}

const HEAD = "the module's head";

async function besideHead(parts: Parts, catalogue: CatalogueState): Promise<Rollback[]> {
  const { vault, log, head } = parts;
  const { found: known } = head;
  if (known === undefined) {
    if (!head.kept) return [];
    const text =
      'the module keeps no head of this installation, so nothing shows that it is not old';
    return [{ what: 'vault', text }];
  }
  const found: Rollback[] = [];
  const commits = known.commit - vault.lastCommit;
  const openings = known.epoch - vault.continuity.epoch;
  if (commits > 0) found.push(rollback('vault', HEAD, count(commits, 'commit')));
  else if (openings > 0) found.push(rollback('vault', HEAD, count(openings, 'opening')));
  found.push(...(await besideTree(log, known, HEAD)));
  const changes = known.catalogue - catalogue.generation;
  if (changes > 0) found.push(rollback('catalogue', HEAD, count(changes, 'change')));
  return found;
}

async function besideCheckpoint(parts: Parts, text: string): Promise<Rollback[]> {
  const verifier = verifierOf(parts.identity.origin, parts.identity.publicKey);
  const checkpoint: Checkpoint = openCheckpoint(Buffer.from(text, 'utf8'), verifier);
  return besideTree(parts.log, checkpoint, 'the checkpoint given');
}

async function besideTree(
  log: AuditLog,
  known: { readonly size: number; readonly root: Uint8Array },
  than: string,
): Promise<Rollback[]> {
  if (log.size < known.size) {
    return [rollback('log', than, count(known.size - log.size, 'leaf'))];
  }
  if (await grewFrom(log, known.size, known.root)) return [];
  const leaves = count(known.size, 'leaf');
  return [{ what: 'log', text: `the log is not the one of ${than}: its first ${leaves} differ` }];
}

/** Whether the log's first `size` entries have this root. */
async function grewFrom(log: AuditLog, size: number, root: Uint8Array): Promise<boolean> {
  if (size === 0) return true; // Of no entries every log is the continuation.
  // Entries since the last checkpoint are published anyway, within a second of the opening.
  if (log.head().size < size) await log.flush();
  const now = log.head();
  const proof = await log.consistency(size);
  return verifyConsistency(size, now.size, root, now.root, proof);
}

const PLURALS = {
  leaf: 'leaves',
  commit: 'commits',
  change: 'changes',
  opening: 'openings',
} as const;

const count = (number: number, word: keyof typeof PLURALS): string =>
  `${number} ${number === 1 ? word : PLURALS[word]}`;

/** One sentence for the operator. */
export function refusalOf(found: readonly Rollback[], moved: boolean): RecoveryError {
  const what = found.map(({ text }) => text).join(', and ');
  const way = 'put the newer files back, or accept the loss';
  const command = `lockstep vault accept-rollback --note TEXT${moved ? ' --moved' : ''}`;
  return new RecoveryError(`${what}; ${way}: \`${command}\``);
}
