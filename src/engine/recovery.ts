import { decodeEntry, type Entry, encodeEntry } from '../audit/entry.ts';
import { quotaOf } from '../policy/quota-limits.ts';
import type { OutboxRow } from '../vault/outbox.ts';
import type { CatalogueState } from './job.ts';
import type { Parts } from './parts.ts';

/** What a start found wrong between vault, log and catalogue; nothing is served then. */
export class RecoveryError extends Error {
  override readonly name = 'RecoveryError';
}

/** Leaves before the running record's place that are read again, for calls that were between log
 *  and vault when it was written. */
const LOOK_BACK = 16_384;
const STATE = 'engine';
/** generation u64 ‖ grants read up to this leaf u64 ‖ leaves in the log u64 ‖ the quota's own
 *  bytes. */
const HEAD_BYTES = 24;

/** Brings vault, log, quota and catalogue together after a start, in whatever way the last run
 *  ended. Returns how many leaves of the outbox were appended now. Throws RecoveryError where one
 *  of them is older than another (a rollback). */
export async function recover(parts: Parts, catalogue: CatalogueState): Promise<number> {
  const { vault, log } = parts;
  const saved = await vault.loadState(STATE);
  const position = saved === undefined ? 0 : restoreQuota(parts, saved);
  const head = saved === undefined ? Buffer.alloc(HEAD_BYTES) : Buffer.from(saved);
  const generation = Number(head.readBigUInt64BE(0));
  parts.grants.readTo = Number(head.readBigUInt64BE(8));
  // The one counts every call up to a second before the end, the other every commit of the vault.
  if (log.size < Math.max(Number(head.readBigUInt64BE(16)), vault.logLeaves)) {
    throw new RecoveryError('the log is older than the vault (rollback)');
  }
  const seen = await replay(parts, position);
  if (seen.commitMax > vault.lastCommit) {
    throw new RecoveryError('the vault is older than the log (rollback)');
  }
  const waiting = await readOutbox(parts, seen.commits);
  const logged = seen.catalogue ?? { generation, hash: undefined };
  if (catalogue.generation < Math.max(generation, logged.generation)) {
    throw new RecoveryError('the catalogue is older than the log (rollback)');
  }
  if (
    catalogue.generation === logged.generation &&
    logged.hash !== undefined &&
    logged.hash !== catalogue.hash
  ) {
    throw new RecoveryError('the catalogue is not the one that the log names');
  }
  await recoverOutbox(parts, waiting);
  // The first generation is made with the log and has no change to tell of.
  if (catalogue.generation > Math.max(1, logged.generation)) await logCatalogue(parts, catalogue);
  return waiting.length;
}

function restoreQuota({ quota }: Parts, saved: Uint8Array): number {
  try {
    return quota.restore(saved.subarray(HEAD_BYTES));
  } catch (cause) {
    // Damaged, or of another version of Lockstep: forgetting it would give every quota anew.
    throw new RecoveryError('the running record of the quotas does not read', { cause });
  }
}

interface Seen {
  readonly commits: ReadonlyMap<number, number>;
  readonly commitMax: number;
  readonly catalogue: { readonly generation: number; readonly hash: string } | undefined;
}

/** Reads the leaves since the running record: commits for the outbox, items for the quota. */
async function replay(parts: Parts, position: number): Promise<Seen> {
  const commits = new Map<number, number>();
  let commitMax = 0;
  let catalogue: Seen['catalogue'];
  const from = Math.max(0, position - LOOK_BACK);
  for await (const { index, entry: bytes } of parts.log.entriesFrom(from)) {
    const entry = decodeEntry(bytes);
    if (entry.commit !== undefined && entry.commit > 0) {
      commits.set(entry.commit, index);
      commitMax = Math.max(commitMax, entry.commit);
    }
    const { generation, hash } = entry.extra ?? {};
    if (typeof generation === 'number' && typeof hash === 'string')
      catalogue = { generation, hash };
    if (entry.verb === 'GrantBulk') addGrant(parts, index, entry);
    else if (index >= position) count(parts, entry);
  }
  return { commits, commitMax, catalogue };
}

