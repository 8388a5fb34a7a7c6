import { CallError } from '../base/call-error.ts';
import type { Column } from '../base/column.ts';
import type { Delivery } from '../base/domain.ts';
import type { ItemError, Reason } from '../base/reason.ts';
import type { CallWrite } from '../vault/call-write.ts';
import type { Claim } from '../vault/claims.ts';
import { mintedRecords } from '../vault/minting.ts';
import type { NewRules } from '../vault/rules.ts';
import { SUBJECT_BYTES } from '../vault/subject-rows.ts';
import { holdPatients, resolveAliases } from './alias-lookup.ts';
import type { Notice } from './calls.ts';
import { type Counters, claimCounters, damagedRows, mintCounters, withinRoom } from './counters.ts';
import { refuseIfPartial } from './delivery.ts';
import type { ServedDomain } from './domain-table.ts';
import type { Cells, IdemNames, IndexResult, SealedBody } from './job.ts';
import type { Parts } from './parts.ts';
import { NOT_SHARED, shareRecords } from './sharing.ts';
import { withoutRows } from './without-rows.ts';

/** Values on their way to tokens; the call around them decides what is logged. */
export interface Items {
  readonly values: Column;
  readonly context: Cells;
  readonly subject: Cells;
  readonly delivery: Delivery;
  readonly deadlineMs: number;
  readonly cancelled: () => boolean;
  /** The request's field that the items stand in: an Exchange was asked with tokens. */
  readonly field: 'values' | 'tokens';
  /** Whether the worker seals a log body of the tokens. */
  readonly seal: boolean;
  /** Of new records; vaulted kinds only. */
  readonly rules?: NewRules | undefined;
}

/** Tokens, and what has to be stored before anybody sees them. */
export interface Encoded {
  readonly tokens: Column;
  readonly errors: readonly ItemError[];
  readonly distinct: number;
  readonly notices: readonly Notice[];
  readonly created: Uint8Array;
  readonly body: SealedBody | undefined;
  readonly records: CallWrite['records'];
  /** Counters minted, for the entry. */
  readonly minted: { readonly first: number; readonly count: number } | undefined;
  /** Subjects added to records that are shared. */
  readonly edits?: CallWrite['edits'];
  /** To be released where the call does not commit; undefined for dynamic and derived kinds. */
  readonly claim: Claim | undefined;
  /** Lets other calls go on that wait for this one; once it is committed, or will not be. */
  readonly release: () => void;
}

const nothing = (): void => {};

const NO_BYTES = new Uint8Array(0);
const NO_COUNTERS = new Float64Array(0);

/** Kinds whose tokens follow from the value: one job of the worker. */
export async function encodeDerived(
  parts: Parts,
  domain: ServedDomain,
  items: Items,
): Promise<Encoded> {
  const { values, context, subject, delivery, seal } = items;
  const result = await parts.lane.run(
    { op: 'encode', domain: domain.spec.id, values, context, subject, delivery, seal },
    items,
  );
  refuseIfPartial(delivery, items.field, result.errors);
  return {
    tokens: result.column,
    errors: result.errors,
    distinct: result.distinct,
    notices: noticesOf(result.opaque, result.passed),
    created: NO_BYTES,
    body: result.body,
    records: undefined,
    minted: undefined,
    claim: undefined,
    release: nothing,
  };
}

export function noticesOf(opaque: readonly number[], passed: readonly number[]): Notice[] {
  const notices: Notice[] = [];
  if (opaque.length > 0) notices.push({ reason: 'VALUE_OPAQUE', indexes: opaque });
  if (passed.length > 0) notices.push({ reason: 'VALUE_PASSED', indexes: passed });
  return notices;
}

export const remarkNotices = (remarks: IndexResult['remarks']): Notice[] =>
  remarks === undefined ? [] : noticesOf(remarks.opaque, remarks.passed);

/** First job of the vaulted kinds: keyed indexes, nothing stored yet. */
export async function indexItems(
  parts: Parts,
  domain: ServedDomain,
  items: Items,
  idem: IdemNames | undefined,
): Promise<IndexResult> {
  const { values, context, subject, delivery } = items;
  const indexed = await parts.lane.run(
    { op: 'index', domain: domain.spec.id, values, context, subject, delivery, idem },
    items,
  );
  refuseIfPartial(delivery, items.field, indexed.errors);
  return indexed;
}

/** How often a call claims anew after another call gave up what it waited for. */
const CLAIMS_MAX = 4;

/** Second half of the vaulted kinds: counters, tokens and sealed records. The caller commits
 *  `records` or releases `claim`. Where another call was minting one of the values and gave up,
 *  this one mints it: nobody fails for a stranger's deadline. */
export async function mintItems(
  parts: Parts,
  domain: ServedDomain,
  items: Items,
  indexed: IndexResult,
): Promise<Encoded> {
  const release = await holdPatients(parts, domain, indexed);
  try {
    const encoded = await mintSettled(parts, domain, items, indexed);
    const releaseAll = (): void => {
      encoded.release();
      release();
    };
    return { ...encoded, release: releaseAll };
  } catch (error) {
    release();
    throw error;
  }
}

async function mintSettled(
  parts: Parts,
  domain: ServedDomain,
  items: Items,
  indexed: IndexResult,
): Promise<Encoded> {
  let wanted = indexed;
  for (let left = CLAIMS_MAX; ; ) {
    try {
      return await mintOnce(parts, domain, items, wanted);
    } catch (error) {
      if (error instanceof Unfit) {
        wanted = withoutRows(wanted, error.rows, error.reason, items.delivery);
        refuseIfPartial(items.delivery, items.field, wanted.errors);
        continue;
      }
      if (!(error instanceof GivenUp)) throw error;
      if (--left === 0 || parts.vault.fenced) throw error.cause;
    }
  }
}

