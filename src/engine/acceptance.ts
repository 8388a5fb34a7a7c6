import { type Entry, encodeEntry } from '../audit/entry.ts';
import { CallError } from '../base/call-error.ts';
import { LIMITS } from '../base/limits.ts';
import { catchUp } from './catch-up.ts';
import { vaultIndexOf } from './domain-table.ts';
import type { CatalogueState } from './job.ts';
import { countDifferences } from './log-count.ts';
import type { Parts } from './parts.ts';
import type { VaultRepair } from './repair.ts';
import type { Rollback, Stand } from './rollback.ts';

/** What an officer accepts at a start that would be refused, and why: 1 to 500 bytes each, without
 *  control characters and patient data, for they stand in the log. */
export interface Acceptance {
  /** Vault, log or catalogue are older than something knows them. */
  readonly rollback?: string;
  /** The vault lies elsewhere than it did. */
  readonly moved?: string;
  /** The vault was repaired: see `repairVault`. */
  readonly repair?: { readonly note: string; readonly report: VaultRepair };
  /** Who says so, e.g. `local:anna`. */
  readonly by?: string;
  /** Told of each leaf that was written. */
  readonly onLeaf?: (leaf: AcceptedLeaf) => void;
}

export interface AcceptedLeaf {
  readonly verb: 'RollbackAccepted' | 'VaultAdopted' | 'VaultRepaired';
  readonly leafIndex: number;
  /** What was found, a sentence each. */
  readonly found: readonly string[];
  /** Domains that mint no more, since nobody knows which of their counters are used. */
  readonly closed: readonly string[];
}

/** Throws `CallError('FIELD_INVALID')` for a note that a leaf cannot hold. */
export function checkNotes({ rollback, moved, repair }: Acceptance): void {
  for (const note of [rollback, moved, repair?.note]) {
    if (note === undefined) continue;
    const bytes = Buffer.byteLength(note, 'utf8');
    const plain = note.isWellFormed() && !/\p{Cc}/u.test(note) && note.trim() !== '';
    if (plain && bytes <= LIMITS.noteBytesMax && JSON.stringify(note).length <= 700) continue;
    const text = `must be 1 to ${LIMITS.noteBytesMax} bytes of text without control characters`;
    throw new CallError('FIELD_INVALID', { violations: [{ field: 'note', text }] });
  }
}

export interface Accepting {
  readonly found: readonly Rollback[];
  readonly stand: Stand;
  /** Leaves before it are in the vault. */
  readonly fromLeaf: number;
  readonly accept: Acceptance;
}

/** Goes on with what there is: nothing that was lost comes back, and no counter that may have been
 *  used is given out again. The leaf is the first that the log gets; until it is there the next
 *  start is refused as this one was. */
export async function acceptRollback(
  parts: Parts,
  catalogue: CatalogueState,
  { found, stand, fromLeaf, accept }: Accepting,
): Promise<void> {
  const { vault, log } = parts;
  await addLostDomains(parts);
  const closed = closedDomains(parts, found);
  const from = { commit: vault.lastCommit, leaves: log.size };
  const commits = Math.max(stand.commitMax, parts.head.found?.commit ?? 0, from.commit);
  const leaves = Math.max(stand.leaves, parts.head.found?.size ?? 0, from.leaves);
  const confirm = async (): Promise<void> => {
    for (const id of closed) await vault.continuity.closeMinting(id);
    await appendLeaf(parts, accept, {
      verb: 'RollbackAccepted',
      found: found.map(({ text }) => text),
      closed,
      extra: {
        what: [...new Set(found.map(({ what }) => what))].join(' '),
        commitFrom: commits,
        commitTo: from.commit,
        leafFrom: leaves,
        leafTo: from.leaves,
        closed: closed.length,
        generation: catalogue.generation,
        hash: catalogue.hash,
        note: accept.rollback ?? '',
      },
    });
  };
  await catchUp(parts, { fromLeaf, confirm });
}

/** An older vault may lack domains. They come back empty; their marks come from log and head. */
async function addLostDomains({ domains, vault }: Parts): Promise<void> {
  for (const { spec, compiled } of domains.all()) {
    const index = vaultIndexOf(spec);
    if (index === undefined || vault.hasDomain(spec.id)) continue;
    const { counterLimit: countersMax, drawn } = compiled;
    await vault.addDomain(spec.id, { index, countersMax, drawn });
  }
}

/** Which counters were used, the log knows, or the module's head if they were given out in order.
 *  Where the log is not whole and there is no head, nobody does: not even that the vault is the
 *  newest one shows anywhere. */
function closedDomains({ domains, head }: Parts, found: readonly Rollback[]): string[] {
  if (found.every(({ what }) => what !== 'log')) return [];
  const ids = [...domains.all()].filter(({ vaulted }) => vaulted).map(({ spec }) => spec.id);
  if (head.found === undefined) return ids;
  if (found.every(({ what }) => what !== 'vault')) return [];
  return ids.filter((id) => head.markOf(id)?.unordered === true);
}

/** The vault belongs where it lies now. A copy of it may have minted until this very moment, so
 *  counters go on above what the module's head allowed it. Throws `StoreError('moved')` where
 *  nobody accepts that. */
export async function acceptMove(parts: Parts, accept: Acceptance | undefined): Promise<void> {
  const { continuity } = parts.vault;
  const marks = new Map<string, number>();
  for (const id of continuity.counters().keys()) marks.set(id, parts.head.markOf(id)?.below ?? 0);
  await continuity.skipCounters(marks);
  await appendLeaf(parts, accept ?? {}, {
    verb: 'VaultAdopted',
    found: ['the vault was moved or copied'],
    closed: [],
    extra: { note: accept?.moved ?? '' },
  });
  await continuity.adopt();
}

/** What a repair could not know comes from the log: counters that were given out, what was erased,
 *  who was merged. The leaf says what was found. */
export async function acceptRepair(
  parts: Parts,
  accept: Acceptance,
  { note, report }: NonNullable<Acceptance['repair']>,
): Promise<void> {
  const { live, rebuilt, ...counts } = report;
  const confirm = async (): Promise<void> => {
    const lost = await countDifferences(parts);
    await appendLeaf(parts, accept, {
      verb: 'VaultRepaired',
      found: lost.map(({ domain, logged, found }) => `${domain} has ${found} of ${logged} records`),
      closed: [],
      extra: { ...counts, rebuilt: rebuilt ? 1 : 0, domains: Object.keys(live).length, note },
    });
  };
  await catchUp(parts, { fromLeaf: 0, confirm });
}

async function appendLeaf(
  parts: Parts,
  { by = '', onLeaf }: Acceptance,
  {
    extra,
    ...leaf
  }: Omit<AcceptedLeaf, 'leafIndex'> & { readonly extra: NonNullable<Entry['extra']> },
): Promise<void> {
  const entry = encodeEntry({
    timeMs: parts.clock.nowMs(),
    verb: leaf.verb,
    domain: '',
    caller: by,
    purpose: '',
    view: '',
    policyHash: '',
    keyVersions: [],
    done: 0,
    failed: 0,
    distinct: 0,
    extra,
  });
  const { firstIndex } = await parts.log.append([{ entry, body: new Uint8Array(0) }]);
  parts.logger.warn(EVENTS[leaf.verb]);
  onLeaf?.({ ...leaf, leafIndex: firstIndex });
}

const EVENTS = {
  RollbackAccepted: 'rollback-accepted',
  VaultAdopted: 'vault-adopted',
  VaultRepaired: 'vault-repaired',
} as const satisfies Record<AcceptedLeaf['verb'], string>;
