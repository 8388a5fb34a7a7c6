import type { Delivery } from '../base/domain.ts';
import type { Reason } from '../base/reason.ts';
import type { Claim } from '../vault/claims.ts';
import type { Minted } from '../vault/minting.ts';
import { REFUSED } from '../vault/refused.ts';
import type { ServedDomain } from './domain-table.ts';
import type { IndexResult } from './job.ts';
import type { Parts } from './parts.ts';
import { withoutRows } from './without-rows.ts';

/** Counters of the good rows of a batch, and which of them are new. */
export interface Counters {
  /** One a good row; below 0 where it gets none, as `REFUSED` says. */
  readonly counters: Float64Array;
  /** 1 where it is new. */
  readonly created: Uint8Array;
  /** Places of the new ones, ascending. */
  readonly newRows: Uint32Array;
  /** To be released when the call has ended. */
  readonly taken: Claim | Minted;
}

/** Why an item that gets no counter fails. */
export function refusalOf(counter: number): Reason {
  switch (counter) {
    case REFUSED.damaged:
      return 'RECORD_CORRUPT';
    case REFUSED.closed:
      return 'MINTING_CLOSED';
    case REFUSED.taken:
      return 'TOKEN_TAKEN';
    default:
      return 'FORMAT_EXHAUSTED';
  }
}

/** Counters of a static domain: those there are, those of calls under way, and new ones. */
export async function claimCounters(
  parts: Parts,
  { spec }: ServedDomain,
  indexed: IndexResult,
  delivery: Delivery,
): Promise<Counters> {
  const all = delivery === 'all-or-nothing';
  const claim = await parts.vault.minting.claim(spec.id, indexed.indexes, all);
  const { counters, created, newRows } = claim;
  return { counters, created, newRows, taken: claim };
}

/** New counters of a dynamic domain, one a row. */
export async function mintCounters(
  parts: Parts,
  { spec }: ServedDomain,
  indexed: IndexResult,
  delivery: Delivery,
): Promise<Counters> {
  const count = indexed.good?.length ?? indexed.total;
  const unit = delivery === 'all-or-nothing' ? Math.max(1, count) : 1;
  const minted = await parts.vault.minting.mint(spec.id, count, unit);
  const made = minted.counters.length;
  const newRows = new Uint32Array(made);
  for (let i = 0; i < made; i++) newRows[i] = i;
  if (made === count) {
    return { counters: minted.counters, created: filled(count, count), newRows, taken: minted };
  }
  const counters = new Float64Array(count).fill(minted.refused);
  counters.set(minted.counters);
  return { counters, created: filled(count, made), newRows, taken: minted };
}

const filled = (count: number, made: number): Uint8Array => new Uint8Array(count).fill(1, 0, made);

/** Rows of the batch whose index row is damaged, ascending. */
export const damagedRows = (counters: Float64Array, indexed: IndexResult): number[] =>
  counters.includes(REFUSED.damaged)
    ? rowsWith(counters, indexed, (counter) => counter === REFUSED.damaged)
    : [];

function rowsWith(
  counters: Float64Array,
  { good }: IndexResult,
  wanted: (counter: number) => boolean,
): number[] {
  const rows: number[] = [];
  for (let place = 0; place < counters.length; place++) {
    if (wanted(counters[place]!)) rows.push(good === undefined ? place : good[place]!);
  }
  return rows;
}

/** The batch without the rows that got no counter because there are no more, which are errors of
 *  their own. No new row stands behind the first of them, so ORDERED_STOP loses none. */
export function withinRoom<T extends Counters>(
  indexed: IndexResult,
  given: T,
  delivery: Delivery,
): { readonly indexed: IndexResult; readonly given: T } {
  const { counters } = given;
  const refused = counters.find((counter) => counter < 0);
  if (refused === undefined) return { indexed, given };
  const rows = rowsWith(counters, indexed, (counter) => counter < 0);
  const left = withoutRows(indexed, rows, refusalOf(refused), delivery);
  const before = new Map<number, number>();
  const count = indexed.good?.length ?? indexed.total;
  for (let place = 0; place < count; place++) before.set(indexed.good?.[place] ?? place, place);
  const places = Uint32Array.from(left.good!, (row) => before.get(row)!);
  const created = Uint8Array.from(places, (place) => given.created[place]!);
  return {
    indexed: left,
    given: {
      ...given,
      counters: Float64Array.from(places, (place) => counters[place]!),
      created,
      newRows: Uint32Array.from([...created.keys()].filter((place) => created[place] === 1)),
    },
  };
}