const VERBS = {
  Tokenize: 'tokenize',
  Lookup: 'lookup',
  Detokenize: 'detokenize',
  Inspect: 'inspect',
  Exchange: 'exchange-from',
} as const;

/** A grant raises a quota, so unlike a use it must never be counted twice. */
function addGrant(parts: Parts, index: number, entry: Entry): void {
  const { caller, count: items, untilMs } = entry.extra ?? {};
  if (index < parts.grants.readTo) return;
  if (typeof caller !== 'string' || typeof items !== 'number') return;
  if (typeof untilMs !== 'number') return;
  parts.quota.addGrant({ caller, domain: entry.domain, count: items, untilMs });
  parts.grants.readTo = index + 1;
}

function count(parts: Parts, entry: Entry): void {
  const extra = entry.extra ?? {};
  const verb = VERBS[entry.verb as keyof typeof VERBS];
  if (verb === undefined || entry.distinct === 0) return;
  charge(parts, entry, verb, entry.domain);
  if (verb === 'exchange-from' && typeof extra['into'] === 'string') {
    charge(parts, entry, 'exchange-into', extra['into']);
  }
}

function charge(
  parts: Parts,
  entry: Entry,
  verb: (typeof VERBS)[keyof typeof VERBS] | 'exchange-into',
  domain: string,
): void {
  const served = parts.domains.get(domain);
  if (served === undefined) return;
  const quota = quotaOf(verb, served.spec.kind, served.formatSize);
  if (quota === undefined) return;
  parts.quota.replay({
    timeMs: entry.timeMs,
    caller: entry.caller,
    domain,
    class: quota.class,
    count: entry.distinct,
  });
}

/** Leaves that were committed with their records and are not in the log, ascending by commit. */
async function readOutbox(
  { vault }: Parts,
  known: ReadonlyMap<number, number>,
): Promise<OutboxRow[]> {
  const rows: OutboxRow[] = [];
  for await (const row of vault.outbox()) {
    const leafIndex = known.get(row.commit);
    if (leafIndex === undefined) rows.push(row);
    else vault.settle([{ commit: row.commit, leafIndex }]);
  }
  return rows;
}

async function recoverOutbox(parts: Parts, rows: readonly OutboxRow[]): Promise<void> {
  if (rows.length === 0) return;
  const { firstIndex } = await parts.log.append(rows);
  parts.vault.settle(rows.map(({ commit }, i) => ({ commit, leafIndex: firstIndex + i })));
  for (const { entry } of rows) count(parts, decodeEntry(entry));
}

/** The last run ended between a change of the catalogue and its leaf: without one, going back to
 *  the catalogue before would not be seen. */
async function logCatalogue(parts: Parts, { generation, hash }: CatalogueState): Promise<void> {
  const entry = encodeEntry({
    timeMs: parts.clock.nowMs(),
    verb: 'CatalogueChanged',
    domain: '',
    caller: '',
    purpose: '',
    view: '',
    policyHash: '',
    keyVersions: [],
    done: 0,
    failed: 0,
    distinct: 0,
    extra: { generation, hash },
  });
  await parts.log.append([{ entry, body: new Uint8Array(0) }]);
}

/** Durable running record: the log up to `position` is counted in it. */
export async function saveRunning(
  parts: Parts,
  generation: number,
  position: number,
): Promise<void> {
  const quota = parts.quota.snapshot(position);
  const bytes = Buffer.alloc(HEAD_BYTES + quota.length);
  bytes.writeBigUInt64BE(BigInt(generation));
  bytes.writeBigUInt64BE(BigInt(parts.grants.readTo), 8);
  bytes.writeBigUInt64BE(BigInt(parts.log.size), 16);
  bytes.set(quota, HEAD_BYTES);
  await parts.vault.saveState(STATE, bytes);
}
