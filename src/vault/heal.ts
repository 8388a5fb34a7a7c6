import { type Store, StoreError } from '../storage/store.ts';
import type { Claims } from './claims.ts';
import type { Committer } from './committer.ts';
import type { Domains } from './domains.ts';
import { loadVault } from './load.ts';
import type { Outbox } from './outbox.ts';
import type { Requests } from './requests.ts';
import type { HeadRow } from './rows.ts';

/** `healed`: writes go on, or never stopped. `busy`: calls hold claims that must end first. `full`:
 *  the store needs space to open. `failed`: it did not open, and may the next time. After both,
 *  reading fails too, until a later try succeeds. `lost`: what was acknowledged is not there; the
 *  store was closed for good, and an officer has to restore or repair it. */
export type Healed = 'healed' | 'busy' | 'full' | 'failed' | 'lost';

export interface HealParts {
  readonly store: Store;
  readonly identity: string;
  readonly domains: Domains;
  readonly outbox: Outbox;
  readonly requests: Requests;
  readonly claims: Claims;
  readonly committer: Committer;
  /** Reads what other parts of the vault keep in memory. */
  readonly reload: () => Promise<void>;
}

const KEYS_A_READ = 1_024;

/** Opens the store of a fenced vault again and compares it with what was acknowledged (facts.md
 *  F3). The write that failed may be there whole: then its rows count, its leaf stands in the
 *  outbox, and running numbers are those of the rows. Nothing may be read that a call then writes
 *  by: whoever calls this sees to it that no call is between the two. One at a time. */
export async function heal(parts: HealParts): Promise<Healed> {
  const { store, claims, committer } = parts;
  await committer.idle();
  if (committer.refusal === undefined) return 'healed';
  // A claim made now would go by rows that the failed write is about to bring.
  if (claims.open > 0) return 'busy';
  try {
    await store.reopen();
  } catch (error) {
    return error instanceof StoreError && error.fault === 'full' ? 'full' : 'failed';
  }
  try {
    committer.resume(await compare(parts));
    return 'healed';
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    // It would answer "not found" for tokens that somebody has, so it answers nothing.
    await store.close().catch(() => {});
    return 'lost';
  }
}

/** The head to go on from. Rejects with `StoreError` where acknowledged writes are gone. */
async function compare(parts: HealParts): Promise<HeadRow> {
  const { store, domains, outbox, requests, committer } = parts;
  const { head: before, recent } = committer;
  const loaded = await loadVault(store, parts.identity);
  const { head } = loaded;
  // One write at a time: either the failed one is there, or none is there that we do not know.
  const tookPlace = head.group === before.group + 1;
  if (!tookPlace && head.group !== before.group) throw gone('groups');
  if (head.commit < before.commit) throw gone('commits');
  const { there, gone: deleted } = recent.expected(tookPlace);
  if ((await present(store, there)) !== there.length) throw gone('rows');
  if ((await present(store, deleted)) !== 0) throw gone('deletions');
  for (const fresh of loaded.domains.all()) {
    const known = domains.find(fresh.id);
    // Counters that were given out stay given out, whatever the rows say.
    if (known === undefined) domains.add(fresh);
    else known.running = fresh.running;
  }
  await outbox.reload(head.outboxFrom);
  requests.reload();
  await parts.reload();
  return head;
}

const gone = (what: string): StoreError =>
  new StoreError('corrupt', new Error(`acknowledged ${what} are gone`));

/** How many of the keys have a row. */
async function present(store: Store, keys: readonly Uint8Array[]): Promise<number> {
  let count = 0;
  for (let at = 0; at < keys.length; at += KEYS_A_READ) {
    const rows = await store.getMany(keys.slice(at, at + KEYS_A_READ));
    for (const row of rows) if (row !== undefined) count++;
  }
  return count;
}
