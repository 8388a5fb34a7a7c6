import assert from 'node:assert';
import { type Column, rowCount } from '../base/column.ts';
import type { Change } from '../storage/store.ts';
import type { Claim, Claims } from './claims.ts';
import type { Delta, DomainState, Domains } from './domains.ts';
import { INDEX_BYTES } from './layout.ts';
import { listedChanges, recordChanges, uniqueChanges } from './record-changes.ts';
import { type NewRules, pushRulesRows } from './rules.ts';
import { pushSubjectRows } from './subject-rows.ts';

/** New records of a static domain: row i of `sealed` is the record of `claim.newRows[i]`. */
export interface ClaimedRecords {
  readonly claim: Claim;
  readonly sealed: Column;
}

/** New records of a dynamic domain: row i has counter `first` + i, from `reserve`. */
export interface ReservedRecords {
  readonly domain: string;
  readonly first: number;
  /** Where they are not one range, since imported ones lie between: row by row, ascending from
   *  `first`. */
  readonly stepped?: Float64Array | undefined;
  readonly counters?: undefined;
  readonly sealed: Column;
  /** 16 bytes a row where the domain is `listed`, else none. */
  readonly indexes: Uint8Array;
}

/** New records at counters that were not given out in order: imported or drawn. The caller has
 *  made sure, under `exclusive`, that none of them is in use or erased. */
export interface PlacedRecords {
  readonly domain: string;
  readonly counters: Float64Array;
  readonly sealed: Column;
  /** 16 bytes a row, except in a domain without an index. */
  readonly indexes: Uint8Array;
}

/** What all of them may bring. */
interface Extras {
  /** Keyed subject index of each record, 16 bytes a row, zeros for none; or none at all. */
  readonly subjects?: Uint8Array;
  /** Of every record of the call. */
  readonly rules?: NewRules | undefined;
}

export type NewRecords = (ClaimedRecords | ReservedRecords | PlacedRecords) & Extras;

/** Where new records go, which claim they end, and their rows. */
export function newRows(
  records: NewRecords,
  domains: Domains,
  claims: Claims,
): { delta: Delta; claim: Claim | undefined; changes: Change[] } {
  const claim = 'claim' in records ? records.claim : undefined;
  const domain = domains.get('claim' in records ? records.claim.domain : records.domain);
  const counters = countersOf(records);
  const changes = rowsOf(records, domain, counters, claims);
  const { number } = domain.row;
  const { rules } = records;
  if (records.subjects !== undefined) {
    pushSubjectRows(changes, number, records.subjects, counters);
  }
  if (rules !== undefined) pushRulesRows(changes, number, rules, counters);
  const live = counters.length;
  const ruled = rules === undefined ? 0 : live;
  const placed = claim === undefined ? isPlaced(records) : claim.placed;
  return { delta: { domain, live, ruled, placed: placed ? live : 0 }, claim, changes };
}

const isPlaced = (records: NewRecords): records is PlacedRecords & Extras =>
  !('claim' in records) && records.counters !== undefined;

function countersOf(records: NewRecords): Float64Array {
  if ('claim' in records) return records.claim.newCounters;
  if (isPlaced(records)) return records.counters;
  const { first, stepped } = records;
  if (stepped !== undefined) return stepped;
  return Float64Array.from({ length: rowCount(records.sealed) }, (_, i) => first + i);
}

function rowsOf(
  records: NewRecords,
  domain: DomainState,
  counters: Float64Array,
  claims: Claims,
): Change[] {
  const { number, index } = domain.row;
  const { sealed } = records;
  const count = rowCount(sealed);
  if ('claim' in records) {
    const { claim } = records;
    assert(count === claim.newRows.length, 'a claim needs a record for each new row');
    return uniqueChanges(number, claims.newIndexes(claim), claim.newCounters, sealed);
  }
  const wanted = index === 'none' ? 0 : count * INDEX_BYTES;
  assert(records.indexes.length === wanted, 'the indexes do not fit the records');
  if (!isPlaced(records)) {
    assert(index !== 'unique', 'counters of the domain are claimed');
    assert(count === 0 || counters[0] === records.first, 'the first counter comes first');
    assert(count === 0 || counters[count - 1]! < domain.next, 'the counters were not reserved');
  }
  if (index === 'unique') return uniqueChanges(number, records.indexes, counters, sealed);
  return index === 'listed'
    ? listedChanges(number, records.indexes, counters, sealed)
    : recordChanges(number, counters, sealed);
}
