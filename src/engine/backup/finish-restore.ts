import { encodeEntry } from '../../audit/entry.ts';
import { catchUp } from '../catch-up.ts';
import { applyCertificate } from '../erasure-replay.ts';
import type { Parts } from '../parts.ts';
import type { Rollback } from '../rollback.ts';
import { RESTORE_STATE, type RestoreState } from './restore-rows.ts';

const RESTORED_STATE = 'restored';

/** What became of a restore; shown with the vault from then on. */
export interface RestoredState {
  readonly backup: string;
  readonly restoredMs: number;
  /** Erasures that were applied again: what the backup still knew and must not. */
  readonly erasures: number;
  /** Domains that mint no more. */
  readonly closed: readonly string[];
}

/** The restore that this open has to finish; undefined for none. */
export async function loadRestore({ vault }: Parts): Promise<RestoreState | undefined> {
  const stored = await vault.loadState(RESTORE_STATE);
  return stored === undefined || stored.length === 0 ? undefined : parse(stored);
}

export async function loadRestored({ vault }: Parts): Promise<RestoredState | undefined> {
  const stored = await vault.loadState(RESTORED_STATE);
  return stored === undefined ? undefined : parse(stored);
}

/** What a restore does not explain of what was found at its open. With a new log nothing is left to
 *  compare with; with the old one the log itself must not be older than anything knows it. */
export function unexplained(
  restore: RestoreState | undefined,
  found: readonly Rollback[],
): readonly Rollback[] {
  if (restore === undefined) return found;
  return restore.log === 'lost' ? [] : found.filter(({ what }) => what !== 'vault');
}

const parse = <T>(bytes: Uint8Array): T => JSON.parse(Buffer.from(bytes).toString('utf8')) as T;

/** Finishes a restore, at open and before any call is served: what was erased since the backup is
 *  erased again, by the log or by certificates; counters go on above all that may have been used; a
 *  leaf says so. It may be repeated: the record of the restore goes last. */
export async function finishRestore(parts: Parts, restore: RestoreState): Promise<RestoredState> {
  const { vault, clock, logger } = parts;
  const closed = restore.log === 'kept' ? [] : unknownDomains(parts);
  let certified = 0;
  const before = { ...parts, identity: { ...parts.identity, ...signerOf(restore) } };
  for (const text of restore.certificates) certified += await applyCertificate(before, text);
  let erasures = certified;
  const confirm = async (): Promise<void> => {
    for (const id of closed) await vault.continuity.closeMinting(id);
  };
  erasures += (await catchUp(parts, { fromLeaf: restore.logSize, confirm })).erasures;
  const { backup, commit, catalogueGeneration, catalogueHash } = restore;
  await appendLeaf(parts, {
    backup,
    backupMs: restore.createdMs,
    log: restore.log,
    backupCommit: commit,
    backupLeaves: restore.logSize,
    erasures,
    certificates: restore.certificates.length,
    closed: closed.length,
    generation: catalogueGeneration,
    hash: catalogueHash,
  });
  const state: RestoredState = { backup, restoredMs: clock.nowMs(), erasures, closed };
  await vault.saveState(RESTORED_STATE, Buffer.from(JSON.stringify(state), 'utf8'));
  await vault.saveState(RESTORE_STATE, new Uint8Array(0));
  logger.warn('restore-finished', { erasures, closed: closed.length });
  return state;
}

/** Who signed the certificates. */
const signerOf = ({ origin, publicKey }: RestoreState) => ({
  origin,
  publicKey: Uint8Array.from(Buffer.from(publicKey, 'base64')),
});

/** Without the log the module's head is the only one that knows which counters were given out, and
 *  of drawn ones nobody does. */
function unknownDomains({ domains, head }: Parts): string[] {
  const ids = [...domains.all()].filter(({ vaulted }) => vaulted).map(({ spec }) => spec.id);
  return head.found === undefined ? ids : ids.filter((id) => head.markOf(id)?.unordered === true);
}

async function appendLeaf(
  parts: Parts,
  extra: Readonly<Record<string, string | number>>,
): Promise<void> {
  const entry = encodeEntry({
    timeMs: parts.clock.nowMs(),
    verb: 'VaultRestored',
    domain: '',
    caller: '',
    purpose: '',
    view: '',
    policyHash: '',
    keyVersions: [],
    done: 1,
    failed: 0,
    distinct: 0,
    extra,
  });
  await parts.log.append([{ entry, body: new Uint8Array(0) }]);
}
