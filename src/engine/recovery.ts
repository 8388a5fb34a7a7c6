import { decodeEntry, type Entry, encodeEntry } from '../audit/entry.ts';
import { quotaOf } from '../policy/quota-limits.ts';
import type { OutboxRow } from '../vault/outbox.ts';
import { type Acceptance, acceptMove, acceptRepair, acceptRollback } from './acceptance.ts';
import { finishRestore, loadRestore, unexplained } from './backup/finish-restore.ts';
import type { CatalogueState } from './job.ts';
import type { Parts } from './parts.ts';
import { RecoveryError } from './recovery-error.ts';
import { findRollbacks, refusalOf, type Stand } from './rollback.ts';
import { listedDomains } from './subject-tokens.ts';

/** Leaves before the running record's place that are read again, for calls that were between log
 *  and vault when it was written. */
const LOOK_BACK = 16_384;
const STATE = 'engine';
/** generation u64 ‖ grants read up to this leaf u64 ‖ leaves in the log u64 ‖ the quota's own
 *  bytes. */
const HEAD_BYTES = 24;

export interface RecoveryOptions {
  /** Made now. */
  readonly fresh: boolean;
  /** What an officer accepts; whatever else is wrong is refused all the same. */
  readonly accept?: Acceptance | undefined;
  /** A checkpoint of the log that was kept elsewhere, as its signed note. */
  readonly checkpoint?: string | undefined;
}

/** Brings vault, log, quota, catalogue and the module's head together after a start, in whatever
 *  way the last run ended. Returns how many leaves of the outbox were appended now. Throws
 *  RecoveryError where one of them is older than another (a rollback) and nobody accepts it. */
export async function recover(
  parts: Parts,
  catalogue: CatalogueState,
  options: RecoveryOptions,
): Promise<number> {
  const { vault, log } = parts;
  const state = await loadRunning(parts);
  const seen = await replay(parts, state.position);
  const logged = seen.catalogue ?? { generation: state.generation, hash: undefined };
  // The one counts every call up to a second before the end, the other every commit of the vault.
  const stand: Stand = {
    commitMax: seen.commitMax,
    leaves: Math.max(state.leaves, vault.logLeaves),
    generation: Math.max(state.generation, logged.generation),
    fresh: options.fresh,
    checkpoint: options.checkpoint,
  };
  const restore = await loadRestore(parts);
  const found = unexplained(restore, await findRollbacks(parts, catalogue, stand));
  if (found.length > 0) {
    if (options.accept?.rollback === undefined) throw refusalOf(found, vault.continuity.moved);
    const fromLeaf = startOf(state.position);
    await acceptRollback(parts, catalogue, { found, stand, fromLeaf, accept: options.accept });
    // From now on this is what vault and log are held to.
    await saveRunning(parts, catalogue.generation, log.size);
  } else if (catalogue.generation === logged.generation && isOther(logged.hash, catalogue.hash)) {
    throw new RecoveryError('the catalogue is not the one that the log names');
  }
  if (restore !== undefined) {
    await finishRestore(parts, restore);
    await saveRunning(parts, catalogue.generation, log.size);
  }
  const repair = options.accept?.repair;
  if (repair !== undefined) {
    await acceptRepair(parts, options.accept!, repair);
    await saveRunning(parts, catalogue.generation, log.size);
  }
  if (vault.continuity.moved) await acceptMove(parts, options.accept);
  const waiting = await readOutbox(parts, seen.commits);
  await recoverOutbox(parts, waiting);
  // The first generation is made with the log and has no change to tell of; an accepted rollback
  // has told of it.
  if (found.length === 0 && catalogue.generation > Math.max(1, logged.generation)) {
    await logCatalogue(parts, catalogue);
  }
  return waiting.length;
}

const isOther = (logged: string | undefined, ours: string): boolean =>
  logged !== undefined && logged !== ours;

const startOf = (position: number): number => Math.max(0, position - LOOK_BACK);

interface Running {
  /** The quota counts the log up to here. */
  readonly position: number;
  readonly generation: number;
  /** Leaves that the log had. */
  readonly leaves: number;
}

/** The running record of the last run, taken over into the quota. A log that is shorter than it
 *  says was rolled back, or lost: then the record speaks of leaves that are no more. */
async function loadRunning(parts: Parts): Promise<Running> {
  const saved = await parts.vault.loadState(STATE);
  if (saved === undefined) return { position: 0, generation: 0, leaves: 0 };
  const head = Buffer.from(saved.buffer, saved.byteOffset, saved.byteLength);
  const { size } = parts.log;
  parts.grants.readTo = Math.min(size, Number(head.readBigUInt64BE(8)));
  return {
    position: Math.min(size, restoreQuota(parts, saved)),
    generation: Number(head.readBigUInt64BE(0)),
    leaves: Number(head.readBigUInt64BE(16)),
  };
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
  for await (const { index, entry: bytes } of parts.log.entriesFrom(startOf(position))) {
    const entry = decodeEntry(bytes);
    if (entry.commit !== undefined && entry.commit > 0) {
      commits.set(entry.commit, index);
      commitMax = Math.max(commitMax, entry.commit);
    }
    const { generation, hash } = entry.extra ?? {};
    if (typeof generation === 'number' && typeof hash === 'string')
      catalogue = { generation, hash };
    if (entry.verb === 'GrantBulk') addGrant(parts, index, entry);
    else if (index >= position) countEntry(parts, entry);
  }
  return { commits, commitMax, catalogue };
}

const VERBS = {
  Tokenize: 'tokenize',
  Lookup: 'lookup',
  Detokenize: 'detokenize',
  Inspect: 'inspect',
  Exchange: 'exchange-from',
  // Lists those there are; what mints has nothing to charge.
  TokenizeMultiple: 'lookup',
  ExportTokens: 'detokenize',
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

/** What the entry's call used is used, although its caller may not know. */
export function countEntry(parts: Parts, entry: Entry): void {
  const extra = entry.extra ?? {};
  if (entry.verb === 'ListSubjectTokens') {
    for (const { domain, count } of listedDomains(entry)) {
      charge(parts, { ...entry, distinct: count }, 'list-subject', domain);
    }
    return;
  }
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
  verb: (typeof VERBS)[keyof typeof VERBS] | 'exchange-into' | 'list-subject',
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
export async function readOutbox(
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

export async function recoverOutbox(parts: Parts, rows: readonly OutboxRow[]): Promise<void> {
  if (rows.length === 0) return;
  const { firstIndex } = await parts.log.append(rows);
  parts.vault.settle(rows.map(({ commit }, i) => ({ commit, leafIndex: firstIndex + i })));
  for (const { entry } of rows) countEntry(parts, decodeEntry(entry));
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
