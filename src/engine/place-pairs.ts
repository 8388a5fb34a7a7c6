import type { Reason } from '../base/reason.ts';
import type { Claim } from '../vault/claims.ts';
import type { Minted } from '../vault/minting.ts';
import { REFUSED } from '../vault/refused.ts';
import { refusalOf } from './counters.ts';
import type { ServedDomain } from './domain-table.ts';
import type { IndexResult } from './job.ts';
import type { Parts } from './parts.ts';
import { withoutRows } from './without-rows.ts';

const INDEX_BYTES = 16;

/** Pairs of a batch whose value and token both read. */
export interface Pairs {
  /** Its good rows are those pairs. */
  readonly indexed: IndexResult;
  /** Of their tokens, one a good row. */
  readonly counters: Float64Array;
}

/** Pairs that the vault has, or that it can take. */
export interface Placed extends Pairs {
  /** Places of those that it takes, ascending. */
  readonly newRows: Uint32Array;
  /** Their counters; to be released when the call has ended. */
  readonly taken: Claim | Minted;
}

type Call = { readonly deadlineMs: number; readonly cancelled: () => boolean };

/** Looks for each pair and takes its counter where neither side has a partner. Under
 *  `vault.exclusive` of the domain. */
export function placePairs(
  parts: Parts,
  domain: ServedDomain,
  pairs: Pairs,
  call: Call,
): Promise<Placed> {
  const place = domain.spec.kind === 'static' ? placeStatic : placeDynamic;
  return place(parts, domain, pairs, call);
}

async function placeStatic(
  parts: Parts,
  { spec }: ServedDomain,
  { indexed, counters }: Pairs,
): Promise<Placed> {
  const claim = await parts.vault.minting.placeClaim(spec.id, counters, indexed.indexes);
  const fates = Float64Array.from(claim.counters, (counter) => Math.min(0, counter));
  return settle({ indexed, counters }, fates, claim.created, claim);
}

/** A dynamic domain takes any free counter; of one that is in use its record says whose it is. */
async function placeDynamic(
  parts: Parts,
  { spec }: ServedDomain,
  pairs: Pairs,
  call: Call,
): Promise<Placed> {
  const { indexed, counters } = pairs;
  const firsts = firstOf(counters);
  const distinct = [...firsts.values()];
  const asked = Float64Array.from(distinct, (place) => counters[place]!);
  const { minted, busy } = await parts.vault.minting.place(spec.id, asked);
  try {
    const fates = new Float64Array(counters.length);
    const created = new Uint8Array(counters.length);
    const inUse: number[] = [];
    for (const [i, place] of distinct.entries()) {
      if (busy[i] === 0) created[place] = 1;
      else if (busy[i] === 1) inUse.push(place);
      else fates[place] = REFUSED.taken;
    }
    const owners = await ownersOf(parts, spec.id, pairs, inUse, call);
    for (const [i, place] of inUse.entries()) fates[place] = owners[i]!;
    for (const [place, counter] of counters.entries()) {
      const first = firsts.get(counter)!;
      if (first === place) continue;
      const same = sameIndex(indexed.indexes, place, indexed.indexes, first);
      fates[place] = same ? fates[first]! : REFUSED.taken;
    }
    return settle(pairs, fates, created, minted);
  } catch (error) {
    parts.vault.release(minted);
    throw error;
  }
}

function firstOf(counters: Float64Array): Map<number, number> {
  const firsts = new Map<number, number>();
  for (const [place, counter] of counters.entries()) {
    if (!firsts.has(counter)) firsts.set(counter, place);
  }
  return firsts;
}

/** 0 where the record in use is that of the pair's own value, else why the pair fails. */
async function ownersOf(
  parts: Parts,
  domain: string,
  { indexed, counters }: Pairs,
  places: readonly number[],
  call: Call,
): Promise<Float64Array> {
  if (places.length === 0) return new Float64Array(0);
  const own = Float64Array.from(places, (place) => counters[place]!);
  const records = await parts.vault.read(domain, own);
  const found = await parts.lane.run({ op: 'reindex', domain, counters: own, records }, call);
  return Float64Array.from(places, (place, i) => {
    if (found.known[i] === 0) return REFUSED.damaged;
    return sameIndex(found.indexes, i, indexed.indexes, place) ? 0 : REFUSED.taken;
  });
}

const sameIndex = (one: Uint8Array, i: number, other: Uint8Array, j: number): boolean =>
  Buffer.compare(
    one.subarray(i * INDEX_BYTES, (i + 1) * INDEX_BYTES),
    other.subarray(j * INDEX_BYTES, (j + 1) * INDEX_BYTES),
  ) === 0;

/** The pairs without those of these rows (ascending), none of which is new. */
export function withoutPairs(placed: Placed, rows: readonly number[], reason: Reason): Placed {
  if (rows.length === 0) return placed;
  const { indexed, counters, newRows } = placed;
  const failing = new Set(rows);
  const kept = [...counters.keys()].filter((place) => !failing.has(indexed.good![place]!));
  const now = new Map(kept.map((place, i) => [place, i]));
  return {
    ...placed,
    indexed: withoutRows(indexed, rows, reason, 'best-effort'),
    counters: Float64Array.from(kept, (place) => counters[place]!),
    newRows: newRows.map((place) => now.get(place)!),
  };
}

/** The pairs without those that have a fate below 0. */
function settle(
  { indexed, counters }: Pairs,
  fates: Float64Array,
  created: Uint8Array,
  taken: Claim | Minted,
): Placed {
  const places = Array.from(fates.keys()).filter((place) => fates[place] === 0);
  const reasons = new Map<Reason, number[]>();
  for (const [place, fate] of fates.entries()) {
    if (fate === 0) continue;
    const rows = reasons.get(refusalOf(fate)) ?? [];
    reasons.set(refusalOf(fate), [...rows, indexed.good?.[place] ?? place]);
  }
  let left = indexed;
  for (const [reason, rows] of reasons) left = withoutRows(left, rows, reason, 'best-effort');
  const newRows = places.flatMap((place, i) => (created[place] === 1 ? [i] : []));
  return {
    indexed: left,
    counters: Float64Array.from(places, (place) => counters[place]!),
    newRows: Uint32Array.from(newRows),
    taken,
  };
}
