import { CallError } from '../base/call-error.ts';
import type { Column } from '../base/column.ts';
import type { Delivery } from '../base/domain.ts';
import type { ItemError } from '../base/reason.ts';
import type { Claim } from '../vault/claims.ts';
import type { CallWrite } from '../vault/vault.ts';
import type { Notice } from './calls.ts';
import { refuseIfPartial } from './delivery.ts';
import type { ServedDomain } from './domain-table.ts';
import type { Cells, IdemNames, IndexResult, SealedBody } from './job.ts';
import type { Parts } from './parts.ts';

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
  /** To be released where the call does not commit; undefined for dynamic and derived kinds. */
  readonly claim: Claim | undefined;
}

const NO_BYTES = new Uint8Array(0);

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
  for (let left = CLAIMS_MAX; ; left--) {
    try {
      return await mintOnce(parts, domain, items, indexed);
    } catch (error) {
      if (!(error instanceof GivenUp)) throw error;
      if (left === 1 || parts.vault.fenced) throw error.cause;
    }
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
  indexed: IndexResult,
): Promise<Encoded> {
  const counters =
    domain.spec.kind === 'static'
      ? await claimCounters(parts, domain, indexed)
      : reserveCounters(parts, domain, indexed);
  try {
    const { claim } = counters;
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
    // Counters that another call is minting are answered only once that call is durable.
    await claim?.after?.catch((cause: unknown) => {
      throw new GivenUp('the claim waited for was given up', { cause });
    });
    return {
      tokens: mint.tokens,
      errors: indexed.errors,
      distinct: indexed.distinct,
      notices: remarkNotices(indexed.remarks),
      created,
      body: mint.body,
      records: recordsOf(domain, counters, indexed, mint.records),
      minted: mintedOf(counters),
      claim,
    };
  } catch (error) {
    if (counters.claim !== undefined) parts.vault.release(counters.claim);
    throw error;
  }
}

interface Counters {
  readonly counters: Float64Array;
  readonly created: Uint8Array;
  readonly newRows: Uint32Array;
  readonly claim: Claim | undefined;
}

async function claimCounters(
  parts: Parts,
  domain: ServedDomain,
  indexed: IndexResult,
): Promise<Counters> {
  const claim = await parts.vault.claim(domain.spec.id, indexed.indexes);
  if (claim.counters.some((counter) => counter < 0)) {
    // A damaged index row: answering its item alone would need the others' claim taken apart.
    parts.vault.release(claim);
    throw new CallError('RECORD_CORRUPT');
  }
  return { counters: claim.counters, created: claim.created, newRows: claim.newRows, claim };
}

function reserveCounters(parts: Parts, domain: ServedDomain, indexed: IndexResult): Counters {
  const count = indexed.good?.length ?? indexed.total;
  const first = count === 0 ? 0 : parts.vault.reserve(domain.spec.id, count);
  const counters = new Float64Array(count);
  const newRows = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    counters[i] = first + i;
    newRows[i] = i;
  }
  return { counters, created: new Uint8Array(count).fill(1), newRows, claim: undefined };
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
  sealed: Column,
): CallWrite['records'] {
  if (counters.newRows.length === 0) return undefined;
  if (counters.claim !== undefined) return { claim: counters.claim, sealed };
  return {
    domain: domain.spec.id,
    first: counters.counters[0]!,
    sealed,
    indexes: domain.spec.listable ? indexed.indexes : NO_BYTES,
  };
}

function mintedOf(counters: Counters): Encoded['minted'] {
  const first = counters.newRows[0];
  if (first === undefined) return undefined;
  // A call's mints are one range: counters ascend, and those of one claim are taken at once.
  return { first: counters.counters[first]!, count: counters.newRows.length };
}
