import type { Delivery } from '../base/domain.ts';
import type { Reason } from '../base/reason.ts';
import { INDEX_BYTES } from '../vault/layout.ts';
import type { IndexResult } from './job.ts';

/** An indexed batch whose named rows (ascending, good ones) fail after all, each for this reason.
 *  ORDERED_STOP ends the batch before the first of them. */
export function withoutRows(
  indexed: IndexResult,
  rows: readonly number[],
  reason: Reason,
  delivery: Delivery,
): IndexResult {
  const failing = new Set(rows);
  const stop = delivery === 'ordered-stop';
  const total = stop ? Math.min(indexed.total, rows[0] ?? indexed.total) : indexed.total;
  const places: number[] = [];
  const good: number[] = [];
  const count = indexed.good?.length ?? indexed.total;
  for (let place = 0; place < count; place++) {
    const row = indexed.good === undefined ? place : indexed.good[place]!;
    if (row >= total || failing.has(row)) continue;
    places.push(place);
    good.push(row);
  }
  const indexes = new Uint8Array(places.length * INDEX_BYTES);
  for (const [i, place] of places.entries()) {
    const from = place * INDEX_BYTES;
    indexes.set(indexed.indexes.subarray(from, from + INDEX_BYTES), i * INDEX_BYTES);
  }
  const added = rows.map((index) => ({ index, reason }));
  const errors = [...indexed.errors, ...added].sort((a, b) => a.index - b.index);
  const { remarks } = indexed;
  return {
    ...indexed,
    total,
    good: Uint32Array.from(good),
    indexes,
    errors: stop ? errors.slice(0, 1) : errors,
    aliased: aliasedOf(indexed.aliased, places),
    remarks: remarks && {
      ...remarks,
      opaque: remarks.opaque.filter((row) => row < total),
      passed: remarks.passed.filter((row) => row < total),
    },
  };
}

/** Places among the rows that are left. */
function aliasedOf(
  aliased: IndexResult['aliased'],
  places: readonly number[],
): IndexResult['aliased'] {
  if (aliased === undefined) return undefined;
  const now = new Map(places.map((place, i) => [place, i]));
  const kept = Array.from(aliased.rows.keys()).filter((i) => now.has(aliased.rows[i]!));
  const take = (bytes: Uint8Array): Uint8Array =>
    Buffer.concat(kept.map((i) => bytes.subarray(i * INDEX_BYTES, (i + 1) * INDEX_BYTES)));
  return {
    rows: Uint32Array.from(kept, (i) => now.get(aliased.rows[i]!)!),
    indexes: take(aliased.indexes),
    ids: take(aliased.ids),
  };
}
