import assert from 'node:assert';
import { type Column, rowCount } from '../base/column.ts';
import type { Change } from '../storage/store.ts';
import type { Claim, Claims } from './claims.ts';
import type { DomainState, Domains } from './domains.ts';
import { INDEX_BYTES } from './layout.ts';
import { listedChanges, recordChanges, uniqueChanges } from './record-changes.ts';

/** New records of a static domain: row i of `sealed` is the record of `claim.newRows[i]`. */
export interface ClaimedRecords {
  readonly claim: Claim;
  readonly sealed: Column;
}

/** New records of a dynamic domain: row i has counter `first` + i, from `reserve`. */
export interface ReservedRecords {
  readonly domain: string;
  readonly first: number;
  readonly sealed: Column;
  /** 16 bytes a row where the domain is `listed`, else none. */
  readonly indexes: Uint8Array;
}

export type NewRecords = ClaimedRecords | ReservedRecords;

/** Where new records go, which claim they end, and their rows. */
export function newRows(
  records: NewRecords,
  domains: Domains,
  claims: Claims,
): { domain: DomainState; claim: Claim | undefined; changes: Change[] } {
  const claim = 'claim' in records ? records.claim : undefined;
  const domain = domains.get('claim' in records ? records.claim.domain : records.domain);
  return { domain, claim, changes: rowsOf(records, domain, claims) };
}

function rowsOf(records: NewRecords, domain: DomainState, claims: Claims): Change[] {
  const { number, index } = domain.row;
  const { sealed } = records;
  const count = rowCount(sealed);
  if ('claim' in records) {
    const { claim } = records;
    assert(count === claim.newRows.length, 'a claim needs a record for each new row');
    return uniqueChanges(number, claims.newIndexes(claim), claim.newCounters, sealed);
  }
  assert(index !== 'unique', 'counters of the domain are claimed');
  assert(records.first + count <= domain.next, 'the counters were not reserved');
  const wanted = index === 'listed' ? count * INDEX_BYTES : 0;
  assert(records.indexes.length === wanted, 'the indexes do not fit the records');
  const counters = new Float64Array(count);
  for (let i = 0; i < count; i++) counters[i] = records.first + i;
  return index === 'listed'
    ? listedChanges(number, records.indexes, counters, sealed)
    : recordChanges(number, counters, sealed);
}
