import { LIMITS } from '../base/limits.ts';
import { refuseIfPartial } from './delivery.ts';
import type { ServedDomain } from './domain-table.ts';
import { type Items, indexItems } from './encode.ts';
import type { IndexResult } from './job.ts';
import type { Parts } from './parts.ts';
import { type Several, severalTokens } from './several.ts';
import { withoutRows } from './without-rows.ts';

const INDEX_BYTES = 16;

/** The tokens there are of each value in a listable domain, oldest first; none is no error. An item
 *  whose tokens no longer fit into the answer is ANSWER_TOO_LARGE. `indexed` is the batch as it is
 *  answered. */
export async function listTokens(
  parts: Parts,
  domain: ServedDomain,
  items: Items,
): Promise<{ readonly indexed: IndexResult; readonly found: Several }> {
  const batch = await indexItems(parts, domain, items, undefined);
  const lists = new Map<number, Float64Array>();
  const tooLarge: number[] = [];
  let left = LIMITS.itemsMax - (batch.remarks?.rows.length ?? 0);
  const count = batch.good?.length ?? batch.total;
  for (let place = 0; place < count; place++) {
    const row = batch.good?.[place] ?? place;
    const counters = await tokensOf(parts, domain, batch, place, left + 1);
    if (counters.length > left) {
      tooLarge.push(row);
      if (items.delivery !== 'best-effort') break;
    } else {
      lists.set(row, counters);
      left -= counters.length;
    }
  }
  const indexed =
    tooLarge.length === 0
      ? batch
      : withoutRows(batch, tooLarge, 'ANSWER_TOO_LARGE', items.delivery);
  refuseIfPartial(items.delivery, items.field, indexed.errors);
  const good = indexed.good ?? Uint32Array.from({ length: indexed.total }, (_, row) => row);
  const perItem = Uint32Array.from(good, (row) => lists.get(row)!.length);
  const counters = new Float64Array(perItem.reduce((sum, own) => sum + own, 0));
  let at = 0;
  for (const row of good) {
    counters.set(lists.get(row)!, at);
    at += lists.get(row)!.length;
  }
  const found = await severalTokens(parts, domain, items, indexed, perItem, counters, false);
  return { indexed, found };
}

/** Ascending, at most `limit`: under the item's own index, and under those of the patient's other
 *  ids. */
async function tokensOf(
  parts: Parts,
  { spec }: ServedDomain,
  { indexes, aliased }: IndexResult,
  place: number,
  limit: number,
): Promise<Float64Array> {
  const own = indexes.subarray(place * INDEX_BYTES, (place + 1) * INDEX_BYTES);
  const counters = await parts.vault.list(spec.id, own, limit);
  if (aliased === undefined || !aliased.rows.includes(place)) return counters;
  const all = [...counters];
  for (const [i, row] of aliased.rows.entries()) {
    if (row !== place) continue;
    const other = aliased.indexes.subarray(i * INDEX_BYTES, (i + 1) * INDEX_BYTES);
    all.push(...(await parts.vault.list(spec.id, other, limit)));
  }
  return Float64Array.from(all).sort().subarray(0, limit);
}
