import { CallError } from '../base/call-error.ts';
import type { Parts } from './parts.ts';
import type { VaultState } from './vault-calls.ts';

/* What a full disk or a fenced store takes away: first writes to the vault, then everything. Asked
 * before any work of a call, and once more before its commit. */

const RETRY_MS = 2_000;
const full = (): CallError => new CallError('STORE_FULL', { retryDelayMs: RETRY_MS });

/** For calls that write the vault. Throws STORE_FULL while the disk is low, and what the vault says
 *  while it is fenced. */
export function requireVault({ space, vault }: Pick<Parts, 'space' | 'vault'>): void {
  if (space.level !== 'enough') throw full();
  if (vault.refusal !== undefined) throw vault.refusal;
}

/** For calls that leave an entry in the log: all that answer anything of a patient. Throws
 *  STORE_FULL where the disk has no room even for that. */
export function requireLog({ space }: Pick<Parts, 'space'>): void {
  if (space.level === 'critical') throw full();
}

/** How the vault serves, for whoever looks after it. */
export function vaultStateOf({ space, vault }: Pick<Parts, 'space' | 'vault'>): VaultState {
  if (vault.fenced) return 'fenced';
  return space.level === 'enough' ? 'serving' : 'low-space';
}