/** Rows of the batch whose records hold as many subjects as they can, or whose index rows are
 *  damaged: the others are claimed anew without them. */
class Unfit extends Error {
  override readonly name = 'Unfit';
  readonly rows: readonly number[];
  readonly reason: Reason;

  constructor(rows: readonly number[], reason: Reason) {
    super('some rows of the batch do not fit');
    this.rows = rows;
    this.reason = reason;
  }
}

/** The call that this one waited for did not store its records. */
class GivenUp extends Error {
  override readonly name = 'GivenUp';
}

async function mintOnce(
  parts: Parts,
  domain: ServedDomain,
  items: Items,
  batch: IndexResult,
): Promise<Encoded> {
  const { delivery, field } = items;
  const known = await resolveAliases(parts, domain, batch);
  const take = domain.spec.kind === 'static' ? claimCounters : mintCounters;
  const given = await take(parts, domain, known.indexed, delivery);
  const claim = 'newRows' in given.taken ? given.taken : undefined;
  let sharing = NOT_SHARED;
  try {
    if (known.borrowed.some((place) => given.created[place] === 1)) throw gone();
    const damaged = damagedRows(given.counters, batch);
    if (damaged.length > 0) throw new Unfit(damaged, 'RECORD_CORRUPT');
    const { indexed, given: counters } = withinRoom(batch, given, delivery);
    refuseIfPartial(delivery, field, indexed.errors);
    if (domain.spec.subjectsShared) {
      // Only a record that is durable has a set to look at.
      await claimedElsewhere(claim);
      const { newCounters = NO_COUNTERS } = claim ?? {};
      sharing = await shareRecords(parts, domain, indexed, counters.counters, newCounters);
      if (sharing.gone) throw gone();
      if (sharing.full.length > 0) throw new Unfit(sharing.full, 'SUBJECTS_TOO_MANY');
    }
    const created = createdOf(indexed, counters.created);
    const mint = await parts.lane.run(
      {
        op: 'mint',
        domain: domain.spec.id,
        total: indexed.total,
        good: indexed.good,
        counters: counters.counters,
        newRows: counters.newRows,
        stored: indexed.stored,
        context: items.context,
        subjects: indexed.subjects,
        created,
        errors: indexed.errors,
        remarks: indexed.remarks,
        seal: items.seal,
      },
      items,
    );
    await claimedElsewhere(claim);
    return {
      tokens: mint.tokens,
      errors: indexed.errors,
      distinct: indexed.distinct,
      notices: remarkNotices(indexed.remarks),
      created,
      body: mint.body,
      records: recordsOf(domain, counters, indexed, items, mint.records),
      minted: mintedOf(counters),
      ...(sharing.edit === undefined ? {} : { edits: [sharing.edit] }),
      claim,
      release: () => {
        sharing.release();
        if (claim === undefined) parts.vault.release(given.taken);
      },
    };
  } catch (error) {
    sharing.release();
    parts.vault.release(given.taken);
    throw error;
  }
}

/** What was found a moment ago was erased since. */
const gone = (): GivenUp =>
  new GivenUp('a record was erased meanwhile', { cause: new CallError('STORE_UNAVAILABLE') });

/** Counters that another call is minting are answered only once that call is durable. */
async function claimedElsewhere(claim: Claim | undefined): Promise<void> {
  await claim?.after?.catch((cause: unknown) => {
    throw new GivenUp('the claim waited for was given up', { cause });
  });
}

/** Good rows' flags spread over all rows of the batch. */
function createdOf({ good, total }: IndexResult, created: Uint8Array): Uint8Array {
  if (good === undefined) return created;
  const all = new Uint8Array(total);
  for (let i = 0; i < good.length; i++) all[good[i]!] = created[i]!;
  return all;
}

function recordsOf(
  domain: ServedDomain,
  counters: Counters,
  indexed: IndexResult,
  { rules, subject }: Items,
  sealed: Column,
): CallWrite['records'] {
  const { newRows, taken } = counters;
  if (newRows.length === 0) return undefined;
  const unbound = subject === undefined || domain.spec.subjectsShared;
  const subjects = unbound ? undefined : ownersOf(counters, indexed);
  const more = { sealed, rules, ...(subjects === undefined ? {} : { subjects }) };
  if ('newRows' in taken) return { claim: taken, ...more };
  return mintedRecords(taken, domain.spec.listable ? indexed.indexes : NO_BYTES, more);
}

/** Subjects of the new records, 16 bytes each; undefined where nobody is named. */
function ownersOf({ newRows }: Counters, { good, subjects }: IndexResult): Uint8Array | undefined {
  const owners = new Uint8Array(newRows.length * SUBJECT_BYTES);
  let named = 0;
  for (let i = 0, at = 0; i < newRows.length; i++) {
    const row = good === undefined ? newRows[i]! : good[newRows[i]!]!;
    for (let j = 0, from = row * SUBJECT_BYTES; j < SUBJECT_BYTES; j++) {
      const byte = subjects[from + j]!;
      named |= byte;
      owners[at++] = byte;
    }
  }
  return named === 0 ? undefined : owners;
}

/** For the entry; none where the counters are no range. */
function mintedOf(counters: Counters): Encoded['minted'] {
  const { counters: all, newRows, taken } = counters;
  if (newRows.length === 0 || taken.placed) return undefined;
  return rangeOf(all[newRows[0]!]!, all[newRows.at(-1)!]!);
}

/** The range that holds all counters a call minted: they ascend, and those of one claim are taken
 *  at once; only imported ones may lie between. A restore starts above it. */
export const rangeOf = (first: number, last: number): { first: number; count: number } => ({
  first,
  count: last - first + 1,
});
